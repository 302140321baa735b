"""The error of a shift along a single axis, where a window alone hardly tells its own.

A window of 5 samples holds little but what the fit of brightness, contrast and shift takes up:
its slopes and its noise are known badly, and the windows that seem sharpest by chance are those
that would be believed. So its error leans on those of the windows around; and where few of
these know a shift, one that does is taken to know it by chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import uniform_filter

from napari_local_ncc.shift.smoothing import AROUND, BESIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Flags = NDArray[np.bool_]

# Chosen on textures and lone features of seeds 46000 on.
LEAN = 0.2  # share of the logarithm of the error that is theirs
NOISE = 0.92  # of the noise, which the mean of the logarithms makes up for
KNOWN = 1 / 3  # share of the windows within `BESIDE` radii that must know a shift
LEAST_ERROR = 1e-6  # px, beyond which logarithms tell nothing


def lean_on_others(
    error: Numbers, windows: Flags, radius: Sequence[int], most: float
) -> tuple[Numbers, Flags]:
    """Let the error of a shift lean on that of the windows around.

    Parameters
    ----------
    error : array of float64, shape (1, ...)
        In px; NaN where a window has no shift.
    windows : array of bool, shape (...)
        Where there is a window at all.
    radius : sequence of int
        Window radius along each axis of the image, one of them above 0.
    most : float
        Error in px beyond which a shift is not known.

    Returns
    -------
    error : array of float64, shape (1, ...)
    is_lonely : array of bool, shape (...)
        Where few windows around know a shift.
    """
    capped = np.where(np.isfinite(error[0]), np.clip(error[0], LEAST_ERROR, most), most)
    typical = np.exp(_mean(np.log(capped), windows, [AROUND if r else 0 for r in radius]))
    found = np.sqrt(NOISE) * error[0] ** (1 - LEAN) * typical**LEAN
    share = _mean((found <= most).astype(np.float64), windows, [BESIDE * r for r in radius])
    return found[np.newaxis], share < KNOWN


def _mean(values: Numbers, windows: Flags, reach: Sequence[int]) -> Numbers:
    """Return the mean over the windows within reach; NaN where there is none."""
    options: dict[str, Any] = {"size": [2 * r + 1 for r in reach], "mode": "constant"}
    count = uniform_filter(windows.astype(np.float64), **options)
    total = uniform_filter(np.where(windows, values, 0.0), **options)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=windows)
