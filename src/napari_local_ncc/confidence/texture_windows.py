"""In what windows, and at which lags, texture is measured; what is counted in a window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_local_ncc.ncc.device import namespace_of, ndimage_of
from napari_local_ncc.ncc.separable import window_taps

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

# Correlations measured in one window are too noisy where that is small, and biased where
# the texture is coarse; in windows twice as wide the calibration holds in either.
WIDENING = 2
LONGEST_LAG = 4  # px
# The mean of a narrow window takes coarse structure away. If the variance held that, related
# images would seem coarse, and be judged more severely, where their structure is strong.
NARROW, NARROW_REACH = 2, 6  # px
FLAT = 1e-13  # of the mean square in a window, at or below which its variance may be rounding


def margin(radius: Sequence[int]) -> tuple[int, ...]:
    """Return how far around a region `effective_samples` reads, per axis in pixels.

    Parameters
    ----------
    radius : sequence of int
        The NCC window's radius along each axis; 0 = independent.

    Returns
    -------
    tuple of int
        A part of an image with this margin gives what the whole image gives.
    """
    reach, lags = wide_reach(radius), long_lags(radius)
    return tuple(map(sum, zip(reach, lags, strict=True)))


def is_narrow(radius: Sequence[int]) -> bool:
    """Return whether the mean of a window takes most of coarse structure away."""
    return max(radius) <= NARROW and sum(r > 0 for r in radius) < 3


def wide_reach(radius: Sequence[int]) -> tuple[int, ...]:
    """Return the radius of the windows in which autocorrelations are measured."""
    least = NARROW_REACH if is_narrow(radius) else 0
    return tuple(max(WIDENING * r, least) if r else 0 for r in radius)


def long_lags(radius: Sequence[int]) -> tuple[int, ...]:
    """Return the second lag at which neighbours are compared, in pixels per axis."""
    wanted = [2 * r if is_narrow(radius) else 1 + r // 2 for r in radius]
    return tuple(min(lag, LONGEST_LAG) if r else 0 for lag, r in zip(wanted, radius, strict=True))


def long_weights(radius: Sequence[int]) -> tuple[float, ...]:
    """Return how many lags the second one stands for, per axis.

    As measured: wide windows hold lags that the first does not foretell, as where white noise
    lies on coarse texture; in narrow ones the mean takes most of them away.
    """
    return tuple(0.0 if is_narrow(radius) else 0.4 * max(r - 2, 0) for r in radius)


def valid_samples(valid: Numbers, radius: tuple[int, ...], weights: str) -> Numbers:
    """Return what windows of valid samples are worth."""
    xp, ndimage = namespace_of(valid), ndimage_of(valid)
    total, squares = valid, valid
    for axis, r in enumerate(radius):
        if r:
            taps = xp.asarray(window_taps(r, weights))
            total = ndimage.correlate1d(total, taps, axis, mode="constant")
            squares = ndimage.correlate1d(squares, taps**2, axis, mode="constant")
    worth: Numbers = total**2 / xp.maximum(squares, 1.0)
    return worth
