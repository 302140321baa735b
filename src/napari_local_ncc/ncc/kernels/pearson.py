"""From the sums over windows to NCC, row by row; compiled.

Where the sums do not tell, a pixel is left `UNDETERMINED`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import inner
from napari_local_ncc.ncc.kernels.rows import FLOAT32_SAFE, MIN_SAMPLES, NEAR, UNDETERMINED, U

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.rows import Array, Index, Pair, Validity


@inner
def store_weight(
    inside: Array, first: int, whole: float, count: float, work: Array, weight: int, n: int
) -> None:
    """Set the weight of windows inside the array, 0 where they hold too few samples."""
    i, w = U(first), U(weight)
    for x in range(U(n)):
        enough = count * inside[1, i + x] >= MIN_SAMPLES
        work[w + x] = whole * inside[0, i + x] if enough else 0.0


@inner
def keep_valid_weight(
    valid: Validity, here: int, min_valid: float, work: Array, known: int, weight: int, n: int
) -> None:
    """Reduce the weight to what is valid; to 0 where that is too little, or not the centre.

    A negative weight marks a window that may hold too few samples: to be counted.
    """
    centre, i, w = U(here), U(known), U(weight)
    for x in range(U(n)):
        # A tie within rounding is enough: all samples valid must pass min_valid = 1.
        enough = work[i + x] >= min_valid * work[w + x] * (1 - 1e-12)
        # The largest tap is 1, so a weight above 2 needs 3 samples.
        sign = 1.0 if work[i + x] > 2.5 else -1.0
        work[w + x] = sign * work[i + x] if enough & valid[centre + x] else 0.0


@inner
def pearson(
    w: float,
    a: float,
    b: float,
    aa: float,
    bb: float,
    ab: float,
    rounding: float,
    drifts: Pair,
    floors: Pair,
) -> np.float32:
    """Return NCC from a weight and five sums; NaN where the weight is 0.

    `UNDETERMINED` where the sums may not tell.
    """
    square_a, square_b = w * aa, w * bb
    var_a, var_b = square_a - a * a, square_b - b * b
    both = var_a * var_b
    r = np.float32(w * ab - a * b) / np.sqrt(np.float32(both))
    r = max(np.float32(-1), min(np.float32(1), r))
    # Close to the floor, rounding must not decide.
    floor_a, floor_b = floors[0] ** 2 * (1 + NEAR), floors[1] ** 2 * (1 + NEAR)
    sure = (
        (var_a > max(rounding * square_a + drifts[0], floor_a * w * w))
        & (var_b > max(rounding * square_b + drifts[1], floor_b * w * w))
        & (both > FLOAT32_SAFE[0])
        & (both < FLOAT32_SAFE[1])
    )
    return r if sure else (np.float32(np.nan) if w == 0.0 else UNDETERMINED)


@inner
def is_flat(
    w: float, mean: float, square: float, rounding: float, drift: float, floor: float
) -> bool:
    """Tell whether the variance of a window surely is at or below the floor."""
    var = w * square - mean * mean
    reliable = rounding == 0.0 or var > rounding * w * square + drift
    return w > 0.0 and reliable and var <= floor**2 * w * w * (1 - NEAR)


@inner
def count_undetermined(out: NDArray[np.float32], at: Index, n: int) -> int:
    """Count in a row of `out`; while it is computed, that would take longer."""
    m, z, y, x0 = at
    first = U(x0)
    undetermined = 0
    for x in range(U(n)):
        undetermined += out[m, z, y, first + x] == UNDETERMINED
    return undetermined


@inner
def find_flat(
    work: Array,
    places: tuple[int, ...],
    pitch: int,
    weight: int,
    rounding: float,
    drifts: Pair,
    floors: Pair,
    out: NDArray[np.float32],
    to: Index,
    n: int,
) -> int:
    """Set what surely is flat in a row of `out` to NaN; count what is left to `_exact`.

    The sums of a window are those at `places`, added up; a, b, aa, bb are `pitch` apart.
    """
    m, z, y, x0 = to
    undetermined = 0
    for x in range(n):
        if out[m, z, y, x0 + x] != UNDETERMINED:
            continue
        flat = False
        for image in range(2):
            mean = square = 0.0
            for place in places:
                mean += work[place + image * pitch + x]
                square += work[place + (2 + image) * pitch + x]
            flat |= is_flat(work[weight + x], mean, square, rounding, drifts[image], floors[image])
        if flat:
            out[m, z, y, x0 + x] = np.nan
        else:
            undetermined += 1
    return undetermined
