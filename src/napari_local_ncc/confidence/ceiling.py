"""The NCC that noise leaves of identical structure."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.confidence.local_noise import noise_around
from napari_local_ncc.evidence.noise import noise_model
from napari_local_ncc.ncc.dispatch import as_images
from napari_local_ncc.ncc.moments import window_moments
from napari_local_ncc.parameters import check_radius, check_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


def noise_ceiling(
    fixed: ArrayLike,
    moving: ArrayLike,
    *,
    radius: int | Sequence[int] = 4,
    weights: str = "box",
    mask: ArrayLike | None = None,
) -> NDArray[np.float32]:
    """Return the NCC that identical structure would reach in the noise of two images.

    Parameters
    ----------
    fixed, moving : array_like, shape (...)
        Of any real dtype; NaN and inf are invalid samples. Not resampled: interpolation hides
        noise.
    radius : int or sequence of int, default 4
        Window radius in pixels, as for `local_ncc`; every index of an axis of radius 0 has
        noise of its own.
    weights : {"box", "gaussian"}, default "box"
        Window weights; as for `local_ncc`.
    mask : array_like of bool, shape (...), optional
        True where samples may be used.

    Returns
    -------
    array of float32, shape (...)
        In [0, 1]: the root of the product of both windows' reliability, the share of their
        variance that is not noise; 0 where noise accounts for all of it. NaN where a window
        holds nothing, or the noise of an image is unknown.

    Raises
    ------
    TypeError
        If an image is complex or not numeric, or the mask not boolean.
    ValueError
        If the images differ in shape, or a radius does not fit.

    Notes
    -----
    The noise, which may grow with intensity or vary over place, is estimated from second
    differences: of the quietest parts, or around a window, where that is more. Where its
    neighbours are alike it counts in part only: the ceiling is then too high. The band
    "ceiling" of a map is this, from a bounded sample.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc.confidence import noise_ceiling
    >>> rng = np.random.default_rng(0)
    >>> same = 10 * np.sin(np.arange(64) / 3) * np.ones((64, 1))
    >>> noisy = [same + rng.normal(size=same.shape) for _ in range(2)]
    >>> bool(noise_ceiling(*noisy).min() > 0.9)
    True
    """
    one, two, *used = (np.asarray(image) for image in as_images(fixed, moving, mask))
    radii = check_radius(radius, one.ndim)
    valid = np.isfinite(one) & np.isfinite(two)
    for allowed in used:
        valid &= allowed
    moments = window_moments(one, two, radius=radii, weights=check_weights(weights), mask=valid)
    noises = [
        _noise_variance(image, valid, mean, radii)
        for image, mean in zip((one, two), moments.mean, strict=True)
    ]
    powers = powers_of(moments.variance, noises, moments.samples)
    return ceiling_of(*powers).astype(np.float32)


def powers_of(
    variances: Sequence[Floats], noises: Sequence[Floats], samples: Floats
) -> list[Floats]:
    """Return the variance in every window of each image over that of its noise."""
    n = np.maximum(samples, 2.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return [
            variance * (n / (n - 1.0)) / noise
            for variance, noise in zip(variances, noises, strict=True)
        ]


def ceiling_of(fixed: Floats, moving: Floats) -> Floats:
    """Return the ceiling from what `powers_of` returns."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = [np.clip(1.0 - 1.0 / power, 0.0, 1.0) for power in (fixed, moving)]
        return np.asarray(np.sqrt(shares[0] * shares[1]), np.float64)


def _noise_variance(
    image: NDArray[Any], valid: NDArray[np.bool_], mean: Floats, radius: tuple[int, ...]
) -> Floats:
    """Return the variance of the noise in every window, frame by frame.

    That at its mean intensity; or around it, where it is more.
    """
    found = np.empty(image.shape)
    parts: list[Any] = [
        [slice(None)] if r else range(n) for r, n in zip(radius, image.shape, strict=True)
    ]
    for frame in product(*parts):
        model = noise_model(image[frame], valid[frame])
        found[frame] = model.sd_at(mean[frame]) ** 2
    return np.maximum(found, noise_around(image, valid, radius=radius) ** 2)
