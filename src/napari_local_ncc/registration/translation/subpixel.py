"""From a candidate to the sub-pixel translation: Gauss-Newton, and what it leaves unsure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.registration.evidence.stated_error import stated_error
from napari_local_ncc.registration.translation.array_pair import MIN_SAMPLES, QUINTIC, ncc_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.registration.translation.array_pair import (
        ArrayPair,
        Lattice,
        Samples,
        Usable,
        Vector,
    )

FINAL_SAMPLES = 2**16  # enough for 0.001 px on any image with texture
SNAP = 0.05  # px: the largest fraction that may be rounded away
INEXACT = 0.29  # px: sd from which a fit is no more exact than a whole pixel is
SNAPPED, EXACT = 1.5, 0.003  # standard deviations, and px, that rounding stays within
MAX_STEPS = 8  # in one place
TRACKED, CONVERGED = 1e-2, 1e-4  # px: the steps that are the last
FARTHEST = 0.3  # px from the optimum of the NCC, beyond which it is held
FLATTEST = 1e-9  # of the largest curvature: an axis along which nothing changes
DEGREE = 2  # of the polynomial by which two backgrounds may differ
BACKED = 64  # samples per term of it, below which only means differ
CLUSTERS = 8  # along each axis, that residuals are summed over
DRAWS = 4096  # of the error's distribution


def track(pair: ArrayPair, offset: Vector, limit: int) -> Vector:
    """Climb to the maximum of the NCC near `offset`, at most 1 px per lattice."""
    for _ in range(3):
        moved = _climb(pair, offset, limit)
        if np.max(np.abs(moved - offset)) < 1:
            return moved
        offset = moved
    return offset


def polish(pair: ArrayPair, offset: Vector, limit: int = FINAL_SAMPLES) -> Vector:
    """Remove the pull of the interpolation on noise, which is towards half-pixels.

    The slopes are fixed's, at whole pixels, whose noise does not depend on the shift (Baker &
    Matthews 2004); the curvature is that of products of the two images, to which noise adds
    nothing. `limit` is how many samples, about, are read.
    """
    offset = track(pair, offset, limit)
    problem = Problem.at(pair, offset, limit)
    if problem is None:
        return offset
    slopes, moved = problem.slopes(pair.fixed.values), offset
    curvature = problem.curvature(slopes, moved)
    if not np.linalg.eigvalsh(curvature)[-1] > 0:
        return offset
    inverse = np.linalg.pinv(curvature, rcond=FLATTEST, hermitian=True)
    for _ in range(MAX_STEPS):
        step = inverse @ np.einsum("in,n->i", slopes, problem.residual(moved))
        moved = moved + step
        if np.max(np.abs(moved - offset)) > FARTHEST:
            return offset
        if np.max(np.abs(step)) < CONVERGED:
            break
    return moved


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """The samples of an overlap, read without the background by which two images may differ."""

    pair: ArrayPair
    lattice: Lattice
    usable: Usable
    background: NDArray[np.float64]

    @classmethod
    def at(cls, pair: ArrayPair, offset: Vector, limit: int) -> Problem | None:
        """Return that of an offset; None where the overlap is too small."""
        lattice = pair.lattice(offset, limit, QUINTIC, slack=1)
        if lattice is None or np.prod(lattice.shape) < 2 * (MIN_SAMPLES + pair.ndim):
            return None
        usable = pair.usable(lattice, offset)
        return cls(pair, lattice, usable, _background(lattice, usable))

    def read(
        self, values: Samples, shift: Vector | float = 0.0, along: int | None = None
    ) -> NDArray[np.float64]:
        """Return an image's samples, or their derivative along one axis, less background."""
        samples = self.lattice.read(values, shift, along)[self.usable].ravel().astype(np.float64)
        weights = np.einsum("kn,n->k", self.background, samples)
        return samples - np.einsum("kn,k->n", self.background, weights)

    def slopes(self, values: Samples, shift: Vector | float = 0.0) -> NDArray[np.float64]:
        """Return the derivatives along all axes, shape (ndim, n)."""
        return np.stack([self.read(values, shift, axis) for axis in range(self.pair.ndim)])

    def residual(self, offset: Vector) -> NDArray[np.float64]:
        """Return what of fixed is not moving at an offset, times the gain that fits best."""
        target = self.read(self.pair.fixed.values)
        source = self.read(self.pair.moving.values, offset)
        return target - _gain(target, source) * source

    def curvature(self, slopes: NDArray[np.float64], offset: Vector) -> NDArray[np.float64]:
        """Return how fast the sum of slopes times residual falls as the offset grows."""
        target = self.read(self.pair.fixed.values)
        source = self.read(self.pair.moving.values, offset)
        other = self.slopes(self.pair.moving.values, offset)
        product = _gain(target, source) * np.einsum("in,jn->ij", slopes, other)
        return (product + product.T) / 2

    def ncc(self, offset: Vector) -> float:
        """Return the NCC at an offset."""
        return ncc_of(self.read(self.pair.fixed.values), self.read(self.pair.moving.values, offset))


def _background(lattice: Lattice, usable: Usable) -> NDArray[np.float64]:
    """Return orthonormal polynomials of the place, shape (term, sample)."""
    axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in lattice.shape]
    powers = [p for p in product(range(DEGREE + 1), repeat=len(axes)) if sum(p) <= DEGREE]
    if np.prod(lattice.shape) < BACKED * len(powers):
        powers = [(0,) * len(axes)]
    terms = []
    for power in powers:
        term = np.ones((1,) * len(axes))
        for along, (axis, k) in enumerate(zip(axes, power, strict=True)):
            term = term * (axis**k).reshape([-1 if d == along else 1 for d in range(len(axes))])
        terms.append(np.broadcast_to(term, lattice.shape)[usable].ravel())
    # the Gram matrix's inverse root: a QR would take longer than all else
    stack = np.stack(terms)
    values, vectors = np.linalg.eigh(np.einsum("kn,ln->kl", stack, stack))
    kept = values > 1e-9 * values.max()
    root = vectors[:, kept] / np.sqrt(values[kept])
    return np.einsum("kj,kn->jn", root, stack)


def _gain(target: NDArray[np.float64], source: NDArray[np.float64]) -> float:
    power = float(np.sum(source**2))
    return float(np.sum(target * source)) / power if power > 0 else 0.0


def _climb(pair: ArrayPair, offset: Vector, limit: int) -> Vector:
    """Least squares in shift, gain and background; the NCC can only rise."""
    problem = Problem.at(pair, offset, limit)
    if problem is None:
        return offset
    moving, moved = pair.moving.values, offset
    target = problem.read(pair.fixed.values)
    for _ in range(MAX_STEPS):
        step = _step(_fit(problem, moving, moved), target)
        before, moved = moved, np.clip(moved + step, offset - 1, offset + 1)
        if np.max(np.abs(moved - before)) < TRACKED:
            break
    old, new = (ncc_of(target, problem.read(moving, place)) for place in (offset, moved))
    return moved if new > old else offset


def _fit(problem: Problem, source: Samples, at: Vector) -> Vector:
    """Solve samples = gain * source(p + step): the matrix to (gain * step, gain)."""
    design = np.stack([*problem.slopes(source, at), problem.read(source, at)])
    # the pseudo-inverse leaves alone an axis along which nothing changes
    inverse = np.linalg.pinv(np.einsum("in,jn->ij", design, design))
    return np.einsum("ij,jn->in", inverse, design)


def _step(fit: Vector, target: NDArray[np.float64]) -> Vector:
    *slope, gain = np.einsum("in,n->i", fit, target)
    return np.array(slope) / gain if gain > 0 else np.zeros(len(slope))


def snap(pair: ArrayPair, offset: Vector) -> Vector:
    """Round the axes on which a whole pixel is, within the noise, as good: nothing is resampled."""
    covariance = shift_covariance(pair, offset)
    if not np.isfinite(covariance).all():
        return np.round(offset) if Problem.at(pair, offset, FINAL_SAMPLES) is None else offset
    return whole_where_as_good(offset, covariance)


def whole_where_as_good(offset: Vector, covariance: NDArray[np.float64]) -> Vector:
    """Round the axes of an offset (px) on which a whole pixel is as good, by its covariance.

    Where the fit is less exact than that, it is no better than the peak of the evidence.
    """
    sd = np.sqrt(np.diag(covariance))
    whole = np.round(offset)
    reach = np.minimum(np.maximum(SNAPPED * sd, EXACT), SNAP)
    return np.where((np.abs(offset - whole) <= reach) | (sd > INEXACT), whole, offset)


def shift_covariance(pair: ArrayPair, offset: Vector) -> NDArray[np.float64]:
    """Return the covariance of a shift that was fitted, px squared, shape (ndim, ndim).

    Noise in both images, and whatever else they do not share, moves the optimum by the
    inverse of the curvature times the sum of residual times slope. The spread of such sums
    over parts of the overlap is measured, so that residuals may be alike over many pixels.
    The curvature is that of products of the two images, to which noise adds nothing.

    Parameters
    ----------
    pair : ArrayPair
        Two images of one pixel size.
    offset : ndarray, shape (ndim,)
        The optimum.

    Returns
    -------
    ndarray of float64
        NaN where the overlap is too small, infinite where the images do not tell all of the
        shift, as stripes do not tell it along themselves.
    """
    problem = Problem.at(pair, offset, FINAL_SAMPLES)
    if problem is None:
        return np.full((pair.ndim, pair.ndim), np.nan)
    return covariance_of(problem, offset)


def covariance_of(problem: Problem, offset: Vector) -> NDArray[np.float64]:
    """Return the covariance of the shift that solves a problem; see `shift_covariance`."""
    slopes = problem.slopes(problem.pair.fixed.values)
    curvature = problem.curvature(slopes, offset)
    if not np.linalg.eigvalsh(curvature)[0] > 0:
        return np.full_like(curvature, np.inf)
    sums = _cluster_sums(problem, slopes * problem.residual(offset))
    spread = np.einsum("ic,jc->ij", sums, sums) * sums.shape[1] / max(sums.shape[1] - 1, 1)
    inverse = np.linalg.inv(curvature)
    return inverse @ spread @ inverse


def _cluster_sums(problem: Problem, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum scores, shape (ndim, sample), over parts of the lattice: shape (ndim, part)."""
    shape = problem.lattice.shape
    parts = [np.arange(n) * min(CLUSTERS, n) // n for n in shape]
    label = np.ravel_multi_index(
        np.meshgrid(*parts, indexing="ij"), [min(CLUSTERS, n) for n in shape]
    )
    index = label[problem.usable].ravel()
    return np.stack([np.bincount(index, score, minlength=label.max() + 1) for score in scores])


def error_quantiles(covariance: NDArray[np.float64]) -> tuple[float, float]:
    """Return the lengths (px) that a normal error with that covariance keeps to in 68 and 95 %."""
    if not np.isfinite(covariance).all():
        return np.nan, np.nan
    values, vectors = np.linalg.eigh(covariance)
    drawn = np.random.default_rng(0).standard_normal((DRAWS, len(values)))
    length = np.linalg.norm(drawn * np.sqrt(np.maximum(values, 0)) @ vectors.T, axis=1)
    return stated_error(length)
