"""Room for a result before it is there: in memory, or in files where it would not fit."""

from __future__ import annotations

import math
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from napari_local_ncc.image.pyramid import level_shapes
from napari_local_ncc.image.spatial_image import map_chunks

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from napari_local_ncc.geometry.grid import Grid

LARGE_PLANE = 2**22  # px: the upload of a larger one to the screen stops napari for a while


def blank_levels(grid: Grid, dtype: DTypeLike, *, multiscale: bool, budget: float) -> list[Any]:
    """Return an array to be filled, and coarser ones if it is to be shown as a pyramid.

    Parameters
    ----------
    grid : Grid
        Where the result will lie.
    dtype : dtype
        Kind of numbers; floating point begins as NaN, all else as 0.
    multiscale : bool
        Whether a pyramid is wanted in any case; planes of more than 4 million pixels get
        one without being asked, since napari draws the whole of a plane that has none.
    budget : float
        Size in bytes up to which the result is kept in memory; a larger one becomes Zarr
        arrays in a temporary folder, removed when nothing uses them any more.

    Returns
    -------
    list of ndarray or of zarr.Array
        The levels, from fine to coarse.
    """
    multiscale = multiscale or math.prod(grid.shape[-2:]) > LARGE_PLANE
    shapes = level_shapes(grid.shape, grid.spatial) if multiscale else [grid.shape]
    fill = np.nan if np.dtype(dtype).kind == "f" else 0
    if math.prod(grid.shape) * np.dtype(dtype).itemsize <= budget:
        return [np.full(shape, fill, dtype) for shape in shapes]
    folder = tempfile.mkdtemp(prefix="local-ncc-")
    levels = [
        zarr.create_array(
            Path(folder) / str(k),
            shape=shape,
            chunks=map_chunks(grid.replace(shape=shape)),
            dtype=np.dtype(dtype),
            fill_value=fill,
            compressors=None,  # read while the user scrolls, and gone at the end
        )
        for k, shape in enumerate(shapes)
    ]
    weakref.finalize(levels[0], shutil.rmtree, folder, ignore_errors=True)
    return levels
