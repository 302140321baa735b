"""From the sums over windows to NCC, row by row; compiled.

Where the sums do not tell, a pixel is left `UNDETERMINED`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc._rows import FLOAT32_SAFE, MIN_SAMPLES, NEAR, UNDETERMINED, U, inner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc._rows import Array, Index, Pair, Validity


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
    careful: bool,
) -> np.float32:
    """Return NCC from a weight and five sums, or `UNDETERMINED` where they may not tell.

    NaN where the weight is 0 and, if careful, where a window surely is flat.
    """
    square_a, square_b = w * aa, w * bb
    var_a, var_b = square_a - a * a, square_b - b * b
    both = var_a * var_b
    r = np.float32(w * ab - a * b) / np.sqrt(np.float32(both))
    r = max(np.float32(-1), min(np.float32(1), r))
    floor_a, floor_b = floors[0] ** 2, floors[1] ** 2
    noise_a, noise_b = rounding * square_a + drifts[0], rounding * square_b + drifts[1]
    # Close to the floor, rounding must not decide.
    high, low = w * w * (1 + NEAR), w * w * (1 - NEAR)
    sure = (
        (var_a > max(noise_a, floor_a * high))
        & (var_b > max(noise_b, floor_b * high))
        & (both > FLOAT32_SAFE[0])
        & (both < FLOAT32_SAFE[1])
    )
    undefined = w == 0.0
    if careful:
        exact = 1.0 if rounding == 0.0 else 0.0  # integers: a variance may be 0, which is flat
        flat_a = (var_a > noise_a - exact) & (var_a <= floor_a * low)
        flat_b = (var_b > noise_b - exact) & (var_b <= floor_b * low)
        undefined |= (w > 0.0) & (flat_a | flat_b)
    return r if sure else (np.float32(np.nan) if undefined else UNDETERMINED)


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
def store_ncc(
    work: Array,
    total: int,
    pitch: int,
    weight: int,
    rounding: float,
    drifts: Pair,
    floors: Pair,
    out: NDArray[np.float32],
    to: Index,
    n: int,
    careful: bool,
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
            drifts,
            floors,
            careful,
        )
    return count_undetermined(out, to, n)
