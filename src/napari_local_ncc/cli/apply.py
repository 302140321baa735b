"""`local-ncc apply`."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from napari_local_ncc.cli.console import Strict, answer, doubts_of, follow, judge, say, tell, warn
from napari_local_ncc.cli.options import (
    AbsentChunks,
    IgnorePositions,
    Json,
    Ndim,
    Overwrite,
    ReaderPlugin,
    Scene,
    UnitlessMeaning,
    app,
    reading,
)
from napari_local_ncc.geometry.kind import with_article

if TYPE_CHECKING:
    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.pairing import Unitless
    from napari_local_ncc.transforms.registration import Registration


@app.command("apply")
def apply_(
    transform: Annotated[
        str, typer.Argument(help="Transform: of `register`, or of another program (see `convert`).")
    ],
    moving: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE", help="What lies where moving lies: an image, labels, or points (.csv)."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Result: .ome.zarr, .tif, .npy, .nii.gz, .nrrd or .mha; of points, .csv.",
        ),
    ],
    like: Annotated[
        str | None,
        typer.Option(
            metavar="FIXED", help="Image whose grid the result gets; default: the transform's."
        ),
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="Labels: not interpolated, 0 outside.")
    ] = False,
    interpolation: Annotated[
        str, typer.Option(help="How an image is sampled: nearest, linear or cubic.")
    ] = "linear",
    select: Annotated[
        str, typer.Option(metavar="c=1", help="Pick indices of axes of the image.")
    ] = "",
    ndim: Ndim = None,
    unitless: UnitlessMeaning = None,
    scene: Scene = None,
    absent_chunks: AbsentChunks = None,
    ignore_positions: IgnorePositions = False,
    reader: ReaderPlugin = None,
    strict: Strict = False,
    overwrite: Overwrite = False,
    json_: Json = False,
) -> None:
    """Bring another channel, labels or points of the moving image onto the fixed one."""
    from napari_local_ncc.image.spatial_image import parse_selection
    from napari_local_ncc.io.image_writing import iter_write_image
    from napari_local_ncc.io.outputs import check_free, check_inputs, check_output, states_of
    from napari_local_ncc.io.reading import read_image
    from napari_local_ncc.io.sinks import check_space
    from napari_local_ncc.parameters import check_choice
    from napari_local_ncc.transforms.apply import apply_to_image, apply_to_labels
    from napari_local_ncc.transforms.resampling import ORDERS
    from napari_local_ncc.transforms.transform_file import read_transform

    check_choice("interpolation", interpolation, tuple(ORDERS))
    check_inputs([transform, moving, like])
    inputs = [path for path in (transform, moving, like) if path is not None]
    if moving.lower().endswith(".csv"):
        check_free(output, overwrite, inputs, ending=".csv")
        found = _doubted(read_transform(transform, _grid(like, ndim)), transform)
        _apply_to_points(found, moving, output, overwrite)
        judge(strict, doubts_of(found))
        return
    check_output(output, overwrite, inputs)
    grid = _grid(like, ndim)
    found = _doubted(read_transform(transform, grid), transform)
    check_space(output, 4 * prod((grid or found.grid).shape))
    image = read_image(
        moving,
        scene=scene,
        select=parse_selection(select),
        **reading("fill" if labels else absent_chunks, ignore_positions, reader),
    ).with_spatial_ndim(ndim)
    states = states_of([image])
    meaning = cast("Unitless | None", unitless)  # pair_images checks it
    if labels:
        result = apply_to_labels(image, found, grid=grid, unitless=meaning)
    else:
        result = apply_to_image(
            image, found, grid=grid, interpolation=interpolation, unitless=meaning
        )
    size = "x".join(map(str, result.grid.shape))
    say(f"{moving} is resampled by {with_article(found.model)} to {size}")
    follow(iter_write_image(result, output, overwrite=overwrite, inputs=states))
    tell(f"image    {output}")
    answer("apply", lambda: _facts(found, output, "image", result.grid))
    judge(strict, doubts_of(found))


def _doubted(found: Registration, transform: str) -> Registration:
    """Say what there is to doubt in a transform, and return it."""
    for doubt in dict.fromkeys(doubts_of(found)):
        warn(f"{transform} is doubtful: {doubt}")
    return found


def _facts(found: Registration, output: Path, what: str, grid: Grid) -> dict[str, Any]:
    from napari_local_ncc.reports.document import grid_facts

    return {"model": found.model, "grid": grid_facts(grid), "outputs": {what: output}}


def _grid(like: str | None, ndim: int | None) -> Grid | None:
    from napari_local_ncc.io.reading import read_image

    return None if like is None else read_image(like).with_spatial_ndim(ndim).grid


def _apply_to_points(found: Registration, points: str, output: Path, overwrite: bool) -> None:
    from napari_local_ncc.io.points import read_points, write_points
    from napari_local_ncc.transforms.apply import apply_to_points

    table = read_points(points, found.grid.axis_labels)
    moved = apply_to_points(table.coordinates, found)
    write_points(table.with_coordinates(moved), output, overwrite=overwrite)
    tell(f"points   {output}: {len(moved)} moved by the inverse of {with_article(found.model)}")
    answer("apply", lambda: _facts(found, output, "points", found.grid))
