"""How much stronger the structure in a window is than around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.confidence.background import background_radius
from napari_local_ncc.confidence.even_light import smooth_power
from napari_local_ncc.ncc.moments import window_moments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEAST = 1e-6  # of a variance, as a share of that around


def relative_contrast(
    fixed: NDArray[Any],
    moving: NDArray[Any],
    *,
    radius: Sequence[int],
    weights: str = "box",
    mask: NDArray[np.bool_] | None = None,
    region: tuple[slice, ...] | None = None,
) -> NDArray[np.float32]:
    """Compare the variance in every window with that around it.

    Unrelated windows that one spot or edge rules reach high NCC by chance more often than
    even texture of the same grain does.

    Parameters
    ----------
    fixed, moving : array, shape (...)
        Two images of one shape; NaN and inf are invalid samples.
    radius : sequence of int
        Radius of the NCC's windows per axis; 0 = independent axis.
    weights : {"box", "gaussian"}
        Their weights.
    mask : array of bool, shape (...), optional
        True where samples may be used.
    region : tuple of slice, optional
        Where it is wanted; default: everywhere.

    Returns
    -------
    array of float32, shape of the region
        Natural logarithm of the ratio of standard deviations, that in the window over that
        around (see `smooth_power`), summed over both images. 0 where it is unknown.
    """
    where = region or (slice(None),) * fixed.ndim
    near = window_moments(fixed, moving, radius=radius, weights=weights, mask=mask)
    means = window_moments(
        fixed, moving, radius=background_radius(radius), weights="box", mask=mask
    ).mean
    unused = False if mask is None else ~mask
    ratio = np.ones(near.samples[where].shape)
    for image, mean, inner in zip((fixed, moving), means, near.variance, strict=True):
        rest = np.where(unused, np.nan, image - mean)
        outer = smooth_power(rest, radius=radius)[where]
        ratio *= np.maximum(inner[where] / np.where(outer > 0, outer, np.nan), LEAST)
    return np.where(np.isfinite(ratio), 0.5 * np.log(ratio), 0.0).astype(np.float32)
