"""Compiled moments of box windows by sums that run along the outer axes of a tile, and NCC.

A row of column sums gains the samples that enter the window and loses those that leave it:
a few operations per sample, whatever the radius; along rows, a few more for twice the radius.
The rounding that such sums keep is bounded by what has passed through them, per block of
columns. A window whose variance this bound could touch is not decided here: `_exact` does it,
or `_moments` for the whole tile.

The sums of a row of columns (a, b, aa, bb, ab and, where samples are missing, their number)
make a line: rows that are `PITCH` apart. As the compiler knows that distance, it sees that
they do not overlap, and vectorises loops over all of them at once.

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
    add3_row,
    add_row,
    fill_row,
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

COLUMNS = 1024  # to treat together: fewer edges than with less, and rows stay in the cache
PITCH = 4168  # not near a multiple of 4096 bytes, where rows would share few lines of the cache
LINE = 6 * PITCH
WIDEST = PITCH - COLUMNS - LANES  # window, in columns, that leaves room for a block
# Lines of `work`: zeros, sums of some neighbours, sums along y, weights; then one per row.
ZEROS, SOME, COLUMN, WEIGHT, PLANES = (LINE * line for line in (0, 1, 3, 4, 5))
PEAKS = WEIGHT + 2 * PITCH
MAGNITUDE = np.int64(2**63 - 1)  # all bits of a number but its sign
# What is read as it lies in memory, where both images are of it; each is compiled when needed.
DIRECT = tuple(np.dtype(name) for name in ("uint8", "uint16", "float32", "float64"))


def running_block(side: int) -> int:
    """Return how many columns to treat together; more where the window is wide, if they fit."""
    return max(COLUMNS, min(2 * side, PITCH - LANES - side))


def running_workspace_size(sides: tuple[int, ...], lengths: tuple[int, ...]) -> int:
    """Return how many numbers `running_ncc` needs as `work` for so many centres."""
    return PLANES + LINE * (lengths[2] + sides[1])


@kernel
def set_aside(samples: Samples, valid: Validity, value: float) -> None:
    """Set samples that are not valid to a value."""
    for x in range(U(samples.size)):
        samples[x] = samples[x] if valid[x] else value


@inner
def _exchange(
    a: Samples,
    b: Samples,
    new: tuple[int, int],
    old: tuple[int, int],
    scales: Pair,
    centres: Pair,
    work: Array,
    line: int,
    n: int,
) -> None:
    """Add n new samples to the sums of a line, and take off old ones."""
    number = work.dtype.type  # products of small integers are summed up in small ones
    i, j, k, m, r = U(new[0]), U(new[1]), U(old[0]), U(old[1]), U(line)
    for x in range(U(n)):
        da = number(a[i + x] * scales[0] - centres[0])
        db = number(b[j + x] * scales[1] - centres[1])
        ea = number(a[k + x] * scales[0] - centres[0])
        eb = number(b[m + x] * scales[1] - centres[1])
        work[r + x] += da - ea
        work[r + U(PITCH) + x] += db - eb
        work[r + U(2 * PITCH) + x] += da * da - ea * ea
        work[r + U(3 * PITCH) + x] += db * db - eb * eb
        work[r + U(4 * PITCH) + x] += da * db - ea * eb


@inner
def _take(
    a: Samples,
    b: Samples,
    at: tuple[int, int],
    sign: int,
    scales: Pair,
    centres: Pair,
    work: Array,
    line: int,
    n: int,
) -> None:
    """Add n samples to the sums of a line where `sign` is 1, or take them off where it is -1."""
    number = work.dtype.type
    i, j, r = U(at[0]), U(at[1]), U(line)
    s = number(sign)
    for x in range(U(n)):
        da = number(a[i + x] * scales[0] - centres[0])
        db = number(b[j + x] * scales[1] - centres[1])
        work[r + x] += s * da
        work[r + U(PITCH) + x] += s * db
        work[r + U(2 * PITCH) + x] += s * (da * da)
        work[r + U(3 * PITCH) + x] += s * (db * db)
        work[r + U(4 * PITCH) + x] += s * (da * db)


@inner
def _take_validity(valid: Validity, at: int, sign: int, n: int, work: Array, row: int) -> None:
    i, r = U(at), U(row)
    for x in range(U(n)):
        work[r + x] += sign * np.int64(valid[i + x])


@inner
def _exchange_rows(work: Array, row: int, new: int, old: int, n: int) -> None:
    r, i, j = U(row), U(new), U(old)
    for x in range(U(n)):
        work[r + x] += work[i + x] - work[j + x]


@inner
def _peaks(bits: NDArray[np.int64], line: int, n: int) -> tuple[int, int]:
    """Return the bits of the largest sums of squares of a line; NaN is above all numbers.

    Numbers without a sign are ordered like their bits, and of integers the largest is found
    by vectors; of floats it is not, as a NaN is neither larger nor smaller.
    """
    r = U(line)
    peak_a = peak_b = np.int64(0)
    for x in range(U(n)):
        peak_a = max(peak_a, bits[r + U(2 * PITCH) + x] & MAGNITUDE)
        peak_b = max(peak_b, bits[r + U(3 * PITCH) + x] & MAGNITUDE)
    return int(peak_a), int(peak_b)


@inner
def _sum_some(work: Array, line: int, side: int, rows: int, n: int) -> tuple[int, int]:
    """Sum k neighbours in a line so that `side` are k, k and one; return where, and k.

    From k neighbours to 2 k or 2 k + 1, whichever are the leading bits of the side. No
    serial chain, and the number of steps grows with log2 of the side only.
    """
    if side == 1:
        return ZEROS, 0
    bits = 0
    while side >> bits > 1:
        bits += 1
    sums, k = line, 1
    for bit in range(bits - 1, 0, -1):
        doubled = SOME + LINE * (bit % 2)
        odd = (side >> bit) % 2
        for row in range(0, rows * PITCH, PITCH):
            to, i = doubled + row, sums + row
            if odd:
                add3_row(work, to, i, i + k, line + row + 2 * k, n)
            else:
                add_row(work, to, i, i + k, n)
        sums, k = doubled, 2 * k + odd
    return sums, k


@inner
def _store_ncc(
    work: Array,
    sums: int,
    k: int,
    line: int,
    rounding: float,
    drifts: Pair,
    floors: Pair,
    out: NDArray[np.float32],
    to: Index,
    n: int,
) -> int:
    """Set a row of `out`, see `pearson`; count what is undetermined."""
    m, z, y, x0 = to
    first, p, q, r = U(x0), U(sums), U(sums + k), U(line + 2 * k)
    for x in range(U(n)):
        out[m, z, y, first + x] = pearson(
            np.float64(work[U(WEIGHT) + x]),
            np.float64(work[p + x] + work[q + x] + work[r + x]),
            np.float64(work[p + U(PITCH) + x] + work[q + U(PITCH) + x] + work[r + U(PITCH) + x]),
            np.float64(
                work[p + U(2 * PITCH) + x] + work[q + U(2 * PITCH) + x] + work[r + U(2 * PITCH) + x]
            ),
            np.float64(
                work[p + U(3 * PITCH) + x] + work[q + U(3 * PITCH) + x] + work[r + U(3 * PITCH) + x]
            ),
            np.float64(
                work[p + U(4 * PITCH) + x] + work[q + U(4 * PITCH) + x] + work[r + U(4 * PITCH) + x]
            ),
            rounding,
            drifts,
            floors,
        )
    return count_undetermined(out, to, n)


@kernel
def running_ncc(
    a: Samples,
    b: Samples,
    valid: Validity,
    shape: Index,
    origins: tuple[int, int],
    steps: tuple[Triple, Triple],
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

    Parameters are those of `stable_sums.tile_ncc`, but for these:

    Parameters
    ----------
    a, b : array of a dtype in `DIRECT`, flat, not writable
        Samples where they lie in memory; those that are not valid equal the centres.
    origins, steps : tuple of int, tuple of tuple of int
        Where the first of the tile lies in `a` and in `b`; how far apart neighbours along
        batch, z and y do.
    sides : tuple of int
        Number of samples in a window along z, y, x; at most `WIDEST` along x.
    rounding, drifting : float
        Share of the sum of squares of a window, and of all the sums of squares that a
        column has had, below which a variance has lost too many digits; 0 where sums of
        integers lose none.
    block : int
        See `running_block`.
    work : array of float64 or int32
        `running_workspace_size` numbers, zeros before the first call. Integers where `a` and
        `b` are, scales are 1, centres 0, and no window's sum of squares exceeds them.

    Returns
    -------
    int
        Number of undetermined pixels; `NOT_FINITE` if a sample is not, but `valid` is empty.

    Notes
    -----
    With u = 2 ** -53, a column sum of squares Q gains an error of at most 3 u (Q before +
    Q after) in a step; after T steps it is e <= 3 u D, where D adds up these Q, largest of
    the block. The column sum S itself has S ** 2 <= side_z Q, so that by Cauchy-Schwarz
    and the weighted inequality of means (weight 1 / sqrt(columns)) the mean's share of a
    window's variance errs by at most e of every column, times the number of samples, plus
    3 u T of the window's sum of squares. Hence the two shares: `drifting`
    = 3 u * 2 * samples * columns, and 3 u T within `rounding`, both over the error allowed.
    The covariance keeps to the same by the same inequality. A second running axis (y)
    starts anew on every plane.

    In one body: with the exchange of a plane as a function, all takes 15 % longer.
    """
    batch, deep, high, wide = shape
    side_z, side_y, side_x = sides
    inside_z, inside_y, inside_x = inside
    _, depth, height, width = lengths
    rx = side_x // 2
    oz, oy, ox = min(first[0], side_z // 2), min(first[1], side_y // 2), min(first[2], rx)
    masked, exact = valid.size > 0, drifting == 0.0
    sums = 6 if masked else 5
    bits = work.view(np.int64)
    rows = height + side_y - 1
    along = 2 * rows if side_y > 1 else 0
    undetermined = 0
    for x0 in range(0, width, block):
        n = min(block, width - x0)
        used = -(-(n + 2 * rx) // LANES) * LANES
        left, right = max(0, ox + x0 - rx), min(wide, ox + x0 + n + rx)
        size = right - left
        start = PLANES + left - (ox + x0 - rx)
        for m in range(batch):
            for row in range(PLANES, PLANES + LINE * rows, PITCH):
                fill_row(work, row, 0.0, used)
            drift_a = drift_b = peak_a = peak_b = 0.0
            whole = count = 0.0
            for step_z in range(depth + side_z - 1):
                z, k = oz - side_z // 2 + step_z, step_z - side_z + 1
                z_old = z - side_z
                enters, leaves = 0 <= z < deep, step_z >= side_z and 0 <= z_old < deep
                if not exact:
                    drift_a += peak_a
                    drift_b += peak_b
                    bits[PEAKS] = bits[PEAKS + 1] = 0
                for j in range(rows):
                    y = oy - side_y // 2 + j
                    if y < 0 or y >= high:
                        continue
                    row_a = origins[0] + m * steps[0][0] + y * steps[0][2] + left
                    row_b = origins[1] + m * steps[1][0] + y * steps[1][2] + left
                    new = (row_a + z * steps[0][1], row_b + z * steps[1][1])
                    old = (row_a + z_old * steps[0][1], row_b + z_old * steps[1][1])
                    line = start + LINE * j
                    if enters and leaves:
                        _exchange(a, b, new, old, scales, centres, work, line, size)
                    elif enters:
                        _take(a, b, new, 1, scales, centres, work, line, size)
                    elif leaves:
                        _take(a, b, old, -1, scales, centres, work, line, size)
                    if masked:
                        for plane, sign in ((z, 1), (z_old, -1)):
                            if enters if sign == 1 else leaves:
                                which = ((m * deep + plane) * high + y) * wide + left
                                _take_validity(valid, which, sign, size, work, line + 5 * PITCH)
                    if not exact:
                        bits_a, bits_b = _peaks(bits, line, size)
                        bits[PEAKS] = max(bits[PEAKS], bits_a)
                        bits[PEAKS + 1] = max(bits[PEAKS + 1], bits_b)
                if not exact:
                    peak_a, peak_b = work[PEAKS], work[PEAKS + 1]
                    if not (masked or (peak_a < np.inf and peak_b < np.inf)):
                        return NOT_FINITE
                    drift_a += peak_a
                    drift_b += peak_b
                if k < 0:
                    continue
                drifts = (
                    drifting * (drift_a + along * peak_a),
                    drifting * (drift_b + along * peak_b),
                )
                if side_y > 1:
                    for row in range(COLUMN, COLUMN + LINE, PITCH):
                        fill_row(work, row, 0.0, used)
                for step_y in range(rows):
                    i = step_y - side_y + 1
                    line = PLANES + LINE * step_y
                    if side_y > 1:
                        for row in range(0, sums * PITCH, PITCH):
                            gone = line - LINE * side_y if i > 0 else ZEROS
                            _exchange_rows(work, COLUMN + row, line + row, gone + row, used)
                        line = COLUMN
                    if i < 0:
                        continue
                    some, few = _sum_some(work, line, side_x, sums, used)
                    wh = inside_z[0, first[0] + k] * inside_y[0, first[1] + i]
                    co = inside_z[1, first[0] + k] * inside_y[1, first[1] + i]
                    if masked or wh != whole or co != count:
                        whole, count = wh, co
                        store_weight(inside_x, first[2] + x0, whole, count, work, WEIGHT, n)
                    if masked:
                        centre = ((m * deep + oz + k) * high + oy + i) * wide + ox + x0
                        known, last = WEIGHT + PITCH, 5 * PITCH
                        first_few = some + last
                        add3_row(work, known, first_few, first_few + few, line + last + 2 * few, n)
                        keep_valid_weight(valid, centre, min_valid, work, known, WEIGHT, n)
                    at = (to[0] + m, to[1] + k, to[2] + i, to[3] + x0)
                    if _store_ncc(work, some, few, line, rounding, drifts, floors, out, at, n):
                        undetermined += find_flat(
                            work,
                            (some, some + few, line + 2 * few),
                            PITCH,
                            WEIGHT,
                            rounding,
                            drifts,
                            floors,
                            out,
                            at,
                            n,
                        )
    return undetermined
