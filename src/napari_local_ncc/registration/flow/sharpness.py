"""Images that are not equally sharp: a flow bends the sharper one until it looks blurred."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy import ndimage as ndi

from napari_local_ncc.evidence.noise import noise_sd
from napari_local_ncc.evidence.validity import normalized_convolution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.registration.flow.estimate import ArrayLike

    Pixels = NDArray[np.float32]

LARGEST = {2: 512, 3: 96}  # px along every axis of the part from the middle that is looked at
SHORTEST = 32  # px along every axis, below which nothing is told
RINGS = 40  # of frequencies, up to half a cycle per px
ABOVE = 3.0  # times the noise, that the power of both images is
FEWEST = 4  # rings
CLEAR = 4.0  # standard errors
LEAST, MOST = 0.8, 8.0  # px: sigma that is made up for
FAR = 4.0  # sigmas, up to which a Gaussian is summed


@dataclass(frozen=True, slots=True)
class Smoothed:
    """An image smoothed by a Gaussian, read box by box; NaN where it is invalid."""

    image: ArrayLike
    sigma: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the image."""
        return tuple(self.image.shape)

    def __getitem__(self, box: tuple[slice, ...]) -> Pixels:
        reach = int(np.ceil(FAR * self.sigma))
        ends = [part.indices(n)[:2] for part, n in zip(box, self.shape, strict=True)]
        around = tuple(
            slice(max(0, low - reach), min(n, high + reach))
            for (low, high), n in zip(ends, self.shape, strict=True)
        )
        samples = np.asarray(self.image[around]).astype(np.float32)
        valid = np.isfinite(samples)
        smooth = partial(ndi.gaussian_filter, sigma=self.sigma, truncate=FAR)
        mean, _ = normalized_convolution(samples, valid, smooth)
        mean[~valid] = np.nan
        inner = (
            slice(low - wide.start, high - wide.start)
            for (low, high), wide in zip(ends, around, strict=True)
        )
        return mean[tuple(inner)]


def equally_sharp(
    fixed: ArrayLike, moving: ArrayLike, taken: ArrayLike
) -> tuple[ArrayLike, ArrayLike, str]:
    """Smooth the sharper of two images until both are equally sharp.

    Parameters
    ----------
    fixed, moving : array_like, shape (...)
        Real images of one shape; read box by box. NaN and infinite samples are invalid.
    taken : array_like
        Moving before it was resampled, if its pixels are as large: interpolation makes noise
        look like structure. Else moving.

    Returns
    -------
    tuple of (array_like, array_like, str)
        The images, and what was smoothed; as they are, and empty, where no difference of 0.8 px
        or more (sigma of a Gaussian) is clear.
    """
    variance = relative_blur(_middle(fixed), _middle(taken))
    sigma = min(float(np.sqrt(abs(variance))), MOST)
    if sigma < LEAST:
        return fixed, moving, ""
    if variance > 0:
        return Smoothed(fixed, sigma), moving, _said("fixed", sigma, "moving")
    return fixed, Smoothed(moving, sigma), _said("moving", sigma, "fixed")


def _said(sharp: str, sigma: float, blurred: str) -> str:
    return f"to find the flow, {sharp} was smoothed by {sigma:.1f} px, as {blurred} looks blurred"


def relative_blur(fixed: Pixels, moving: Pixels) -> float:
    """Return how much more blurred moving is than fixed, wherever both show what they show.

    Parameters
    ----------
    fixed, moving : ndarray of float, shape (...)
        NaN where invalid; equally many axes.

    Returns
    -------
    float
        The variance (px squared) of the Gaussian that fixed would have to be smoothed with;
        negative: moving. 0 where that is not clear.

    Notes
    -----
    A Gaussian of variance v multiplies the power of a frequency k (radians per px) by
    ``exp(-v k^2)``, whatever moved: the slope of the logarithm of both powers' ratio, over the
    frequencies up to where one is lost in noise.
    """
    parts = [_valid_part(image) for image in (fixed, moving)]
    if any(min(part.shape, default=0) < SHORTEST for part in parts):
        return 0.0
    squares, number, power, clear = _spectrum(parts[0])
    _, _, other, is_other_clear = _spectrum(parts[1])
    lost = np.flatnonzero(~(clear & is_other_clear))
    count = int(lost[0]) if lost.size else clear.size
    if count < FEWEST:
        return 0.0
    ratio = np.log(other[:count] / power[:count])
    line, covariance = np.polyfit(squares[:count], ratio, 1, w=np.sqrt(number[:count]), cov=True)
    return -float(line[0]) if abs(line[0]) > CLEAR * np.sqrt(covariance[0, 0]) else 0.0


def _middle(image: ArrayLike) -> Pixels:
    """Return a part from the middle of an image, in memory."""
    side = LARGEST[len(image.shape)]
    box = tuple(slice(max(0, (n - side) // 2), (n + min(n, side)) // 2) for n in image.shape)
    samples = np.asarray(image[box])
    return np.where(np.isfinite(samples), samples, np.nan).astype(np.float32)


def _valid_part(image: Pixels) -> Pixels:
    """Return the box of what is valid: an image's border would be structure."""
    parts = ndi.find_objects(np.isfinite(image).astype(np.uint8))
    return image[parts[0]] if parts else image[(slice(0),) * image.ndim]


def _spectrum(
    image: Pixels,
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64], NDArray[np.bool_]]:
    """Return of every ring of frequencies k the mean k squared and the number of frequencies.

    And the mean power but for the noise, and whether that is clear.
    """
    axes = [*map(fft.fftfreq, image.shape[:-1]), fft.rfftfreq(image.shape[-1])]
    grid = np.meshgrid(*((2 * np.pi * k) ** 2 for k in axes), indexing="ij", sparse=True)
    squares = np.broadcast_to(sum(grid), [len(k) for k in axes]).ravel()
    ring = np.minimum(np.sqrt(squares) / np.pi * RINGS, RINGS).astype(np.intp)
    number, total, power = (
        np.bincount(ring, weights, RINGS + 1)[1:RINGS]  # without the mean and the corners
        for weights in (None, squares, _power(image).ravel())
    )
    filled = np.maximum(number, 1)
    noise = noise_sd(image) ** 2
    return total / filled, number, power / filled - noise, power / filled > ABOVE * noise


def _power(image: Pixels) -> NDArray[np.float32]:
    """Return the power of every frequency, as of white noise its variance."""
    valid = np.isfinite(image)
    rest = np.where(valid, image - np.nanmean(image), np.float32(0))
    total = np.ones((1,) * image.ndim, np.float32)
    for axis, n in enumerate(image.shape):
        ends = np.hanning(n + 2)[1:-1].astype(np.float32)
        total = total * ends.reshape([-1 if k == axis else 1 for k in range(image.ndim)])
    spectrum = fft.rfftn(rest * total)
    return np.square(np.abs(spectrum)) / np.square(total * valid).sum()
