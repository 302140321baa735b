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
            (var_a > max(rounding * square_a + drifts[0], floor_a * w * w))
            & (var_b > max(rounding * square_b + drifts[1], floor_b * w * w))
            & (both > FLOAT32_SAFE[0])
            & (both < FLOAT32_SAFE[1])
        )
        out[m, z, y, first + x] = r if sure else UNDETERMINED
    undetermined = 0  # counted apart: together with the above it takes longer
    for x in range(U(n)):
        undetermined += out[m, z, y, first + x] == UNDETERMINED
    return undetermined


@inner
def settle_row(
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
            or _is_flat(
                w, work[total + x], work[total + 2 * pitch + x], rounding, drifts[0], floors[0]
            )
            or _is_flat(
                w,
                work[total + pitch + x],
                work[total + 3 * pitch + x],
                rounding,
                drifts[1],
                floors[1],
            )
        ):
            out[m, z, y, x0 + x] = np.nan
        else:
            undetermined += 1
    return undetermined


@inner
def _is_flat(
    w: float, mean: float, square: float, rounding: float, drift: float, floor: float
) -> bool:
    var = w * square - mean * mean
    reliable = rounding == 0.0 or var > rounding * w * square + drift
    return w > 0.0 and reliable and var <= floor**2 * w * w * (1 - NEAR)
