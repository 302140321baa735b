"""Images of another contrast, brought to fixed's where their intensities tell it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.evidence.contrast_curve import ContrastCurve
from napari_local_ncc.evidence.pearson import pearson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.registration.affine.sampled_image import Sampled

LEVELS = 32  # quantiles of moving's intensities
FEWEST = 20  # samples of each
CURVED = 0.25  # share of what a line leaves unexplained that a curve must explain
NOTICEABLE = 0.01  # of the variance


def in_contrast_of(
    fixed: NDArray[np.float32], moved: NDArray[np.float32], moving: Sampled
) -> Sampled:
    """Return moving with the mean that fixed has for each of its intensities, if a curve helps.

    Parameters
    ----------
    fixed, moved : ndarray of float32, shape (...)
        Both images where they are registered; NaN where there is none.
    moving : Sampled
        The image to bring to fixed's contrast.

    Returns
    -------
    Sampled
        `moving` itself where a line, of either sign, tells as much (gain and offset do not
        matter to what follows), or where there are too few samples.
    """
    both = np.isfinite(fixed) & np.isfinite(moved)
    a, b = fixed[both].astype(np.float64), moved[both].astype(np.float64)
    number = min(LEVELS, a.size // FEWEST)
    if number < 4 or not (a.std() > 0 and b.std() > 0):
        return moving
    line = pearson(a - a.mean(), b - b.mean()) ** 2
    curve = ContrastCurve.of(b, a, number)
    if curve.explained - line < max(NOTICEABLE, CURVED * (1 - line)):
        return moving
    values = np.interp(moving.values, curve.intensities, curve.means)
    return replace(moving, values=values.astype(np.float32))
