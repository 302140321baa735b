"""Where two images overlap under a transform: how much, and in which box."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.affine import apply_affine, invert_affine
from napari_local_ncc.image.spatial_image import map_chunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
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
