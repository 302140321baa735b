"""The samples of an image that show the scene: without bad pixels and what was not measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi

from napari_local_ncc.evidence.burnt_in import burnt_in
from napari_local_ncc.evidence.outliers import outliers, without_outliers
from napari_local_ncc.evidence.plateaus import plateaus
from napari_local_ncc.evidence.stripes import stripes, without_stripes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Flags = NDArray[np.bool_]

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
        False where samples are invalid, or lie in a rim, a saturated area or a label; None: all
        valid.
    remark : str
        What was left out or replaced; empty if nothing.
    """

    values: NDArray[np.generic]
    valid: Flags | None
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
    return _without_bad(samples, *_measured(samples, _known(samples, valid)))


def usable_pair(
    fixed: ArrayLike,
    moving: ArrayLike,
    fixed_valid: ArrayLike | None = None,
    moving_valid: ArrayLike | None = None,
) -> tuple[UsableSamples, UsableSamples]:
    """Find the samples of both images that show the scene, without labels drawn into both.

    Parameters are as for `usable_samples`; see `burnt_in`.
    """
    images = np.asarray(fixed), np.asarray(moving)
    known = [_known(*each) for each in zip(images, (fixed_valid, moving_valid), strict=True)]
    one, two = (_measured(*each) for each in zip(images, known, strict=True))
    # the bars and boxes of a label are areas of one value, too; a rim is none
    rims = [_at_border(all_ & ~kept) for all_, (kept, _) in zip(known, (one, two), strict=True)]
    drawn = burnt_in(*images, *(all_ & ~rim for all_, rim in zip(known, rims, strict=True)))
    if drawn is not None:
        said = f"{np.mean(drawn):.1%} drawn into both images left out"
        one, two = (
            (kept & ~drawn, "; ".join(filter(None, (why, said)))) for kept, why in (one, two)
        )
    return _without_bad(images[0], *one), _without_bad(images[1], *two)


def _known(samples: NDArray[Any], valid: ArrayLike | None) -> Flags:
    return np.isfinite(samples) if valid is None else np.isfinite(samples) & np.asarray(valid)


def _measured(samples: NDArray[Any], known: Flags) -> tuple[Flags, str]:
    """Return where an image was measured, and what is left out."""
    areas = plateaus(samples, known)
    kept = known & ~areas.missing
    if int(np.count_nonzero(kept)) < min(LEAST, int(np.count_nonzero(known))):
        return known, ""
    return kept, f"{areas.describe()} left out" if areas.describe() else ""


def _at_border(flags: Flags) -> Flags:
    """Return the parts of an area that touch the border of their plane."""
    if flags.ndim < 2 or not flags.any():
        return flags
    border = flags.copy()
    border[..., 1:-1, 1:-1] = False
    return np.asarray(ndi.binary_propagation(border, mask=flags))


def _without_bad(samples: NDArray[Any], kept: Flags, said: str) -> UsableSamples:
    """Replace outliers, and even lines and columns."""
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
