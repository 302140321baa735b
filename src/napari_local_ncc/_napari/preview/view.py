"""What of a map the viewer shows: which pixels, and how many of them a screen pixel holds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc._napari.layers.convert import world_units
from napari_local_ncc.geometry.affine import apply_affine, invert_affine
from napari_local_ncc.geometry.units import PIXEL, unit_factor

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid


@dataclass(frozen=True, slots=True)
class View:
    """What a 2-D viewer looks at, in its world.

    Parameters
    ----------
    point : tuple of float
        Position along every axis of the viewer; only that of the sliders matters.
    units : tuple of str
        Unit of each of these axes.
    displayed : tuple of int
        The axes on the screen, down and across.
    centre, field : tuple of float
        Middle and size of the visible part along the displayed axes.
    pixel : float
        Size of a screen pixel.
    """

    point: tuple[float, ...]
    units: tuple[str, ...]
    displayed: tuple[int, ...]
    centre: tuple[float, ...]
    field: tuple[float, ...]
    pixel: float

    @classmethod
    def of(cls, viewer: ViewerModel) -> View:
        """Return what a viewer looks at now.

        Raises
        ------
        ValueError
            If it shows a volume rather than a plane.
        """
        dims, camera = viewer.dims, viewer.scene.camera
        if dims.ndisplay != 2:
            raise ValueError("the preview is for planes: switch the viewer back to 2-D")
        return cls(
            tuple(dims.point),
            world_units(viewer),
            tuple(dims.displayed),
            tuple(camera.center[-2:]),
            tuple(float(n) / camera.zoom for n in viewer.canvas.viewbox_size(viewer.layers)),
            1 / camera.zoom,
        )

    def corners(self) -> NDArray[np.float64]:
        """Return the corners of the visible part, shape (4, number of axes)."""
        ends = [
            (middle - size / 2, middle + size / 2)
            for middle, size in zip(self.centre, self.field, strict=True)
        ]
        corners = np.tile(np.array(self.point, float), (4, 1))
        corners[:, list(self.displayed)] = list(product(*ends))
        return corners


def visible_box(grid: Grid, view: View) -> tuple[slice, ...]:
    """Return the pixels of a grid that are seen, thinned out to what a screen can show.

    Parameters
    ----------
    grid : Grid
        Its axes are the last ones of the viewer.
    view : View
        What is looked at.

    Returns
    -------
    tuple of slice
        One per axis: along a slider the one pixel it stands at. Along the screen those
        that are seen, of every k one, k being the pixels in a screen pixel, rounded down.
        Which of them does not depend on where the view begins: panning shifts the samples
        and does not change them.

    Raises
    ------
    ValueError
        If nothing of the grid is seen.
    """
    missing = max(grid.ndim - len(view.point), 0)
    points = np.pad(view.corners(), ((0, 0), (missing, 0)))[:, -grid.ndim :]
    units = (PIXEL,) * missing + view.units[-grid.ndim :]
    to_grid = [unit_factor(old, new) for old, new in zip(units, grid.units, strict=True)]
    pixels = apply_affine(invert_affine(grid.pixel_to_world), points * to_grid)
    first = len(view.point) - grid.ndim
    box = []
    for axis, n in enumerate(grid.shape):
        low, high = pixels[:, axis].min(), pixels[:, axis].max()
        step = 1
        if axis + first in view.displayed:
            step = max(int(min(view.pixel * to_grid[axis] / grid.spacing[axis], n)), 1)
        else:
            low = high = np.rint((low + high) / 2)
        start = max(int(np.floor(low)), 0) // step * step + step // 2
        stop = min(int(np.ceil(high)) + 1, n)
        if start >= stop:
            raise ValueError("nothing of the fixed image is in view")
        box.append(slice(start, stop, step))
    return tuple(box)
