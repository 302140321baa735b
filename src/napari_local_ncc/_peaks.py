"""The compiled search for the highest of the NCC values that a pixel has, and its fit.

Numba's cache watches this file only: after a change of what it takes from `_moments`, it
must change too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc._moments import cached, inner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.intp]
    Triple = tuple[int, int, int]
    Index = tuple[int, int, int, int]

TIE = 1e-6  # the accuracy of the kernel: a lead within it is none
MIN_CURVATURE = 1e-5  # per px^2; less may be rounding
MAX_OFFSET = 1.0  # px from the best whole-pixel shift


@cached
def find_peaks(
    ncc: NDArray[np.float32],
    shifts: Integers,
    search: Triple,
    neighbours: Integers,
    derivatives: Floats,
    first: Triple,
    out: NDArray[np.float32],
) -> None:
    """Find the best shift of every pixel.

    Parameters
    ----------
    ncc : array of float32, shape (shifts, batch, z, y, x)
        The NCC at every shift, with `shifts` in C order over z, y, x.
    shifts : array of int, shape (shifts, 4)
        Shifts along z, y, x and their position in `ncc`, in the order in which they are
        preferred where they are equally good; the first is 0.
    search : tuple of int
        The largest shift along z, y, x; 0 on an axis that is not searched.
    neighbours : array of int, shape (n, 3)
        Steps from a shift to itself and its neighbours.
    derivatives : array of float64, shape (9, n)
        What turns the NCC there into a fit's derivatives: z, y, x, zz, yy, xx, zy, zx, yx.
    first : tuple of int
        Position in `ncc` of the first pixel of `out`.
    out : array of float32, shape (6, batch, z, y, x)
        Receives NCC at no shift, the best NCC, what it gains, and the shift along z, y, x.
    """
    slope, curvature, offset = np.empty(3), np.empty((3, 3)), np.empty(3)
    zero = shifts[0, 3]
    for m in range(out.shape[1]):
        for z in range(out.shape[2]):
            for y in range(out.shape[3]):
                for x in range(out.shape[4]):
                    at = (m, first[0] + z, first[1] + y, first[2] + x)
                    out[:, m, z, y, x] = np.nan
                    here = ncc[zero, at[0], at[1], at[2], at[3]]
                    out[0, m, z, y, x] = here
                    best = _best(ncc, shifts, at)
                    if np.isnan(here) or _on_border(shifts, best, search):
                        continue
                    highest = ncc[shifts[best, 3], at[0], at[1], at[2], at[3]]
                    out[1, m, z, y, x] = highest
                    out[2, m, z, y, x] = highest - here
                    _fit(ncc, shifts[best], search, neighbours, derivatives, at, slope, curvature)
                    if _top(slope, curvature, offset):
                        for axis in range(3):
                            out[3 + axis, m, z, y, x] = shifts[best, axis] + offset[axis]


@inner
def _best(ncc: Any, shifts: Integers, at: Index) -> int:
    """Return the first of the shifts that no later one beats."""
    best, highest = 0, -2.0
    for k in range(shifts.shape[0]):
        value = ncc[shifts[k, 3], at[0], at[1], at[2], at[3]]
        if value > highest + TIE:
            best, highest = k, value
    return best


@inner
def _on_border(shifts: Integers, best: int, search: Triple) -> bool:
    outermost = False
    for axis in range(3):
        outermost |= search[axis] > 0 and abs(shifts[best, axis]) == search[axis]
    return outermost


@inner
def _fit(
    ncc: Any,
    peak: Integers,
    search: Triple,
    neighbours: Integers,
    derivatives: Floats,
    at: Index,
    slope: Floats,
    curvature: Floats,
) -> None:
    """Set the derivatives at a peak of the quadratic that fits the NCC around it."""
    slope[:], curvature[:] = 0.0, 0.0
    pitch_y = 2 * search[2] + 1
    pitch_z = pitch_y * (2 * search[1] + 1)
    for n in range(neighbours.shape[0]):
        step = neighbours[n]
        k = peak[3] + step[0] * pitch_z + step[1] * pitch_y + step[2]
        value = _balanced(ncc, k, step, at)
        for axis in range(3):
            slope[axis] += derivatives[axis, n] * value
            curvature[axis, axis] += derivatives[3 + axis, n] * value
        curvature[1, 0] += derivatives[6, n] * value
        curvature[2, 0] += derivatives[7, n] * value
        curvature[2, 1] += derivatives[8, n] * value
    for axis in range(3):
        if search[axis] == 0:
            curvature[axis, axis] = -1.0  # and no slope: it stays where it is


@inner
def _balanced(ncc: Any, k: int, step: Integers, at: Index) -> float:
    """Return the mean NCC of the windows that a step moves in the moving and the fixed image.

    On average they are placed evenly about the pixel: what enters or leaves a window as it
    moves then does not pull the fit aside. One alone is taken where the other is undefined.
    """
    m, z, y, x = at
    moved = ncc[k, m, z, y, x]
    z, y, x = z - step[0], y - step[1], x - step[2]
    if not (0 <= z < ncc.shape[2] and 0 <= y < ncc.shape[3] and 0 <= x < ncc.shape[4]):
        return moved
    other = ncc[k, m, z, y, x]
    if np.isnan(other):
        return moved
    if np.isnan(moved):
        return other
    return (np.float64(moved) + other) / 2


@inner
def _top(slope: Floats, curvature: Floats, offset: Floats) -> bool:
    """Set where the fit is highest; False where it is not, or not near.

    By the Cholesky-like factors L D L^T of the negative curvature, in place of it.
    """
    for i in range(3):
        offset[i] = slope[i]
        for j in range(i):
            scaled = curvature[i, j] / curvature[j, j]
            for k in range(i, 3):
                curvature[k, i] -= scaled * curvature[k, j]
            offset[i] -= scaled * offset[j]
        if not curvature[i, i] < -MIN_CURVATURE:  # NaN too
            return False
    for i in range(2, -1, -1):
        for k in range(i + 1, 3):
            offset[i] += curvature[k, i] * offset[k]
        offset[i] /= -curvature[i, i]
    return np.abs(offset).max() <= MAX_OFFSET
