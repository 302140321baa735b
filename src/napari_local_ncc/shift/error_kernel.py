"""Compiled: the variance of shifts, from the curvature of what they maximise and its slopes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import inner, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

LEAST_SHARE = 0.25  # of the variance of the slope that is left once noise in the slopes is off


@inner
def _invert(matrix: Numbers, inverse: Numbers) -> bool:
    """Invert a symmetric matrix of three axes; say whether it is positive definite."""
    zz, zy, yy = matrix[0, 0], matrix[1, 0], matrix[1, 1]
    zx, yx, xx = matrix[2, 0], matrix[2, 1], matrix[2, 2]
    inverse[0, 0], inverse[1, 0], inverse[1, 1] = (
        yy * xx - yx * yx,
        zx * yx - zy * xx,
        zz * xx - zx * zx,
    )
    inverse[2, 0], inverse[2, 1], inverse[2, 2] = (
        zy * yx - zx * yy,
        zy * zx - zz * yx,
        zz * yy - zy * zy,
    )
    minor = inverse[2, 2]
    determinant = zz * inverse[0, 0] + zy * inverse[1, 0] + zx * inverse[2, 0]
    for i in range(3):
        for j in range(i + 1):
            inverse[i, j] /= determinant
            inverse[j, i] = inverse[i, j]
    is_steep: bool = (zz > 0) & (minor > 0) & (determinant > 0)
    return is_steep


@inner
def _fill(rows: Numbers, first: int, pixel: int, axes: int, matrix: Numbers) -> None:
    """Set the matrix of a pixel from its rows, of its lower triangle."""
    for i in range(axes):
        for j in range(i + 1):
            matrix[i, j] = matrix[j, i] = rows[first, pixel]
            first += 1


@kernel
def variances_of_shifts(
    noise: Numbers,
    terms: Numbers,
    searched: Numbers,
    doubts: Numbers,
    steep: float,
    crossed: float,
    out: Numbers,
) -> None:
    """Set the variance of the shifts of pixels.

    Parameters
    ----------
    noise : array of float64, shape (pixels,)
        The power of the noise of both images; NaN where there is no shift.
    terms : array of float64, shape (terms, pixels)
        See `error.noise_terms`; the noise there is not looked at.
    searched : array of float64, shape (axes,)
        1 for axes that are searched, 0 for those along which the shift is 0 for sure.
    doubts : array of float64, shape (2,)
        Of noise of power 1, what the curvature counts less over the root of the share, and what
        the mean square of slopes does.
    steep, crossed : float
        Of noise of power 1, what it adds to the mean square of slopes, and to the slopes of one
        image times the other's.
    out : array of float64, shape (axes, pixels)
        Receives it, in px^2.
    """
    axes = searched.size
    pairs = axes * (axes + 1) // 2
    # Axes that there are not are of no curvature but 1, and stay apart.
    matrix, flat, smooth = np.eye(3), np.eye(3), np.zeros((3, 3))
    for pixel in range(noise.size):
        out[:, pixel] = 0
        power, share = noise[pixel], terms[1, pixel]
        _fill(terms, 2 + 2 * pairs, pixel, axes, smooth)
        for kind in range(2):
            less = doubts[kind] * power * np.sqrt(share) + (steep * power if kind else 0.0)
            _fill(terms, 2 + kind * pairs, pixel, axes, matrix)
            for i in range(axes):
                matrix[i, i] -= less * searched[i]
            is_steep = _invert(matrix, flat)
            for i in range(axes):
                first, second = 0.0, 0.0
                for j in range(axes):
                    for k in range(axes):
                        first += flat[i, j] * flat[i, k] * smooth[j, k]
                    second += flat[i, j] ** 2 * searched[j]
                first *= share * power
                left = first - second * share * crossed * power**2
                least = LEAST_SHARE * first
                out[i, pixel] += (left if left > least else least) / 2 if is_steep else np.nan
