"""What a map file says beside its pixels, so that the map can be rebuilt."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.image.read_guard import ReadError
from napari_local_ncc.maps.pipeline import ConfidenceMap
from napari_local_ncc.parameters import NCCParameters

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import dask.array as da

    from napari_local_ncc.confidence.calibration import Calibration
    from napari_local_ncc.transforms.registration import Registration

UNFINISHED = "unfinished"  # in the document of a map that is being made
KEY = "napari-local-ncc"  # of the attribute, annotation or namespace that holds the document


def describe(confidence_map: ConfidenceMap) -> dict[str, Any]:
    """Return all of a map but its pixels as plain JSON values."""
    registration, calibration = confidence_map.registration, confidence_map.calibration
    described = {
        "band_names": list(confidence_map.band_names),
        "grid": confidence_map.grid.to_dict(),
        "parameters": asdict(confidence_map.parameters),
        "registration": None if registration is None else registration.to_dict(),
        "provenance": confidence_map.provenance,
        "calibration": None if calibration is None else calibration.to_dict(),
    }
    return {name: _of_json(value) for name, value in described.items()}


def _of_json(value: Any) -> Any:
    """Return None for numbers that JSON has no word for, and which Python would write all the same.

    One such word, and no viewer but those in Python opens the image.
    """
    if isinstance(value, dict):
        return {name: _of_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_of_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def restore(document: dict[str, Any], bands: da.Array) -> ConfidenceMap:
    """Rebuild the map that `describe` described.

    Raises
    ------
    ReadError
        If the map was never finished.
    """
    if document.get(UNFINISHED):
        raise unfinished_map()
    registration, calibration = document["registration"], document.get("calibration")
    if not isinstance(document["provenance"], dict):
        raise ReadError("its provenance is no object of names and values")
    if registration is not None and "displacement" in registration:
        registration = None  # a map does not hold a flow's field; its provenance says what it was
    return ConfidenceMap(
        bands,
        tuple(document["band_names"]),
        Grid.from_dict(document["grid"]),
        NCCParameters(**document["parameters"]),
        None if registration is None else _registration(registration),
        document["provenance"],
        None if calibration is None else _calibration(calibration),
    )


def _registration(values: dict[str, Any]) -> Registration:
    from napari_local_ncc.transforms.registration import Registration

    return Registration.from_dict(values)


def _calibration(values: dict[str, Any]) -> Calibration:
    from napari_local_ncc.confidence.calibration import Calibration

    return Calibration.from_dict(values)


def unfinished_map(path: Path | None = None) -> ReadError:
    """Return the error to raise for a map of which a part may be missing."""
    what = "it" if path is None else str(path)
    return ReadError(
        f"{what} is unfinished: give the command that was cut short again, with --resume to "
        "continue it or with --overwrite to begin anew"
    )


def check_samples(found: Sequence[int], told: Sequence[int]) -> None:
    """Raise ReadError where a map has other samples than its document says."""
    if tuple(found) != tuple(told):
        raise ReadError(
            f"its document says that it has {'x'.join(map(str, told))} samples, but it has "
            f"{'x'.join(map(str, found))}"
        )


def missing_document() -> ReadError:
    """Return the error to raise for a file without a document."""
    return ReadError(f"it holds no map written by {KEY}; open it as an image instead")
