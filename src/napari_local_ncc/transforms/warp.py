"""Sample an image through a dense flow, chunk by chunk, each from the box that it needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import dask
import dask.array as da
import numpy as np
from dask.array.core import normalize_chunks
from scipy import ndimage

from napari_local_ncc.geometry.affine import invert_affine
from napari_local_ncc.image.spatial_image import map_chunks
from napari_local_ncc.transforms.displacement_field import (
    interpolate_field,
    pixels_of,
    slabs,
    transform_pixels,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

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

    def shift_moving(self, offset: NDArray[np.float64]) -> Self:
        """Return the motion to an image that has its pixel 0 `offset` px further out."""
        to_moving = self.to_moving.copy()
        to_moving[:-1, -1] += offset
        return replace(self, to_moving=to_moving)

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

    def sources(self, box: Box) -> NDArray[np.float64]:
        """Return the pixels of moving that a box of pixels shows, shape (ndim, *box)."""
        pixels = pixels_of(box)
        moved = interpolate_field(self.field, transform_pixels(self.to_field, pixels))
        return transform_pixels(self.to_moving, pixels) + np.tensordot(self.linear, moved, axes=1)

    def source_box(self, box: Box, shape: Sequence[int]) -> Box:
        """Return a box of moving, of `shape`, that holds all that a box of pixels reads."""
        corners = transform_pixels(self.to_moving, _corners(box)).reshape(len(box), -1)
        moved = np.tensordot(self.linear, self.field, axes=1).reshape(len(box), -1)
        low = np.floor(corners.min(axis=1) + moved.min(axis=1)).astype(int) - SUPPORT
        high = np.ceil(corners.max(axis=1) + moved.max(axis=1)).astype(int) + SUPPORT + 1
        return tuple(
            slice(int(np.clip(a, 0, n)), int(np.clip(b, 0, n)))
            for a, b, n in zip(low, high, shape, strict=True)
        )


def sample_through(
    samples: da.Array,
    motion: FlowMotion,
    grid: Grid,
    *,
    order: int,
    inside: Sequence[tuple[int, int]],
) -> da.Array:
    """Sample an image where a flow says.

    Parameters
    ----------
    samples : dask array
        The moving image, or its spline coefficients if `order` > 1.
    motion : FlowMotion
        To the pixels of `samples`.
    grid : Grid
        Where to sample; a spatial grid.
    order : int
        Of the spline: 0, 1 or 3.
    inside : sequence of (int, int)
        First and last pixel of the image along each axis of `samples`.

    Returns
    -------
    dask array, shape grid.shape
        Lazy; NaN outside.
    """
    dtype = np.result_type(samples.dtype, np.float32)
    edges = normalize_chunks(map_chunks(grid), grid.shape)
    starts = [np.cumsum([0, *sizes]) for sizes in edges]
    blocks = np.empty([len(sizes) for sizes in edges], dtype=object)
    sample = dask.delayed(_sample_block, pure=False, traverse=False)
    for index in np.ndindex(blocks.shape):
        box = tuple(slice(int(s[k]), int(s[k + 1])) for s, k in zip(starts, index, strict=True))
        part = motion.crop_field(box)
        source = part.source_box(box, samples.shape)
        shape = tuple(b.stop - b.start for b in box)
        if any(s.start >= s.stop for s in source):
            blocks[index] = da.full(shape, np.nan, dtype=dtype)
            continue
        low = np.array([s.start for s in source])
        value = sample(
            samples[source], part.shift_moving(-low), box, order, np.array(inside).T - low
        )
        blocks[index] = da.from_delayed(value, shape, dtype=dtype)
    return da.block(blocks.tolist())


def _sample_block(
    samples: NDArray[Any],
    motion: FlowMotion,
    box: Box,
    order: int,
    inside: NDArray[np.int_],
) -> NDArray[Any]:
    """Sample one chunk; slab by slab, since coordinates take more room than pixels."""
    result = np.empty([b.stop - b.start for b in box], np.result_type(samples.dtype, np.float32))
    samples = samples.astype(result.dtype, copy=False)
    for slab in slabs(result.shape):
        part = (slice(slab[0].start + box[0].start, slab[0].stop + box[0].start), *box[1:])
        at = motion.sources(part)
        first, last = (end.reshape(-1, *(1,) * len(box)) for end in inside)
        is_inside = ((at >= first - 1e-6) & (at <= last + 1e-6)).all(axis=0)
        # "nearest" and a test of our own, since rounding puts border samples outside
        values = ndimage.map_coordinates(
            samples, at, result.dtype, order=order, mode="nearest", prefilter=False
        )
        result[slab] = np.where(is_inside, values, np.nan)
    return result


def _corners(box: Box) -> NDArray[np.float64]:
    ends = [np.array([part.start, part.stop - 1], np.float64) for part in box]
    return np.stack(np.meshgrid(*ends, indexing="ij"))
