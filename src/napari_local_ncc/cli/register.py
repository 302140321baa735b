"""`local-ncc register`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from napari_local_ncc.cli.console import (
    Strict,
    answer,
    answer_with_data,
    doubts_of,
    follow,
    judge,
    save_transform,
    tell,
)
from napari_local_ncc.cli.inputs import AS_LABELS, laid_over, say_stages
from napari_local_ncc.cli.options import (
    AbsentChunks,
    IgnorePositions,
    Initial,
    Json,
    KeepDoubtful,
    Mask,
    Metric,
    Mirror,
    Ndim,
    Overwrite,
    ReaderPlugin,
    SceneFixed,
    SceneMoving,
    Stretch,
    app,
    reading,
)
from napari_local_ncc.geometry.kind import UNREGISTERED, Kind
from napari_local_ncc.registration.engines import ENGINES, check_model

if TYPE_CHECKING:
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.registration.placement import LandmarkFit
    from napari_local_ncc.transforms.registration import Registration

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

DEFAULT = "DEFAULT"  # typer brings a click of its own, whose sources are told by name
# options that say how images are registered
OF_IMAGES = (
    *("mask", "moving_mask", "metric", "method", "series", "reference", "consistency"),
    *("keep_doubtful", "mirror", "strict"),
)


@app.command("register")
def register_(
    context: typer.Context,
    fixed: Annotated[str, typer.Argument(help="Image that stays where it is.")],
    moving: Annotated[str, typer.Argument(help="Image to bring onto it.")],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Transform: a .json file (a flow's field, .zarr, beside it), or what `convert` "
            "writes for other programs; '-': as JSON to standard output.",
        ),
    ],
    model: Annotated[str, typer.Option(help=f"{', '.join(ENGINES)}.")] = "translation",
    ndim: Ndim = None,
    mask: Mask = None,
    moving_mask: Annotated[
        str | None, typer.Option(help="Image that is non-zero where moving may be used.")
    ] = None,
    metric: Metric = "mutual information",
    initial: Initial = None,
    landmarks: Landmarks = None,
    landmarks_in: LandmarksIn = "world",
    landmarks_only: LandmarksOnly = False,
    method: Annotated[str, typer.Option(help="Of a flow: ilk or tvl1.")] = "ilk",
    series: Annotated[
        str, typer.Option(help="'each' time point its transform, or 'one' for all.")
    ] = "each",
    reference: Annotated[
        str,
        typer.Option(
            help="What a time point of moving is registered with: static (fixed's), or moving's "
            "'first' or 'previous', composed."
        ),
    ] = "static",
    consistency: Annotated[
        bool, typer.Option(help="Run the reverse registration too, and report the round trip.")
    ] = False,
    keep_doubtful: KeepDoubtful = False,
    memory: Annotated[str, typer.Option(metavar="1GB", help="To keep to, about.")] = "1GB",
    mirror: Mirror = False,
    scene_fixed: SceneFixed = None,
    scene_moving: SceneMoving = None,
    absent_chunks: AbsentChunks = None,
    ignore_positions: IgnorePositions = False,
    reader: ReaderPlugin = None,
    stretch: Stretch = False,
    strict: Strict = False,
    overwrite: Overwrite = False,
    json_: Json = False,
) -> None:
    """Find the transform that brings one image onto another, and save it."""
    from napari_local_ncc.chunked.budget import parse_memory
    from napari_local_ncc.image.pairing import warn_of_spacing
    from napari_local_ncc.io.outputs import check_free, check_unchanged, states_of
    from napari_local_ncc.io.reading import read_image
    from napari_local_ncc.registration.door import iter_register
    from napari_local_ncc.reports.describe import describe_registration
    from napari_local_ncc.transforms.files import OWN, check_transform_path

    check_model(model)
    if model == UNREGISTERED:
        raise ValueError(f"model none finds nothing to save; give {', '.join(ENGINES)}")
    if landmarks is None and landmarks_only:
        raise ValueError("--landmarks-only needs --landmarks FIXED.csv MOVING.csv")
    if landmarks_only and (idle := _given(context, OF_IMAGES)):
        raise ValueError(f"--landmarks-only registers no images; leave out {', '.join(idle)}")
    if landmarks is not None and initial is not None:
        raise ValueError("give --landmarks or --initial, not both: either is where to begin")
    given = (fixed, moving, mask, moving_mask, initial, *(landmarks or ()))
    inputs = [path for path in given if path]
    dense = ENGINES[model].kind is Kind.FLOW
    if answer_with_data(output):
        if dense:
            raise ValueError("a flow's field lies in a file; give -o T.json instead of -o -")
    else:
        check_transform_path(output, dense=dense)
        check_free(output, overwrite, inputs)
    if dense and output.suffix.lower() == OWN:  # its field lies beside
        check_free(output.with_suffix(".zarr"), overwrite, inputs)
    how = reading(absent_chunks, ignore_positions, reader)
    images = [
        read_image(path, scene=scene, **how).with_spatial_ndim(ndim)
        for path, scene in ((fixed, scene_fixed), (moving, scene_moving))
    ]
    say_stages(*images)
    warn_of_spacing(*images)
    if (fixed, scene_fixed) == (moving, scene_moving):
        images[1] = images[0]  # a series whose drift is to be found
    placed = None
    if landmarks is not None:
        placed = _fit_tables(landmarks, images, ENGINES[model].kind, landmarks_in)
    if placed is not None and landmarks_only:
        save_transform(placed.registration, output, overwrite=overwrite)
        answer("register", lambda: _facts(placed.registration, output, placed))
        return
    masks = [
        None
        if path is None
        else laid_over(
            read_image(path, **how | AS_LABELS).with_spatial_ndim(ndim), image.grid, stretch
        )
        for path, image in zip((mask, moving_mask), images, strict=True)
    ]
    states = states_of([*images, *masks])
    found = follow(
        iter_register(
            *images,
            model=model,
            mask=masks[0],
            moving_mask=masks[1],
            metric=metric,
            initial=initial if placed is None else placed.registration,
            method=method,
            series=series,
            reference=reference,
            consistency=consistency,
            keep_doubtful=keep_doubtful,
            memory=float(parse_memory(memory)),
            mirror=mirror,
        )
    )
    check_unchanged(states, "transform")
    tell(f"register {describe_registration(found)}")
    save_transform(found, output, overwrite=overwrite)
    answer("register", lambda: _facts(found, output, placed))
    judge(strict, doubts_of(found))


def _given(context: typer.Context, names: tuple[str, ...]) -> list[str]:
    """Return those of some options that the user has given, as they are spelt."""
    options = {each.name: each.opts[0] for each in context.command.params}
    sources = {name: context.get_parameter_source(name) for name in names}
    return [options[name] for name, source in sources.items() if source and source.name != DEFAULT]


def _facts(found: Registration, output: Path, placed: LandmarkFit | None) -> dict[str, Any]:
    from napari_local_ncc.reports.document import registration_facts

    facts = {"registration": registration_facts(found), "outputs": {"transform": output}}
    if placed is None:
        return facts
    remaining = {"unit": placed.unit, "residuals": placed.residuals.tolist()}
    return facts | {"landmarks": remaining}


def _fit_tables(
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


def _points(table: str, image: SpatialImage) -> Any:
    """Return the points of a table: along all axes of an image, or along those of space."""
    from napari_local_ncc.io.points import read_points

    labels = image.grid.axis_labels
    try:
        return read_points(table, labels).coordinates
    except ValueError:
        if image.grid.spatial_ndim == len(labels):
            raise
        return read_points(table, image.grid.space().axis_labels).coordinates
