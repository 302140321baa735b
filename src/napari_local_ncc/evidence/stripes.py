"""Columns and lines of their own brightness, as a read-out makes them: found, and evened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_local_ncc.evidence.pearson import pearson
from napari_local_ncc.evidence.samples import samples_per_independent_one

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.floating]
    Flags = NDArray[np.bool_]
    Profile = NDArray[np.float64]

CERTAIN = 6.0  # standard errors of the correlation of both halves
SHORTEST = 32  # px of both axes of a plane
READ = 256  # lines that a profile is the median of
BROAD = 8.0  # px: sd of the Gaussian; what is broader than that may be the scene's


def stripes(image: Values, valid: Flags | None = None) -> dict[int, Profile]:
    """Find what columns or lines of a plane have that their neighbours do not.

    Parameters
    ----------
    image : ndarray of float, shape (..., rows, columns)
        Finite where valid. Other axes than the last two are read through.
    valid : ndarray of bool, shape (..., rows, columns), optional
        True where samples count.

    Returns
    -------
    dict of int to ndarray of float64
        By axis (-1: a profile of columns, -2: of lines) what is to be subtracted along it.
        Empty where there is nothing.

    Notes
    -----
    A scene's halves show different things, and change little from pixel to pixel. Where the
    medians of columns jump to and fro in the upper half as in the lower, the read-out made that.
    What changes smoothly, as layers of tissue or a flicker do, is left.
    """
    if image.ndim < 2 or min(image.shape[-2:]) < SHORTEST:
        return {}
    known = image if valid is None else np.where(valid, image, np.nan)
    found = {}
    for axis in (-1, -2):
        lines = np.moveaxis(known, axis, -1).reshape(-1, known.shape[axis])
        lines = lines[:: max(1, len(lines) // READ)]
        half = len(lines) // 2
        halves = [_medians(part) for part in (lines[:half], lines[half:])]
        if all(np.isfinite(part).all() for part in halves) and _are_alike(*halves):
            profile = _medians(lines)
            found[axis] = profile - ndi.gaussian_filter1d(profile, BROAD, mode="nearest")
    return found


def without_stripes(image: Values, found: dict[int, Profile]) -> Values:
    """Subtract what `stripes` found."""
    for axis, profile in found.items():
        image = image - profile.astype(image.dtype).reshape((-1,) + (1,) * (-axis - 1))
    return image


def _medians(lines: Values) -> Profile:
    """Return the median of each column."""
    if np.isfinite(lines).all():
        return np.asarray(np.median(lines, axis=0), np.float64)
    empty = ~np.isfinite(lines).any(axis=0)
    filled = np.where(empty, 0, lines)
    return np.where(empty, np.nan, np.nanmedian(filled, axis=0))


def _are_alike(one: Profile, two: Profile) -> bool:
    """Whether two profiles jump alike from one sample to the next."""
    first, second = (np.diff(profile, 2) for profile in (one, two))
    if not (first.any() and second.any()) or np.vdot(first[1:], first[:-1]) > 0:
        return False
    worth = samples_per_independent_one(first, second)
    free = first.size / worth - 3 if np.isfinite(worth) else 0.0
    return bool(pearson(first, second) * np.sqrt(max(free, 0)) > CERTAIN)
