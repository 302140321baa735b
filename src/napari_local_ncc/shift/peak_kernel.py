"""The compiled search for the highest of the NCC values that a pixel has, and its fit.

The pixels of a row are treated together, step by step, so that most loops run over rows
of numbers without branches. These are `PITCH` apart: as the compiler knows that distance,
it sees that they do not overlap, and vectorises loops over several.

Numba's cache watches this file only: after a change of what it takes from `_rows`, it
must change too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import inner, kernel
from napari_local_ncc.ncc.kernels.rows import BLOCK, U, fill_row

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.rows import Array, Triple

    Values = NDArray[np.float32]
    Integers = NDArray[np.intp]

NEAR = 1.0  # px from the shift within which a window may well be as alike
NEGLIGIBLE = 1e-5  # weight of a shift
ALMOST_ONE = 1 - 1e-7  # an NCC beyond it is 1 but for rounding
TIE = np.float32(1e-6)  # the accuracy of the kernel: a lead within it is none
MIN_CURVATURE = 1e-5  # per px^2; less may be rounding
MAX_OFFSET = 1.0  # px from the best whole-pixel shift
PITCH = BLOCK + 8  # not a multiple of 4096 bytes, where rows would share few lines of the cache
# Rows of `work`: the derivatives of the fit, those along z last; its top; NCC at a neighbour.
Y, X, YY, XX, YX, Z, ZZ, ZY, ZX = (PITCH * row for row in range(9))
TOP, VALUE = 9 * PITCH, 12 * PITCH


@kernel
def find_peaks(
    ncc: Values,
    shifts: Integers,
    search: Triple,
    neighbours: Integers,
    derivatives: Array,
    first: Triple,
    out: Values,
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
        What turns the NCC there into a fit's derivatives: y, x, yy, xx, yx, z, zz, zy, zx.
    first : tuple of int
        Position in `ncc` of the first pixel of `out`.
    out : array of float32, shape (8 or 12, batch, z, y, x)
        Receives the best NCC, what it gains, the shift along z, y, x, where defined, and the
        best whole-pixel shift. In 4 more bands, the best NCC and its whole-pixel shift at
        the border of the search as well.
    """
    _, batch, deep, high, wide = ncc.shape
    shape = deep, high, wide
    kinds, _, depth, height, width = out.shape
    values, bands = ncc.reshape(ncc.size), out.reshape(out.size)
    size, band = batch * deep * high * wide, batch * depth * height * width
    best, highest = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.float32)
    columns, peaks = np.empty(BLOCK, np.intp), np.empty(BLOCK, np.intp)
    work = np.empty(VALUE + PITCH)
    for m in range(batch):
        for z in range(depth):
            for y in range(height):
                for x in range(0, width, BLOCK):
                    n = min(BLOCK, width - x)
                    place = first[0] + z, first[1] + y, first[2] + x
                    at = ((m * deep + place[0]) * high + place[1]) * wide + place[2]
                    to = ((m * depth + z) * height + y) * width + x
                    zero = shifts[0, 3] * size + at
                    _find_best(values, size, at, shifts, best, highest, n)
                    known = _list_known(values, zero, shifts, search, best, columns, n)
                    for i in range(known):
                        peaks[i] = shifts[best[columns[i]], 3] * size + at + columns[i]
                    listed = peaks, columns, known
                    _fit(values, size, listed, neighbours, derivatives, place, shape, work)
                    _find_top(work, search, known)
                    for i in range(known):
                        column = columns[i]
                        pixel = to + column
                        bands[pixel] = highest[column]
                        bands[band + pixel] = highest[column] - values[zero + column]
                        for axis in range(3):
                            offset = work[TOP + axis * PITCH + i]
                            bands[(2 + axis) * band + pixel] = shifts[best[column], axis] + offset
                            bands[(5 + axis) * band + pixel] = shifts[best[column], axis]
                    if kinds > 8:
                        for i in range(n):
                            if values[zero + i] == values[zero + i]:
                                bands[8 * band + to + i] = highest[i]
                                for axis in range(3):
                                    step = np.float32(shifts[best[i], axis])
                                    bands[(9 + axis) * band + to + i] = step


@inner
def _find_best(
    values: Values,
    size: int,
    at: int,
    shifts: Integers,
    best: NDArray[np.int32],
    highest: Values,
    n: int,
) -> None:
    """Set the first of the shifts that no later one beats, and the NCC there."""
    for x in range(U(n)):
        best[x], highest[x] = 0, np.float32(-2)
    for k in range(shifts.shape[0]):
        row = U(shifts[k, 3] * size + at)
        for x in range(U(n)):
            value = values[row + x]
            better = value > highest[x] + TIE
            best[x] = np.int32(k) if better else best[x]
            highest[x] = value if better else highest[x]


@inner
def _list_known(
    values: Values,
    zero: int,
    shifts: Integers,
    search: Triple,
    best: NDArray[np.int32],
    columns: Integers,
    n: int,
) -> int:
    """List the columns that have NCC at no shift and a best shift within the search; count."""
    known = 0
    for x in range(U(n)):
        here = values[U(zero) + x]
        inside = here == here
        for axis in range(3):
            inside &= (search[axis] == 0) | (abs(shifts[best[x], axis]) != search[axis])
        columns[U(known)] = x
        known += inside
    return known


@inner
def _fit(
    values: Values,
    size: int,
    listed: tuple[Integers, Integers, int],
    neighbours: Integers,
    derivatives: Array,
    place: Triple,
    shape: Triple,
    work: Array,
) -> None:
    """Set the derivatives at the peaks of the quadratics that fit the NCC around them."""
    peaks, columns, n = listed
    deep, high, wide = shape
    rows = 9 if neighbours[0, 0] != 0 else 5  # z is searched, or not
    fill_row(work, 0, 0.0, TOP)
    for k in range(neighbours.shape[0]):
        dz, dy, dx = neighbours[k, 0], neighbours[k, 1], neighbours[k, 2]
        inside = 0 <= place[0] - dz < deep and 0 <= place[1] - dy < high
        back = (dz * high + dy) * wide + dx if inside else 0
        held = dx - place[2], dx - place[2] + wide
        _store_balanced(values, peaks, neighbours[k, 3] * size, back, columns, held, n, work)
        for row in range(rows):
            _add_neighbour(work, row * PITCH, derivatives[row, k], n)


@inner
def _store_balanced(
    values: Values,
    peaks: Integers,
    step: int,
    back: int,
    columns: Integers,
    held: tuple[int, int],
    n: int,
    work: Array,
) -> None:
    """Store the mean NCC of the windows that a step moves in the moving and the fixed image.

    On average they are placed evenly about the pixel: what enters or leaves a window as it
    moves then does not pull the fit aside. One alone is taken where the other is undefined.
    """
    for i in range(U(n)):
        there = peaks[i] + step
        inside = (columns[i] >= held[0]) & (columns[i] < held[1])
        here = there - (back if inside else 0)
        moved, other = values[U(there)], values[U(here)]
        first = moved if moved == moved else other
        second = other if other == other else moved
        work[U(VALUE) + i] = (np.float64(first) + second) / 2


@inner
def _add_neighbour(work: Array, row: int, share: float, n: int) -> None:
    r = U(row)
    for i in range(U(n)):
        work[r + i] += share * work[U(VALUE) + i]


@inner
def _find_top(work: Array, search: Triple, n: int) -> None:
    """Set where the fits are highest along z, y, x; NaN where they are not, or not near.

    By the factors L D L^T of the curvature, whose D tell whether it is negative.
    """
    # Along an axis that is not searched there is no slope: the top stays where it is.
    still_z, still_y, still_x = (
        1.0 if search[0] == 0 else 0.0,
        1.0 if search[1] == 0 else 0.0,
        1.0 if search[2] == 0 else 0.0,
    )
    for i in range(U(n)):
        z, y, x = work[U(Z) + i], work[U(Y) + i], work[U(X) + i]
        zz, zy, zx = work[U(ZZ) + i] - still_z, work[U(ZY) + i], work[U(ZX) + i]
        zy_zz, zx_zz = zy / zz, zx / zz
        yy = work[U(YY) + i] - still_y - zy_zz * zy
        yx = work[U(YX) + i] - zy_zz * zx
        y -= zy_zz * z
        yx_yy = yx / yy
        xx = work[U(XX) + i] - still_x - zx_zz * zx - yx_yy * yx
        x -= zx_zz * z + yx_yy * y
        x /= -xx
        y = (y + yx * x) / -yy
        z = (z + zy * y + zx * x) / -zz
        top = (zz < -MIN_CURVATURE) & (yy < -MIN_CURVATURE) & (xx < -MIN_CURVATURE)
        near = (abs(z) <= MAX_OFFSET) & (abs(y) <= MAX_OFFSET) & (abs(x) <= MAX_OFFSET)
        for_all = top & near
        work[U(TOP) + i] = z if for_all else np.nan
        work[U(TOP + PITCH) + i] = y if for_all else np.nan
        work[U(TOP + 2 * PITCH) + i] = x if for_all else np.nan


@inner
def _is_peak(
    values: Values, size: int, at: int, shift: Integers, neighbours: Integers, search: Triple
) -> bool:
    """Tell whether no neighbour that was searched is more alike."""
    here = values[shift[3] * size + at]
    for k in range(neighbours.shape[0]):
        inside = True
        for axis in range(3):
            inside &= abs(shift[axis] + neighbours[k, axis]) <= search[axis]
        if inside and values[(shift[3] + neighbours[k, 3]) * size + at] > here:
            return False
    return True


@kernel
def weigh_shifts(
    ncc: Values,
    shifts: Integers,
    search: Triple,
    neighbours: Integers,
    first: Triple,
    samples: float,
    out: Values,
) -> None:
    """Weigh all shifts of every pixel against the best.

    Parameters
    ----------
    ncc, shifts, search, neighbours, first
        As for `find_peaks`.
    samples : float
        How many samples a window has.
    out : array of float32, shape (12, batch, z, y, x)
        The first 8 as `find_peaks` sets them. Receives the NCC of the second peak over that of
        the first, and the variance along z, y, x (px^2) of which peak is the right one.

    Notes
    -----
    With white noise a shift of NCC r has the likelihood (1 - r^2)^(-samples / 2). The variance
    is that of the distances beyond `NEAR` from the best shift, so weighted.
    """
    _, batch, deep, high, wide = ncc.shape
    _, _, depth, height, width = out.shape
    values = ncc.reshape(ncc.size)
    size = batch * deep * high * wide
    for m in range(batch):
        for z in range(depth):
            for y in range(height):
                for x in range(width):
                    if not np.isfinite(out[2, m, z, y, x]):
                        continue
                    at = ((m * deep + first[0] + z) * high + first[1] + y) * wide + first[2] + x
                    best = min(np.float64(out[0, m, z, y, x]), ALMOST_ONE)
                    if best <= 0:
                        continue
                    least = 1 - best * best
                    bound = NEGLIGIBLE ** (2 / samples)
                    second, total = 0.0, 0.0
                    spread_z = spread_y = spread_x = 0.0
                    for k in range(shifts.shape[0]):
                        value = np.float64(values[shifts[k, 3] * size + at])
                        if not value > 0:
                            continue
                        gap = 0.0
                        for axis in range(3):
                            gap = max(gap, abs(shifts[k, axis] - out[5 + axis, m, z, y, x]))
                        if (
                            gap > NEAR
                            and value > second
                            and _is_peak(values, size, at, shifts[k], neighbours, search)
                        ):
                            second = value
                        quotient = least / (1 - min(value, ALMOST_ONE) ** 2)
                        if quotient < bound:
                            continue
                        weight = quotient ** (samples / 2)
                        total += weight
                        far = max(abs(shifts[k, 0] - out[2, m, z, y, x]) - NEAR, 0.0)
                        spread_z += weight * far * far
                        far = max(abs(shifts[k, 1] - out[3, m, z, y, x]) - NEAR, 0.0)
                        spread_y += weight * far * far
                        far = max(abs(shifts[k, 2] - out[4, m, z, y, x]) - NEAR, 0.0)
                        spread_x += weight * far * far
                    out[8, m, z, y, x] = second / best
                    out[9, m, z, y, x] = spread_z / total
                    out[10, m, z, y, x] = spread_y / total
                    out[11, m, z, y, x] = spread_x / total
