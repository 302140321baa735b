"""`local-ncc map`."""

from __future__ import annotations

from contextlib import nullcontext
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from napari_local_ncc.cli.console import Strict, answer, follow, judge, say
from napari_local_ncc.cli.inputs import Choice, is_json, open_inputs, open_transform
from napari_local_ncc.cli.map_results import Answer, Files, check_slab, tell_slab
from napari_local_ncc.cli.options import (
    RATE,
    AbsentChunks,
    Alternative,
    Bands,
    DiscoveryRate,
    IgnorePositions,
    Initial,
    Json,
    KeepDoubtful,
    Mask,
    Memory,
    Metric,
    Mirror,
    Ndim,
    Overwrite,
    Radius,
    ReaderPlugin,
    Refine,
    Register,
    Report,
    SceneFixed,
    SceneMask,
    SceneMoving,
    Search,
    Stretch,
    UnitlessMeaning,
    Weights,
    app,
    band_names,
    check_registered,
    reading,
    whole_pixels,
)
from napari_local_ncc.geometry.kind import UNREGISTERED
from napari_local_ncc.io.map_formats import map_endings
from napari_local_ncc.parameters import NCCParameters, check_alternative, check_weights
from napari_local_ncc.progress import translate

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from distributed import Client

    from napari_local_ncc.chunked.slab import Slab
    from napari_local_ncc.image.pairing import Unitless
    from napari_local_ncc.parameters import Interpolation


@app.command("map")
def map_(
    fixed: Annotated[str, typer.Argument(help="Image that defines the grid.")],
    moving: Annotated[str, typer.Argument(help="Image to compare with it.")],
    output: Annotated[Path, typer.Option("-o", "--output", help=f"Result: {map_endings()}.")],
    register: Register = UNREGISTERED,
    metric: Metric = "mutual information",
    initial: Initial = None,
    keep_doubtful: KeepDoubtful = False,
    mirror: Mirror = False,
    transform: Annotated[
        str | None,
        typer.Option(
            metavar="T.json",
            help="Apply a transform: the file of `register`, its JSON text itself, or another "
            "program's file (see `convert`); the axes of a matrix are those of arrays, z first "
            "(`convert --order xyz` turns others).",
        ),
    ] = None,
    refine: Refine = False,
    radius: Radius = "4",
    weights: Weights = "box",
    ndim: Ndim = None,
    mask: Mask = None,
    min_std: Annotated[float, typer.Option(help="Windows this flat are undefined.")] = 0.0,
    min_valid: Annotated[float, typer.Option(help="Least valid share of a window.")] = 0.5,
    bands: Bands = "ncc",
    search: Search = "3",
    alternative: Alternative = "greater",
    per_frame: Annotated[
        bool,
        typer.Option(help="Judge every frame of a series by unrelated structure of its own."),
    ] = False,
    fdr: DiscoveryRate = RATE,
    select_fixed: Annotated[
        str, typer.Option(metavar="c=0,t=3", help="Pick indices of axes of fixed.")
    ] = "",
    select_moving: Annotated[
        str, typer.Option(metavar="c=1", help="Pick indices of axes of moving.")
    ] = "",
    level_fixed: Annotated[
        int, typer.Option(min=0, help="Level of fixed's pyramid; 0 is the finest.")
    ] = 0,
    level_moving: Annotated[
        int, typer.Option(min=0, help="Level of moving's pyramid; 0 is the finest.")
    ] = 0,
    select_mask: Annotated[
        str, typer.Option(metavar="c=1", help="Pick indices of axes of the mask.")
    ] = "",
    level_mask: Annotated[
        int, typer.Option(min=0, help="Level of the mask's pyramid; 0 is the finest.")
    ] = 0,
    grid_fixed: Annotated[
        str, typer.Option(metavar="JSON", help="Where fixed lies, if not as its file says.")
    ] = "",
    grid_moving: Annotated[
        str, typer.Option(metavar="JSON", help="Where moving lies, if not as its file says.")
    ] = "",
    grid_mask: Annotated[
        str, typer.Option(metavar="JSON", help="Where the mask lies, if not as its file says.")
    ] = "",
    scene_fixed: SceneFixed = None,
    scene_moving: SceneMoving = None,
    scene_mask: SceneMask = None,
    absent_chunks: AbsentChunks = None,
    ignore_positions: IgnorePositions = False,
    reader: ReaderPlugin = None,
    stretch: Stretch = False,
    interpolation: Annotated[
        str, typer.Option(help="How moving is sampled: linear or cubic.")
    ] = "linear",
    unitless: UnitlessMeaning = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads, of each process; default: one per core.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes (extra distributed); default: this one.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="tcp://...", help="Compute on a cluster of dask (extra distributed)."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="cuda",
            help="Compute on a GPU (CuPy), block by block: the bands ncc and confidence.",
        ),
    ] = None,
    memory: Memory = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue what was cut short; keep what is finished if this is cut short, too.",
        ),
    ] = False,
    slab: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Compute only a part of the blocks, as a job of its own; it goes on with what is "
            "left of it. All parts are one file, unfinished until --join.",
        ),
    ] = None,
    join: Annotated[
        bool,
        typer.Option(
            "--join", help="Finish the file that the slabs of the same command have written."
        ),
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw a figure here (.png, .pdf, .svg).")
    ] = None,
    report: Report = None,
    labels: Annotated[
        str | None, typer.Option(help="Segmentation (0: nothing): sum up the map in each region.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="T.csv",
            help="Write a row per label, or per frame without --labels; '-': to standard output.",
        ),
    ] = None,
    vectors: Annotated[
        Path | None,
        typer.Option(
            metavar="V.csv", help="Write the shift as vectors, with errors and a median test."
        ),
    ] = None,
    stride: Annotated[int, typer.Option(min=1, help="Distance of the vectors, in pixels.")] = 8,
    strict: Strict = False,
    overwrite: Overwrite = False,
    json_: Json = False,
) -> None:
    """Compare two image files and write the map of their local NCC."""
    from napari_local_ncc.io.outputs import check_inputs, check_output

    given = [fixed, moving, mask, None if is_json(transform) else transform]
    check_inputs([*given, labels])
    inputs = [path for path in (*given, labels, initial) if path is not None]
    part = None if slab is None else _slab(slab)
    check_output(output, overwrite, inputs, resume=resume or join, claimed=part is not None)
    _check_cluster(workers, scheduler)
    parameters = NCCParameters(
        radius=radius,
        weights=check_weights(weights),
        min_std=min_std,
        min_valid=min_valid,
        bands=band_names(bands),
        search=whole_pixels(search),
        interpolation=cast("Interpolation", interpolation),  # NCCParameters checks it
        alternative=check_alternative(alternative),
        per_frame=per_frame,
    )
    files = Files(output, table, vectors, plot, report, stride, overwrite)
    files.check(inputs, labels, parameters.bands)
    check_registered(register)
    if part is not None:
        check_slab(
            files,
            search=register != UNREGISTERED or refine,
            strict=strict,
            rate=fdr,
            memory=memory,
            threads=threads,
            cluster=scheduler,
        )
    if register != UNREGISTERED and transform is not None:
        raise ValueError("give --register or --transform, not both")
    _check_device(device)
    # All that can be checked without them is checked: the heavy imports begin here.
    from napari_local_ncc.files.claim import unfinished
    from napari_local_ncc.io.sinks import check_layout, check_space, map_sink
    from napari_local_ncc.maps.bands import bands_on
    from napari_local_ncc.maps.comparison import Comparison
    from napari_local_ncc.maps.run import progress_in, run_comparison
    from napari_local_ncc.reports.describe import describe_comparison
    from napari_local_ncc.transforms.resampling import labels_on

    sink = map_sink(output, overwrite=overwrite, resume=resume, slab=part, join=join)
    budget = None if memory is None else _bytes(memory)
    images = open_inputs(
        Choice(fixed, scene_fixed, select_fixed, level_fixed, grid_fixed),
        Choice(moving, scene_moving, select_moving, level_moving, grid_moving),
        None if mask is None else Choice(mask, scene_mask, select_mask, level_mask, grid_mask),
        labels,
        ndim=ndim,
        stretch=stretch,
        how=reading(absent_chunks, ignore_positions, reader),
    )
    meaning = cast("Unitless | None", unitless)  # pair_images checks it
    comparison = Comparison(images.fixed, images.moving, images.mask, parameters, unitless=meaning)
    grid = comparison.grid
    if transform is not None:
        comparison = comparison.with_registration(open_transform(transform, grid))
    plan = describe_comparison(comparison, model=register)
    check_layout(output, grid, parameters)
    if part is None and not unfinished(output).exists():  # or the sink asks for what is missing
        check_space(output, 4 * len(bands_on(parameters, grid)) * prod(grid.shape))
    if images.regions is not None:
        labels_on(images.regions, grid)  # or an error, before there is any work
    say(plan)
    with _cluster(workers, scheduler, threads) as client:
        run = run_comparison(
            comparison,
            model=register,
            refine=refine,
            options={
                "metric": metric,
                "initial": initial,
                "keep_doubtful": keep_doubtful,
                "mirror": mirror,
            },
            sink=sink,
            by_frame=bool(grid.series_shape) or table is not None or report is not None,
            threads=threads,
            client=client,
            memory=budget,
            device=device,
        )
        result = follow(translate(run, progress_in))
    if part is not None:
        tell_slab(part, output)
        return
    found = Answer(result, plan, register, fdr, files)
    found.tell()
    found.write(images.regions)
    answer("map", found.facts)
    judge(strict, list(found.doubts()))


def _bytes(memory: str) -> int:
    from napari_local_ncc.chunked.budget import parse_memory

    return parse_memory(memory)


def _slab(text: str) -> Slab:
    from napari_local_ncc.chunked.slab import Slab

    return Slab.parse(text)


def _check_device(device: str | None) -> None:
    """Raise an error where a GPU is wanted but cannot be had."""
    if device is not None:
        from napari_local_ncc.ncc.device import check_device

        check_device(device)


def _check_cluster(workers: int | None, scheduler: str | None) -> None:
    """Raise an error where other processes are wanted but cannot be had."""
    if workers is not None and scheduler is not None:
        raise ValueError("give --workers or --scheduler, not both")
    if workers is not None or scheduler is not None:
        from napari_local_ncc.cli.cluster import check_distributed

        check_distributed()


def _cluster(
    workers: int | None, scheduler: str | None, threads: int | None
) -> AbstractContextManager[Client | None]:
    """Return the context of a client, or of none."""
    if workers is None and scheduler is None:
        return nullcontext()
    from napari_local_ncc.cli.cluster import cluster

    return cluster(workers, scheduler, threads)
