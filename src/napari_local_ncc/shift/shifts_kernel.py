"""The NCC of a tile at all shifts of a search, compiled.

Where all samples are known, what windows hold of either image alone is the same at every
shift: only the sum of their product is new. Where some are missing, all six sums are.
No sum ever subtracts what left the window; see `ncc.kernels.stable_sums`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import inner, kernel
from napari_local_ncc.ncc.kernels.pearson import count_undetermined, find_flat, pearson
from napari_local_ncc.ncc.kernels.rows import (
    BLOCK,
    LANES,
    NEAR,
    UNDETERMINED,
    U,
    block_width,
    fill_row,
)
from napari_local_ncc.ncc.kernels.stable_sums import slide_box, slide_weighted, sum_along

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.rows import Array, Index, Pair, Taps

    Values = NDArray[np.float32]
    Integers = NDArray[np.intp]

LEAST_VARIANCE = 1e-18  # of samples with a span of about 1, times the squared weight
SUMS = 6  # where samples are missing: a, b, aa, bb, ab and their number
# Rows of `work`, in lengths of one: the line and two more, sums, a head, weights, a queue.
TOTAL, HEAD, WEIGHT, QUEUE = 3, 4, 5, 6


def shifts_workspace_size(taps: tuple[Array, ...], lengths: tuple[int, ...], sums: int) -> int:
    """Return how many numbers the kernels need as `work` for so many centres."""
    side_z, side_y, side_x = (axis.size for axis in taps)
    width = min(lengths[3], block_width(side_x))
    length = sums * (width + side_x) + 2 * side_x + 3 * LANES
    queues = lengths[2] * (side_z + 1) if side_z > 1 else 0
    return length * (QUEUE + side_y + queues)


@inner
def _row_lengths(n: int, side: int, sums: int) -> tuple[int, int]:
    """Return how many numbers of a row are used, and its length; see `stable_sums.tile_ncc`."""
    used = -(-sums * (n + side - 1) // LANES) * LANES
    return used, used + 2 * (-(-side // LANES) * LANES)


@inner
def _slide(
    work: Array, length: int, used: int, taps: Taps, box: bool, step_z: int, step_y: int
) -> None:
    """Sum the windows that the line completes, into the row of sums."""
    side_z, side_y = taps[0].size, taps[1].size
    total, head, queue = TOTAL * length, HEAD * length, QUEUE * length
    i = step_y - side_y + 1
    queue_z = queue + length * (side_y + (side_z + 1) * i)
    plane = queue_z + length * (step_z % side_z)
    target = plane if side_z > 1 and i >= 0 else total
    row = target if side_y == 1 else queue + length * (step_y % side_y)
    sum_along(work, 0, length, taps[2], box, row, used)
    if side_y > 1 and box:
        slide_box(work, queue, length, head, step_y, side_y, target, used)
    elif side_y > 1:
        slide_weighted(work, queue, length, step_y, taps[1], target, used)
    if i >= 0 and side_z > 1:
        if box:
            head_z = queue_z + length * side_z
            slide_box(work, queue_z, length, head_z, step_z, side_z, total, used)
        else:
            slide_weighted(work, queue_z, length, step_z, taps[0], total, used)


@inner
def _multiply(a: Array, i: int, b: Array, j: int, work: Array, n: int) -> None:
    p, q = U(i), U(j)
    for x in range(U(n)):
        work[x] = a[p + x] * b[q + x]


@kernel
def standardise(
    sums: Array, weight: float, rounding: float, floor: float, out: Array, marked: Values
) -> int:
    """Set what `ncc_of_whole_windows` takes of one image; return how much sums do not tell.

    Parameters
    ----------
    sums : array of float64, shape (2, batch, z, y, x)
        Of the samples of every window, and of their squares.
    weight : float
        Of a window.
    rounding : float
        See `pearson.pearson`.
    floor : float
        Least variance times the squared weight; a window that is sure to have no more is flat.
    out : array of float64, shape (2, batch, z, y, x)
        Receives the root of the weight over standard deviation times weight, and the sum over
        that; NaN where flat.
    marked : array of float32, shape (batch, z, y, x)
        Receives `UNDETERMINED` where the sums do not tell, or else 0.
    """
    given, found, size = sums.reshape(sums.size), out.reshape(out.size), U(marked.size)
    marks, root = marked.reshape(marked.size), np.sqrt(weight)
    unsure = 0
    for x in range(size):
        total, power = given[x], weight * given[size + x]
        variance = power - total * total
        reliable = (rounding == 0.0) | (variance > rounding * power)
        flat = reliable & (variance <= floor * (1 - NEAR))
        sure = (variance > rounding * power) & (variance > floor * (1 + NEAR))
        sure = flat | (sure & (variance >= LEAST_VARIANCE))
        deviation = np.nan if flat else np.sqrt(variance)
        found[x], found[size + x] = root / deviation, total / deviation
        marks[x] = np.float32(0) if sure else UNDETERMINED
        unsure += not sure
    return unsure


@inner
def _store_shared(
    work: Array, total: int, own: Array, i: int, other: Array, j: int, out: Values, at: int, n: int
) -> None:
    t, p, q, r = U(total), U(i), U(j), U(at)
    second, fourth = U(own.size // 2), U(other.size // 2)
    for x in range(U(n)):
        joint = own[p + x] * other[q + x]
        value = work[t + x] * joint - own[second + p + x] * other[fourth + q + x]
        value = 1.0 if value > 1.0 else value
        out[r + x] = np.float32(-1.0 if value < -1.0 else value)


@kernel
def ncc_of_whole_windows(
    a: Array,
    b: Array,
    own: Array,
    other: Array,
    shifts: Integers,
    taps: Taps,
    box: bool,
    work: Array,
    out: Values,
) -> None:
    """Compute the NCC of a tile at every shift, all samples being known.

    Parameters
    ----------
    a : array of float64, shape (batch, z, y, x)
        Fixed: the tile and all that its windows hold.
    b : array of float64, shape (batch, z', y', x')
        Moving: as much more on each side as the search goes.
    own, other : array of float64, shape (2, batch, ...)
        Of every window in `a` and `b`: the root of its weight over its standard deviation and
        weight, and the sum of its samples over the standard deviation and weight; NaN where flat.
    shifts : array of int, shape (shifts, 3)
        Along z, y, x.
    taps : tuple of array
        Window weights along z, y, x.
    box : bool
        Whether all are 1.
    work : array of float64
        `shifts_workspace_size` numbers.
    out : array of float32, shape (shifts, batch, z - 2 rz, y - 2 ry, x - 2 rx)
        Receives the NCC.
    """
    batch, deep, high, wide = a.shape
    _, deep_b, high_b, wide_b = b.shape
    search_z, search_y, search_x = (deep_b - deep) // 2, (high_b - high) // 2, (wide_b - wide) // 2
    _, _, depth, height, width = out.shape
    side_z, side_y, side_x = taps[0].size, taps[1].size, taps[2].size
    first, second, ncc = a.reshape(a.size), b.reshape(b.size), out.reshape(out.size)
    one, two = own.reshape(own.size), other.reshape(other.size)
    block = max(BLOCK, 2 * side_x)
    for k in range(shifts.shape[0]):
        dz, dy, dx = search_z + shifts[k, 0], search_y + shifts[k, 1], search_x + shifts[k, 2]
        for x0 in range(0, width, block):
            n = min(block, width - x0)
            used, length = _row_lengths(n, side_x, 1)
            fill_row(work, 0, 0.0, length)
            for m in range(batch):
                for z in range(deep):
                    for y in range(high):
                        at = ((m * deep + z) * high + y) * wide + x0
                        there = ((m * deep_b + z + dz) * high_b + y + dy) * wide_b + x0 + dx
                        _multiply(first, at, second, there, work, n + side_x - 1)
                        _slide(work, length, used, taps, box, z, y)
                        j, i = z - side_z + 1, y - side_y + 1
                        if i < 0 or j < 0:
                            continue
                        at = ((m * depth + j) * height + i) * width + x0
                        deeper = (m * (depth + deep_b - deep) + j + dz) * (height + high_b - high)
                        there = (deeper + i + dy) * (width + wide_b - wide) + x0 + dx
                        to = k * (out.size // out.shape[0]) + at
                        _store_shared(work, TOTAL * length, one, at, two, there, ncc, to, n)


@inner
def _store_products(a: Array, i: int, b: Array, j: int, work: Array, pitch: int, n: int) -> None:
    """Store a, b, aa, bb, ab and 1 where both are known; a and b hold samples, then weights."""
    p, q = U(i), U(j)
    known_a, known_b = U(a.size // 2), U(b.size // 2)
    r = U(pitch)
    for x in range(U(n)):
        one, two = a[p + x], b[q + x]
        in_one, in_two = a[known_a + p + x], b[known_b + q + x]
        work[x] = one * in_two
        work[r + x] = two * in_one
        work[U(2) * r + x] = one * one * in_two
        work[U(3) * r + x] = two * two * in_one
        work[U(4) * r + x] = one * two
        work[U(5) * r + x] = in_one * in_two


@inner
def _store_weight(
    work: Array, length: int, pitch: int, whole: Array, centre: tuple[Array, int, Array, int],
    min_valid: float, n: int,
) -> None:  # fmt: skip
    """Set the weight of windows; see `pearson.keep_valid_weight`."""
    a, i, b, j = centre
    known, weight = U(TOTAL * length + 5 * pitch), U(WEIGHT * length)
    p, q = U(a.size // 2 + i), U(b.size // 2 + j)
    for x in range(U(n)):
        valid = work[known + x]
        enough = (valid >= min_valid * whole[x] * (1 - 1e-12)) & (a[p + x] * b[q + x] > 0.0)
        sign = 1.0 if valid > 2.5 else -1.0
        work[weight + x] = sign * valid if enough else 0.0


@inner
def _store_joint(
    work: Array, length: int, pitch: int, rounding: float, floors: Pair, out: Values, to: Index,
    n: int,
) -> int:  # fmt: skip
    """Set a row of `out`; return how much of it is undetermined."""
    m, z, y, x0 = to
    t, w, r = U(TOTAL * length), U(WEIGHT * length), U(pitch)
    for x in range(U(n)):
        out[m, z, y, U(x0) + x] = pearson(
            work[w + x],
            work[t + x],
            work[t + r + x],
            work[t + U(2) * r + x],
            work[t + U(3) * r + x],
            work[t + U(4) * r + x],
            rounding,
            (0.0, 0.0),
            floors,
        )
    if not count_undetermined(out, to, n):
        return 0
    total, weight = TOTAL * length, WEIGHT * length
    return find_flat(work, (total,), pitch, weight, rounding, (0.0, 0.0), floors, out, to, n)


@kernel
def ncc_of_joint_windows(
    a: Array,
    b: Array,
    shifts: Integers,
    taps: Taps,
    box: bool,
    inside: tuple[Array, Array, Array],
    floors: Pair,
    rounding: float,
    min_valid: float,
    work: Array,
    out: Values,
    undetermined: Integers,
) -> None:
    """Compute the NCC of a tile at every shift, of the samples known in both images.

    Parameters
    ----------
    a, b : array of float64, shape (2, batch, z, y, x)
        Fixed and moving, as for `ncc_of_whole_windows`: samples, 0 where unknown; and 1 where
        known, or else 0.
    inside : tuple of array
        Window weight inside the image, of the centres along z, y, x.
    floors, rounding, min_valid
        As for `stable_sums.tile_ncc`.
    shifts, taps, box, work, out
        As for `ncc_of_whole_windows`. `UNDETERMINED` where the sums do not tell.
    undetermined : array of int, shape (shifts,)
        Receives the number of these.
    """
    _, batch, deep, high, wide = a.shape
    _, _, deep_b, high_b, wide_b = b.shape
    search_z, search_y, search_x = (deep_b - deep) // 2, (high_b - high) // 2, (wide_b - wide) // 2
    width = out.shape[4]
    side_z, side_y, side_x = taps[0].size, taps[1].size, taps[2].size
    first, second = a.reshape(a.size), b.reshape(b.size)
    middle, whole = (side_y // 2) * wide + side_x // 2, np.empty(width)
    middle_b = (side_y // 2) * wide_b + side_x // 2
    block = max(BLOCK, 2 * side_x)
    for k in range(shifts.shape[0]):
        dz, dy, dx = search_z + shifts[k, 0], search_y + shifts[k, 1], search_x + shifts[k, 2]
        undetermined[k] = 0
        for x0 in range(0, width, block):
            n = min(block, width - x0)
            pitch = n + side_x - 1
            used, length = _row_lengths(n, side_x, SUMS)
            fill_row(work, 0, 0.0, length)
            for m in range(batch):
                for z in range(deep):
                    for y in range(high):
                        at = ((m * deep + z) * high + y) * wide + x0
                        there = ((m * deep_b + z + dz) * high_b + y + dy) * wide_b + x0 + dx
                        _store_products(first, at, second, there, work, pitch, pitch)
                        _slide(work, length, used, taps, box, z, y)
                        j, i = z - side_z + 1, y - side_y + 1
                        if i < 0 or j < 0:
                            continue
                        for x in range(n):
                            whole[x] = inside[0][j] * inside[1][i] * inside[2][x0 + x]
                        at = ((m * deep + j + side_z // 2) * high + i) * wide + x0 + middle
                        deeper = m * deep_b + j + side_z // 2 + dz
                        there = (deeper * high_b + i + dy) * wide_b + x0 + dx + middle_b
                        centre = (first, at, second, there)
                        _store_weight(work, length, pitch, whole, centre, min_valid, n)
                        to = (m, j, i, x0)
                        undetermined[k] += _store_joint(
                            work, length, pitch, rounding, floors, out[k], to, n
                        )
