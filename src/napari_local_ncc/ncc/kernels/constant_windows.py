"""Windows in which all samples are equal, found in one pass over a tile; compiled.

Sums that run do not tell a constant window from one that hardly varies, and images have
large areas of one value: background set to zero, cells cut out, saturation. Whether a
window is constant needs no sums: how many equal samples lie above each other, how many such
columns side by side.

Numba's cache watches this file only: after a change of what it takes from `_rows`, it must
change too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import inner, kernel
from napari_local_ncc.ncc.kernels.rows import UNDETERMINED, U

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.rows import Index, Samples, Triple, Validity

    Counts = NDArray[np.int32]


@inner
def _count_on(samples: Samples, here: int, before: int, counts: Counts, first: int, n: int) -> None:
    """Count on where a row of samples repeats the one before; elsewhere begin with 1."""
    i, j, c = U(here), U(before), U(first)
    for x in range(U(n)):
        counts[c + x] = counts[c + x] + 1 if samples[i + x] == samples[j + x] else 1


@inner
def _count_on_where(
    samples: Samples, here: int, before: int, deep: Counts, first: int, enough: int, counts: Counts
) -> None:
    """Count on as well, but 0 where fewer than `enough` equal samples lie behind."""
    i, j, c = U(here), U(before), U(first)
    for x in range(U(counts.size)):
        repeats = (counts[x] > 0) & (samples[i + x] == samples[j + x])
        counts[x] = (counts[x] + 1 if repeats else 1) if deep[c + x] >= enough else 0


@kernel
def carry_on(samples: Samples, valid: Validity) -> Samples:
    """Return samples of which each that is not valid repeats the last valid one before it.

    Where they are constant over a window, its valid samples are.
    """
    out = np.empty_like(samples)
    value = samples[0]
    for x in range(samples.size):
        if valid[x]:
            value = samples[x]
        out[x] = value
    return out


@kernel
def mark_constant(
    samples: Samples,
    shape: Index,
    first: Triple,
    sides: Triple,
    out: NDArray[np.float32],
    lengths: Index,
    to: Index,
) -> int:
    """Set undetermined pixels of `out` to NaN where the window is constant; count them.

    Parameters
    ----------
    samples : array of float32 or float64, flat
        All of a tile and around it; what is not valid, as `carry_on` leaves it.
    shape, first, sides, out, lengths, to
        As of `running_sums.running_ncc`.

    Returns
    -------
    int
        Number of pixels that were undetermined and are NaN now.
    """
    batch, deep, high, wide = shape
    _, depth, height, width = lengths
    rz, ry, rx = sides[0] // 2, sides[1] // 2, sides[2] // 2
    oz, oy, ox = min(first[0], rz), min(first[1], ry), min(first[2], rx)
    behind = np.empty(high * wide, np.int32)  # equal samples up to here along z
    above = np.empty(wide, np.int32)  # constant columns along z up to here along y
    beside = np.empty(wide, np.int32)
    marked = 0
    for m in range(batch):
        plane = 0  # planes counted
        for k in range(depth):
            z0, z1 = max(oz + k - rz, 0), min(oz + k + rz + 1, deep)
            while plane < z1:
                at = (m * deep + plane) * high * wide
                if plane == 0:
                    behind[:] = 1
                else:
                    _count_on(samples, at, at - high * wide, behind, 0, high * wide)
                plane += 1
            above[:] = 0
            row = 0
            for i in range(height):
                y0, y1 = max(oy + i - ry, 0), min(oy + i + ry + 1, high)
                at = ((m * deep + z1 - 1) * high + row) * wide
                while row < y1:
                    before = at - wide if row > 0 else at
                    _count_on_where(samples, at, before, behind, row * wide, z1 - z0, above)
                    row += 1
                    at += wide
                run = 0
                for x in range(wide):
                    whole = above[x] >= y1 - y0
                    follows = run > 0 and samples[at - wide + x] == samples[at - wide + x - 1]
                    run = (run + 1 if follows else 1) if whole else 0
                    beside[x] = run
                for x in range(width):
                    x0, x1 = max(ox + x - rx, 0), min(ox + x + rx + 1, wide)
                    pixel = (to[0] + m, to[1] + k, to[2] + i, to[3] + x)
                    if beside[x1 - 1] >= x1 - x0 and out[pixel] == UNDETERMINED:
                        out[pixel] = np.nan
                        marked += 1
    return marked
