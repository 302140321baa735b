"""Smoothing of images that are valid in part: invalid samples have no weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Values = NDArray[np.floating]

NEGLIGIBLE = 1e-6  # weight, below which no valid sample is near


def normalized_convolution(
    image: Values, valid: NDArray[np.bool_], smooth: Callable[[Values], Values]
) -> tuple[Values, Values]:
    """Return the mean of the valid samples around every one, and their weight.

    Parameters
    ----------
    image : ndarray of float, shape (...)
        Samples, of any value where invalid.
    valid : ndarray of bool, shape (...)
        True where samples count.
    smooth : callable
        A linear filter whose weights sum to 1; of an image of float, its result.

    Returns
    -------
    mean : ndarray, shape (...)
        0 where no valid sample is near.
    weight : ndarray, shape (...)
        That of the valid samples, in [1e-6, 1].

    Notes
    -----
    Knutsson and Westin, Normalized and differential convolution, CVPR 1993.
    """
    weight = np.maximum(smooth(valid.astype(image.dtype)), image.dtype.type(NEGLIGIBLE))
    return smooth(np.where(valid, image, image.dtype.type(0))) / weight, weight
