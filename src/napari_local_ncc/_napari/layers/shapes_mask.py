"""Shapes as a mask: outlines in the world, drawn lazily on the pixels of a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from skimage.draw import polygon2mask

from napari_local_ncc.geometry.affine import apply_affine, invert_affine
from napari_local_ncc.image.spatial_image import map_chunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Shapes
    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid

    Outline = NDArray[np.float64]

ELLIPSE_CORNERS = 180
EMPTY = np.empty((0, 0), bool)


def shape_outlines(layer: Shapes) -> list[Outline]:
    """Return the outline of every shape that has an area, in world coordinates.

    Parameters
    ----------
    layer : napari.layers.Shapes
        Rectangles, ellipses and polygons; lines and paths have no area.

    Returns
    -------
    list of ndarray, shape (n, 2)
        Vertices along the last two axes of the world.
    """
    outlines = []
    for vertices, kind in zip(layer.data, layer.shape_type, strict=True):
        if kind in ("rectangle", "polygon", "ellipse"):
            corners = _ellipse(vertices) if kind == "ellipse" else vertices
            outlines.append(np.array([layer.data_to_world(corner)[-2:] for corner in corners]))
    return outlines


def drawn_on(grid: Grid, outlines: Sequence[Outline]) -> da.Array:
    """Draw outlines on every plane of a grid.

    Parameters
    ----------
    grid : Grid
        Its last two axes are the plane.
    outlines : sequence of ndarray, shape (n, 2)
        World coordinates along these two axes.

    Returns
    -------
    dask array of bool, shape grid.shape
        True where a pixel's centre lies inside an outline; drawn chunk by chunk.
    """
    plane = grid.take(range(grid.ndim - 2, grid.ndim))
    to_pixels = invert_affine(plane.pixel_to_world)
    polygons = [apply_affine(to_pixels, outline) for outline in outlines]
    chunks = da.core.normalize_chunks(map_chunks(plane), plane.shape)
    drawn = da.map_blocks(_drawn, polygons=polygons, chunks=chunks, dtype=bool, meta=EMPTY)
    return da.broadcast_to(drawn, grid.shape)


def _drawn(polygons: Sequence[Outline], block_info: Any = None) -> NDArray[np.bool_]:
    places = block_info[None]["array-location"]
    shape = tuple(stop - start for start, stop in places)
    origin = [start for start, _ in places]
    inside = np.zeros(shape, bool)
    for polygon in polygons:
        corners = polygon - origin
        low = np.clip(np.floor(corners.min(axis=0)), 0, shape).astype(int)
        high = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, shape).astype(int)
        if (low < high).all():  # most chunks of a large image hold nothing of it
            here = tuple(map(slice, low, high))
            inside[here] |= polygon2mask(tuple(high - low), corners - low)
    return inside


def _ellipse(corners: NDArray[Any]) -> NDArray[np.float64]:
    """Return the ellipse in the parallelogram of four corners as a polygon."""
    centre = np.mean(corners, axis=0)
    along, across = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angles = np.linspace(0, 2 * np.pi, ELLIPSE_CORNERS, endpoint=False)[:, np.newaxis]
    return np.asarray(centre + np.cos(angles) * along + np.sin(angles) * across)
