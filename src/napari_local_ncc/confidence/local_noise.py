"""Noise that is stronger in some places than intensity tells.

As of a camera whose light was evened, of parts that were denoised, or of a deconvolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.confidence.background import background_radius
from napari_local_ncc.ncc.moments import window_mean, window_weight

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Flags = NDArray[np.bool_]

NORM = np.sqrt(6.0)  # gain on white noise of (1, -2, 1), per axis
MEAN_OF_NORMAL = np.sqrt(2 / np.pi)  # of a magnitude, in standard deviations
LARGEST = 4.0  # times the mean around: a larger second difference is of an edge or a bad pixel
ROUNDS = 2  # of cutting these down


def reach_of_noise(radius: Sequence[int]) -> tuple[int, ...]:
    """Return how far around a sample `noise_around` reads, per axis in pixels."""
    rounds = 1 + ROUNDS  # each of which reads what the one before made around
    return tuple(rounds * r + 1 if r else 0 for r in background_radius(radius))


def noise_around(image: NDArray[Any], valid: Flags, *, radius: Sequence[int]) -> Numbers:
    """Estimate noise around every sample from second differences along all windowed axes.

    Parameters
    ----------
    image : array, shape (...)
        Of any real dtype.
    valid : array of bool, shape (...)
        True where samples may be used.
    radius : sequence of int
        Radius of the NCC's windows per axis; 0 = independent axis.

    Returns
    -------
    array of float64, shape (...)
        Standard deviation, within `background_radius`; 0 where nothing is known. Fine structure
        adds to it: it is the most that noise can be.
    """
    steps, known = np.where(valid, image, 0).astype(np.float64), valid
    for axis, r in enumerate(radius):
        if r:
            steps, known = _second_differences(steps, known, axis)
    sizes = np.abs(steps, out=steps)
    sizes[~known] = 0
    reach = background_radius(radius)
    weight = np.maximum(window_weight(known, reach, "box"), 1e-9)
    mean = window_mean(sizes, reach, "box") / weight
    for _ in range(ROUNDS):
        mean *= LARGEST
        mean = window_mean(np.minimum(sizes, mean, out=mean), reach, "box")
        mean /= weight
    mean /= MEAN_OF_NORMAL
    return mean


def _second_differences(samples: Numbers, known: Flags, axis: int) -> tuple[Numbers, Flags]:
    """Return them, and where they are known; at the ends they are not."""
    lines, usable = np.moveaxis(samples, axis, 0), np.moveaxis(known, axis, 0)
    found, all_known = np.zeros(lines.shape), np.zeros(lines.shape, bool)
    inner = np.multiply(lines[1:-1], -2.0, out=found[1:-1])
    inner += lines[:-2]
    inner += lines[2:]
    inner /= NORM
    all_known[1:-1] = usable[:-2] & usable[1:-1] & usable[2:]
    return np.moveaxis(found, 0, axis), np.moveaxis(all_known, 0, axis)
