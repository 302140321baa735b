"""Means and variances in the window around every sample, of NumPy and CuPy arrays alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from math import frexp, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.ncc.device import namespace_of, ndimage_of
from napari_local_ncc.ncc.separable import window_taps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """What the window around every sample holds, weighted; NaN where it holds nothing.

    Parameters
    ----------
    mean, variance : tuple of array of float64
        Of fixed and of moving, over the samples that are valid in both; in units of
        intensity, and these squared.
    samples : array of float64
        How many samples a window is worth: (sum w)² / sum w² over the valid ones.
    """

    mean: tuple[Numbers, Numbers]
    variance: tuple[Numbers, Numbers]
    samples: Numbers


def window_moments(
    fixed: NDArray[Any],
    moving: NDArray[Any],
    *,
    radius: Sequence[int],
    weights: str,
    mask: NDArray[np.bool_] | None = None,
) -> Moments:
    """Compute means and variances of two images in the windows of an NCC.

    Parameters
    ----------
    fixed, moving : array, shape (...)
        Of any real dtype; NaN and inf are invalid samples.
    radius : sequence of int
        Window radius per axis in pixels; 0 = independent axis.
    weights : {"box", "gaussian"}
        As for `local_ncc`.
    mask : array of bool, shape (...), optional
        True where samples may be used.

    Returns
    -------
    Moments
        Of arrays of shape (...).
    """
    xp = namespace_of(fixed)
    valid = xp.isfinite(fixed) & xp.isfinite(moving)
    if mask is not None:
        valid &= mask
    known, samples = _weight_and_samples(valid, radius, weights)
    means, variances = zip(
        *(_mean_and_variance(image, valid, known, radius, weights) for image in (fixed, moving)),
        strict=True,
    )
    return Moments(means, variances, samples)


def window_samples(valid: NDArray[np.bool_], radius: Sequence[int], weights: str) -> Numbers:
    """Return how many samples every window is worth, as `Moments` has it."""
    return _weight_and_samples(valid, radius, weights)[1]


def _weight_and_samples(
    valid: NDArray[np.bool_], radius: Sequence[int], weights: str
) -> tuple[Numbers, Numbers]:
    """Return the valid share of every window, NaN for none, and how many samples it is worth."""
    xp = namespace_of(valid)
    weight = window_weight(valid, radius, weights)
    squares = weight if weights == "box" else window_weight(valid, radius, weights, power=2)
    known = xp.where(weight > 1e-12, weight, np.nan)
    return known, window_worth(radius, weights) * known**2 / squares


def window_mean(
    samples: NDArray[Any], radius: Sequence[int], weights: str, *, power: int = 1
) -> Numbers:
    """Return the weighted mean in every window, samples outside the image being 0.

    `power` is that of the weights: 1, or 2 for the squares that tell what they are worth.
    """
    xp, ndimage = namespace_of(samples), ndimage_of(samples)
    means: Numbers = xp.array(samples, np.float64)
    options: dict[str, Any] = {"output": means, "mode": "constant"}
    for axis, r in enumerate(radius):
        if not r:
            continue
        if weights == "box":
            ndimage.uniform_filter1d(means, 2 * r + 1, axis, **options)
        else:
            taps = window_taps(r, weights) ** power
            ndimage.correlate1d(means, xp.asarray(taps / taps.sum()), axis, **options)
    return means


def window_weight(
    valid: NDArray[np.bool_], radius: Sequence[int], weights: str, *, power: int = 1
) -> Numbers:
    """Return the share of every window that is valid; where these fill a box, from its sides."""
    xp = namespace_of(valid)
    axes = range(valid.ndim)
    others = [tuple(other for other in axes if other != axis) for axis in axes]
    sides: list[Any] = [valid.any(axis=beside) if beside else valid for beside in others]
    if prod(int(side.sum()) for side in sides) != int(xp.count_nonzero(valid)):
        return window_mean(valid, radius, weights, power=power)
    means = [
        window_mean(side, [r], weights, power=power) for side, r in zip(sides, radius, strict=True)
    ]
    found: Numbers = reduce(xp.multiply, xp.ix_(*means))
    return found


def mean_squared_step(
    image: NDArray[Any],
    *,
    radius: Sequence[int],
    weights: str,
    mask: NDArray[np.bool_] | None = None,
) -> Numbers:
    """Return the mean squared difference of neighbours in every window, summed over its axes.

    Of structure of variance v whose neighbours correlate by r it is 2 v (1 - r) along an axis;
    white noise adds twice its variance. 0 where no two neighbours are valid.
    """
    valid = np.isfinite(image) if mask is None else np.isfinite(image) & mask
    is_whole = bool(valid.all())
    samples = (image if is_whole else np.where(valid, image, 0)).astype(np.float64)
    total = np.zeros(samples.shape)
    for axis, r in enumerate(radius):
        if not r or samples.shape[axis] < 2:
            continue
        last = [(0, 1) if k == axis else (0, 0) for k in range(samples.ndim)]
        pairs = np.pad(np.diff(samples, axis=axis), last)
        known = np.pad(np.minimum(*_neighbours(valid, axis)), last)
        count = window_weight(known, radius, weights)
        pairs = np.where(known, pairs, 0.0)
        squares = window_mean(pairs**2, radius, weights)
        total += np.where(count > 1e-9, squares / np.maximum(count, 1e-9), 0.0)
    return total


def _neighbours(array: NDArray[Any], axis: int) -> tuple[NDArray[Any], NDArray[Any]]:
    lines = np.moveaxis(array, axis, 0)
    return np.moveaxis(lines[:-1], 0, axis), np.moveaxis(lines[1:], 0, axis)


def _mean_and_variance(
    image: NDArray[Any],
    valid: NDArray[np.bool_],
    weight: Numbers,
    radius: Sequence[int],
    weights: str,
) -> tuple[Numbers, Numbers]:
    xp = namespace_of(image)
    count = max(int(valid.sum()), 1)
    is_whole = count == valid.size
    samples = (image if is_whole else xp.where(valid, image, 0)).astype(np.float64)
    # The mean of a mean: sums of samples about it lose no digits, nor overflow.
    centre = float(xp.sum(samples / count))
    samples -= centre
    if not is_whole:
        samples[~valid] = 0
    peak = max(float(samples.max()), -float(samples.min())) if samples.size else 0.0
    scale = 2.0 ** -frexp(peak)[1]
    samples *= scale
    mean = window_mean(samples, radius, weights)
    mean /= weight
    variance = window_mean(xp.square(samples, out=samples), radius, weights)
    variance /= weight
    variance -= mean**2
    xp.maximum(variance, 0.0, out=variance)
    mean /= scale
    mean += centre
    variance /= scale  # twice, as its square may be beyond a number
    variance /= scale
    return mean, variance


def window_worth(radius: Sequence[int], weights: str) -> float:
    """Return what a window without invalid samples is worth."""
    taps = [window_taps(r, weights) for r in radius if r]
    return float(np.prod([t.sum() ** 2 / (t**2).sum() for t in taps]))
