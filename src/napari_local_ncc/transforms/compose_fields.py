"""Displacement fields of transforms put together, and turned round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_local_ncc.geometry.affine import invert_affine
from napari_local_ncc.transforms.displacement_field import (
    field_array,
    invert_field,
    pixels_of,
    slabs,
    transform_pixels,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.transforms.displacement_field import Displacement

    Field = NDArray[np.float32]


class Transform(Protocol):
    """What of a `Registration` is needed here."""

    @property
    def model(self) -> str:
        """Kind of transform."""

    @property
    def grid(self) -> Grid:
        """Fixed's grid."""

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Matrix of every frame, shape (*series, ndim + 1, ndim + 1)."""

    def displacement_of(self, index: tuple[int, ...]) -> Displacement | None:
        """Return what displaces the points of a frame before its matrix."""


def compose_field(first: Transform, after: Transform) -> Field:
    """Return u with ``matrix @ (x + u(x))``, by first's matrix, on to what `after` displaces.

    Parameters
    ----------
    first, after : Transform
        Two transforms, applied in this order; see `Registration.compose`.

    Returns
    -------
    ndarray of float32, shape (*series, ndim, *space)
        On first's grid, in world units.
    """
    space = first.grid.space()
    field = field_array((*first.grid.series_shape, space.ndim, *space.shape))
    for index in np.ndindex(first.grid.series_shape):
        ours, theirs = first.displacement_of(index), after.displacement_of(index)
        back = np.linalg.inv(first.matrix[index][:-1, :-1])
        for box in slabs(space.shape):
            part = (slice(None), *box)
            points = transform_pixels(space.pixel_to_world, pixels_of(box))
            moved = np.zeros_like(points) if ours is None else ours.values[part]
            met = np.moveaxis(transform_pixels(first.matrix[index], points + moved), 0, -1)
            shift = 0.0 if theirs is None else np.moveaxis(theirs.at(met), -1, 0)
            field[index][part] = moved + np.tensordot(back, shift, axes=1)
    return field


def pixel_to_moving_world(grid: Grid, fixed_to_moving: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where a grid's pixels lie in the moving world, by the matrix of the first frame.

    One grid has one place: where the frames of a series move differently, it is the first's.
    """
    first = fixed_to_moving.reshape(-1, *fixed_to_moving.shape[-2:])[0]
    series = len(grid.series_shape)
    place = grid.pixel_to_world.copy()
    rows, columns = range(series, grid.ndim), range(series, grid.ndim + 1)
    place[np.ix_([*rows], [*columns])] = (first @ grid.space().pixel_to_world)[:-1]
    return place


def inverse_field(forward: Transform) -> tuple[Field, float]:
    """Return the field of a flow's inverse, on fixed's lattice in moving's world, and its residual.

    Returns
    -------
    displacement : ndarray of float32, shape (*series, ndim, *space)
        In the units of the moving world.
    residual : float
        Largest distance, in px of the flow's grid, by which a round trip misses.
    """
    space = forward.grid.space()
    place = forward.matrix.reshape(-1, *forward.matrix.shape[-2:])[0] @ space.pixel_to_world
    field = field_array((*forward.grid.series_shape, space.ndim, *space.shape))
    residual = 0.0
    for index in np.ndindex(forward.grid.series_shape):
        flow = forward.displacement_of(index)
        if flow is None:
            raise ValueError(f"a {forward.model} has no field to invert")
        back = invert_affine(forward.matrix[index]) @ place
        values, error = invert_field(flow, space.shape, back)
        for box in slabs(space.shape):
            linear, part = forward.matrix[index][:-1, :-1], (slice(None), *box)
            field[index][part] = np.tensordot(linear, values[part], axes=1)
        residual = max(residual, error)
    return field, residual
