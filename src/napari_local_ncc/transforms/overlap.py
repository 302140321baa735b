"""Where there is something to compare: where images overlap, and where samples count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.chunked.blocks import block_edges, blocks_of, compute_block
from napari_local_ncc.geometry.affine import apply_affine, invert_affine
from napari_local_ncc.image.spatial_image import map_chunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.transforms.displacement_field import Displacement


def overlap_share(
    fixed: Grid,
    moving: Grid,
    fixed_to_moving: NDArray[np.float64],
    displacement: Displacement | None = None,
) -> float:
    """Estimate which share of the fixed pixels lies inside the moving image.

    Parameters
    ----------
    fixed, moving : Grid
        Spatial grids in the same units.
    fixed_to_moving : ndarray, shape (ndim + 1, ndim + 1)
        Transform of fixed world to moving world.
    displacement : Displacement, optional
        What moves the points before.

    Returns
    -------
    float
        Share in [0, 1], from a lattice of at most 64 samples per axis.
    """
    lattice = [np.unique(np.linspace(0, n - 1, min(n, 64)).round()) for n in fixed.shape]
    pixels = np.stack(np.meshgrid(*lattice, indexing="ij"), axis=-1)
    points = apply_affine(fixed.pixel_to_world, pixels)
    if displacement is not None:
        points = points + displacement.at(points)
    partners = apply_affine(invert_affine(moving.pixel_to_world) @ fixed_to_moving, points)
    last = np.array(moving.shape) - 1
    return float(np.all((partners >= -1e-6) & (partners <= last + 1e-6), axis=-1).mean())


def overlap_box(
    fixed: Grid, moving: Grid, fixed_to_moving: NDArray[np.float64], margin: Sequence[int]
) -> tuple[slice, ...]:
    """Return the box of fixed pixels outside which no window holds a moving sample.

    Parameters
    ----------
    fixed, moving : Grid
        Spatial grids in the same units.
    fixed_to_moving : ndarray, shape (..., ndim + 1, ndim + 1)
        Transforms of fixed world to moving world; the box holds for all of them.
    margin : sequence of int
        Window radius per axis; the box grows by it, and to whole chunks of a map.

    Returns
    -------
    tuple of slice
        One per axis, within the fixed grid; empty where nothing overlaps.
    """
    to_fixed = (
        invert_affine(fixed.pixel_to_world) @ np.linalg.inv(fixed_to_moving) @ moving.pixel_to_world
    )
    last = np.array(moving.shape) - 1
    ends = np.stack(np.meshgrid(*[(0, n) for n in last], indexing="ij"), axis=-1)
    corners = [apply_affine(m, ends) for m in to_fixed.reshape(-1, *to_fixed.shape[-2:])]
    places = np.concatenate([c.reshape(-1, fixed.ndim) for c in corners])
    low = np.floor(places.min(axis=0) - 1e-6) - margin
    high = np.ceil(places.max(axis=0) + 1e-6) + margin + 1
    return tuple(
        slice(int(max(a // edge * edge, 0)), int(max(min(-(-b // edge) * edge, n), 0)))
        for a, b, n, edge in zip(low, high, fixed.shape, map_chunks(fixed), strict=True)
    )


def marked_box(marks: SpatialImage, grid: Grid, margin: Sequence[int]) -> tuple[slice, ...] | None:
    """Return the box of a grid outside which no window holds a marked sample.

    Parameters
    ----------
    marks : SpatialImage
        Greater than 0 where marked; read chunk by chunk, but for chunks that cannot widen the
        box any more.
    grid : Grid
        The spatial grid, in the same units.
    margin : sequence of int
        Window radius per axis, by which the box grows.

    Returns
    -------
    tuple of slice or None
        One per axis, within the grid; it holds for all frames. None where nothing on the grid
        is marked.
    """
    extent = _marked_extent(marks, grid.ndim)
    if extent is None:
        return None
    ends = np.stack(np.meshgrid(*np.add(extent, (-0.5, 0.5)), indexing="ij"), axis=-1)
    to_grid = invert_affine(grid.pixel_to_world) @ marks.grid.space().pixel_to_world
    places = apply_affine(to_grid, ends).reshape(-1, grid.ndim)
    low = np.ceil(places.min(axis=0) - 1e-6) - margin
    high = np.floor(places.max(axis=0) + 1e-6) + margin + 1
    box = [
        slice(int(max(a, 0)), int(min(b, n))) for a, b, n in zip(low, high, grid.shape, strict=True)
    ]
    return tuple(box) if all(part.start < part.stop for part in box) else None


def _marked_extent(marks: SpatialImage, ndim: int) -> NDArray[np.int64] | None:
    """Return the first and the last marked pixel along each of the last axes, if there are any."""
    data = marks.data
    blocks = blocks_of(data.shape, block_edges(data))
    extent: NDArray[np.int64] | None = None
    # from both ends in turn: of a mask that is full, two blocks say all
    order = np.argsort(np.minimum(range(len(blocks)), range(len(blocks))[::-1]), kind="stable")
    for block in (blocks[k] for k in order):
        place = np.array([(part.start, part.stop - 1) for part in block[-ndim:]])
        if (
            extent is not None
            and ((extent[:, 0] <= place[:, 0]) & (place[:, 1] <= extent[:, 1])).all()
        ):
            continue
        marked = np.argwhere(compute_block(data, block) > 0)[:, -ndim:]
        if len(marked):
            here = place[:, :1] + np.stack([marked.min(axis=0), marked.max(axis=0)], axis=1)
            both = here if extent is None else np.concatenate([extent, here], axis=1)
            extent = np.stack([both.min(axis=1), both.max(axis=1)], axis=1)
    return extent
