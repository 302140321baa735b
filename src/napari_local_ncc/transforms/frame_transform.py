"""The transform of one frame, as files of other programs hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_local_ncc.geometry.affine import apply_affine
from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.transforms.displacement_field import Displacement

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.transforms.report import FrameReport


@dataclass(frozen=True, slots=True, eq=False)
class FrameTransform:
    """Maps x of the fixed world to ``matrix @ (x + u(x))`` of the moving world.

    Parameters
    ----------
    matrix : ndarray of float64, shape (ndim + 1, ndim + 1)
        Homogeneous, in NumPy's axis order.
    grid : Grid
        The fixed image's spatial grid, at whose pixels u is known.
    displacement : ndarray of float32, shape (ndim, *grid.shape), optional
        u, in world units; None: 0 everywhere.
    model : str
        What to call it.
    reports : tuple of FrameReport
        What is known of it: one, or nothing.
    """

    matrix: NDArray[np.float64]
    grid: Grid
    displacement: NDArray[np.float32] | None = None
    model: str = Kind.AFFINE
    reports: tuple[FrameReport, ...] = ()

    def transform_points(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points of the fixed world, shape (..., ndim), to the moving world."""
        if self.displacement is not None:
            field = Displacement(self.displacement, self.grid.pixel_to_world)
            points = points + field.at(points)
        return apply_affine(self.matrix, points)
