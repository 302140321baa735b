"""The Gaussian that both images are smoothed by before a shift is found to a part of a pixel."""

from __future__ import annotations

from functools import cache
from math import factorial
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import hermite_e

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SMOOTHING = 0.8  # px, sigma; less lets interpolation bias in, more costs resolution
REACH = 3  # samples on either side that it takes in
FILL_SIGMA, FILL_REACH = 1.0, 2  # px: from how far around an invalid sample is filled in
SLOPE_REACH = 4  # samples, of an image smoothed three times
# Along a single axis windows hold few samples: how many to either side, at least, noise is
# averaged over; of those whose windows' errors one leans on; and within how many radii others
# must know a shift.
ALONE, AROUND, BESIDE = 40, 20, 2
MARGIN = REACH + FILL_REACH  # samples beyond a window that its smoothed samples depend on


def is_single(radius: Sequence[int]) -> bool:
    """Say whether windows extend along one axis only."""
    return sum(r > 0 for r in radius) == 1


def noise_reach(radius: Sequence[int]) -> tuple[int, ...]:
    """Return how far around a window its noise is averaged over, along each axis."""
    least = ALONE if is_single(radius) else 0
    return tuple(max(r, least) if r else 0 for r in radius)


def error_reach(radius: Sequence[int]) -> tuple[int, ...]:
    """Return how far around a window the windows lie that the error of its shift depends on."""
    noise = noise_reach(radius)
    if not is_single(radius):
        return noise
    return tuple(n + AROUND + BESIDE * r if r else 0 for n, r in zip(noise, radius, strict=True))


@cache
def derivative_taps(order: int) -> NDArray[np.float32]:
    """Return what, correlated with samples, gives a term of the smoothed image's Taylor series.

    A derivative of the Gaussian, over the factorial of its order.
    """
    at = np.arange(-REACH, REACH + 1) / SMOOTHING
    polynomial = hermite_e.hermeval(at, np.eye(order + 1)[order])
    gaussian = np.exp(-(at**2) / 2) / (SMOOTHING * np.sqrt(2 * np.pi))
    return (gaussian * polynomial / SMOOTHING**order / factorial(order)).astype(np.float32)


def wide_taps(order: int) -> NDArray[np.float32]:
    """Return what smooths an image three times, for order 0, or gives the slope of that, for 1."""
    at = np.arange(-SLOPE_REACH, SLOPE_REACH + 1)
    variance = 3 * SMOOTHING**2
    gaussian = np.exp(-(at**2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    return (gaussian * (at / variance) ** order).astype(np.float32)
