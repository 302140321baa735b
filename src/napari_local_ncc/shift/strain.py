"""Strain and rotation: how a residual shift changes from place to place."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


class Strain(NamedTuple):
    """What deforms a neighbourhood, and what turns it.

    Parameters
    ----------
    strain : array of float64, shape (n, n, ...)
        The symmetric part of the gradient of the displacement: its diagonal is the stretch
        along each axis, the rest half the change of the angle between two axes (rad).
    rotation : array of float64, shape (n, n, ...)
        The antisymmetric part. In 2-D, ``rotation[1, 0]`` is the angle in rad from axis 0
        to axis 1, for small angles.
    """

    strain: NDArray[np.float64]
    rotation: NDArray[np.float64]


def displacement_gradient(
    shift: ArrayLike, *, radius: int = 4, spacing: float | Sequence[float] = 1.0
) -> NDArray[np.float64]:
    """Return the gradient of a displacement by planes fitted to its surroundings.

    Parameters
    ----------
    shift : array_like, shape (n, ...)
        The components of `local_shift` along the n axes of the image, in px; NaN is left out.
    radius : int, default 4
        Planes are fitted to ``2 * radius + 1`` pixels along each axis.
    spacing : float or sequence of float, default 1.0
        Size of a pixel along each axis, in any one unit.

    Returns
    -------
    array of float64, shape (n, n, ...)
        ``[i, j]`` is the derivative of component i along axis j, without unit. NaN where the
        surroundings hold fewer than half of their pixels, or these lie on a line.

    Raises
    ------
    ValueError
        If there is not one component for each axis, or a value is out of its range.
    """
    values = np.asarray(shift, np.float64)
    ndim = values.ndim - 1
    if len(values) != ndim:
        raise ValueError(f"shift has {len(values)} components on {ndim} axes; give one for each")
    if radius < 1:
        raise ValueError(f"radius must be >= 1 px, got {radius}")
    sizes = np.broadcast_to(np.asarray(spacing, np.float64), ndim)
    if not (sizes > 0).all():
        raise ValueError(f"spacing must be > 0, got {spacing}")
    known = np.isfinite(values).all(axis=0)
    values = np.asarray(np.where(known, values, 0.0))
    offsets = np.arange(-radius, radius + 1)

    def moment(samples: NDArray[Any], axes: Sequence[int] = ()) -> NDArray[np.float64]:
        """Sum samples times their offsets along some axes over the surroundings."""
        for axis in range(ndim):
            taps = offsets.astype(np.float64) ** list(axes).count(axis)
            samples = scipy.ndimage.correlate1d(samples, taps, axis=axis, mode="constant")
        return samples

    weight = np.asarray(known, np.float64)
    normal = np.empty((*values.shape[1:], ndim + 1, ndim + 1))
    right = np.empty((*values.shape[1:], ndim + 1, ndim))
    for i, j in combinations_with_replacement(range(ndim + 1), 2):
        axes = [axis - 1 for axis in (i, j) if axis]
        normal[..., i, j] = normal[..., j, i] = moment(weight, axes)
    for i in range(ndim + 1):
        for component in range(ndim):
            right[..., i, component] = moment(np.asarray(values[component]), [i - 1] if i else [])
    enough = moment(weight) >= (2 * radius + 1) ** ndim / 2
    enough &= np.abs(np.linalg.det(normal)) > 0
    slopes = np.full(right.shape, np.nan)
    slopes[enough] = np.linalg.solve(normal[enough], right[enough])
    gradient = np.moveaxis(slopes[..., 1:, :], (-1, -2), (0, 1))
    return gradient * sizes.reshape(-1, 1, *(1,) * ndim) / sizes.reshape(1, -1, *(1,) * ndim)


def strain_and_rotation(
    shift: ArrayLike, *, radius: int = 4, spacing: float | Sequence[float] = 1.0
) -> Strain:
    """Split the gradient of a displacement into what deforms and what turns.

    Parameters
    ----------
    shift, radius, spacing
        As for `displacement_gradient`.

    Returns
    -------
    Strain
        For small deformations, as an engineer takes them. NaN where the gradient is.
    """
    gradient = displacement_gradient(shift, radius=radius, spacing=spacing)
    turned = gradient.swapaxes(0, 1)
    return Strain((gradient + turned) / 2, (gradient - turned) / 2)
