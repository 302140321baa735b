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

    from napari_local_ncc.ncc.kernels.rows import Array, Pair, Triple

    Values = NDArray[np.float32]
    Integers = NDArray[np.intp]

NEAR = 1.0  # px from the shift within which a window may well be as alike
NEGLIGIBLE = 1e-5  # weight of a shift
ALMOST_ONE = 1 - 1e-7  # an NCC beyond it is 1 but for rounding
TIE = np.float32(1e-6)  # the accuracy of the kernel: a lead within it is none
MIN_CURVATURE = 1e-5  # per px^2; less may be rounding
ROW = 64  # pixels whose shifts are weighed together
# What is known of them: the shift, the best whole-pixel one, 1 - NCC^2 there, the second peak.
TOPS, BEST, LEAST, SECOND = 0, 3 * ROW, 6 * ROW, 7 * ROW
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
def _copy_values(
    values: Values, size: int, at: int, columns: Integers, local: Values, shifts: int, n: int
) -> None:
    """Gather the NCC of n pixels at every shift, in C order; what is undefined is below all."""
    for k in range(shifts):
        row, to = U(k * size + at), U(k * ROW)
        for x in range(U(n)):
            value = values[row + U(columns[x])]
            local[to + x] = value if value == value else np.float32(-2)


@inner
def _highest_beside(local: Values, search: Triple, shifts: int) -> int:
    """Set the highest NCC of each shift and its neighbours that were searched; return where."""
    source, pitch = 0, 1
    for axis in range(2, -1, -1):
        count = 2 * search[axis] + 1
        if count > 1:
            target = (1 if source != 1 else 2) * shifts
            _widen(local, source * shifts * ROW, target * ROW, shifts, count, pitch)
            source = target // shifts
        pitch *= count
    return source * shifts * ROW


@inner
def _widen(local: Values, source: int, target: int, shifts: int, count: int, pitch: int) -> None:
    """Set the highest of each shift and the ones before and after it along an axis."""
    for k in range(shifts):
        along = (k // pitch) % count
        low, high = (pitch if along > 0 else 0), (pitch if along < count - 1 else 0)
        here, to = U(source + k * ROW), U(target + k * ROW)
        before, after = U(source + (k - low) * ROW), U(source + (k + high) * ROW)
        for x in range(U(ROW)):
            highest = local[before + x] if local[before + x] > local[here + x] else local[here + x]
            local[to + x] = local[after + x] if local[after + x] > highest else highest


@inner
def _find_second(local: Values, beside: int, shifts: Integers, pixels: Values) -> None:
    """Set the highest peak farther than `NEAR` from the best whole-pixel shift."""
    for k in range(shifts.shape[0]):
        here, around = U(shifts[k, 3] * ROW), U(beside + shifts[k, 3] * ROW)
        z, y, x0 = np.float32(shifts[k, 0]), np.float32(shifts[k, 1]), np.float32(shifts[k, 2])
        for x in range(U(ROW)):
            far = (
                (abs(z - pixels[U(BEST) + x]) > NEAR)
                | (abs(y - pixels[U(BEST + ROW) + x]) > NEAR)
                | (abs(x0 - pixels[U(BEST + 2 * ROW) + x]) > NEAR)
            )
            value, second = local[here + x], pixels[U(SECOND) + x]
            higher = far & (value == local[around + x]) & (value > second)
            pixels[U(SECOND) + x] = value if higher else second


@inner
def _add_weights(
    local: Values, shifts: Integers, pixels: Values, samples: Pair, sums: Array, n: int
) -> None:
    """Add up the weights of all shifts, and squared distances so weighted."""
    share, power = samples[0] / samples[1], -samples[1] / 2
    bound = np.float32(1 / (1 + (NEGLIGIBLE ** (1 / power) - 1) / share))
    for k in range(shifts.shape[0]):
        here, heavy = U(shifts[k, 3] * ROW), 0
        for x in range(U(n)):
            value = local[here + x]
            heavy += (value > 0) & (pixels[U(LEAST) + x] >= bound * (1 - value * value))
        if not heavy:
            continue
        for x in range(n):
            value = min(np.float64(local[here + U(x)]), ALMOST_ONE)
            least = np.float64(pixels[LEAST + x])
            if value <= 0 or least < bound * (1 - value * value):
                continue
            weight = (1 + share * ((1 - value * value) / least - 1)) ** power
            sums[3 * ROW + x] += weight
            for axis in range(3):
                gap = abs(shifts[k, axis] - np.float64(pixels[TOPS + axis * ROW + x]))
                far = max(gap - NEAR, 0.0)
                sums[axis * ROW + x] += weight * far * far


@kernel
def weigh_shifts(
    ncc: Values,
    shifts: Integers,
    search: Triple,
    first: Triple,
    samples: Pair,
    out: Values,
) -> None:
    """Weigh all shifts of every pixel against the best.

    Parameters
    ----------
    ncc, shifts, search, first
        As for `find_peaks`.
    samples : tuple of float
        How many samples a window has, and how many tell the noise.
    out : array of float32, shape (12, batch, z, y, x)
        The first 8 as `find_peaks` sets them. Receives the NCC of the second peak over that of
        the first, and the variance along z, y, x (px^2) of which peak is the right one.

    Notes
    -----
    With white noise known from m samples, n of them in the window, a shift of NCC r has the
    likelihood (1 + n (x - 1) / m)^(-m / 2) of that of the best, R, with x = (1 - r^2) / (1 - R^2).
    The variance is that of the distances beyond `NEAR` from the best shift, so weighted.
    """
    _, batch, deep, high, wide = ncc.shape
    _, _, depth, height, width = out.shape
    values, bands, count = ncc.reshape(ncc.size), out.reshape(out.size), shifts.shape[0]
    size, band = batch * deep * high * wide, batch * depth * height * width
    local, pixels = np.empty(3 * count * ROW, np.float32), np.empty(8 * ROW, np.float32)
    sums, columns = np.empty(4 * ROW), np.empty(ROW, np.intp)
    for m in range(batch):
        for z in range(depth):
            for y in range(height):
                for x0 in range(0, width, ROW):
                    to = ((m * depth + z) * height + y) * width + x0
                    n = 0
                    for x in range(min(ROW, width - x0)):
                        if np.isfinite(bands[2 * band + to + x]) and bands[to + x] > 0:
                            columns[n] = x
                            n += 1
                    if not n:
                        continue
                    at = ((m * deep + first[0] + z) * high + first[1] + y) * wide + first[2] + x0
                    _copy_values(values, size, at, columns, local, count, n)
                    for x in range(n):
                        pixel = to + columns[x]
                        for axis in range(3):
                            pixels[TOPS + axis * ROW + x] = bands[(2 + axis) * band + pixel]
                            pixels[BEST + axis * ROW + x] = bands[(5 + axis) * band + pixel]
                        best = min(np.float64(bands[pixel]), ALMOST_ONE)
                        pixels[LEAST + x] = 1 - best * best
                        pixels[SECOND + x] = 0
                    sums[:] = 0
                    beside = _highest_beside(local, search, count)
                    _find_second(local, beside, shifts, pixels)
                    _add_weights(local, shifts, pixels, samples, sums, n)
                    for x in range(n):
                        pixel = to + columns[x]
                        bands[8 * band + pixel] = pixels[SECOND + x] / bands[pixel]
                        for axis in range(3):
                            spread = sums[axis * ROW + x] / sums[3 * ROW + x]
                            bands[(9 + axis) * band + pixel] = spread
