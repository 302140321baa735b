"""What a window is too small for: the noise that a fit takes up, and slopes beyond its ends.

All of it is expected, over noise smoothed as the images are and over random texture, of the
window's weights alone: double sums over its samples, which are products along its axes.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_local_ncc.shift.smoothing import SMOOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Correlation = Callable[[Numbers], Numbers]

TEXTURE = 2.0  # px, sd of the Gaussian that made the texture that is expected
CHOSEN = 0.015  # of the noise, which the choice of the best shift takes up along a single axis
REACH = 12  # px that the correlations of both reach


class SmallWindow(NamedTuple):
    """What of a window's sums is left, since it is small.

    Parameters
    ----------
    left : float
        Share of the noise's power once brightness, contrast and shift have been fitted.
    share : float
        One over the number of samples that a whole window is worth.
    inside : tuple of float
        Per axis: the variance that noise gives the slope of what is maximised, over what it would
        be did the noise beside the window count, too.
    """

    left: float
    share: float
    inside: tuple[float, ...]


def small_window(taps: Sequence[Numbers], searched: Sequence[bool]) -> SmallWindow:
    """Return what is left of noise and slopes in windows.

    Parameters
    ----------
    taps : sequence of array of float64
        The weights along each of their axes.
    searched : sequence of bool
        Along which of these a shift is fitted.

    Returns
    -------
    SmallWindow

    Notes
    -----
    With weights w of sum 1, K the correlation of the noise, and R that of what is fitted, which is
    drawn at random and has no mean in the window, a fit takes up the share

        (sum wwKR - 2 sum www R_ik K_ij + sum wwR sum wwK) / (1 - sum wwR)

    of the noise, and brightness takes up sum wwK. The next takes its share of what those before it
    left: that is within 0.03 of what fits to drawn textures take, where half is left or more.
    """
    values = [_sums(w / w.sum(), _texture) for w in taps]
    slopes = [_sums(w / w.sum(), _slope) for w in taps]
    share = prod(float((w**2).sum() / w.sum() ** 2) for w in taps)
    left = unfitted = 1 - prod(sums.noise for sums in values)
    left *= 1 - _taken(values) / unfitted
    inside: list[float] = []
    for axis, is_searched in enumerate(searched):
        sums = [*values[:axis], slopes[axis], *values[axis + 1 :]]
        if is_searched:
            left *= 1 - _taken(sums) / unfitted
        whole = prod(s.around for s in sums) - prod(s.around_mean for s in sums)
        inside.append(_without_mean(sums) / (share * whole))
    if len(taps) == 1:  # where little is left, that is much of it
        left = max(left - CHOSEN, 0.0)
    return SmallWindow(left, share, tuple(inside))


class _Sums(NamedTuple):
    """Of one axis: the double and triple sums that `small_window` is made of."""

    both: float
    crossed: float
    texture: float
    noise: float
    around: float
    around_mean: float


def _noise(lag: Numbers) -> Numbers:
    return np.exp(-(lag**2) / (4 * SMOOTHING**2))


def _texture(lag: Numbers) -> Numbers:
    return np.exp(-(lag**2) / (4 * (SMOOTHING**2 + TEXTURE**2)))


def _slope(lag: Numbers) -> Numbers:
    return _texture(lag) * (1 - lag**2 / (2 * (SMOOTHING**2 + TEXTURE**2)))


def _sums(weights: Numbers, correlation: Correlation) -> _Sums:
    lag = np.subtract.outer(*[np.arange(float(weights.size))] * 2)
    beside = np.arange(-float(REACH), REACH + 1)
    one, two = correlation(lag), _noise(lag)
    apart = correlation(lag - beside[:, np.newaxis, np.newaxis])
    around = np.tensordot(_noise(beside), apart, axes=1)
    return _Sums(
        both=float(weights @ (one * two) @ weights),
        crossed=float(weights @ ((one @ weights) * (two @ weights))),
        texture=float(weights @ one @ weights),
        noise=float(weights @ two @ weights),
        around=float(_noise(beside) @ correlation(beside)),
        around_mean=float(weights @ around @ weights),
    )


def _without_mean(sums: Sequence[_Sums]) -> float:
    both, crossed = prod(s.both for s in sums), prod(s.crossed for s in sums)
    return both - 2 * crossed + prod(s.texture for s in sums) * prod(s.noise for s in sums)


def _taken(sums: Sequence[_Sums]) -> float:
    """Return the share of the noise that a fit of what has no mean takes up."""
    return _without_mean(sums) / (1 - prod(s.texture for s in sums))
