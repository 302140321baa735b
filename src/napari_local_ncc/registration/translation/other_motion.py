"""What of two images moved otherwise than the shift that fits them best."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_local_ncc.evidence.validity import normalized_convolution
from napari_local_ncc.registration.evidence.surfaces import (
    Detail,
    detail_of,
    evidence_surfaces,
    near,
    without,
)
from napari_local_ncc.registration.translation.array_pair import ArrayPair, Standardised
from napari_local_ncc.registration.translation.subpixel import (
    CLUSTERS,
    Problem,
    polish,
    shift_covariance,
)
from napari_local_ncc.transforms.report import MIXED, PATTERN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.registration.evidence.surfaces import Surface
    from napari_local_ncc.registration.translation.array_pair import Vector

ALL = 2**30  # samples
SEEN = 1.4  # times the most elsewhere, from which a residual shows something twice
CERTAIN = 6.0  # standard deviations of chance
COMMON = 0.3  # of the residual, that both copies must have in common
APART = 6  # px of the level: nearer ones are a misfit's own two sides
RESIDUE = 1e-3  # of the image: less is rounding
PEAK = 4  # px of the level around a shift that belong to it
COARSE = 4.0  # px: sd of the Gaussian that leaves coarse structure
WIDE = 4.0  # times that Gaussian's sd, that each of `CLUSTERS` parts has at least
DIFFERENT = 5.0  # standard errors between the shifts of coarse structure and of all
STILL = 2.0  # px of the level, within which something stays with the camera
SMALLEST = 0.1  # px: a difference of less is a matter of interpolation


def other_motion(
    pair: ArrayPair,
    place: Vector,
    error: NDArray[np.float64],
    evidence: Surface,
    step: NDArray[np.integer],
) -> Vector | None:
    """Return how far something moved beside a shift; None where all moved alike.

    One motion fits structure of every size, and leaves nothing of the images but noise. A
    pattern of the camera and a scene that moved, or an object and its background, are two. What
    is weaker then stays in the residual twice, with opposite signs, as far apart as both motions
    are. Where they are less apart than structure is wide, what is coarse has another shift than
    all together.

    Parameters
    ----------
    pair : ArrayPair
        Two images, reduced if they are large.
    place : ndarray, shape (ndim,)
        The shift that fits best, in their px.
    error : ndarray, shape (ndim, ndim)
        The covariance of its error, px squared.
    evidence : ndarray of float32
        For every shift of the pair, see `evidence_surfaces`.
    step : ndarray of int, shape (ndim,)
        Px of the full resolution per px of the pair.

    Returns
    -------
    ndarray of float64 or None
        In px of the full resolution, from `place` to the shift of what moved otherwise, about.
    """
    twice = _left_twice(pair, place, evidence)
    if twice is None:
        twice = _of_coarse_structure(pair, place, error, np.maximum(COARSE / step, 1.0))
    return None if twice is None else twice * step


def said_of(other: Vector | None, moved: Vector, still: float) -> tuple[float, str]:
    """Return the least error of a motion, in px, by what moved otherwise, and what to say of it.

    A pattern that stays with the camera while a scene moves is no error of the scene's motion.

    Parameters
    ----------
    other : ndarray or None
        What `other_motion` found.
    moved : ndarray, shape (ndim,)
        How far the motion moves the camera's pixels; NaN where that means nothing.
    still : float
        Px within which something stays with the camera.
    """
    if other is None:
        return 0.0, ""
    if np.linalg.norm(moved) > still and np.linalg.norm(moved + other) <= still:
        return 0.0, PATTERN
    length = float(np.linalg.norm(other))
    return length, f"{MIXED} ({length:.2g} px from this shift)"


def _left_twice(pair: ArrayPair, place: Vector, evidence: Surface) -> Vector | None:
    """Return by how much a copy in the residual is off the other, if there are two."""
    problem = Problem.at(pair, place, ALL)
    if problem is None:
        return None
    residual = problem.residual(place)
    whole = problem.read(pair.fixed.values)
    if not np.sum(residual**2) > RESIDUE**2 * np.sum(whole**2):
        return None
    image = np.zeros(problem.lattice.shape, np.float32)
    image[problem.usable] = residual.reshape(image[problem.usable].shape)
    detail = detail_of(image, None if isinstance(problem.usable, slice) else problem.usable)
    opposite = Detail(-detail.values, detail.valid)
    surface, alike = (
        _without_near(next(evidence_surfaces(detail, other, COMMON * detail.count)))
        for other in (opposite, detail)
    )
    most = np.unravel_index(int(surface.argmax()), surface.shape)
    apart = np.where(most < np.array(detail.values.shape), most, most - np.array(surface.shape))
    rest = without(without(surface, apart, PEAK), -apart, PEAK)
    # a misfit of edges waves: it is as like itself further on as it is unlike itself
    chance = max(float(rest.max()), float(alike.max()))
    if not surface[most] >= max(CERTAIN, SEEN * chance):
        return None
    ways = sorted((apart, -apart), key=lambda way: float(near(evidence, place + way, 1).max()))
    return np.asarray(ways[-1], np.float64)


def _without_near(surface: Surface) -> Surface:
    """Return a copy of a surface that is 0 within `APART` px of no shift."""
    rest = surface.copy()
    rest[np.ix_(*[np.arange(-min(APART, n // 2), min(APART, n // 2) + 1) for n in rest.shape])] = 0
    return rest


def _of_coarse_structure(
    pair: ArrayPair, place: Vector, error: NDArray[np.float64], sigma: Vector
) -> Vector | None:
    """Return how far the shift of coarse structure is from that of all, if it is another.

    Its error is known where the parts that residuals are summed over are wider than what is
    alike in them.
    """
    lattice = pair.lattice(place, ALL)
    if lattice is None or min(lattice.shape / sigma) < WIDE * CLUSTERS:
        return None
    coarse = ArrayPair(_smooth(pair.fixed, sigma), _smooth(pair.moving, sigma), pair.min_overlap)
    found = polish(coarse, place)
    spread = error + shift_covariance(coarse, found)
    away = found - place
    if not np.isfinite(spread).all() or not np.linalg.eigvalsh(spread)[0] > 0:
        return None
    certain = away @ np.linalg.solve(spread, away) > DIFFERENT**2
    return away if certain and np.linalg.norm(away) > SMALLEST else None


def _smooth(image: Standardised, sigma: Vector) -> Standardised:
    smooth = partial(ndi.gaussian_filter, sigma=sigma)
    if image.weight is None:
        return Standardised(smooth(image.values), None)
    valid = image.weight > 0
    mean, _ = normalized_convolution(image.values, valid, smooth)
    return Standardised(mean * image.weight, image.weight)
