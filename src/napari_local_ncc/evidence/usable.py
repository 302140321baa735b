"""The samples of an image that show the scene: without bad pixels and what was not measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.evidence.outliers import outliers, without_outliers
from napari_local_ncc.evidence.plateaus import plateaus
from napari_local_ncc.evidence.stripes import stripes, without_stripes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LEAST = 64  # samples without which all of an image is kept


@dataclass(frozen=True, slots=True, eq=False)
class UsableSamples:
    """An image as it is fit to be compared.

    Attributes
    ----------
    values : ndarray
        The samples, outliers replaced by the median around them, and columns and lines of
        their own brightness evened; the image itself where there are none.
    valid : ndarray of bool or None
        False where samples are invalid, or lie in a rim or a saturated area; None: all valid.
    remark : str
        What was left out or replaced; empty if nothing.
    """

    values: NDArray[np.generic]
    valid: NDArray[np.bool_] | None
    remark: str


def usable_samples(image: ArrayLike, valid: ArrayLike | None = None) -> UsableSamples:
    """Find the samples of an image that show the scene.

    Parameters
    ----------
    image : array_like, shape (...)
        Real samples; NaN and infinite ones are invalid.
    valid : array_like of bool, shape (...), optional
        True where samples may be used.
    """
    samples = np.asarray(image)
    known = np.isfinite(samples) if valid is None else np.isfinite(samples) & np.asarray(valid)
    areas = plateaus(samples, known)
    kept = known & ~areas.missing
    if int(np.count_nonzero(kept)) < min(LEAST, int(np.count_nonzero(known))):
        kept, said = known, ""
    else:
        said = f"{areas.describe()} left out" if areas.describe() else ""
    bad = outliers(samples, kept)
    number = np.count_nonzero(bad)
    if number:
        samples = without_outliers(samples, bad)
        replaced = f"{number} outlying sample{'s' if number > 1 else ''} replaced"
        said = "; ".join(filter(None, (said, replaced)))
    lines = stripes(samples, None if kept.all() else kept)
    if lines:
        samples = without_stripes(samples.astype(np.result_type(samples.dtype, np.float32)), lines)
        names = " and ".join({-1: "columns", -2: "lines"}[axis] for axis in lines)
        said = "; ".join(filter(None, (said, f"{names} of their own brightness evened")))
    return UsableSamples(samples, None if kept.all() else kept, said)
