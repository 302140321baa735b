"""Structure as it would be seen in even light: of the same contrast all over the image.

Uneven light multiplies structure as it does the background. Windows in its slope are ruled by
their bright side, in both images alike, and reach high NCC by chance more often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.confidence.background import background_radius, without_smooth_background
from napari_local_ncc.ncc.moments import window_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Numbers = NDArray[np.float64]

STEEPEST = 0.6  # of half a window, by which the centre of its power may lie beside its middle
ROUNDING = 1e-13  # of the largest square: less may be what sums over windows leave


def structure_in_even_light(
    image: ArrayLike, *, radius: Sequence[int], mask: ArrayLike | None = None
) -> NDArray[np.float32]:
    """Take a smooth background and a smooth contrast away, so that what is left can be judged.

    Parameters
    ----------
    image : array_like, shape (...)
        Of any real dtype; NaN and inf are invalid samples.
    radius : sequence of int
        Radius of the NCC's windows per axis; 0 = independent axis.
    mask : array_like of bool, shape (...), optional
        True where samples may be used.

    Returns
    -------
    array of float32, shape (...)
        The image less its background, over the root of its `smooth_power`: NaN where a sample is
        invalid.

    See Also
    --------
    without_smooth_background : Takes the background away only.
    """
    rest = without_smooth_background(image, radius=radius, mask=mask)
    power = smooth_power(rest, radius=radius)
    with np.errstate(invalid="ignore"):
        return np.divide(rest, np.sqrt(power), out=rest, where=power > 0)


def smooth_power(samples: NDArray[np.floating], *, radius: Sequence[int]) -> Numbers:
    """Return the mean square around every sample, as a smooth fall-off of the light has it there.

    Parameters
    ----------
    samples : array of float, shape (...)
        About 0 on average; NaN where invalid.
    radius : sequence of int
        Radius of the NCC's windows per axis; 0 = independent axis.

    Returns
    -------
    array of float64, shape (...)
        0 where all is 0 around.

    Notes
    -----
    Within `background_radius` the power is taken for an exponential function of place along
    every axis. Its mean over a window alone would be that of the window's middle, which at the
    border of the image lies beside the sample, and the more above it the steeper it is. How
    steep it is tells its centre of gravity, by the inverse of Langevin's function in Cohen's
    form (Rheol. Acta 30, 270, 1991).
    """
    reach = background_radius(radius)
    valid = np.isfinite(samples)
    squares = np.where(valid, samples, 0.0).astype(np.float64) ** 2
    weight = np.maximum(window_mean(valid, reach, "box"), 1e-12)
    total = window_mean(squares, reach, "box")
    power = np.where(total > ROUNDING * squares.max(initial=0.0), total / weight, 0.0)
    total[power == 0] = 1.0
    for axis, r in enumerate(reach):
        if not r:
            continue
        n = samples.shape[axis]
        x = np.arange(n).reshape([-1 if k == axis else 1 for k in range(samples.ndim)]) - n / 2
        middle = window_mean(valid * x, reach, "box") / weight
        spread = window_mean(valid * x**2, reach, "box") / weight - middle**2
        half = np.sqrt(np.maximum(3 * spread, 1.0))
        aside = (window_mean(squares * x, reach, "box") / total - middle) / half
        slope = _slope(np.where(power > 0, aside, 0.0))
        power *= np.exp(slope * (x - middle) / half) / _mean_of_exponential(slope)
    return power


def _slope(aside: Numbers) -> Numbers:
    """Return the logarithmic slope, per half a window, of what has its centre so far aside."""
    y = np.clip(aside, -STEEPEST, STEEPEST)
    return y * (3 - y**2) / (1 - y**2)


def _mean_of_exponential(slope: Numbers) -> Numbers:
    """Return the mean over a window of what is 1 in its middle."""
    steep = np.where(np.abs(slope) < 1e-6, 1.0, slope)
    return np.where(np.abs(slope) < 1e-6, 1.0, np.sinh(steep) / steep)
