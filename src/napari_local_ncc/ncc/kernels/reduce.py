"""What a map becomes in one pass over it, compiled: a coarser copy, and counts of its values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32 | np.float64]


@kernel
def mean_of_blocks(
    fine: Floats, coarse: Floats, factor_z: int, factor_y: int, factor_x: int
) -> None:
    """Fill `coarse` with the means of what is defined in every block of `fine`; NaN of none.

    Both have 4 axes, of which the first is not reduced; blocks at the end may be cut off.
    """
    _, depth, height, width = fine.shape
    for n, z, y in np.ndindex(coarse.shape[:3]):
        last_z = min((z + 1) * factor_z, depth)
        last_y = min((y + 1) * factor_y, height)
        for x in range(coarse.shape[3]):
            total, count = 0.0, 0
            for k in range(z * factor_z, last_z):
                for j in range(y * factor_y, last_y):
                    for i in range(x * factor_x, min((x + 1) * factor_x, width)):
                        value = fine[n, k, j, i]
                        if np.isfinite(value):
                            total += value
                            count += 1
            coarse[n, z, y, x] = total / count if count else np.nan


@kernel
def count_values(values: Floats, low: float, high: float, counts: NDArray[np.int64]) -> None:
    """Add to `counts` how many values fall into each of its equal steps from `low` to `high`.

    As `numpy.histogram`: the last step holds `high` too; NaN and what is outside do not count.
    """
    steps = len(counts)
    scale = steps / (high - low)
    for k in range(len(values)):
        value = values[k]
        if low <= value <= high:
            counts[min(int((value - low) * scale), steps - 1)] += 1
