"""A transform of fixed world to moving world, and what is known of its quality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_local_ncc.geometry import Grid, apply_affine, invert_affine

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """Maps the fixed image's world to the moving image's world.

    Parameters
    ----------
    model : str
        Kind of transform, one of `MODELS`.
    matrix : ndarray, shape (*series, ndim + 1, ndim + 1)
        Homogeneous float64 affine of the `ndim` spatial axes, one for each position along
        the independent axes of the fixed image (none of those: one matrix).
    grid : Grid
        The fixed image's grid: axis labels, units, and where its frames lie.
    ncc_before, ncc_after : ndarray, shape series
        Global NCC of the overlap without and with the transform; NaN where undefined.
    overlap : ndarray, shape series
        Share of the valid fixed samples that have a valid partner after the transform.
    """

    model: str
    matrix: NDArray[np.float64]
    grid: Grid
    ncc_before: NDArray[np.float64]
    ncc_after: NDArray[np.float64]
    overlap: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in ("matrix", "ncc_before", "ncc_after", "overlap"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))

    @property
    def translation(self) -> NDArray[np.float64]:
        """World displacement of the world's origin, shape (*series, ndim), in `grid.units`."""
        return self.matrix[..., :-1, -1]

    def transform_points(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map points of the fixed world to the moving world.

        Parameters
        ----------
        points : array_like, shape (..., grid.ndim)
            World coordinates along all axes of the fixed grid. For a series, the nearest
            frame's transform is taken; the independent coordinates stay as they are.

        Returns
        -------
        ndarray of float64, shape (..., grid.ndim)
            World coordinates in the moving image.

        Raises
        ------
        ValueError
            If the last axis of `points` does not match the grid.
        """
        world = np.asarray(points, np.float64)
        if world.shape[-1:] != (self.grid.ndim,):
            raise ValueError(
                f"points must have shape (..., {self.grid.ndim}), one value per axis "
                f"{self.grid.axis_labels}, got {world.shape}"
            )
        series = len(self.grid.series_shape)
        pixels = apply_affine(invert_affine(self.grid.pixel_to_world), world)[..., :series]
        last = np.array(self.grid.series_shape, int) - 1
        frames = np.clip(np.rint(pixels), 0, last).astype(int)
        matrix = self.matrix[tuple(np.moveaxis(frames, -1, 0))]
        spatial = np.einsum("...ij,...j->...i", matrix[..., :-1, :-1], world[..., series:])
        return np.concatenate([world[..., :series], spatial + matrix[..., :-1, -1]], axis=-1)

    def to_dict(self) -> dict[str, Any]:
        """Return the registration as plain JSON values (undefined NCC as null)."""
        return {
            "model": self.model,
            "matrix": self.matrix.tolist(),
            "grid": self.grid.to_dict(),
            "ncc_before": _nan_to_none(self.ncc_before),
            "ncc_after": _nan_to_none(self.ncc_after),
            "overlap": _nan_to_none(self.overlap),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild a registration from `to_dict`."""
        return cls(
            values["model"],
            values["matrix"],
            Grid.from_dict(values["grid"]),
            *(values[key] for key in ("ncc_before", "ncc_after", "overlap")),
        )


def _nan_to_none(values: NDArray[np.float64]) -> Any:
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    return plain.tolist()
