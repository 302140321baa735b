"""How many independent samples two images are worth, neighbours being alike over any distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from napari_local_ncc.evidence.pearson import pearson

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONGEST = 0.5  # share of an axis over which autocorrelations are followed, fading
IDENTICAL = 1 - 1e-9  # correlation, beyond which rounding decides


def samples_per_independent_one(fixed: NDArray[np.floating], moving: NDArray[np.floating]) -> float:
    """Return how many samples count as one: the sum over all lags of both autocorrelations.

    Parameters
    ----------
    fixed, moving : ndarray of float, shape (...)
        Images of equally many axes, without their mean or background; 0 where invalid.

    Returns
    -------
    float
        At least 1. Fisher's z of the correlation of n pairs of unrelated samples has the
        variance ``1 / (n / this - 3)`` (Bartlett, J. Roy. Statist. Soc. 98, 536, 1935).
        NaN where an image is 0 everywhere.
    """
    shape = tuple(max(sides) for sides in zip(fixed.shape, moving.shape, strict=True))
    size = [fft.next_fast_len(2 * n, real=True) if n > 1 else 1 for n in shape]
    product = np.ones(())
    for image in (fixed, moving):
        spectrum = fft.rfftn(image, size)
        alike = fft.irfftn(np.square(spectrum.real) + np.square(spectrum.imag), size)
        if not alike.flat[0] > 0:
            return float("nan")
        product = product * (alike / alike.flat[0])
    for axis, (n, sides) in enumerate(zip(size, shape, strict=True)):
        lag = np.abs(fft.fftfreq(n, 1 / n))
        fade = np.clip(1 - lag / max(1.0, LONGEST * sides), 0, None)
        product = product * fade.reshape([-1 if k == axis else 1 for k in range(len(size))])
    return max(1.0, float(product.sum(dtype=np.float64)))


def independent_samples(
    fixed: NDArray[np.floating], moving: NDArray[np.floating], count: float | None = None
) -> float:
    """Return the effective number of independent pairs of two images of one shape.

    `count` is that of the valid pairs, by default all samples. Other parameters as for
    `samples_per_independent_one`.
    """
    number = float(fixed.size) if count is None else count
    return number / samples_per_independent_one(fixed, moving)


def correlation_in_errors(
    fixed: NDArray[np.floating], moving: NDArray[np.floating], valid: NDArray[np.bool_] | None
) -> float:
    """Return the correlation of two images of one shape, in standard errors of unrelated ones.

    Fisher's z. `valid`: where samples count (None: everywhere); other parameters as for
    `samples_per_independent_one`. NaN where an image is 0 everywhere.
    """
    likeness = pearson(*((fixed, moving) if valid is None else (fixed[valid], moving[valid])))
    count = fixed.size if valid is None else int(np.count_nonzero(valid))
    free = independent_samples(fixed, moving, count) - 3
    return float(np.arctanh(np.clip(likeness, -IDENTICAL, IDENTICAL)) * np.sqrt(max(free, 0.0)))
