"""Compiled moments of box windows by sums that run along the outer axes of a tile, and NCC.

A row of column sums gains the samples that enter the window and loses those that leave it:
a few operations per sample, whatever the radius. The rounding that such sums keep is bounded
by what has passed through them, per block of columns. A window whose variance this bound
could touch is not decided here: `_exact` does it, or `_moments` for the whole tile.

Numba's cache watches this file only: after a change of what it takes from `_rows` or
`_pearson`, it must change too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc._pearson import keep_valid_weight, settle_row, store_ncc, store_weight
from napari_local_ncc._rows import (
    LANES,
    NOT_FINITE,
    U,
    add_row,
    block_width,
    cached,
    fill_row,
    inner,
    sum_box,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc._rows import Array, Index, Pair, Samples, Taps, Triple, Validity


def running_workspace_size(sides: tuple[int, ...], lengths: tuple[int, ...]) -> int:
    """Return how many numbers `running_ncc` needs as `work` for so many centres."""
    width = min(lengths[3], block_width(sides[2]))
    length = 6 * (width + sides[2]) + 2 * sides[2] + 3 * LANES
    return length * (5 + lengths[2] + sides[1])


@cached
def set_aside(samples: Samples, valid: Validity, value: float) -> None:
    """Set samples that are not valid to a value."""
    for x in range(U(samples.size)):
        samples[x] = samples[x] if valid[x] else value


@inner
def _exchange_powers(
    samples: Samples,
    new: int,
    old: int,
    n: int,
    scale: float,
    centre: float,
    work: Array,
    mean: int,
    square: int,
) -> bool:
    """Add new centred samples and squares, take off old ones; tell whether all are finite."""
    i, j, p, q = U(new), U(old), U(mean), U(square)
    not_finite = 0
    for x in range(U(n)):
        d, e = samples[i + x] * scale - centre, samples[j + x] * scale - centre
        work[p + x] += d - e
        work[q + x] += d * d - e * e
        not_finite += not abs(d) < np.inf
    return not_finite == 0


@inner
def _exchange_products(
    a: Samples,
    b: Samples,
    new: int,
    old: int,
    n: int,
    scales: Pair,
    centres: Pair,
    work: Array,
    row: int,
) -> None:
    i, j, r = U(new), U(old), U(row)
    for x in range(U(n)):
        da, db = a[i + x] * scales[0] - centres[0], b[i + x] * scales[1] - centres[1]
        ea, eb = a[j + x] * scales[0] - centres[0], b[j + x] * scales[1] - centres[1]
        work[r + x] += da * db - ea * eb


@inner
def _exchange_validity(valid: Validity, new: int, old: int, n: int, work: Array, row: int) -> None:
    i, j, r = U(new), U(old), U(row)
    for x in range(U(n)):
        work[r + x] += np.float64(valid[i + x]) - np.float64(valid[j + x])


@inner
def _exchange_rows(work: Array, row: int, new: int, old: int, n: int) -> None:
    r, i, j = U(row), U(new), U(old)
    for x in range(U(n)):
        work[r + x] += work[i + x] - work[j + x]


@inner
def _peak(bits: NDArray[np.int64], row: int, n: int) -> int:
    """Return the largest of n numbers, none being below 0 but for rounding, as its bits.

    Numbers above 0 are ordered like their bits, and of integers the largest is found by
    vectors; of floats it is not, as a NaN might be among them.
    """
    r = U(row)
    peak = np.int64(0)
    for x in range(U(n)):
        peak = max(peak, bits[r + x])
    return int(peak)


@cached
def running_ncc(
    a: Samples,
    b: Samples,
    valid: Validity,
    shape: Index,
    first: Triple,
    inside: Taps,
    sides: Triple,
    scales: Pair,
    centres: Pair,
    floors: Pair,
    rounding: float,
    drifting: float,
    min_valid: float,
    block: int,
    work: Array,
    out: NDArray[np.float32],
    lengths: Index,
    to: Index,
) -> int:
    """Compute the NCC of a tile with box windows.

    Parameters are those of `_moments.tile_ncc`, but for these:

    Parameters
    ----------
    a, b : array of float32 or float64, flat
        A row of samples equal to the centres follows those of the tile: what is not in the
        array is taken from there. So are samples that are not valid.
    sides : tuple of int
        Number of samples in a window along z, y, x.
    rounding, drifting : float
        Share of the sum of squares of a window, and of all the sums of squares that a
        column has had, below which a variance has lost too many digits.

    Returns
    -------
    int
        Number of undetermined pixels; `NOT_FINITE` if a sample is not, but `valid` is empty.

    Notes
    -----
    With u = 2 ** -53, a column sum of squares Q gains an error of at most 2 u (Q before +
    Q after) in a step; after T steps it is e <= 2 u D, where D adds up these Q, largest of
    the block. The column sum S itself has S ** 2 <= side_z Q, so that by Cauchy-Schwarz
    and the weighted inequality of means (weight 1 / sqrt(columns)) the mean's share of a
    window's variance errs by at most e of every column, times the number of samples, plus
    3 u T of the window's sum of squares. Hence the two shares: `drifting`
    = 2 u * 2 * samples * columns, and 3 u T within `rounding`, both over the error allowed.
    The covariance keeps to the same by the same inequality. A second running axis (y)
    starts anew on every plane.
    """
    batch, deep, high, wide = shape
    blank = batch * deep * high * wide
    side_z, side_y, side_x = sides
    inside_z, inside_y, inside_x = inside
    _, depth, height, width = lengths
    rx = side_x // 2
    oz, oy, ox = min(first[0], side_z // 2), min(first[1], side_y // 2), min(first[2], rx)
    masked = valid.size > 0
    bits = work.view(np.int64)
    rows = height + side_y - 1
    undetermined = 0
    for x0 in range(0, width, block):
        n = min(block, width - x0)
        pitch = n + 2 * rx
        used = (6 if masked else 5) * pitch
        used = -(-used // LANES) * LANES
        length = used + 2 * (-(-side_x // LANES) * LANES)
        total, spare, weight, column = 0, length, 3 * length, 4 * length
        planes = 5 * length
        left, right = max(0, ox + x0 - rx), min(wide, ox + x0 + n + rx)
        size = right - left
        start = left - (ox + x0 - rx)
        fill_row(work, 0, 0.0, length * (5 + rows))
        for m in range(batch):
            fill_row(work, planes, 0.0, length * rows)
            drift_a = drift_b = peak_a = peak_b = 0.0
            whole = count = 0.0
            for step_z in range(depth + side_z - 1):
                z, k = oz - side_z // 2 + step_z, step_z - side_z + 1
                z_old = z - side_z
                drift_a += peak_a
                drift_b += peak_b
                work[spare] = work[spare + 1] = 0.0
                for j in range(rows):
                    y = oy - side_y // 2 + j
                    if y < 0 or y >= high:
                        continue
                    new = old = blank
                    if 0 <= z < deep:
                        new = ((m * deep + z) * high + y) * wide + left
                    if step_z >= side_z and 0 <= z_old < deep:
                        old = ((m * deep + z_old) * high + y) * wide + left
                    p = planes + length * j + start
                    q = p + pitch
                    if not (
                        _exchange_powers(
                            a, new, old, size, scales[0], centres[0], work, p, p + 2 * pitch
                        )
                        and _exchange_powers(
                            b, new, old, size, scales[1], centres[1], work, q, q + 2 * pitch
                        )
                    ):
                        return NOT_FINITE
                    _exchange_products(a, b, new, old, size, scales, centres, work, p + 4 * pitch)
                    if masked:
                        _exchange_validity(valid, new, old, size, work, p + 5 * pitch)
                    bits[spare] = max(bits[spare], _peak(bits, p + 2 * pitch, size))
                    bits[spare + 1] = max(bits[spare + 1], _peak(bits, q + 2 * pitch, size))
                peak_a, peak_b = work[spare], work[spare + 1]
                drift_a += peak_a
                drift_b += peak_b
                if k < 0:
                    continue
                along = 2 * rows if side_y > 1 else 0
                drifts = (
                    drifting * (drift_a + along * peak_a),
                    drifting * (drift_b + along * peak_b),
                )
                if side_y > 1:
                    fill_row(work, column, 0.0, length)
                for step_y in range(rows):
                    i = step_y - side_y + 1
                    line = planes + length * step_y
                    if side_y > 1:
                        if i > 0:
                            _exchange_rows(work, column, line, line - length * side_y, used)
                        else:
                            add_row(work, column, column, line, used)
                        line = column
                    if i < 0:
                        continue
                    if side_x > 1:
                        sum_box(work, line, spare, length, side_x, total, used)
                        line = total
                    wh = inside_z[0, first[0] + k] * inside_y[0, first[1] + i]
                    co = inside_z[1, first[0] + k] * inside_y[1, first[1] + i]
                    if masked or wh != whole or co != count:
                        whole, count = wh, co
                        store_weight(inside_x, first[2] + x0, whole, count, work, weight, n)
                    if masked:
                        here = ((m * deep + oz + k) * high + oy + i) * wide + ox + x0
                        keep_valid_weight(valid, here, min_valid, work, line + 5 * pitch, weight, n)
                    at = (to[0] + m, to[1] + k, to[2] + i, to[3] + x0)
                    if store_ncc(work, line, pitch, weight, rounding, drifts, floors, out, at, n):
                        undetermined += settle_row(
                            work, line, pitch, weight, rounding, drifts, floors, out, at, n
                        )
    return undetermined
