"""The compiled two-pass formula, for the few windows whose sums do not determine NCC.

Numba's cache watches this file only: after a change of what it takes from `_rows`, it
must change too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import inner, kernel
from napari_local_ncc.ncc.kernels.rows import MIN_SAMPLES, UNDETERMINED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.rows import Array, Pair, Samples, Taps, Triple, Validity

    Index = tuple[int, int, int, int]


@inner
def _window(shape: Index, taps: Taps, at: Index) -> tuple[int, int, int, int, int, int]:
    """Return first and last + 1 along z, y, x of the window at a sample."""
    _, z, y, x = at
    rz, ry, rx = taps[0].size // 2, taps[1].size // 2, taps[2].size // 2
    return (
        max(z - rz, 0),
        min(z + rz + 1, shape[1]),
        max(y - ry, 0),
        min(y + ry + 1, shape[2]),
        max(x - rx, 0),
        min(x + rx + 1, shape[3]),
    )


@inner
def _is_constant(samples: Samples, valid: Validity, taps: Taps, at: Index, run: Array) -> bool:
    """Tell whether all valid samples of the window are equal.

    `run` remembers from window to window along a row which columns hold one value only
    (value, first column, last + 1), so that a large flat area costs one column per pixel.
    """
    z0, z1, y0, y1, x0, x1 = _window(samples.shape, taps, at)
    value = samples[at]
    if value != run[0] or not run[1] <= x0 <= run[2]:
        run[0], run[1], run[2] = value, x0, x0
    for x in range(int(run[2]), x1):
        for z in range(z0, z1):
            for y in range(y0, y1):
                known = valid.size == 0 or valid[at[0], z, y, x]
                if known and samples[at[0], z, y, x] != value:
                    run[2] = x
                    return False
    run[2] = x1
    return True


@inner
def _two_pass_ncc(
    a: Samples, b: Samples, valid: Validity, taps: Taps, at: Index, scales: Pair, floors: Pair
) -> float:
    """Return the NCC of one window, from differences to its centre sample."""
    m, zc, yc, xc = at
    z0, z1, y0, y1, x0, x1 = _window(a.shape, taps, at)
    z_tap, y_tap, x_tap = taps[0].size // 2 - zc, taps[1].size // 2 - yc, taps[2].size // 2 - xc
    weight = mean_a = mean_b = peak_a = peak_b = var_a = var_b = cov = 0.0
    count = 0
    for second_pass in (False, True):
        for z in range(z0, z1):
            for y in range(y0, y1):
                for x in range(x0, x1):
                    if valid.size and not valid[m, z, y, x]:
                        continue
                    w = taps[0][z + z_tap] * taps[1][y + y_tap] * taps[2][x + x_tap]
                    da = a[m, z, y, x] * scales[0] - a[at] * scales[0]
                    db = b[m, z, y, x] * scales[1] - b[at] * scales[1]
                    if second_pass:
                        # Relative to the peak, as squares of small numbers would underflow.
                        da, db = (da - mean_a) / peak_a, (db - mean_b) / peak_b
                        var_a += w * da * da
                        var_b += w * db * db
                        cov += w * da * db
                    else:
                        count += 1
                        weight += w
                        mean_a += w * da
                        mean_b += w * db
                        peak_a = max(peak_a, abs(da))
                        peak_b = max(peak_b, abs(db))
        if not second_pass:
            mean_a /= weight
            mean_b /= weight
    std_a, std_b = np.sqrt(var_a / weight) * peak_a, np.sqrt(var_b / weight) * peak_b
    if count < MIN_SAMPLES or not (std_a > floors[0] and std_b > floors[1]):
        return np.nan
    return max(-1.0, min(1.0, cov / np.sqrt(var_a * var_b)))


@kernel
def resolve(
    a: Samples,
    b: Samples,
    valid: Validity,
    first: Triple,
    taps: Taps,
    scales: Pair,
    floors: Pair,
    out: NDArray[np.float32],
    lengths: Index,
    to: Index,
) -> None:
    """Replace the undetermined pixels of `out`; parameters as of `stable_sums.tile_ncc`."""
    oz, oy, ox = (
        min(first[0], taps[0].size // 2),
        min(first[1], taps[1].size // 2),
        min(first[2], taps[2].size // 2),
    )
    run_a, run_b = np.empty(3), np.empty(3)
    for m in range(lengths[0]):
        for z in range(lengths[1]):
            for y in range(lengths[2]):
                run_a[0] = run_b[0] = np.nan
                for x in range(lengths[3]):
                    pixel = (to[0] + m, to[1] + z, to[2] + y, to[3] + x)
                    if out[pixel] != UNDETERMINED:
                        continue
                    at = (m, oz + z, oy + y, ox + x)
                    if _is_constant(a, valid, taps, at, run_a) or _is_constant(
                        b, valid, taps, at, run_b
                    ):
                        out[pixel] = np.nan
                        continue
                    out[pixel] = _two_pass_ncc(a, b, valid, taps, at, scales, floors)
