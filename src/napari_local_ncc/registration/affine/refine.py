"""A transform that is nearly known, improved in part of the field: no search, and no verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.evidence.samples import correlation_in_errors
from napari_local_ncc.evidence.sensor_pattern import CERTAIN
from napari_local_ncc.geometry.affine import invert_affine
from napari_local_ncc.registration.affine.contrast import in_contrast_of
from napari_local_ncc.registration.affine.detail_search import on_lattice
from napari_local_ncc.registration.affine.estimate import prepare_pair
from napari_local_ncc.registration.affine.least_squares import (
    SMOOTHINGS,
    fit_of_least_error,
    least_squares,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.registration.affine.least_squares import SmoothPair
    from napari_local_ncc.registration.affine.sampled_image import Matrix, Sampled, Vector

SMOOTHING = SMOOTHINGS[1]  # px of a reduced copy


def refine_transform(
    fixed: ArrayLike, moving: ArrayLike, near: Matrix, reach: int, metric: str
) -> tuple[Vector, NDArray[np.float64]] | None:
    """Find the shift that is missing to a transform of two images, known to some px.

    Parameters
    ----------
    fixed, moving : array_like, 2-D or 3-D
        Real images with equally many axes, of one contrast but for a curve; NaN and infinite
        samples are invalid.
    near : ndarray, shape (ndim + 1, ndim + 1)
        From px of fixed to px of moving.
    reach : int
        How many px of fixed that may be off.
    metric : str
        As for `estimate_affine`: with "correlation", contrasts differ by gain and offset only.

    Returns
    -------
    tuple of (ndarray, ndarray) or None
        What to move px of fixed by, before `near`; and its covariance (px squared). None where
        the images do not agree there beyond chance, tell nothing of a shift along some
        direction, or lead farther away.

    Raises
    ------
    ValueError
        If an image is too small, constant or (almost) all invalid.
    """
    unit = np.eye(len(near))
    here, there, _ = prepare_pair(fixed, unit, moving, invert_affine(near))
    if metric != "correlation":
        there = in_contrast_of(here.values, on_lattice(there, unit, here, beyond=np.nan), there)
    fitted = fit_of_least_error(here, there, _come_nearer(here, there, reach), "translation")
    if fitted is None:
        return None
    pair, fit = fitted
    shift = fit.matrix[:-1, -1]
    is_told = fit.converged and np.isfinite(fit.covariance).all()
    if not is_told or np.abs(shift).max() > 2 * reach + 1 or not _agree(pair, fit.matrix):
        return None
    return shift, fit.covariance


def _come_nearer(fixed: Sampled, moving: Sampled, reach: int) -> Matrix:
    """Find the shift on reduced copies, the coarsest first."""
    found = np.eye(fixed.ndim + 1)
    for k in range(int(reach).bit_length() - 1, 0, -1):
        here, there = (image.reduce(2.0**k * image.step) for image in (fixed, moving))
        fit = least_squares(here, there, found, model="translation", smoothing=SMOOTHING)
        found = found if fit is None else fit.matrix
    return found


def _agree(pair: SmoothPair, matrix: Matrix) -> bool:
    """Whether the images agree beyond chance, whatever the sign of their contrasts."""
    planes = [pair.fixed.values, pair.move(matrix)]
    valid = np.isfinite(planes[0]) & np.isfinite(planes[1])
    if not valid.any():
        return False
    even = [np.where(valid, plane - np.mean(plane[valid]), 0.0) for plane in planes]
    return abs(correlation_in_errors(even[0], even[1], valid)) > CERTAIN
