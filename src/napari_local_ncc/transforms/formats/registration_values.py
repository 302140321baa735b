"""A transform as plain JSON values, and back; a flow's displacement lies elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.geometry.affine import check_affine
from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.transforms.report import FrameReport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

KNOWN_OF_FRAMES = ("ncc_before", "ncc_after", "overlap")


def values_of(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a `Registration`, by name, as plain values; what is undefined as null."""
    flow, displacement = {}, parts["displacement"]
    if displacement is not None:
        flow["displacement"] = {
            "shape": list(displacement.shape),
            "largest_px": parts["reach"].tolist(),
            "residual_px": None if np.isnan(parts["residual"]) else parts["residual"],
        }
    return {
        "model": parts["model"],
        "matrix": parts["matrix"].tolist(),
        "grid": parts["grid"].to_dict(),
        **{name: _nan_to_none(parts[name]) for name in KNOWN_OF_FRAMES},
        **flow,
        "reports": [report.to_dict() for report in parts["reports"]],
    }


def parts_of(values: dict[str, Any]) -> dict[str, Any]:
    """Return what a `Registration` is made of, all but a flow's displacement.

    Raises
    ------
    Exception
        Whatever a document that is not ours leads to.
    """
    model = values["model"]
    if not (isinstance(model, str) and model and model.isprintable()):
        raise TypeError(f"the model must be a name, got {model!r}")
    grid = Grid.from_dict(values["grid"])
    matrices = np.asarray(values["matrix"], np.float64)
    for matrix in matrices.reshape(-1, *matrices.shape[-2:]):
        check_affine(matrix, grid.spatial_ndim)
    reports = tuple(map(FrameReport.from_dict, values.get("reports", ())))
    number = int(np.prod(grid.series_shape))
    if len(reports) not in (0, number):
        raise ValueError(f"there are {len(reports)} reports of {number} frames")
    return {
        "model": model,
        "matrix": matrices,
        "grid": grid,
        **{name: _numbers(values, name, grid) for name in KNOWN_OF_FRAMES},
        "residual": _residual(values.get("displacement") or {}),
        "reports": reports,
    }


def _numbers(values: dict[str, Any], name: str, grid: Grid) -> NDArray[np.float64]:
    """Return a value of every frame; null is NaN."""
    numbers = np.asarray(values[name], np.float64)
    if numbers.shape != grid.series_shape:
        raise ValueError(f"{name} has shape {numbers.shape} for {grid.series_shape} frames")
    return numbers


def _residual(summary: dict[str, Any]) -> float:
    residual = summary.get("residual_px")
    return np.nan if residual is None else float(residual)


def _nan_to_none(values: NDArray[np.float64]) -> Any:
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    return plain.tolist()
