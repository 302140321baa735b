"""Homogeneous affine matrices: checked, inverted, applied, fitted to points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.kind import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Matrix = NDArray[np.float64]
    Points = NDArray[np.float64]

FARTHEST = 1e100  # in any unit: products of such numbers are still numbers


def nearest_matrix(matrix: Matrix, kind: Kind) -> Matrix:
    """Return the nearest matrix of a kind (in the Frobenius norm of its linear part).

    Parameters
    ----------
    matrix : ndarray of float64, shape (ndim + 1, ndim + 1)
        Homogeneous, in a world of one unit along all axes.
    kind : Kind
        What it may do; the matrix of a flow is an affine.
    """
    if kind.includes(Kind.AFFINE):
        return matrix
    result = matrix.copy()
    if kind is Kind.TRANSLATION:
        result[:-1, :-1] = np.eye(len(matrix) - 1)
        return result
    left, stretch, right = np.linalg.svd(matrix[:-1, :-1])
    signs = np.ones_like(stretch)
    signs[-1] = np.sign(np.linalg.det(left @ right))
    scale = stretch.mean() if kind is Kind.SIMILARITY else 1.0
    result[:-1, :-1] = scale * (left * signs) @ right
    return result


def fit_matrix(begin: Points, end: Points, kind: Kind) -> Matrix:
    """Return the matrix of a kind that maps points onto others with least squares.

    Rotations and scales are those of Umeyama [1]_.

    Parameters
    ----------
    begin, end : ndarray of float64, shape (points, ndim)
        In a world of one unit along all axes.
    kind : Kind
        What the matrix may do; that of a flow is an affine.

    Returns
    -------
    ndarray of float64, shape (ndim + 1, ndim + 1)
        Homogeneous. Where the points do not determine it (they lie on a line, say), one of
        those that fit best.

    References
    ----------
    .. [1] Umeyama, IEEE TPAMI 13, 376 (1991), doi:10.1109/34.88573
    """
    ndim = begin.shape[-1]
    matrix = np.eye(ndim + 1)
    middle, target = begin.mean(axis=0), end.mean(axis=0)
    a, b = begin - middle, end - target
    if kind.includes(Kind.AFFINE):
        matrix[:-1, :-1] = np.linalg.lstsq(a, b, rcond=None)[0].T
    elif kind is not Kind.TRANSLATION:
        covariance = np.eye(ndim + 1)
        covariance[:-1, :-1] = b.T @ a
        turn = nearest_matrix(covariance, Kind.RIGID)[:-1, :-1]
        scale = np.sum(b * (a @ turn.T)) / np.sum(a * a) if kind is Kind.SIMILARITY else 1.0
        matrix[:-1, :-1] = scale * turn
    matrix[:-1, -1] = target - matrix[:-1, :-1] @ middle
    return matrix


def check_affine(matrix: ArrayLike, ndim: int) -> NDArray[np.float64]:
    """Return `matrix` as a read-only (ndim + 1, ndim + 1) float64 affine.

    Raises
    ------
    ValueError
        If it has another shape, is not finite, leads beyond all places, or cannot be inverted.
    """
    affine = np.array(matrix, dtype=np.float64)
    if affine.shape != (ndim + 1, ndim + 1):
        raise ValueError(
            f"the affine of {ndim} axes must have shape {(ndim + 1, ndim + 1)}, got {affine.shape}"
        )
    if not np.isfinite(affine).all() or not np.array_equal(affine[-1], np.eye(ndim + 1)[-1]):
        raise ValueError(f"not a finite homogeneous affine matrix: {affine.tolist()}")
    if np.abs(affine).max() > FARTHEST:
        raise ValueError(f"the affine has numbers beyond {FARTHEST:g}: {affine.tolist()}")
    linear = affine[:-1, :-1]
    lengths = np.linalg.norm(linear, axis=0)
    if not lengths.all() or np.linalg.matrix_rank(linear / lengths) < ndim:
        raise ValueError(f"the affine cannot be inverted: {affine.tolist()}")
    affine.flags.writeable = False
    return affine


def invert_affine(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse of a homogeneous affine, or of each in a stack (..., n + 1, n + 1)."""
    inverse: NDArray[np.float64] = np.linalg.inv(affine).astype(np.float64, copy=False)
    return inverse


def apply_affine(affine: NDArray[np.float64], points: ArrayLike) -> NDArray[np.float64]:
    """Map points of shape (..., ndim) through a homogeneous affine."""
    return np.asarray(points, np.float64) @ affine[:-1, :-1].T + affine[:-1, -1]


def whole_pixel_offset(affine: NDArray[np.float64], shape: Sequence[int]) -> tuple[int, ...] | None:
    """Return the offset of an affine that maps pixels onto pixels, else None.

    Parameters
    ----------
    affine : ndarray, shape (ndim + 1, ndim + 1)
        Map between the pixel indices of two grids.
    shape : sequence of int
        Grid size: over all of it the map must stay within 1e-6 px of whole pixels.

    Returns
    -------
    tuple of int or None
        The whole-pixel offset, or None where samples do not coincide.
    """
    ndim = len(shape)
    offset = np.rint(affine[:-1, -1])
    drift = np.abs(affine[:-1, :-1] - np.eye(ndim)) @ np.asarray(shape, float)
    if np.max(drift + np.abs(affine[:-1, -1] - offset)) > 1e-6:
        return None
    return tuple(int(step) for step in offset)
