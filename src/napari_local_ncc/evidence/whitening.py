"""The detail of an image: without its smooth background, and with its spectrum made even."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy import ndimage as ndi

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.floating]
    Detail = NDArray[np.float32]
    Flags = NDArray[np.bool_]

DEGREE = 3  # of the polynomial that is taken for background
FITTED = 2**14  # samples that it is fitted to
NOISE_FROM = 0.45  # cycles/px, from which on a spectrum is taken for noise
LEAST_NOISE = 0.03  # of the mean power: borders alone leave less in a smooth image
LEAST_STRUCTURE = 0.01  # of the power at a frequency
MEDIAN_OF_SQUARE = 0.4549  # of a normal variable, in units of its mean
CLIP = 6.0  # standard deviations, beyond which detail weighs no more
RINGS = 64  # of the radial spectrum
BESIDE = 4  # frequencies along each other axis, that stripes are compared with
SMOOTHED = 9  # of them along the stripes' own axis, that are averaged


def without_background(image: Values, valid: Flags | None = None, degree: int = DEGREE) -> Values:
    """Subtract a polynomial of the coordinates, as illumination makes; 0 where invalid.

    Parameters
    ----------
    image : ndarray of float, shape (...)
        Finite samples where valid.
    valid : ndarray of bool, shape (...), optional
        True where samples count.
    degree : int, default 3
        Total degree of the polynomial.

    Returns
    -------
    ndarray of float32 or float64
        The least-squares residual.
    """
    known = np.flatnonzero(valid) if valid is not None else np.arange(image.size)
    at = known[:: max(1, known.size // FITTED)]
    axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in image.shape]
    powers = [p for p in product(range(degree + 1), repeat=image.ndim) if sum(p) <= degree]
    index = np.unravel_index(at, image.shape)
    columns = np.ones((at.size, len(powers)))
    for column, power in zip(columns.T, powers, strict=True):
        for axis, place, k in zip(axes, index, power, strict=True):
            column *= axis[place] ** k
    weights = np.linalg.lstsq(columns, image.ravel()[at].astype(np.float64), rcond=None)[0]
    background = np.zeros(image.shape, image.dtype)
    for power, weight in zip(powers, weights, strict=True):
        term = np.full((1,) * image.ndim, weight)
        for along, (axis, k) in enumerate(zip(axes, power, strict=True)):
            term = term * (axis**k).reshape([-1 if d == along else 1 for d in range(image.ndim)])
        background += term.astype(image.dtype)
    rest = image - background
    return rest if valid is None else np.where(valid, rest, image.dtype.type(0))


def unit_scale(detail: Values, valid: Flags | None = None) -> Detail:
    """Divide by the root mean square of the valid samples, and clip at 6 of it; float32."""
    known = detail if valid is None else detail[valid]
    rms = float(np.sqrt(np.mean(np.square(known, dtype=np.float64)))) if known.size else 0.0
    if not rms > 0:
        return np.zeros(detail.shape, np.float32)
    return np.clip(detail / rms, -CLIP, CLIP).astype(np.float32)


def whiten(detail: Values, valid: Flags | None = None) -> Detail:
    """Make the spectrum even, as far as structure exceeds noise.

    Parameters
    ----------
    detail : ndarray of float, shape (...)
        What `without_background` returns; 0 where invalid.
    valid : ndarray of bool, shape (...), optional
        True where samples count.

    Returns
    -------
    ndarray of float32, shape (...)
        Of root mean square 1 and at most 6; 0 where invalid.

    Notes
    -----
    Every frequency is multiplied by ``sqrt(S) / (S + N)``, with S the structure's power on
    its ring and N the noise's, which is that of the highest frequencies. The transform is of
    cosines, so that borders are no edges. What varies along one axis alone, as the columns and
    lines of a read-out do, is held to what its neighbours in the spectrum have.
    """
    axes = [axis for axis, n in enumerate(detail.shape) if n > 1]
    if not axes:  # one sample has no detail
        return np.zeros(detail.shape, np.float32)
    spectrum = fft.dctn(detail.astype(np.float32), axes=axes, norm="ortho")
    _hold_stripes(spectrum)
    spectrum *= _response(np.square(spectrum))
    found = fft.idctn(spectrum, axes=axes, norm="ortho", overwrite_x=True)
    if valid is not None:
        found = np.where(valid, found, np.float32(0))
    return unit_scale(found, valid)


def _hold_stripes(spectrum: Detail) -> None:
    """Clip the frequencies along one axis alone to the mean power of those beside them."""
    axes = [axis for axis, n in enumerate(spectrum.shape) if n > BESIDE]
    for axis in axes if len(axes) > 1 else ():
        rest = [k for k in range(spectrum.ndim) if k != axis]
        beside = tuple(
            slice(None) if k == axis or k not in axes else slice(1, 1 + BESIDE)
            for k in range(spectrum.ndim)
        )
        power = np.square(spectrum[beside]).mean(axis=tuple(rest))
        most = np.sqrt(ndi.uniform_filter1d(power, SMOOTHED, mode="nearest"))
        lines = np.moveaxis(spectrum, axis, -1)
        alone = lines[(0,) * (spectrum.ndim - 1)]
        np.clip(alone, -most, most, out=alone)


def whitened_noise(detail: Values, noise: float) -> float:
    """Return the share of noise in the power of what `whiten` makes of a detail.

    Parameters
    ----------
    detail : ndarray of float, shape (...)
        What `without_background` returns.
    noise : float
        Standard deviation of the noise in it, white, in its units.

    Returns
    -------
    float
        In [0, 1]; NaN where the noise is not known or there is no detail.
    """
    axes = [axis for axis, n in enumerate(detail.shape) if n > 1]
    if not axes:
        return float("nan")
    power = np.square(fft.dctn(detail.astype(np.float32), axes=axes, norm="ortho"))
    response = np.square(_response(power))
    whole = float(np.mean(response * power))
    if not whole > 0:
        return float("nan")
    return float(np.clip(noise**2 * float(np.mean(response)) / whole, 0, 1))


def _response(power: Detail) -> Detail:
    """Return the factor of every frequency of a cosine transform."""
    radius = _frequencies(power.shape)
    longest = float(np.max(radius))
    ring = np.minimum((radius * (RINGS / longest)).astype(np.intp), RINGS - 1).ravel()
    count = np.bincount(ring, minlength=RINGS)
    mean = np.bincount(ring, power.ravel(), minlength=RINGS) / np.maximum(count, 1)
    high = power[radius > NOISE_FROM]
    noise = float(np.median(high)) / MEDIAN_OF_SQUARE if high.size else 0.0
    noise = max(noise, LEAST_NOISE * float(power.mean()), float(np.finfo(np.float32).tiny))
    # in structure that is as fine as noise, as of speckle, nothing would be left
    structure = np.maximum(mean - noise, LEAST_STRUCTURE * mean)
    known = np.flatnonzero(count)
    centres = (known + 0.5) * (longest / RINGS)
    smooth = np.interp(radius.ravel(), centres, structure[known]).reshape(radius.shape)
    response: Detail = (np.sqrt(smooth) / (smooth + noise)).astype(np.float32)
    return response


def _frequencies(shape: tuple[int, ...]) -> Detail:
    """Return the length of every frequency of a cosine transform, in cycles/px."""
    squares = np.zeros(shape, np.float32)
    for axis, n in enumerate(shape):
        along = np.square(np.arange(n, dtype=np.float32) / np.float32(2 * n))
        squares += along.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return np.sqrt(squares)
