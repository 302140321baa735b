"""The definition, pixel by pixel: two passes in float64 over clipped windows."""

from __future__ import annotations

import itertools

import numpy as np


def brute_force_ncc(fixed, moving, mask=None, *, radius, weights="box", min_std=0.0, min_valid=0.5):
    """Compute the local NCC straight from its definition."""
    fixed, moving = _in_float64(fixed), _in_float64(moving)
    radius = (radius,) * fixed.ndim if np.isscalar(radius) else radius
    valid = np.isfinite(fixed) & np.isfinite(moving)
    if mask is not None:
        valid &= mask
    result = np.full(fixed.shape, np.nan)
    for p in itertools.product(*map(range, fixed.shape)):
        window = tuple(slice(max(i - r, 0), i + r + 1) for i, r in zip(p, radius, strict=True))
        inside = _weights(p, window, fixed.shape, radius, weights)
        use = valid[window]
        w = inside[use]
        if not valid[p] or use.sum() < 3 or w.sum() < min_valid * inside.sum() * (1 - 1e-12):
            continue
        result[p] = _pearson(fixed[window][use], moving[window][use], w / w.sum(), min_std)
    return result


def _in_float64(image):
    """Convert an image; of integers that float64 cannot hold, what is above the lowest."""
    image = np.asarray(image)
    if image.dtype.kind in "iu" and image.size and np.abs(image.astype(object)).max() > 2**53:
        return (image.astype(object) - int(image.min())).astype(np.float64)
    return image.astype(np.float64)


def _weights(p, window, shape, radius, weights):
    per_axis = []
    for i, s, n, r in zip(p, window, shape, radius, strict=True):
        offset = np.arange(s.start, min(s.stop, n)) - i
        gaussian = weights == "gaussian" and r > 0
        per_axis.append(np.exp(-0.5 * (3 * offset / r) ** 2) if gaussian else np.ones(len(offset)))
    product = per_axis[0]
    for w in per_axis[1:]:
        product = np.multiply.outer(product, w)
    return product


def _pearson(a, b, w, min_std):
    # Constant samples are flat by eye, whatever a rounded mean says.
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    a, b = a - a.min(), b - b.min()
    a, b = a - (w * a).sum(), b - (w * b).sum()
    std_a, std_b = np.sqrt((w * a * a).sum()), np.sqrt((w * b * b).sum())
    if std_a <= min_std or std_b <= min_std:
        return np.nan
    return (w * a * b).sum() / (std_a * std_b)
