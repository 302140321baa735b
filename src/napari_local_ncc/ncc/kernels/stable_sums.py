"""Compiled moments of every window of a tile by sums that never subtract, and NCC.

Each row becomes its products (a, b, aa, bb, ab and, where samples are missing, validity),
these are summed along the row, then the rows are summed, then the planes. No sum ever
subtracts what left the window: a bright pixel leaves no trace, and rounding stays relative
to what the window itself holds. It serves Gaussian weights, and boxes where `_running` loses
too many digits, or has no room for them. Where even these sums cancel, the window is left
to `_exact`.

Numba's cache watches this file only: after a change of what it takes from `_rows` or
`_pearson`, it must change too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import inner, kernel
from napari_local_ncc.ncc.kernels.pearson import (
    count_undetermined,
    find_flat,
    keep_valid_weight,
    pearson,
    store_weight,
)
from napari_local_ncc.ncc.kernels.rows import (
    LANES,
    NOT_FINITE,
    U,
    accumulate_row,
    add_pair_row,
    add_row,
    block_width,
    fill_row,
    sum_box,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.rows import (
        Array,
        Index,
        Pair,
        Samples,
        Taps,
        Triple,
        Validity,
    )


def workspace_size(sides: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """Return how many numbers `tile_ncc` needs as `work` for an output of this shape."""
    width = min(shape[3], block_width(sides[2]))
    length = 6 * (width + sides[2]) + 2 * sides[2] + 3 * LANES
    return length * (6 + sides[1] + (shape[2] * (sides[0] + 1) if sides[0] > 1 else 0))


@inner
def _multiply(work: Array, row: int, first: int, second: int, n: int) -> None:
    r, i, j = U(row), U(first), U(second)
    for x in range(U(n)):
        work[r + x] = work[i + x] * work[j + x]


@inner
def _advance(work: Array, head: int, row: int, suffix: int, total: int, n: int) -> None:
    h, r, s, t = U(head), U(row), U(suffix), U(total)
    for x in range(U(n)):
        prefix = work[h + x] + work[r + x]
        work[h + x] = prefix
        work[t + x] = work[s + x] + prefix


@inner
def _store_validity(valid: Validity, first: int, n: int, work: Array, row: int) -> None:
    i, r = U(first), U(row)
    for x in range(U(n)):
        work[r + x] = valid[i + x]


@inner
def _store_powers(
    samples: Samples,
    first: int,
    n: int,
    scale: float,
    centre: float,
    work: Array,
    mean: int,
    square: int,
) -> bool:
    """Store n centred samples and their squares; tell whether all are finite."""
    i, p, q = U(first), U(mean), U(square)
    not_finite = 0
    for x in range(U(n)):
        d = samples[i + x] * scale - centre
        work[p + x] = d
        work[q + x] = d * d
        not_finite += not abs(d) < np.inf
    return not_finite == 0


@inner
def _store_valid_powers(
    samples: Samples,
    first: int,
    n: int,
    scale: float,
    centre: float,
    work: Array,
    mean: int,
    square: int,
    validity: int,
) -> None:
    i, p, q, v = U(first), U(mean), U(square), U(validity)
    for x in range(U(n)):
        d = samples[i + x] * scale - centre
        d = d if work[v + x] != 0.0 else 0.0
        work[p + x] = d
        work[q + x] = d * d


@inner
def sum_along(
    work: Array, line: int, length: int, taps: Array, box: bool, row: int, n: int
) -> None:
    """Sum neighbours in the line, which has two more rows for sums of some, into a row."""
    side, half = taps.size, taps.size // 2
    if box and side > 1:
        sum_box(work, line, line + length, length, side, row, n)
    else:
        fill_row(work, row, 0.0, n)
        accumulate_row(work, row, line + half, n)  # the tap at the centre is 1
        for k in range(half):
            add_pair_row(work, row, taps[k], line + k, line + side - 1 - k, n)


@inner
def slide_box(
    work: Array, queue: int, length: int, head: int, step: int, side: int, total: int, n: int
) -> None:
    """Sum the last rows of a queue, of which number `step` has just come.

    Van Herk's scheme: rows come in blocks of one window side; a window is a suffix of the
    block before and a prefix (`head`) of this one. A finished block turns into its suffix
    sums. Three additions per row, whatever the radius.
    """
    slot = step % side
    row = queue + length * slot
    if slot == 0:
        fill_row(work, head, 0.0, n)
    if slot < side - 1:
        _advance(work, head, row, row + length, total, n)
    else:
        add_row(work, total, row, head, n)
        for _ in range(side - 1):
            row -= length
            accumulate_row(work, row, row + length, n)


@inner
def slide_weighted(
    work: Array, queue: int, length: int, step: int, taps: Array, total: int, n: int
) -> None:
    """Sum the last rows of a queue by their weights, once there are enough."""
    side, half = taps.size, taps.size // 2
    oldest = step + 1
    if step >= side - 1:
        fill_row(work, total, 0.0, n)
        accumulate_row(work, total, queue + length * ((oldest + half) % side), n)
        for k in range(half):
            first, last = (oldest + k) % side, (oldest + side - 1 - k) % side
            add_pair_row(work, total, taps[k], queue + length * first, queue + length * last, n)


@inner
def _store_ncc(
    work: Array,
    total: int,
    pitch: int,
    weight: int,
    rounding: float,
    floors: Pair,
    out: NDArray[np.float32],
    to: Index,
    n: int,
) -> int:
    """Set a row of `out`, see `pearson`; count what is undetermined."""
    m, z, y, x0 = to
    first, w = U(x0), U(weight)
    a, b, aa, bb = U(total), U(total + pitch), U(total + 2 * pitch), U(total + 3 * pitch)
    ab = U(total + 4 * pitch)
    for x in range(U(n)):
        out[m, z, y, first + x] = pearson(
            work[w + x],
            work[a + x],
            work[b + x],
            work[aa + x],
            work[bb + x],
            work[ab + x],
            rounding,
            (0.0, 0.0),
            floors,
        )
    return count_undetermined(out, to, n)


@kernel
def tile_ncc(
    a: Samples,
    b: Samples,
    valid: Validity,
    shape: Index,
    first: Triple,
    inside: Taps,
    taps: Taps,
    box: bool,
    scales: Pair,
    centres: Pair,
    floors: Pair,
    rounding: float,
    min_valid: float,
    block: int,
    work: Array,
    out: NDArray[np.float32],
    lengths: Index,
    to: Index,
) -> int:
    """Compute the NCC of a tile.

    Parameters
    ----------
    a, b : array of float32 or float64, flat
        The samples of the tile and around it as far as windows reach in the array.
    valid : array of bool, flat or empty
        Empty where all samples are taken to be valid.
    shape : tuple of int
        Of these along batch, z, y, x.
    first : tuple of int
        Position of the first window centre in the array, along z, y, x.
    inside : tuple of array, shape (2, size of the array)
        Window weight and sample count inside the array, along z, y, x.
    taps : tuple of array
        Window weights along z, y, x; 2 * radius + 1 each, the largest being 1.
    box : bool
        Whether all taps are 1.
    scales, centres : tuple of float
        The powers of two that a and b are multiplied by, and what is then subtracted.
    floors : tuple of float
        Standard deviations, times scales, at or below which a window is flat.
    rounding : float
        Share of the sum of squares below which a variance has lost too many digits; 0 if
        the sums are exact.
    min_valid : float
        Least valid share of the window's weight inside the array.
    block : int
        See `block_width`.
    work : array of float64
        Room for `workspace_size` numbers.
    out : array of float32
        Receives NCC, NaN where undefined, `UNDETERMINED` where the sums do not tell.
    lengths, to : tuple of int
        Number of window centres, and where in `out` they go, along batch, z, y, x.

    Returns
    -------
    int
        Number of undetermined pixels; `NOT_FINITE` if a sample is not, but `valid` is empty.
    """
    taps_z, taps_y, taps_x = taps
    inside_z, inside_y, inside_x = inside
    side_z, side_y, side_x = taps_z.size, taps_y.size, taps_x.size
    batch, depth, height, width = lengths
    _, deep, high, wide = shape
    rx = side_x // 2
    # Position of the first centre in a and b.
    oz, oy, ox = min(first[0], side_z // 2), min(first[1], side_y // 2), min(first[2], rx)
    masked = valid.size > 0
    undetermined = 0
    for x0 in range(0, width, block):
        n = min(block, width - x0)
        pitch = n + 2 * rx
        used = (6 if masked else 5) * pitch
        # Whole vectors, as the rest of a row would be summed number by number; and room for
        # two windows, as sums of some neighbours are needed for one window more.
        used = -(-used // LANES) * LANES
        length = used + 2 * (-(-side_x // LANES) * LANES)
        # The line has two more rows, for sums of some neighbours.
        line, total, head_y, weight = 0 * length, 3 * length, 4 * length, 5 * length
        queue_y = 6 * length
        queues_z = queue_y + side_y * length
        # The part of the line that the array has; the rest stays 0.
        left, right = max(0, ox + x0 - rx), min(wide, ox + x0 + n + rx)
        start = left - (ox + x0 - rx)
        fill_row(work, line, 0.0, length)
        for m in range(batch):
            for step_z in range(depth + side_z - 1):
                z, k = oz - side_z // 2 + step_z, step_z - side_z + 1
                for step_y in range(height + side_y - 1):
                    y, i = oy - side_y // 2 + step_y, step_y - side_y + 1
                    row = queue_y + length * (step_y % side_y)
                    if 0 <= z < deep and 0 <= y < high:
                        # Inline, as one more call per row would cost 4 % of the time.
                        at, size = ((m * deep + z) * high + y) * wide + left, right - left
                        p, q, known = line + start, line + start + pitch, line + start + 5 * pitch
                        if masked:
                            _store_validity(valid, at, size, work, known)
                            _store_valid_powers(
                                a, at, size, scales[0], centres[0], work, p, p + 2 * pitch, known
                            )
                            _store_valid_powers(
                                b, at, size, scales[1], centres[1], work, q, q + 2 * pitch, known
                            )
                        elif not (
                            _store_powers(
                                a, at, size, scales[0], centres[0], work, p, p + 2 * pitch
                            )
                            and _store_powers(
                                b, at, size, scales[1], centres[1], work, q, q + 2 * pitch
                            )
                        ):
                            return NOT_FINITE
                        _multiply(work, p + 4 * pitch, p, q, size)
                        sum_along(work, line, length, taps_x, box, row, used)
                    else:
                        fill_row(work, row, 0.0, used)
                    queue_z = queues_z + length * (side_z + 1) * i
                    head_z = queue_z + length * side_z
                    plane = queue_z + length * (step_z % side_z)
                    target = plane if side_z > 1 and i >= 0 else total
                    if box:
                        slide_box(work, queue_y, length, head_y, step_y, side_y, target, used)
                    else:
                        slide_weighted(work, queue_y, length, step_y, taps_y, target, used)
                    if i >= 0 and side_z > 1:
                        if box:
                            slide_box(work, queue_z, length, head_z, step_z, side_z, total, used)
                        else:
                            slide_weighted(work, queue_z, length, step_z, taps_z, total, used)
                    if i < 0 or k < 0:
                        continue
                    whole = inside_z[0, first[0] + k] * inside_y[0, first[1] + i]
                    count = inside_z[1, first[0] + k] * inside_y[1, first[1] + i]
                    store_weight(inside_x, first[2] + x0, whole, count, work, weight, n)
                    if masked:
                        here = ((m * deep + oz + k) * high + oy + i) * wide + ox + x0
                        keep_valid_weight(
                            valid, here, min_valid, work, total + 5 * pitch, weight, n
                        )
                    pixel = (to[0] + m, to[1] + k, to[2] + i, to[3] + x0)
                    if _store_ncc(work, total, pitch, weight, rounding, floors, out, pixel, n):
                        undetermined += find_flat(
                            work,
                            (total,),
                            pitch,
                            weight,
                            rounding,
                            (0.0, 0.0),
                            floors,
                            out,
                            pixel,
                            n,
                        )
    return undetermined
