"""`--landmarks`: two tables of points as where a registration begins, or as all it goes by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from napari_local_ncc.cli.console import tell

if TYPE_CHECKING:
    from pathlib import Path

    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.registration.placement import LandmarkFit

Landmarks = Annotated[
    tuple[str, str] | None,
    typer.Option(
        metavar="FIXED.csv MOVING.csv",
        help="Begin at the transform through pairs of points, row by row: a column per axis (y, x "
        "or napari's axis-0, axis-1).",
    ),
]
LandmarksIn = Annotated[
    Literal["world", "pixels"],
    typer.Option(
        help="What their numbers are: the image's units, or indices of its pixels, which napari "
        "saves of points beside a scaled image."
    ),
]
LandmarksOnly = Annotated[
    bool, typer.Option("--landmarks-only", help="Save that transform; the images are not read.")
]


def fit_tables(
    tables: tuple[str, str], images: list[SpatialImage], model: str, coordinates: Any
) -> LandmarkFit:
    """Fit a transform to the points of two tables, and say by how much it misses each.

    Raises
    ------
    FileNotFoundError
        If a table is not there.
    ValueError
        If one holds no points, or they do not determine the transform.
    """
    from napari_local_ncc.registration.placement import fit_landmarks

    fixed, moving = images
    points = [_points(table, image) for table, image in zip(tables, images, strict=True)]
    if len(points[0]) != len(points[1]):
        counts = " but ".join(f"{t} holds {len(p)}" for t, p in zip(tables, points, strict=True))
        raise ValueError(f"{counts} landmarks; give as many of both, in the same order")
    found = fit_landmarks(fixed, moving, *points, model=model, coordinates=coordinates)
    tell(f"landmarks {found}")
    return found


def landmark_facts(found: LandmarkFit) -> dict[str, Any]:
    """Return the residuals as plain values."""
    return {"unit": found.unit, "residuals": found.residuals.tolist()}


def _points(table: str | Path, image: SpatialImage) -> Any:
    """Return the points of a table: along all axes of an image, or along those of space."""
    from napari_local_ncc.io.points import read_points

    labels = image.grid.axis_labels
    try:
        return read_points(table, labels).coordinates
    except ValueError:
        if image.grid.spatial_ndim == len(labels):
            raise
        return read_points(table, image.grid.space().axis_labels).coordinates
