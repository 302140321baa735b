"""Transforms by pairs of points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.transforms.formats.frame_by_points import frame_by_points
from napari_local_ncc.transforms.registration import Registration

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.geometry.grid import Grid


@dataclass(frozen=True, slots=True, eq=False)
class PointFit:
    """A transform that brings points onto their partners, and by how much it misses them.

    Attributes
    ----------
    registration : Registration
        Maps fixed world to moving world.
    residuals : ndarray of float64, shape (points,)
        Distances in the moving world between where a fixed point is mapped and its partner,
        in the unit of the grid's last axis.
    """

    registration: Registration
    residuals: NDArray[np.float64]

    @property
    def rms(self) -> float:
        """Root of the mean squared residual."""
        return float(np.sqrt(np.mean(np.square(self.residuals))))


def fit_points(
    fixed: ArrayLike, moving: ArrayLike, grid: Grid, *, model: str = "affine"
) -> PointFit:
    """Find the transform that brings points of the fixed image onto their partners in moving.

    Parameters
    ----------
    fixed, moving : array_like, shape (points, ndim)
        World positions of the same structures in both images, along the spatial axes.
    grid : Grid
        The fixed image's grid.
    model : {"translation", "rigid", "similarity", "affine", "flow"}, default "affine"
        The transform with the least squared distances of its kind; for a flow, the thin-plate
        spline [1]_ through the points (its kernel is r^2 log r in 3-D, too, as BigWarp's is),
        sampled at the pixels of `grid`.

    Returns
    -------
    PointFit
        The transform, of one frame, and by how much it misses; their root mean square is the
        score of its report.

    Raises
    ------
    ValueError
        If the points are not as many, not finite, too few for the model, or spread along too
        few directions (on a line, say) to determine it.

    References
    ----------
    .. [1] Bookstein, IEEE TPAMI 11, 567 (1989), doi:10.1109/34.24792

    Examples
    --------
    >>> from napari_local_ncc import Grid
    >>> fixed = [[0.0, 0.0], [0.0, 30.0], [20.0, 0.0]]
    >>> moving = [[5.0, 2.0], [5.0, 32.0], [25.0, 2.3]]
    >>> fit = fit_points(fixed, moving, Grid((64, 64)), model="translation")
    >>> fit.registration.translation.round(6)
    array([5. , 2.1])
    >>> fit.residuals.round(6)
    array([0.1, 0.1, 0.2])
    """
    found, residuals = frame_by_points(fixed, moving, grid.space(), model)
    return PointFit(Registration.from_frame(found), residuals)
