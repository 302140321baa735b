"""What a command found as one JSON document, whose schema is docs/local-ncc-1.schema.json."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.geometry.affine import apply_affine
from napari_local_ncc.reports.describe import describe_registration
from napari_local_ncc.reports.headline import headline

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.io.reading import ImageFile
    from napari_local_ncc.maps.comparison import Comparison
    from napari_local_ncc.maps.map_summary import MapTally
    from napari_local_ncc.maps.pipeline import ConfidenceMap
    from napari_local_ncc.maps.refinement import Refinement
    from napari_local_ncc.reports.tables import FrameTable
    from napari_local_ncc.transforms.registration import Registration

SCHEMA = "local-ncc/1"


def document(command: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the document of a command: its schema, who wrote it, and what was found."""
    software = f"napari-local-ncc {version('napari-local-ncc')}"
    return {"schema": SCHEMA, "software": software, "command": command, **facts}


def as_json(values: dict[str, Any], indent: int | None = 2) -> str:
    """Write values as JSON; what is undefined (NaN, infinite) is null, and text stays readable."""
    return json.dumps(plain(values), ensure_ascii=False, allow_nan=False, indent=indent)


def plain(values: Any) -> Any:
    """Return values as those of JSON: numbers of NumPy as numbers, paths as text, NaN as None."""
    if isinstance(values, dict):
        return {str(key): plain(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [plain(value) for value in values]
    if isinstance(values, np.ndarray):
        return plain(values.tolist())
    if isinstance(values, np.generic):
        return plain(values.item())
    if isinstance(values, float):
        return values if math.isfinite(values) else None
    return values if isinstance(values, (int, str, bool)) or values is None else str(values)


def comparison_facts(
    comparison: Comparison,
    tally: MapTally,
    *,
    plan: str,
    rate: float,
    refinement: Refinement | None = None,
    frames: FrameTable | None = None,
    outputs: Mapping[str, Path | str],
) -> dict[str, Any]:
    """Return what a comparison found.

    Parameters
    ----------
    comparison : Comparison
        What was compared, with the transform that was found or given.
    tally : MapTally
        The map in numbers.
    plan : str
        What was compared, as `describe_comparison` says it.
    rate : float
        The false discovery rate to accept pixels at.
    refinement : Refinement, optional
        How the transform was refined.
    frames : FrameTable, optional
        The NCC frame by frame.
    outputs : dict of str to path
        What was written, by what it is.

    Returns
    -------
    dict
        Of plain values, NaN where something is undefined.
    """
    in_short = headline(comparison.registration, tally)
    return {
        "headline": str(in_short),
        "next_step": None if in_short.next_step is None else in_short.next_step.value,
        "plan": plan,
        "fixed": comparison.fixed.name,
        "moving": comparison.moving.name,
        "overlap": comparison.overlap,
        "grid": grid_facts(comparison.grid),
        "registration": registration_facts(comparison.registration),
        "refinement": refinement_facts(refinement),
        **tally.numbers(rate),
        "frames": None if frames is None else frame_facts(frames),
        "outputs": dict(outputs),
    }


def pair_facts(
    comparison: Comparison, tally: MapTally, shown: ConfidenceMap, *, rate: float, **more: Any
) -> dict[str, Any]:
    """Return what `comparison_facts` does, and what a page shows beside it.

    Parameters
    ----------
    comparison, tally, rate
        As for `comparison_facts`.
    shown : ConfidenceMap
        The map, whose middle plane is drawn: best as it was written.
    **more
        Further arguments of `comparison_facts`.

    Returns
    -------
    dict
        Also "lines" (the map in words), "histogram", "pictures" and "provenance".
    """
    from napari_local_ncc.reports.pictures import pictures_of

    return comparison_facts(comparison, tally, rate=rate, **more) | {
        "lines": tally.lines(rate),
        "histogram": tally.histogram(),
        "pictures": pictures_of(comparison, shown),
        "provenance": shown.provenance,
    }


def frame_facts(table: FrameTable) -> list[dict[str, Any]]:
    """Return the rows of a table by frame."""
    return [
        {"frame": dict(zip(table.axes, row.frame, strict=True)), "ncc": asdict(row.ncc)}
        for row in table.rows
    ]


def registration_facts(registration: Registration | None) -> dict[str, Any] | None:
    """Return a transform in words and numbers, frame by frame.

    Shifts at the middle of the fixed image, in the units of its grid and in its pixels; what is
    known of each frame as `FrameReport` says it. None of none.
    """
    if registration is None:
        return None
    grid = registration.grid.space()
    matrices = registration.matrix.reshape(-1, grid.ndim + 1, grid.ndim + 1)
    centre = grid.corners().mean(axis=0)
    shifts = [apply_affine(matrix, centre) - centre for matrix in matrices]
    to_px = np.linalg.inv(grid.pixel_to_world[:-1, :-1])
    return {
        "model": registration.model,
        "text": describe_registration(registration),
        "applied": all(report.applied for report in registration.reports),
        "matrix": registration.matrix,
        "shift": shifts,
        "shift_px": [to_px @ shift for shift in shifts],
        "largest_displacement_px": registration.reach,
        "ncc_before": registration.ncc_before,
        "ncc_after": registration.ncc_after,
        "overlap": registration.overlap,
        "reports": [report.to_dict() for report in registration.reports],
    }


def refinement_facts(refinement: Refinement | None) -> dict[str, Any] | None:
    """Return how a transform was refined, round by round."""
    if refinement is None:
        return None
    return {
        "text": str(refinement),
        "ending": refinement.ending,
        "rounds": [asdict(each) for each in refinement.rounds],
    }


def grid_facts(grid: Grid) -> dict[str, Any]:
    """Return where an image lies, axis by axis."""
    return grid.to_dict() | {
        "axes": [
            {
                "name": label,
                "size": size,
                "step": step,
                "origin": origin,
                "unit": unit,
                "is_space": bool(spatial),
            }
            for label, size, step, origin, unit, spatial in zip(
                grid.axis_labels,
                grid.shape,
                grid.spacing,
                grid.origin,
                grid.units,
                grid.spatial,
                strict=True,
            )
        ]
    }


def image_facts(found: ImageFile) -> dict[str, Any]:
    """Return what an image file holds, and what of it would be used."""
    return {
        "kind": "image",
        "name": found.image.name,
        "dtype": str(found.image.data.dtype),
        "scenes": [str(scene) for scene in found.scenes],
        "scene": found.scene,
        "facts": dict(found.facts),
        "notes": found.notes,
        "grid": grid_facts(found.image.grid),
    }


def transform_facts(found: Registration) -> dict[str, Any]:
    """Return what a transform file holds."""
    return {
        "kind": "transform",
        "registration": registration_facts(found),
        "grid": grid_facts(found.grid),
    }


def map_facts(found: ConfidenceMap) -> dict[str, Any]:
    """Return what a map file holds, and how it was made."""
    return {
        "kind": "map",
        "bands": found.band_names,
        "parameters": asdict(found.parameters),
        "provenance": found.provenance,
        "grid": grid_facts(found.grid),
    }
