"""The compiled part of the kernel: weighted moments of every window of a tile, and NCC.

Each row becomes its products (a, b, aa, bb, ab and, where samples are missing, validity),
these are summed along the row, then the rows are summed, then the planes. No sum ever
subtracts what left the window: a bright pixel leaves no trace, and rounding stays relative
to what the window itself holds. Where even that cancels, the window is left to `_exact`.

All rows live in one flat array, `work`, and the loops take positions in it. This is what
numba compiles fast and well: a slice or an array more per call costs atomic reference
counts and compile time, and a loop over many arrays is not vectorised for lack of proof
that they do not overlap. Positions are unsigned (`U`) in the loops, as numba lets signed
ones wrap around, which defeats vectorisation too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Samples = NDArray[np.float32 | np.float64]
    Validity = NDArray[np.bool_]
    Pair = tuple[float, float]
    Index = tuple[int, int, int, int]
    Triple = tuple[int, int, int]
    Taps = tuple[Array, Array, Array]

# "contract" fuses a * b + c into one rounding; nothing licenses assuming that NaN is absent.
COMPILE = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
BLOCK = 128  # columns whose rows fit in the L1 cache
LANES = 16  # numbers that a vectorised loop takes at once
MIN_SAMPLES = 3
NOT_FINITE = -1
UNDETERMINED = np.float32(2.0)
# Outside these the product of two variances loses digits in float32, or overflows.
FLOAT32_SAFE = (1e-36, 1e37)
NEAR = 1e-6  # share of a variance within which rounding may decide
U = np.uintp


def cached(kernel: Any) -> Any:
    """Compile on the first call; keep the machine code on disk where a place can be found."""
    try:
        return numba.njit(cache=True, **COMPILE)(kernel)
    except RuntimeError:  # neither the installation nor the user's cache directory is writable
        return numba.njit(**COMPILE)(kernel)


inner = numba.njit(**COMPILE)


def workspace_size(sides: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """Return how many numbers `tile_ncc` needs as `work` for an output of this shape."""
    width = min(shape[3], block_width(sides[2]))
    length = 6 * (width + sides[2]) + 2 * sides[2] + 3 * LANES
    return length * (6 + sides[1] + (shape[2] * (sides[0] + 1) if sides[0] > 1 else 0))


def block_width(side: int) -> int:
    """Return how many columns to treat together; more where the window is wide."""
    return max(BLOCK, 2 * side)


# --- loops over rows of `work` -------------------------------------------------------------


@inner
def _fill(work: Array, row: int, value: float, n: int) -> None:
    r = U(row)
    for x in range(U(n)):
        work[r + x] = value


@inner
def _add(work: Array, row: int, first: int, second: int, n: int) -> None:
    r, i, j = U(row), U(first), U(second)
    for x in range(U(n)):
        work[r + x] = work[i + x] + work[j + x]


@inner
def _accumulate(work: Array, row: int, other: int, n: int) -> None:
    r, i = U(row), U(other)
    for x in range(U(n)):
        work[r + x] += work[i + x]


@inner
def _add3(work: Array, row: int, first: int, second: int, third: int, n: int) -> None:
    r, i, j, k = U(row), U(first), U(second), U(third)
    for x in range(U(n)):
        work[r + x] = work[i + x] + work[j + x] + work[k + x]


@inner
def _add_pair(work: Array, row: int, tap: float, first: int, second: int, n: int) -> None:
    r, i, j = U(row), U(first), U(second)
    for x in range(U(n)):
        work[r + x] += tap * (work[i + x] + work[j + x])


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


# --- from samples to moments ---------------------------------------------------------------


@inner
def _store_validity(valid: Validity, at: Index, n: int, work: Array, row: int) -> None:
    m, z, y, x0 = at
    first, r = U(x0), U(row)
    for x in range(U(n)):
        work[r + x] = valid[m, z, y, first + x]


@inner
def _store_powers(
    samples: Samples,
    at: Index,
    n: int,
    scale: float,
    centre: float,
    work: Array,
    mean: int,
    square: int,
) -> bool:
    """Store n centred samples and their squares; tell whether all are finite."""
    m, z, y, x0 = at
    first, p, q = U(x0), U(mean), U(square)
    not_finite = 0
    for x in range(U(n)):
        d = samples[m, z, y, first + x] * scale - centre
        work[p + x] = d
        work[q + x] = d * d
        not_finite += not abs(d) < np.inf
    return not_finite == 0


@inner
def _store_valid_powers(
    samples: Samples,
    at: Index,
    n: int,
    scale: float,
    centre: float,
    work: Array,
    mean: int,
    square: int,
    validity: int,
) -> None:
    m, z, y, x0 = at
    first, p, q, v = U(x0), U(mean), U(square), U(validity)
    for x in range(U(n)):
        d = samples[m, z, y, first + x] * scale - centre
        d = d if work[v + x] != 0.0 else 0.0
        work[p + x] = d
        work[q + x] = d * d


@inner
def _sum_along(
    work: Array, line: int, length: int, taps: Array, box: bool, row: int, n: int
) -> None:
    """Sum neighbours in the line into a row.

    Box: from k neighbours to 2 k or 2 k + 1, whichever are the leading bits of the side. No
    serial chain, and the number of steps grows with log2 of the side only.
    """
    side, half = taps.size, taps.size // 2
    if box and side > 1:
        bits = 0
        while side >> bits > 1:
            bits += 1
        sums, k = line, 1
        for bit in range(bits - 1, -1, -1):
            doubled = row if bit == 0 else line + length * (2 - bit % 2)
            odd = (side >> bit) % 2
            size = n if bit == 0 else (n + length) // 2
            if odd:
                _add3(work, doubled, sums, sums + k, line + 2 * k, size)
            else:
                _add(work, doubled, sums, sums + k, size)
            sums, k = doubled, 2 * k + odd
    else:
        _fill(work, row, 0.0, n)
        _accumulate(work, row, line + half, n)  # the tap at the centre is 1
        for k in range(half):
            _add_pair(work, row, taps[k], line + k, line + side - 1 - k, n)


@inner
def _slide_box(
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
        _fill(work, head, 0.0, n)
    if slot < side - 1:
        _advance(work, head, row, row + length, total, n)
    else:
        _add(work, total, row, head, n)
        for _ in range(side - 1):
            row -= length
            _accumulate(work, row, row + length, n)


@inner
def _slide_weighted(
    work: Array, queue: int, length: int, step: int, taps: Array, total: int, n: int
) -> None:
    """Sum the last rows of a queue by their weights, once there are enough."""
    side, half = taps.size, taps.size // 2
    oldest = step + 1
    if step >= side - 1:
        _fill(work, total, 0.0, n)
        _accumulate(work, total, queue + length * ((oldest + half) % side), n)
        for k in range(half):
            first, last = (oldest + k) % side, (oldest + side - 1 - k) % side
            _add_pair(work, total, taps[k], queue + length * first, queue + length * last, n)


# --- from moments to NCC -------------------------------------------------------------------


@inner
def _store_weight(
    inside: Array, first: int, whole: float, count: float, work: Array, weight: int, n: int
) -> None:
    """Set the weight of windows inside the array, 0 where they hold too few samples."""
    i, w = U(first), U(weight)
    for x in range(U(n)):
        enough = count * inside[1, i + x] >= MIN_SAMPLES
        work[w + x] = whole * inside[0, i + x] if enough else 0.0


@inner
def _keep_valid_weight(
    valid: Validity, at: Index, min_valid: float, work: Array, known: int, weight: int, n: int
) -> None:
    """Reduce the weight to what is valid; to 0 where that is too little, or not the centre.

    A negative weight marks a window that may hold too few samples: to be counted.
    """
    m, z, y, x0 = at
    first, i, w = U(x0), U(known), U(weight)
    for x in range(U(n)):
        # A tie within rounding is enough: all samples valid must pass min_valid = 1.
        enough = work[i + x] >= min_valid * work[w + x] * (1 - 1e-12)
        # The largest tap is 1, so a weight above 2 needs 3 samples.
        sign = 1.0 if work[i + x] > 2.5 else -1.0
        work[w + x] = sign * work[i + x] if enough & valid[m, z, y, first + x] else 0.0


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
    """Set a row of `out` to NCC, or `UNDETERMINED` where the sums may not tell; count these."""
    m, z, y, x0 = to
    first, w0 = U(x0), U(weight)
    a, b, aa, bb = U(total), U(total + pitch), U(total + 2 * pitch), U(total + 3 * pitch)
    ab = U(total + 4 * pitch)
    # Close to the floor, rounding must not decide.
    floor_a, floor_b = floors[0] ** 2 * (1 + NEAR), floors[1] ** 2 * (1 + NEAR)
    for x in range(U(n)):
        w = work[w0 + x]
        square_a, square_b = w * work[aa + x], w * work[bb + x]
        var_a = square_a - work[a + x] * work[a + x]
        var_b = square_b - work[b + x] * work[b + x]
        cov = w * work[ab + x] - work[a + x] * work[b + x]
        both = var_a * var_b
        r = np.float32(cov) / np.sqrt(np.float32(both))
        r = max(np.float32(-1), min(np.float32(1), r))
        sure = (
            (var_a > max(rounding * square_a, floor_a * w * w))
            & (var_b > max(rounding * square_b, floor_b * w * w))
            & (both > FLOAT32_SAFE[0])
            & (both < FLOAT32_SAFE[1])
        )
        out[m, z, y, first + x] = r if sure else UNDETERMINED
    undetermined = 0  # counted apart: together with the above it takes longer
    for x in range(U(n)):
        undetermined += out[m, z, y, first + x] == UNDETERMINED
    return undetermined


@inner
def _settle_row(
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
    """Set what is surely undefined in a row of `out` to NaN; count what is left to `_exact`."""
    m, z, y, x0 = to
    undetermined = 0
    for x in range(n):
        w = work[weight + x]
        if out[m, z, y, x0 + x] != UNDETERMINED:
            continue
        if (
            w == 0.0
            or _is_flat(w, work[total + x], work[total + 2 * pitch + x], rounding, floors[0])
            or _is_flat(
                w, work[total + pitch + x], work[total + 3 * pitch + x], rounding, floors[1]
            )
        ):
            out[m, z, y, x0 + x] = np.nan
        else:
            undetermined += 1
    return undetermined


@inner
def _is_flat(w: float, mean: float, square: float, rounding: float, floor: float) -> bool:
    var = w * square - mean * mean
    reliable = rounding == 0.0 or var > rounding * w * square
    return w > 0.0 and reliable and var <= floor**2 * w * w * (1 - NEAR)


@cached
def tile_ncc(
    a: Samples,
    b: Samples,
    valid: Validity,
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
) -> int:
    """Compute the NCC of a tile.

    Parameters
    ----------
    a, b : array of float32 or float64, shape (batch, z, y, x)
        The samples of the tile and around it as far as windows reach in the array.
    valid : array of bool, shape (batch, z, y, x) or empty
        Empty where all samples are taken to be valid.
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
    out : array of float32, shape (batch, z, y, x)
        Receives NCC, NaN where undefined, `UNDETERMINED` where the sums do not tell.

    Returns
    -------
    int
        Number of undetermined pixels; `NOT_FINITE` if a sample is not, but `valid` is empty.
    """
    taps_z, taps_y, taps_x = taps
    inside_z, inside_y, inside_x = inside
    side_z, side_y, side_x = taps_z.size, taps_y.size, taps_x.size
    batch, depth, height, width = out.shape
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
        left, right = max(0, ox + x0 - rx), min(a.shape[3], ox + x0 + n + rx)
        start = left - (ox + x0 - rx)
        _fill(work, line, 0.0, length)
        for m in range(batch):
            for step_z in range(depth + side_z - 1):
                z, k = oz - side_z // 2 + step_z, step_z - side_z + 1
                for step_y in range(height + side_y - 1):
                    y, i = oy - side_y // 2 + step_y, step_y - side_y + 1
                    row = queue_y + length * (step_y % side_y)
                    if 0 <= z < a.shape[1] and 0 <= y < a.shape[2]:
                        # Inline, as one more call per row would cost 4 % of the time.
                        at, size = (m, z, y, left), right - left
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
                        _sum_along(work, line, length, taps_x, box, row, used)
                    else:
                        _fill(work, row, 0.0, used)
                    queue_z = queues_z + length * (side_z + 1) * i
                    head_z = queue_z + length * side_z
                    plane = queue_z + length * (step_z % side_z)
                    target = plane if side_z > 1 and i >= 0 else total
                    if box:
                        _slide_box(work, queue_y, length, head_y, step_y, side_y, target, used)
                    else:
                        _slide_weighted(work, queue_y, length, step_y, taps_y, target, used)
                    if i >= 0 and side_z > 1:
                        if box:
                            _slide_box(work, queue_z, length, head_z, step_z, side_z, total, used)
                        else:
                            _slide_weighted(work, queue_z, length, step_z, taps_z, total, used)
                    if i < 0 or k < 0:
                        continue
                    whole = inside_z[0, first[0] + k] * inside_y[0, first[1] + i]
                    count = inside_z[1, first[0] + k] * inside_y[1, first[1] + i]
                    _store_weight(inside_x, first[2] + x0, whole, count, work, weight, n)
                    if masked:
                        here = (m, oz + k, oy + i, ox + x0)
                        _keep_valid_weight(
                            valid, here, min_valid, work, total + 5 * pitch, weight, n
                        )
                    to = (m, k, i, x0)
                    if _store_ncc(work, total, pitch, weight, rounding, floors, out, to, n):
                        undetermined += _settle_row(
                            work, total, pitch, weight, rounding, floors, out, to, n
                        )
    return undetermined
