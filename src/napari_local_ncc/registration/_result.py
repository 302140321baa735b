"""A transform of fixed world to moving world, and what is known of its quality."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_local_ncc.geometry import Grid, apply_affine, invert_affine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray

FORMAT = "napari-local-ncc transform"


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
        square = (self.grid.spatial_ndim + 1,) * 2
        if np.shape(self.matrix) != self.grid.series_shape + square:
            raise ValueError(
                f"the matrix has shape {np.shape(self.matrix)}, but {self.grid.series_shape} "
                f"frames of {self.grid.spatial_ndim} spatial axes need "
                f"{self.grid.series_shape + square}"
            )
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

    def frames(self, part: Sequence[slice]) -> Self:
        """Return the transforms of some frames, one slice per independent axis.

        A single transform, for all frames, stays as it is.
        """
        if not self.grid.series_shape:
            return self
        box = tuple(part)
        space = (slice(None),) * self.grid.spatial_ndim
        return replace(
            self,
            matrix=self.matrix[box],
            grid=self.grid.crop((*box, *space)),
            ncc_before=self.ncc_before[box],
            ncc_after=self.ncc_after[box],
            overlap=self.overlap[box],
        )

    def inverse(self) -> Self:
        """Return the transform of moving world to fixed world; its NCC is not known."""
        return self._with_matrix(invert_affine(self.matrix))

    def compose(self, after: Registration) -> Self:
        """Return the transform that applies this one and then `after`; its NCC is not known.

        Parameters
        ----------
        after : Registration
            Maps this one's moving world on; a single transform, or one for each of the
            same frames.

        Raises
        ------
        ValueError
            If the units or axes of the two do not match.
        """
        ours, theirs = self.grid, after.grid
        if ours.space().units != theirs.space().units:
            raise ValueError(
                f"cannot compose a transform in {ours.space().units} with one in "
                f"{theirs.space().units}; bring both to the same units"
            )
        if theirs.series_shape not in ((), ours.series_shape):
            raise ValueError(
                f"cannot compose transforms of {ours.series_shape} and {theirs.series_shape} frames"
            )
        return self._with_matrix(after.matrix @ self.matrix)

    def _with_matrix(self, matrix: NDArray[np.float64]) -> Self:
        unknown = np.full(self.grid.series_shape, np.nan)
        return replace(self, matrix=matrix, ncc_before=unknown, ncc_after=unknown, overlap=unknown)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the transform as JSON, with its units and axes.

        Parameters
        ----------
        path : path_like
            The file; it is replaced in one step.
        """
        target = Path(path)
        partial = target.with_name(f"{target.name}.partial")
        document = {"format": FORMAT, "version": 1, **self.to_dict()}
        partial.write_text(json.dumps(document, indent=1), encoding="utf-8")
        partial.replace(target)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a transform that `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not such a transform.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise KeyError(document["format"])
            return cls.from_dict(document)
        except FileNotFoundError:
            raise FileNotFoundError(f"there is no file {path}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is no transform of local-ncc ({type(error).__name__}: {error}); "
                "make one with: local-ncc register FIXED MOVING -o T.json"
            ) from error

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
