"""Where a dense flow moves pixels, and the box of an image that a box of them shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from napari_local_ncc.geometry.affine import invert_affine
from napari_local_ncc.transforms.displacement_field import (
    interpolate_field,
    pixels_of,
    transform_pixels,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.transforms.displacement_field import Displacement

    Box = tuple[slice, ...]

SUPPORT = 3  # px around a point from which any interpolation reads


@dataclass(frozen=True, slots=True, eq=False)
class FlowMotion:
    """Which pixel of moving each pixel of a grid shows: ``to_moving @ p + linear @ u(p)``.

    Parameters
    ----------
    field : ndarray of float32, shape (ndim, *shape)
        The displacements u, in the world.
    to_field : ndarray, shape (ndim + 1, ndim + 1)
        Pixels of the grid to pixels of the field.
    to_moving : ndarray, shape (ndim + 1, ndim + 1)
        Pixels of the grid to pixels of moving, without the displacement.
    linear : ndarray, shape (ndim, ndim)
        Displacements in the world to those in pixels of moving.
    """

    field: NDArray[np.float32]
    to_field: NDArray[np.float64]
    to_moving: NDArray[np.float64]
    linear: NDArray[np.float64]

    @classmethod
    def from_grids(
        cls, grid: Grid, flow: Displacement, matrix: NDArray[np.float64], moving: Grid
    ) -> Self:
        """Make the motion of a spatial grid to a moving one, by ``matrix @ (x + u(x))``."""
        world_to_moving = invert_affine(moving.pixel_to_world) @ matrix
        return cls(
            flow.values,
            invert_affine(flow.pixel_to_world) @ grid.pixel_to_world,
            world_to_moving @ grid.pixel_to_world,
            world_to_moving[:-1, :-1],
        )

    def crop_field(self, box: Box) -> Self:
        """Return the motion with only the part of the field that a box of pixels needs."""
        corners = transform_pixels(self.to_field, _corners(box)).reshape(len(box), -1)
        last = np.array(self.field.shape[1:]) - 1
        low = np.clip(np.floor(corners.min(axis=1)), 0, last).astype(int)
        high = np.clip(np.ceil(corners.max(axis=1)) + 1, 0, last).astype(int)
        part = tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))
        to_field = self.to_field.copy()
        to_field[:-1, -1] -= low
        return replace(self, field=self.field[(slice(None), *part)], to_field=to_field)

    def sources(self, box: Box, xp: ModuleType = np) -> NDArray[np.float64]:
        """Return the pixels of moving that a box of pixels shows, shape (ndim, *box)."""
        pixels = pixels_of(box, xp)
        moved = interpolate_field(self.field, transform_pixels(self.to_field, pixels))
        shift: NDArray[np.float64] = xp.tensordot(xp.asarray(self.linear), moved, axes=1)
        return transform_pixels(self.to_moving, pixels) + shift

    def source_box(self, box: Box, shape: Sequence[int]) -> Box:
        """Return a box of moving, of `shape`, that holds all that a box of pixels reads."""
        corners = transform_pixels(self.to_moving, _corners(box)).reshape(len(box), -1)
        moved = np.tensordot(self.linear, self.field, axes=1).reshape(len(box), -1)
        low = np.floor(corners.min(axis=1) + moved.min(axis=1)) - SUPPORT
        high = np.ceil(corners.max(axis=1) + moved.max(axis=1)) + SUPPORT + 1
        # as numbers of pixels at last: a transform of a damaged file may lead beyond all of them
        return tuple(
            slice(int(np.clip(a, 0, n)), int(np.clip(b, 0, n)))
            for a, b, n in zip(low, high, shape, strict=True)
        )


def _corners(box: Box) -> NDArray[np.float64]:
    ends = [np.array([part.start, part.stop - 1], np.float64) for part in box]
    return np.stack(np.meshgrid(*ends, indexing="ij"))
