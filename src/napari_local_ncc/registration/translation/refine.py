"""A shift that is nearly known, made exact: no search, and no verdict but whether it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.evidence.samples import correlation_in_errors
from napari_local_ncc.evidence.sensor_pattern import CERTAIN
from napari_local_ncc.registration.translation.array_pair import ArrayPair, reduce_image
from napari_local_ncc.registration.translation.candidates import TRACK_SAMPLES, Level
from napari_local_ncc.registration.translation.estimate import prepare_pair
from napari_local_ncc.registration.translation.subpixel import (
    Problem,
    covariance_of,
    polish,
    track,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.registration.translation.array_pair import Vector

SAMPLES = 2**14  # of a tile; all of them where these leave an error of more than `EXACT`
EXACT = 0.005  # px: stated error
NARROWEST = 8  # px, below which no axis is reduced


def refine_shift(
    fixed: ArrayLike, moving: ArrayLike, offset: Vector, reach: int
) -> tuple[Vector, NDArray[np.float64]] | None:
    """Improve a shift of two images that is known to some px.

    Parameters
    ----------
    fixed, moving : array_like, shape (...)
        Real images with equally many axes; NaN and infinite samples are invalid.
    offset : ndarray of float64, shape (ndim,)
        In px: pixel ``p`` of fixed shows about what pixel ``p + offset`` of moving shows.
    reach : int
        How many px that may be off. The images are reduced by up to as much, or a fine texture
        would have no slope towards what is right.

    Returns
    -------
    tuple of (ndarray, ndarray) or None
        The offset, and its covariance (px squared). None where the images do not agree there
        beyond chance, tell nothing of a shift along some direction, or lead farther away.

    Raises
    ------
    ValueError
        If an image is constant or (almost) all invalid.
    """
    here, there, _ = prepare_pair(fixed, moving)
    pair = ArrayPair(here, there, min_overlap=0.0)
    found = offset
    for level in reversed(_levels(pair, reach)[1:]):  # the finest is left to `polish`
        found = level.scale * track(level.pair, found / level.scale, TRACK_SAMPLES)
    for limit in (SAMPLES, pair.fixed.values.size):
        found = polish(pair, found, limit)
        problem = Problem.at(pair, found, limit)
        is_far = np.abs(found - offset).max() > 2 * reach + 1
        if problem is None or is_far or not _agree(problem, found):
            return None
        covariance = covariance_of(problem, found)
        if not np.isfinite(covariance).all():
            return None
        if np.trace(covariance) <= EXACT**2:
            break
    return found, covariance


def _levels(pair: ArrayPair, reach: int) -> list[Level]:
    """Return the images, and halves of them until a pixel is as long as `reach`."""
    levels = [Level(pair, np.ones(pair.ndim, np.intp))]
    while levels[-1].scale.max() < reach:
        last = levels[-1]
        sides = np.minimum(last.pair.fixed.values.shape, last.pair.moving.values.shape)
        factor = np.where(sides >= 2 * NARROWEST, 2, 1)
        if factor.max() == 1:
            break
        half, other = (
            reduce_image(i, factor.tolist()) for i in (last.pair.fixed, last.pair.moving)
        )
        levels.append(Level(ArrayPair(half, other, pair.min_overlap), last.scale * factor))
    return levels


def _agree(problem: Problem, offset: Vector) -> bool:
    """Whether images agree at an offset beyond chance, but for a smooth background."""
    pair = problem.pair
    valid = np.zeros(problem.lattice.shape, bool)
    valid[problem.usable] = True
    planes = []
    for samples in (problem.read(pair.fixed.values), problem.read(pair.moving.values, offset)):
        plane = np.zeros(valid.shape)
        plane[valid] = samples
        planes.append(plane)
    return correlation_in_errors(planes[0], planes[1], valid) > CERTAIN
