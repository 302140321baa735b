"""The compiled search for the highest of the NCC values that a pixel has, and its fit.

Numba's cache watches this file only: after a change of what it takes from `_rows`, it
must change too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc._rows import U, cached, inner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.intp]
    Triple = tuple[int, int, int]
    Index = tuple[int, int, int, int]

TIE = np.float32(1e-6)  # the accuracy of the kernel: a lead within it is none
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
    neighbours : array of int, shape (n, 4)
        Steps from a shift to itself and its neighbours along z, y, x and in `ncc`.
    derivatives : array of float64, shape (9, n)
        What turns the NCC there into a fit's derivatives: z, y, x, zz, yy, xx, zy, zx, yx.
    first : tuple of int
        Position in `ncc` of the first pixel of `out`.
    out : array of float32, shape (6, batch, z, y, x)
        Receives NCC at no shift, the best NCC, what it gains, and the shift along z, y, x.
    """
    slope, curvature, offset = np.empty(3), np.empty((3, 3)), np.empty(3)
    best = np.empty(out.shape[4], np.int32)
    highest = np.empty(out.shape[4], np.float32)
    for m in range(out.shape[1]):
        for z in range(out.shape[2]):
            for y in range(out.shape[3]):
                row = (m, first[0] + z, first[1] + y, first[2])
                _best_of_row(ncc, shifts, row, best, highest)
                for x in range(out.shape[4]):
                    at = (m, first[0] + z, first[1] + y, first[2] + x)
                    here = ncc[shifts[0, 3], at[0], at[1], at[2], at[3]]
                    for band in range(6):
                        out[band, m, z, y, x] = here if band == 0 else np.nan
                    if np.isnan(here) or _on_border(shifts, best[x], search):
                        continue
                    out[1, m, z, y, x] = highest[x]
                    out[2, m, z, y, x] = highest[x] - here
                    _fit(
                        ncc,
                        shifts[best[x], 3],
                        neighbours,
                        derivatives,
                        at,
                        search[0] > 0,
                        slope,
                        curvature,
                    )
                    for axis in range(3):
                        if search[axis] == 0:
                            curvature[axis, axis] = -1.0  # and no slope: it stays where it is
                    if _top(slope, curvature, offset):
                        for axis in range(3):
                            out[3 + axis, m, z, y, x] = shifts[best[x], axis] + offset[axis]


@inner
def _best_of_row(
    ncc: Any,
    shifts: Integers,
    row: Index,
    best: NDArray[np.int32],
    highest: NDArray[np.float32],
) -> None:
    """Set the first of the shifts that no later one beats, and the NCC there."""
    m, z, y, first = row[0], row[1], row[2], U(row[3])
    for x in range(U(best.size)):
        best[x], highest[x] = 0, np.float32(-2)
    for k in range(shifts.shape[0]):
        position = shifts[k, 3]
        for x in range(U(best.size)):
            value = ncc[position, m, z, y, first + x]
            better = value > highest[x] + TIE
            best[x] = np.int32(k) if better else best[x]
            highest[x] = value if better else highest[x]


@inner
def _on_border(shifts: Integers, best: int, search: Triple) -> bool:
    outermost = False
    for axis in range(3):
        outermost |= search[axis] > 0 and abs(shifts[best, axis]) == search[axis]
    return outermost


@inner
def _fit(
    ncc: Any,
    peak: int,
    neighbours: Integers,
    derivatives: Floats,
    at: Index,
    volume: bool,
    slope: Floats,
    curvature: Floats,
) -> None:
    """Set the derivatives at a peak of the quadratic that fits the NCC around it."""
    # Numbers, not arrays, as these could overlap and would be written at every step.
    dz = dy = dx = dzz = dyy = dxx = dzy = dzx = dyx = 0.0
    for n in range(neighbours.shape[0]):
        step = neighbours[n, 0], neighbours[n, 1], neighbours[n, 2]
        value = _balanced(ncc, peak + neighbours[n, 3], step, at)
        dy += derivatives[1, n] * value
        dx += derivatives[2, n] * value
        dyy += derivatives[4, n] * value
        dxx += derivatives[5, n] * value
        dyx += derivatives[8, n] * value
        if volume:
            dz += derivatives[0, n] * value
            dzz += derivatives[3, n] * value
            dzy += derivatives[6, n] * value
            dzx += derivatives[7, n] * value
    slope[0], slope[1], slope[2] = dz, dy, dx
    curvature[0, 0], curvature[1, 1], curvature[2, 2] = dzz, dyy, dxx
    curvature[1, 0], curvature[2, 0], curvature[2, 1] = dzy, dzx, dyx


@inner
def _balanced(ncc: Any, k: int, step: Triple, at: Index) -> float:
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
