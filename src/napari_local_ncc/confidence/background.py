"""Structure above a smooth background, such as uneven light leaves in both images."""

from __future__ import annotations

from functools import lru_cache
from math import frexp
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.ncc.device import namespace_of, ndimage_of
from napari_local_ncc.ncc.moments import window_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Numbers = NDArray[np.float64]

# The background is a parabola along every axis, fitted within so many radii of the window,
# at least so many pixels (of planes, and of volumes, where neighbours cost more): wide
# enough to keep what a window can tell apart, narrow enough to follow a vignette.
RADII, LEAST = 4, 16
RADII_OF_VOLUMES, LEAST_OF_VOLUMES = 2, 10
DEGREE = 2
LEAST_PEAK, MOST_PEAK = 1e-25, 1e35  # between which float32 holds values, and differences of these


def background_radius(radius: Sequence[int]) -> tuple[int, ...]:
    """Return within how many pixels of a sample its background is found, per axis."""
    is_volume = sum(r > 0 for r in radius) == 3
    times, least = (RADII_OF_VOLUMES, LEAST_OF_VOLUMES) if is_volume else (RADII, LEAST)
    return tuple(max(times * r, least) if r else 0 for r in radius)


def without_smooth_background(
    image: ArrayLike, *, radius: Sequence[int], mask: ArrayLike | None = None
) -> NDArray[np.float32]:
    """Take a smooth background away, so that what windows hold above it can be judged.

    Parameters
    ----------
    image : array_like, shape (...)
        Of any real dtype; NaN and inf are invalid samples.
    radius : sequence of int
        Radius of the NCC's windows per axis; 0 = independent axis.
    mask : array_like of bool, shape (...), optional
        True where samples may be used.

    Returns
    -------
    array of float32, shape (...)
        The image less its background: NaN where a sample is invalid.

    Notes
    -----
    The background is the value at each sample of a parabola along every axis in turn,
    fitted by least squares within `background_radius` (Savitzky and Golay, Anal. Chem. 36,
    1627, 1964), at the image's border on one side. Anything quadratic is taken away exactly.
    """
    xp = namespace_of(image)
    samples = xp.asarray(image)
    valid = xp.isfinite(samples)
    if mask is not None:
        valid &= xp.asarray(mask)
    reach = background_radius(radius)
    values: Numbers = xp.where(valid, samples, 0).astype(np.float64)
    values -= float(xp.sum(values / max(int(valid.sum()), 1)))
    if not valid.all():
        values = xp.where(valid, values, _plane_around(values, valid, reach))
    level = values
    for axis, r in enumerate(reach):
        if r and samples.shape[axis] > DEGREE + 1:
            level = _fit(level, r, axis)
    rest: NDArray[np.float32] = xp.where(valid, values - level, np.nan).astype(np.float32)
    return rest


def scaled_to_float32(image: ArrayLike, mask: ArrayLike | None = None) -> NDArray[Any]:
    """Return an image, times a power of 2 where float32 would not hold its values.

    Whatever has no unit of intensity does not follow from it. Nor do values from outside the
    `mask` count, as a file's number for no data.
    """
    xp = namespace_of(image)
    samples: NDArray[Any] = xp.asarray(image)
    if samples.dtype.kind != "f" or samples.dtype.itemsize <= np.dtype(np.float32).itemsize:
        return samples
    size = xp.abs(samples)
    valid = xp.isfinite(size) if mask is None else xp.isfinite(size) & xp.asarray(mask)
    peak = float(xp.max(size[valid], initial=0.0))
    if not peak or LEAST_PEAK < peak < MOST_PEAK:
        return samples
    return xp.ldexp(samples, -frexp(peak)[1])


def _plane_around(values: Numbers, valid: NDArray[np.bool_], reach: Sequence[int]) -> Numbers:
    """Return at every sample the plane through the valid samples around it, axis by axis."""
    xp = namespace_of(values)
    weight = window_mean(valid, reach, "box")
    known = xp.maximum(weight, 1e-12)
    values = xp.where(valid, values, 0.0)
    mean = window_mean(values, reach, "box") / known
    level = mean.copy()
    for axis, r in enumerate(reach):
        if not r:
            continue
        n = values.shape[axis]
        x = xp.arange(n).reshape([-1 if k == axis else 1 for k in range(values.ndim)]) - n / 2
        middle = window_mean(valid * x, reach, "box") / known
        spread = window_mean(valid * x**2, reach, "box") / known - middle**2
        tilt = window_mean(values * x, reach, "box") / known - middle * mean
        wide = spread > (r / 4) ** 2  # narrower, a slope is that of noise
        level += xp.where(wide, tilt / xp.where(wide, spread, 1.0) * (x - middle), 0.0)
    found: Numbers = xp.where(weight > 1e-9, level, 0.0)
    return found


def _fit(values: Numbers, reach: int, axis: int) -> Numbers:
    """Return the parabola's value at every sample along an axis."""
    xp, ndimage = namespace_of(values), ndimage_of(values)
    n = values.shape[axis]
    lines: Numbers = xp.moveaxis(values, axis, -1)
    if n <= 2 * reach + 1:
        level: Numbers = xp.moveaxis(lines @ xp.asarray(_whole_line(n, reach).T), -1, axis)
        return level
    level = ndimage.correlate1d(values, xp.asarray(_weights(reach, reach)), axis)
    along = xp.moveaxis(level, axis, -1)
    for i in range(reach):
        taps = xp.asarray(_weights(i, reach))
        along[..., i] = lines[..., : taps.size] @ taps
        along[..., n - 1 - i] = lines[..., n - taps.size :] @ taps[::-1]
    return level


@lru_cache(maxsize=256)
def _weights(before: int, after: int) -> Numbers:
    """Return the weights of samples `before` and `after` a point in the parabola's value there."""
    x = np.arange(-before, after + 1)
    powers = np.vander(x / max(before, after, 1), DEGREE + 1, increasing=True)
    return np.asarray(np.linalg.pinv(powers)[0])


@lru_cache(maxsize=8)
def _whole_line(n: int, reach: int) -> Numbers:
    """Return the same for all points of a line that is not longer than the fit reaches."""
    found = np.zeros((n, n))
    for i in range(n):
        low, high = max(i - reach, 0), min(i + reach, n - 1)
        found[i, low : high + 1] = _weights(i - low, high - i)
    return found
