"""`local-ncc info`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_local_ncc.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.maps.pipeline import ConfidenceMap
    from napari_local_ncc.transforms.registration import Registration


@app.command()
def info(
    file: Annotated[str, typer.Argument(help="An image, a map, or a transform (.json, .tfm).")],
    like: Annotated[
        str | None,
        typer.Option(metavar="FIXED", help="The fixed image of an ITK transform, for its units."),
    ] = None,
) -> None:
    """Say what a file holds: an image, a map of local NCC, or a transform."""
    print("\n".join(_lines(Path(file), like)))


def _lines(path: Path, like: str | None) -> Iterator[str]:
    from napari_local_ncc.io.reading import read_image
    from napari_local_ncc.io.writing import is_map, read_map
    from napari_local_ncc.transforms.files import is_transform_path

    if is_transform_path(path):
        from napari_local_ncc.transforms.transform_file import read_transform

        grid = None if like is None else read_image(like).grid
        yield from _of_transform(read_transform(path, grid))
    elif is_map(path):
        yield from _of_map(read_map(path))
    else:
        image = read_image(path)
        yield f"image    {image.name}, {image.data.dtype}"
        yield from _of_grid(image.grid)


def _of_transform(found: Registration) -> Iterator[str]:
    from napari_local_ncc.reports.describe import describe_registration

    yield f"transform {found.model}, fixed world to moving world"
    yield f"register {describe_registration(found)}"
    yield from _of_grid(found.grid)


def _of_map(found: ConfidenceMap) -> Iterator[str]:
    said, chosen = found.provenance, found.parameters
    yield f"map      {', '.join(found.band_names)}; made with {said['software']}"
    yield f"compare  {said['fixed']['name']} with {said['moving']['name']}"
    yield f"window   radius {chosen.radius}, weights {chosen.weights}"
    moved = said["registration"]
    yield f"moved    {'no' if moved is None else 'by a ' + moved['model']}"
    yield from _of_grid(found.grid)


def _of_grid(grid: Grid) -> Iterator[str]:
    from napari_local_ncc.geometry.grid import axis_name
    from napari_local_ncc.geometry.units import unit_symbol

    yield f"size     {'x'.join(map(str, grid.shape))}"
    for k, (label, unit) in enumerate(zip(grid.axis_labels, grid.units, strict=True)):
        kind = "space" if grid.spatial[k] else "each on its own"
        where = f"step {grid.spacing[k]:g}, from {grid.origin[k]:g} {unit_symbol(unit)}"
        yield f"axis     {axis_name(label)}: {grid.shape[k]} px, {where}, {kind}"
