"""Samples that tell of the camera and not of the scene: hot and dead pixels, cosmic rays."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi

from napari_local_ncc.evidence.noise import NoiseModel, noise_model

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Values = NDArray[np.floating]
    Index = tuple[NDArray[np.intp], ...]

BEYOND_NEIGHBOURS = 4.0  # standard deviations of noise and of fine structure
BEYOND_MEDIAN = 6.0
# times what the neighbours differ among themselves: no optics, sharp to sigma 0.7 px, leaves
# them so even around a point of light
ISOLATED = 6.0
COMPANIONS = 2  # neighbours that may be outliers, too, as of a cosmic ray's track
DENSEST_TRACKS, DENSEST = 0.005, 0.02  # share of the samples: more are structure
BULK, BULK_OF_NORMAL = 0.99, 2.576  # quantile that outliers do not reach, in sd of noise
NEGLIGIBLE = 1e-3  # of the image's sd: what stands out by less does no harm
DRAWN = 99_999  # samples, of which medians and quantiles are taken
FEWEST = 9  # samples of an image
NEAR = 3.0  # standard deviations beyond the mean around it, that an outlier has at least


def outliers(image: ArrayLike, valid: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Find isolated samples that no lens can have made: hot and dead pixels, cosmic rays.

    Parameters
    ----------
    image : array_like, shape (...)
        Real samples; NaN and infinite ones are invalid. Neighbours are those in the plane of
        the last two axes, as a camera's bad pixel is bad in every plane of a stack.
    valid : array_like of bool, shape (...), optional
        True where samples may be used.

    Returns
    -------
    array of bool, shape (...)
        True where a sample is higher than its neighbours by 4 standard deviations of noise
        (or of fine structure) and by 6 times what these differ among themselves, and than
        their median by 6 standard deviations; or lower. Two neighbours may be outliers, too,
        unless that makes more than 0.5 % of the samples: then thin lines are structure. Above
        2 % all are.
    """
    samples = np.asarray(image)
    found = np.zeros(samples.shape, bool)
    usable = np.isfinite(samples) if valid is None else np.isfinite(samples) & np.asarray(valid)
    count = np.count_nonzero(usable)
    if samples.ndim == 0 or count < FEWEST:
        return found
    kind = np.result_type(samples.dtype, np.float32).type
    middle = kind(np.median(samples[usable][:: max(1, count // DRAWN)]))
    values = np.where(usable, samples, middle)
    apart = np.abs(values - ndi.uniform_filter(values, _size(values.ndim), mode="nearest"))
    least = _scale(samples[usable], apart[usable])
    at = np.nonzero(usable & (apart > NEAR * least))
    # where nothing stands out from structure, nothing does from structure and noise
    if not at[0].size or not np.count_nonzero(_standing_out(values, at, least, COMPANIONS)):
        return found
    noise = noise_model(samples, usable)
    scale = float(np.fmax(least, noise.sd))
    at = np.nonzero(usable & (apart > NEAR * scale))
    for companions, densest in ((COMPANIONS, DENSEST_TRACKS), (0, DENSEST)):
        bad = _standing_out(values, at, scale, companions, noise)
        if np.count_nonzero(bad) <= densest * count:
            found[tuple(index[bad] for index in at)] = True
            break
    return found


def without_outliers(image: ArrayLike, found: NDArray[np.bool_]) -> Values:
    """Return a floating copy of an image with the samples `found` as the median around them."""
    samples = np.asarray(image)
    values = samples.astype(np.result_type(samples.dtype, np.float32))
    at = np.nonzero(found)
    if at[0].size:
        hidden = np.where(found, np.nan, values)
        with np.errstate(all="ignore"):
            middle = np.nanmedian(_neighbours(hidden, at), axis=-1)
        values[at] = np.where(np.isfinite(middle), middle, np.median(values[np.isfinite(values)]))
    return values


def _scale(known: NDArray[Any], apart: Values) -> float:
    """Return the sd of fine structure, or what is negligible where that is more."""
    drawn = apart[:: max(1, apart.size // DRAWN)]
    structure = float(np.quantile(drawn, BULK)) / BULK_OF_NORMAL
    return float(np.nanmax([structure, NEGLIGIBLE * np.std(known, dtype=np.float64)]))


def _size(ndim: int) -> list[int]:
    """Return how far neighbours reach: 3 x 3 in a plane, 5 on a line."""
    return [5] if ndim == 1 else [1] * (ndim - 2) + [3, 3]


def _steps(ndim: int) -> list[tuple[int, ...]]:
    """Return the way to each neighbour: 3 x 3 in a plane, 5 on a line."""
    if ndim == 1:
        return [(-2,), (-1,), (1,), (2,)]
    lead = (0,) * (ndim - 2)
    return [(*lead, *step) for step in product((-1, 0, 1), repeat=2) if any(step)]


def _neighbours(values: Values, at: Index) -> NDArray[np.float64]:
    """Return the samples around some, shape (sample, neighbour); repeated beyond the border."""
    columns = []
    for step in _steps(values.ndim):
        places = []
        for index, move, n in zip(at, step, values.shape, strict=True):
            places.append(np.clip(index + move, 0, n - 1))
        columns.append(values[tuple(places)])
    return np.stack(columns, axis=-1).astype(np.float64)


def _standing_out(
    values: Values, at: Index, scale: float, companions: int, noise: NoiseModel | None = None
) -> NDArray[np.bool_]:
    """Return which samples are far above or far below their neighbours, but for companions."""
    around, centre = _neighbours(values, at), values[at].astype(np.float64)
    above = _above(around, centre, scale, companions, noise)
    return above | _above(-around, -centre, scale, companions, noise)


def _above(
    around: NDArray[np.float64],
    centre: NDArray[np.float64],
    scale: float,
    companions: int,
    noise: NoiseModel | None,
) -> NDArray[np.bool_]:
    """Return which samples stand out from their neighbours, but for some companions."""
    ranked = np.sort(around, axis=-1)[:, : around.shape[-1] - min(companions, around.shape[-1] - 2)]
    highest, middle = ranked[:, -1], np.median(ranked, axis=-1)
    sd = scale if noise is None else np.fmax(scale, noise.sd_at(np.abs(middle)))
    return (
        (centre > highest + BEYOND_NEIGHBOURS * sd)
        & (centre > middle + BEYOND_MEDIAN * sd)
        & (centre - highest > ISOLATED * (highest - middle))
    )
