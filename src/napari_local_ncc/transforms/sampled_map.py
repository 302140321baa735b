"""Maps that are known point by point, sampled at the pixels of a grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.affine import check_affine, fit_matrix, invert_affine
from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.transforms.displacement_field import (
    field_array,
    pixels_of,
    slabs,
    transform_pixels,
)
from napari_local_ncc.transforms.frame_transform import FrameTransform

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.geometry.grid import Grid

# of the pixels of a grid to where they go: positions in the moving world, shape (ndim, *shape)
LatticeMap = Callable[["Grid"], "NDArray[np.float64]"]
PROBED = 9  # pixels along each axis, by which the matrix of a map is found


def sample_map(moves: LatticeMap, grid: Grid) -> FrameTransform:
    """Return the flow that does at every pixel of a grid what a map does there.

    The best affine is its matrix, so that what is left, its displacement, is
    small and can be inverted.

    Parameters
    ----------
    moves : callable
        Takes a grid in the fixed world; returns where its pixels lie in the moving world,
        shape (ndim, *shape).
    grid : Grid
        The fixed image's spatial grid.

    Raises
    ------
    ValueError
        If the map is not finite at every pixel, or crushes space to a plane or a point.
    """
    probe = _probe(grid)
    here, there = (values.reshape(grid.ndim, -1).T for values in (points_of(probe), moves(probe)))
    matrix = check_affine(fit_matrix(here, there, Kind.AFFINE), grid.ndim)
    back = invert_affine(matrix)
    field = field_array((grid.ndim, *grid.shape))
    for box in slabs(grid.shape):
        part = grid.crop(box)
        field[(slice(None), *box)] = transform_pixels(back, moves(part)) - points_of(part)
    return FrameTransform(matrix, grid, field, Kind.FLOW)


def lattice_map(moves: Callable[[NDArray[np.float64]], ArrayLike]) -> LatticeMap:
    """Return a map of grids by a map of points, shape (points, ndim) to the same."""

    def of_grid(grid: Grid) -> NDArray[np.float64]:
        points = points_of(grid)
        moved = np.asarray(moves(points.reshape(grid.ndim, -1).T), np.float64)
        return moved.T.reshape(points.shape)

    return of_grid


def points_of(grid: Grid) -> NDArray[np.float64]:
    """Return the world positions of a grid's pixels, shape (ndim, *shape)."""
    return transform_pixels(grid.pixel_to_world, pixels_of([slice(0, n) for n in grid.shape]))


def _probe(grid: Grid) -> Grid:
    """Return a few evenly spaced pixels of a grid; of an axis of one pixel, the next one too."""
    counts = [min(max(n, 2), PROBED) for n in grid.shape]
    steps = [max(n - 1, 1) / (count - 1) for n, count in zip(grid.shape, counts, strict=True)]
    return grid.replace(
        shape=tuple(counts), pixel_to_world=grid.pixel_to_world @ np.diag([*steps, 1.0])
    )
