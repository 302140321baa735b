"""From a candidate to the sub-pixel translation: Gauss-Newton, and whole pixels kept whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.registration.translation.array_pair import MIN_SAMPLES, QUINTIC, ncc_of

if TYPE_CHECKING:
    from napari_local_ncc.registration.translation.array_pair import (
        ArrayPair,
        Lattice,
        Samples,
        Usable,
        Vector,
    )


FINAL_SAMPLES = 2**16  # enough for 0.001 px on any image with texture
SNAP = 0.05  # px: the largest fraction that may be rounded away
MAX_STEPS = 8  # of Gauss-Newton in one place


def tracked(pair: ArrayPair, offset: Vector, limit: int) -> Vector:
    """Climb to the maximum of the NCC near `offset`, at most 1 px per lattice."""
    for _ in range(3):
        moved = _gauss_newton(pair, offset, limit, inverse=False)
        if np.max(np.abs(moved - offset)) < 1:
            return moved
        offset = moved
    return offset


def polished(pair: ArrayPair, offset: Vector) -> Vector:
    """Remove the pull of the interpolation on noise, which is towards half-pixels."""
    offset = tracked(pair, offset, FINAL_SAMPLES)
    moved = _gauss_newton(pair, offset, FINAL_SAMPLES, inverse=True)
    return moved if np.max(np.abs(moved - offset)) < 0.2 else offset


def _gauss_newton(pair: ArrayPair, offset: Vector, limit: int, *, inverse: bool) -> Vector:
    """Least squares in shift, gain and background, which maximises the NCC.

    Forward, the gradient is the interpolated moving image's, and the NCC can only rise.
    Inverse (Baker & Matthews 2004), it is that of fixed at whole pixels, whose noise does
    not depend on the shift.
    """
    lattice = pair.lattice(offset, limit, QUINTIC, slack=1)
    if lattice is None or np.prod(lattice.shape) < 2 * (MIN_SAMPLES + pair.ndim):
        return offset
    usable = pair.usable(lattice, offset)
    fixed, moving, moved = pair.fixed.values, pair.moving.values, offset
    target, origin = lattice.read(fixed)[usable], np.zeros(pair.ndim)
    inverse_fit = _fit(lattice, usable, fixed, origin) if inverse else None
    for _ in range(MAX_STEPS):
        if inverse_fit is not None:
            step = -_step(inverse_fit, lattice.read(moving, moved)[usable])
        else:
            step = _step(_fit(lattice, usable, moving, moved), target)
        before, moved = moved, np.clip(moved + step, offset - 1, offset + 1)
        if np.max(np.abs(moved - before)) < (1e-4 if inverse else 1e-2):
            break
    if inverse:
        return moved
    old, new = (ncc_of(target, lattice.read(moving, o)[usable]) for o in (offset, moved))
    return moved if new > old else offset


def _fit(lattice: Lattice, usable: Usable, source: Samples, at: Vector) -> Vector:
    """Solve samples = gain * source(p + step) + c: the matrix to (gain * step, gain, c)."""
    columns = [lattice.read(source, at, axis)[usable].ravel() for axis in range(len(lattice.shape))]
    columns.append(lattice.read(source, at)[usable].ravel())
    design = np.stack([*columns, np.ones_like(columns[0])], dtype=np.float64)
    # the pseudo-inverse leaves alone an axis along which nothing changes
    inverse = np.linalg.pinv(np.einsum("in,jn->ij", design, design))
    return np.einsum("ij,jn->in", inverse, design)


def _step(fit: Vector, target: Samples) -> Vector:
    *slope, gain, _ = np.einsum("in,n->i", fit, target.ravel())
    return np.array(slope) / gain if gain > 0 else np.zeros(len(slope))


def snapped(pair: ArrayPair, offset: Vector) -> Vector:
    """Round the axes on which a whole pixel is, within the noise, as good: nothing is resampled."""
    lattice = pair.lattice(offset, FINAL_SAMPLES, QUINTIC, slack=1)
    if lattice is None:
        return np.round(offset)
    usable = pair.usable(lattice, offset)
    fixed = lattice.read(pair.fixed.values)[usable]
    best = ncc_of(fixed, lattice.read(pair.moving.values, offset)[usable])
    # 2 standard errors in a likelihood ratio of samples of which 1 in 10 is independent
    worst = (1 - best**2) * np.exp(40 / max(fixed.size, 1)) + 1e-6
    for axis in range(pair.ndim):
        trial = offset.copy()
        trial[axis] = np.round(trial[axis])
        ncc = ncc_of(fixed, lattice.read(pair.moving.values, trial)[usable])
        if abs(trial[axis] - offset[axis]) <= SNAP and 1 - ncc**2 <= worst:
            offset = trial
    return offset
