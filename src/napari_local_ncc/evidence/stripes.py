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
MANY = 10.0  # columns that must agree: fewer may be edges of the scene
FAR = 3.0  # robust standard deviations beyond which a second difference counts no more
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
    medians of many columns jump to and fro in the upper half as in the lower, the read-out made
    that. What changes smoothly, as layers of tissue or a flicker do, is left, and so are a few
    sharp edges, as the wall of a chip or the seam of tiles.
    """
    if image.ndim < 2 or min(image.shape[-2:]) < SHORTEST:
        return {}
    known = image if valid is None else np.where(valid, image, np.nan)
    found = {}
    for axis in (-1, -2):
        lines = np.moveaxis(known, axis, -1).reshape(-1, known.shape[axis])
        lines = lines[:: max(1, len(lines) // READ)]
        half = len(lines) // 2
        if _are_alike(medians(lines[:half]), medians(lines[half:])):
            profile = medians(lines)
            full = _filled(profile)
            own = full - ndi.gaussian_filter1d(full, BROAD, mode="nearest")
            found[axis] = np.where(np.isfinite(profile), own, 0)
    return found


def without_stripes(image: Values, found: dict[int, Profile]) -> Values:
    """Subtract what `stripes` found."""
    for axis, profile in found.items():
        image = image - profile.astype(image.dtype).reshape((-1,) + (1,) * (-axis - 1))
    return image


def medians(lines: Values) -> Profile:
    """Return the median of what is finite of each column; NaN where nothing is."""
    if np.isfinite(lines).all():
        return np.asarray(np.median(lines, axis=0), np.float64)
    empty = ~np.isfinite(lines).any(axis=0)
    filled = np.where(empty, 0, lines)
    return np.where(empty, np.nan, np.nanmedian(filled, axis=0))


def _filled(profile: Profile) -> Profile:
    """Interpolate where a profile is unknown."""
    known, place = np.isfinite(profile), np.arange(profile.size)
    return np.interp(place, place[known], profile[known])


def _are_alike(one: Profile, two: Profile) -> bool:
    """Whether two profiles jump alike from one sample to the next, in many places.

    How many is Kish's effective number of the products that make the correlation.
    """
    changes = [np.diff(profile, 2) for profile in (one, two)]
    known = np.isfinite(changes[0]) & np.isfinite(changes[1])
    count = int(np.count_nonzero(known))
    if count + 2 < SHORTEST:
        return False
    first, second = (_bounded(change, known) for change in changes)
    if not (first.any() and second.any()) or np.vdot(first[1:], first[:-1]) > 0:
        return False
    products = first * second
    if products.sum() ** 2 < MANY * np.square(products).sum():
        return False
    worth = samples_per_independent_one(first, second)
    free = count / worth - 3 if np.isfinite(worth) else 0.0
    return bool(pearson(first[known], second[known]) * np.sqrt(max(free, 0)) > CERTAIN)


def _bounded(change: Profile, known: Flags) -> Profile:
    """Clip second differences at `FAR` robust standard deviations; 0 where unknown."""
    bound = FAR * 1.4826 * float(np.median(np.abs(change[known])))
    return np.where(known, np.clip(change, -bound, bound), 0)
