"""Effective samples by window sums of whole arrays, as a GPU does: `samples` in filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_local_ncc.confidence.autocorrelation_kernel import (
    LEAST_PRODUCT,
    LEAST_SUM,
    LEAST_VARIANCE,
)
from napari_local_ncc.confidence.texture_windows import (
    FLAT,
    is_narrow,
    long_lags,
    long_weights,
    valid_samples,
    wide_reach,
)
from napari_local_ncc.ncc.device import as_floats, namespace_of, ndimage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class _Pairs(NamedTuple):
    """Of the neighbours at a lag in every window: the mean squared differences, and how many."""

    differences: tuple[Any, Any]
    count: Any


def effective_samples_by_filters(
    fixed: Any,
    moving: Any,
    mask: Any | None = None,
    *,
    radius: tuple[int, ...],
    weights: str,
    region: tuple[slice, ...],
) -> Any:
    """Compute `samples.effective_samples` of arrays of any namespace, which says what it is.

    Sums are direct, as those of the kernel are that do not slide.
    """
    xp, ndimage = namespace_of(fixed), ndimage_of(fixed)
    reach, lags = wide_reach(radius), long_lags(radius)
    around = tuple(
        slice(max(part.start - r, 0), part.stop + r + lag)
        for part, r, lag in zip(region, reach, lags, strict=True)
    )
    here = tuple(
        slice(part.start - a.start, part.stop - a.start)
        for part, a in zip(region, around, strict=True)
    )
    fixed, moving = as_floats(fixed[around]), as_floats(moving[around])
    valid = xp.isfinite(fixed) & xp.isfinite(moving)
    if mask is not None:
        valid &= mask[around]
    weight = valid.astype(np.float64)

    def window_sum(values: Any) -> Any:
        for axis, r in enumerate(reach):
            if r:
                taps = xp.ones(2 * min(r, values.shape[axis] - 1) + 1)
                values = ndimage.correlate1d(values, taps, axis, mode="constant")
        return values[here]

    images = [_centre(image, valid) for image in (fixed, moving)]
    share = _independent_share(images, weight, window_sum, radius)
    share *= valid_samples(weight, radius, weights)[here]
    return xp.where(valid[here], share, np.nan).astype(np.float32)


def _centre(samples: Any, valid: Any) -> Any:
    """Return samples less their median, the largest being 1 or -1; 0 where invalid."""
    xp = namespace_of(samples)
    known = samples[valid].astype(np.float64)
    if not known.size:
        return xp.zeros(samples.shape)
    centre = float(xp.median(known[:: max(1, known.size // 1001)])) / 2
    half = max(float(known.max()) / 2 - centre, centre - float(known.min()) / 2)
    values = samples.astype(np.float64) / 2 - centre  # the whole span may exceed any number
    return xp.where(valid, values / (half or 1.0), 0.0)


def _independent_share(
    images: Sequence[Any],
    weight: Any,
    window_sum: Callable[[Any], Any],
    radius: tuple[int, ...],
) -> Any:
    """Return which share of the samples in every window counts as independent."""
    xp = namespace_of(weight)
    lags, narrow = long_lags(radius), is_narrow(radius)
    windowed = [axis for axis, r in enumerate(radius) if r]
    count = window_sum(weight)
    known, variances = count > 2.5, []
    for image in images:
        square = window_sum(image * image) / xp.maximum(count, 1.0)
        variance = square - (window_sum(image) / xp.maximum(count, 1.0)) ** 2
        known &= variance > FLAT * square
        variances.append(variance)
    far = {axis: _pairs(images, weight, window_sum, axis, lags[axis]) for axis in windowed}
    if narrow:
        variances = [_variance_within(k, far, v) for k, v in enumerate(variances)]
    whole = variances[0] * variances[1]
    share = xp.where(known, 1.0, np.nan)
    for axis in windowed:
        near = _pairs(images, weight, window_sum, axis, 1)
        joint = xp.maximum(_product(near, variances), LEAST_PRODUCT * whole)
        joint += long_weights(radius)[axis] * xp.maximum(_product(far[axis], variances), 0.0)
        share *= whole / xp.where(known, xp.maximum(whole + 2 * joint, LEAST_SUM * whole), 1.0)
    return share


def _pairs(
    images: Sequence[Any], weight: Any, window_sum: Callable[[Any], Any], axis: int, lag: int
) -> _Pairs:
    """Compare the samples of every window with those a lag behind them."""
    xp = namespace_of(weight)
    first, second = (
        tuple(part if k == axis else slice(None) for k in range(weight.ndim))
        for part in (slice(0, max(weight.shape[axis] - lag, 0)), slice(lag, None))
    )

    def of_windows(values: Any) -> Any:
        placed = xp.zeros(weight.shape)
        placed[first] = values
        return window_sum(placed)

    both = weight[first] * weight[second]
    count = of_windows(both)
    one, other = (
        of_windows((image[second] - image[first]) ** 2 * both) / xp.maximum(count, 1.0)
        for image in images
    )
    return _Pairs((one, other), count)


def _product(pairs: _Pairs, variances: Sequence[Any]) -> Any:
    """Return the product of the two images' autocovariances; 0 where there are no pairs."""
    xp = namespace_of(pairs.count)
    one, other = (
        xp.maximum(variance - difference / 2, -variance)
        for variance, difference in zip(variances, pairs.differences, strict=True)
    )
    return xp.where(pairs.count > 0.5, one * other, 0.0)


def _variance_within(image: int, far: dict[int, _Pairs], variance: Any) -> Any:
    """Return half the mean squared difference at the long lags: what narrow windows hold."""
    xp = namespace_of(variance)
    total, axes = xp.zeros(variance.shape), xp.zeros(variance.shape)
    for pairs in far.values():
        is_known = pairs.count > 0.5
        total += xp.where(is_known, pairs.differences[image], 0.0)
        axes += 2.0 * is_known
    within = xp.maximum(total / xp.maximum(axes, 1.0), LEAST_VARIANCE * variance)
    return xp.where(axes > 0, within, variance)
