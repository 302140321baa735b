"""Local NCC as separable sums of products: the readable form of the definition.

It serves any array namespace with an `ndimage` of its own (SciPy, CuPy) and is the
oracle that the fused kernels are tested against.
"""

from __future__ import annotations

from functools import reduce
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.ndimage

from napari_local_ncc.ncc.device import as_floats

if TYPE_CHECKING:
    from types import ModuleType

EPSILON = float(np.finfo(np.float64).eps)
CANCELLED = (
    1e-7  # of what is squared and summed: a variance below it is taken anew, from differences
)
NEAR = 1e-6  # of a floor: what lies that close to it, too
GATHERED = 2**22  # samples of windows that are looked at one by one, at a time


def ncc_by_filters(
    fixed: Any,
    moving: Any,
    mask: Any = None,
    *,
    radius: tuple[int, ...],
    weights: str,
    min_std: float,
    min_valid: float,
    xp: ModuleType = np,
    ndimage: ModuleType = scipy.ndimage,
) -> Any:
    """Compute the local NCC from five separable window sums.

    Parameters
    ----------
    fixed, moving : array
        Images of one shape, any real dtype.
    mask : bool array of that shape, optional
        True where samples may be used.
    radius : tuple of int
        Window radius per axis in pixels; 0 = independent axis.
    weights : {"box", "gaussian"}
        Window weights; Gaussian with sigma = radius / 3, cut off at the radius.
    min_std : float
        Undefined where either standard deviation is at or below this.
    min_valid : float
        Least valid share of the window's weight inside the image.
    xp, ndimage : module
        The array namespace and its ndimage, e.g. `cupy` and `cupyx.scipy.ndimage`.

    Returns
    -------
    array of float32
        NCC in [-1, 1], same shape, NaN where undefined.

    Notes
    -----
    The sums are direct, not running: what leaves a window leaves no trace. Both images
    are centred on their own mean, since ncc ignores offsets and E[x^2] - E[x]^2 cancels
    on large ones. Where it cancels all the same, in faint windows beside bright ones, the
    window is taken sample by sample.
    """

    def window_sum(samples: Any, taps_of: Any = None) -> Any:
        for axis, r in enumerate(radius):
            if r:
                taps = xp.asarray((taps_of or window_taps)(r, weights))
                samples = ndimage.correlate1d(samples, taps, axis, mode="constant", cval=0.0)
        return samples

    a, b = (as_floats(image) for image in (fixed, moving))
    valid = xp.isfinite(a) & xp.isfinite(b)
    if mask is not None:
        valid &= mask
    a, scale_a = _centre(a, valid, xp)
    b, scale_b = _centre(b, valid, xp)

    weight = window_sum(valid.astype(np.float64))
    inside = window_sum(xp.ones(a.shape))
    count = window_sum(valid.astype(np.float64), lambda r, _: np.ones(2 * r + 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_a, mean_b, mean_aa, mean_bb, mean_ab = (
            window_sum(samples) / weight for samples in (a, b, a * a, b * b, a * b)
        )
        var_a = mean_aa - mean_a * mean_a
        var_b = mean_bb - mean_b * mean_b
        taps = prod(2 * r + 1 for r in radius)
        defined = valid & (weight >= min_valid * inside * (1 - EPSILON * taps)) & (count > 2.5)
        sure, flat = defined, xp.zeros(a.shape, bool)
        for var, mean_square, scale in ((var_a, mean_aa, scale_a), (var_b, mean_bb, scale_b)):
            floor = (min_std / scale) ** 2
            determined = var > CANCELLED * mean_square
            sure = sure & determined & (var > floor * (1 + NEAR))
            flat |= determined & (var < floor * (1 - NEAR))
        ncc = xp.clip((mean_ab - mean_a * mean_b) / xp.sqrt(var_a * var_b), -1.0, 1.0)
    ncc = xp.where(sure, ncc, np.nan)
    images = [(image.astype(np.float64), min_std) for image in (fixed, moving)]
    unsure = defined & ~sure & ~flat
    if unsure.any():  # a window of one value has nothing to gather
        size = [2 * r + 1 for r in radius]
        for image in (fixed, moving):
            unsure &= ~_is_constant(as_floats(image), valid, size, xp, ndimage)
    places = xp.argwhere(unsure)
    step = max(1, GATHERED // taps)
    for first in range(0, len(places), step):
        some = places[first : first + step]
        ncc[tuple(some.T)] = _ncc_one_by_one(images, valid, some, radius, weights, xp)
    return ncc.astype(np.float32)


def _is_constant(image: Any, valid: Any, size: list[int], xp: ModuleType, ndimage: Any) -> Any:
    """Tell of every window whether all of its valid samples have one value."""
    low, high = (xp.where(valid, image, nothing) for nothing in (np.inf, -np.inf))
    # beyond a border, the nearest sample is one of the window's own
    least = ndimage.minimum_filter(low, size, mode="nearest")
    return least >= ndimage.maximum_filter(high, size, mode="nearest")


def _ncc_one_by_one(
    images: list[tuple[Any, float]],
    valid: Any,
    places: Any,
    radius: tuple[int, ...],
    weights: str,
    xp: ModuleType,
) -> Any:
    """Return the NCC of the windows at some places, shape (places, axes), in two passes.

    From differences to their centres, in units of the largest: NaN where there is none, or the
    standard deviation is at or below the floor that comes with an image.
    """
    lines = [window_taps(r, weights) if r else np.ones(1) for r in radius]
    sides = [len(line) for line in lines]
    offsets = np.stack(np.unravel_index(np.arange(prod(sides)), sides), axis=-1) - radius
    taps = reduce(np.multiply.outer, lines).ravel()
    at = places[:, np.newaxis] + xp.asarray(offsets)
    last = xp.asarray(valid.shape) - 1
    within = ((at >= 0) & (at <= last)).all(axis=-1)
    index = tuple(xp.clip(at, 0, last)[..., axis] for axis in range(len(radius)))
    weight = xp.where(within & valid[index], xp.asarray(taps), 0.0)
    total = weight.sum(axis=1, keepdims=True)
    deviations, defined = [], xp.ones(len(places), bool)
    for image, floor in images:
        known = xp.where(weight > 0, image[index], 0.0)
        away = xp.where(weight > 0, known - image[tuple(places.T)][:, np.newaxis], 0.0)
        peak = xp.abs(away).max(axis=1, keepdims=True)
        away = xp.where(weight > 0, away - (weight * away).sum(axis=1, keepdims=True) / total, 0.0)
        away = away / xp.where(peak > 0, peak, 1.0)
        variance = (weight * away**2).sum(axis=1) / total[:, 0]
        defined &= (peak[:, 0] > 0) & (xp.sqrt(variance) * peak[:, 0] > floor)
        deviations.append(away / xp.sqrt(xp.where(variance > 0, variance, 1.0))[:, np.newaxis])
    ncc = (weight * deviations[0] * deviations[1]).sum(axis=1) / total[:, 0]
    return xp.where(defined, xp.clip(ncc, -1.0, 1.0), np.nan)


def window_taps(radius: int, weights: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the 2 * radius + 1 window weights along one axis, the largest being 1."""
    if weights == "box":
        return np.ones(2 * radius + 1)
    offset = np.arange(-radius, radius + 1)
    return np.exp(-0.5 * (3.0 * offset / radius) ** 2)


def _centre(image: Any, valid: Any, xp: ModuleType) -> tuple[Any, float]:
    image = xp.where(valid, image, 0.0)
    # A power of two costs no digits and keeps the squares of any finite number finite.
    _, exponent = np.frexp(float(xp.abs(image).max()))
    scale = float(np.ldexp(1.0, int(exponent)))
    image = image / scale
    mean = image.sum() / xp.maximum(valid.sum(), 1)
    return xp.where(valid, image - mean, 0.0), scale
