"""`local-ncc map`."""

from __future__ import annotations

import json
from contextlib import nullcontext
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from napari_local_ncc.cli.app import app
from napari_local_ncc.cli.console import (
    Strict,
    answer,
    answer_with_data,
    doubts_of,
    follow,
    judge,
    report,
    say,
    tell,
)
from napari_local_ncc.cli.image_options import (
    AS_LABELS,
    AbsentChunks,
    IgnorePositions,
    Json,
    ReaderPlugin,
    SceneFixed,
    SceneMask,
    SceneMoving,
    Stretch,
    laid_over,
    say_stages,
)
from napari_local_ncc.geometry.kind import UNREGISTERED, Kind
from napari_local_ncc.io.map_formats import map_endings
from napari_local_ncc.parameters import BANDS, NCCParameters, check_alternative, check_weights
from napari_local_ncc.progress import translate

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from distributed import Client

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.pairing import Unitless
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.maps.run import RunResult
    from napari_local_ncc.parameters import Interpolation
    from napari_local_ncc.reports.tables import FrameTable
    from napari_local_ncc.transforms.registration import Registration


Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Threads, of each process; default: one per core."),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes (extra distributed); default: this one.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="tcp://...", help="Compute on a cluster of dask (extra distributed)."),
]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="2GB", help="To keep to, all processes together; default: half of what is free."
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Continue what was cut short; keep what is finished if this is cut short, too.",
    ),
]


@app.command("map")
def map_(
    fixed: Annotated[str, typer.Argument(help="Image that defines the grid.")],
    moving: Annotated[str, typer.Argument(help="Image to compare with it.")],
    output: Annotated[Path, typer.Option("-o", "--output", help=f"Result: {map_endings()}.")],
    register: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help=f"Register moving first: {', '.join((UNREGISTERED, *Kind))}.",
        ),
    ] = UNREGISTERED,
    metric: Annotated[
        str, typer.Option(help="Of that: 'mutual information' or 'correlation'.")
    ] = "mutual information",
    initial: Annotated[
        str | None, typer.Option(metavar="START", help="Where that begins; as for `register`.")
    ] = None,
    keep_doubtful: Annotated[
        bool, typer.Option(help="Apply what is found even where chance may have found it.")
    ] = False,
    mirror: Annotated[
        bool, typer.Option(help="Mirror moving where only that fits; not by a translation.")
    ] = False,
    transform: Annotated[
        str | None,
        typer.Option(
            metavar="T.json",
            help="Apply a transform: the file of `register`, its JSON text itself, or another "
            "program's file (see `convert`).",
        ),
    ] = None,
    refine: Annotated[
        bool, typer.Option(help="Then follow the residual shift, until the map gets no better.")
    ] = False,
    radius: Annotated[
        str, typer.Option(help="Window radius: pixels (4), one per axis (0,4,4), or '0.5um'.")
    ] = "4",
    weights: Annotated[str, typer.Option(help="Window weights: box or gaussian.")] = "box",
    ndim: Annotated[
        int | None,
        typer.Option(min=1, max=3, help="Axes of a window; 2 takes a stack plane by plane."),
    ] = None,
    mask: Annotated[
        str | None, typer.Option(help="Image that is non-zero where samples may be used.")
    ] = None,
    min_std: Annotated[float, typer.Option(help="Windows this flat are undefined.")] = 0.0,
    min_valid: Annotated[float, typer.Option(help="Least valid share of a window.")] = 0.5,
    bands: Annotated[
        str, typer.Option(help=f"What to compute: {','.join(BANDS)} or some of these.")
    ] = "ncc",
    search: Annotated[
        str, typer.Option(help="How far to look for residual shifts: pixels, or one per axis.")
    ] = "3",
    alternative: Annotated[
        str,
        typer.Option(
            help="What counts as related: 'greater', a high NCC, or 'two-sided', a high |NCC|, "
            "where contrast may be inverted."
        ),
    ] = "greater",
    per_frame: Annotated[
        bool,
        typer.Option(help="Judge every frame of a series by unrelated structure of its own."),
    ] = False,
    fdr: Annotated[
        float,
        typer.Option(
            min=1e-6, max=1, help="False discovery rate at which confident pixels are counted."
        ),
    ] = 0.05,
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
    unitless: Annotated[
        str | None,
        typer.Option(
            metavar="MEANING",
            help="What an image without units means beside one that has them: "
            "pixels (the other's pixels) or numbers (in the other's units).",
        ),
    ] = None,
    threads: Threads = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    memory: Memory = None,
    resume: Resume = False,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw a figure here (.png, .pdf, .svg).")
    ] = None,
    report_: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="R.html", help="Also write a page: verdict, pictures, recipe."
        ),
    ] = None,
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
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output.")] = False,
    json_: Json = False,
) -> None:
    """Compare two image files and write the map of their local NCC."""
    from napari_local_ncc.io.outputs import check_free, check_inputs, check_output

    files = [fixed, moving, mask, None if _is_json(transform) else transform]
    check_inputs([*files, labels])
    inputs = [path for path in files if path is not None]
    check_output(output, overwrite, inputs, resume=resume)
    _check_cluster(workers, scheduler)
    if labels is not None and table is None:
        raise ValueError("--labels needs --table T.csv, for a row per label")
    table_is_said = answer_with_data(table)
    if table is not None and not table_is_said:
        check_free(table, overwrite, [*inputs, *([labels] if labels else [])], ending=".csv")
    if vectors is not None:
        check_free(vectors, overwrite, inputs, ending=".csv")
        if not {"shift", "shift_error"} <= {band.strip() for band in bands.split(",")}:
            raise ValueError(f"--vectors needs --bands ncc,shift,shift_error, got --bands {bands}")
    if register != UNREGISTERED:
        from napari_local_ncc.registration.engines import check_model

        check_model(register)
        if transform is not None:
            raise ValueError("give --register or --transform, not both")
    if plot is not None:
        from napari_local_ncc.reports.figures import check_figure

        check_figure(plot, overwrite, inputs)
    if report_ is not None:
        check_free(report_, overwrite, inputs, ending=".html")
    meaning = cast("Unitless | None", unitless)  # pair_images checks it
    parameters = NCCParameters(
        radius=radius,
        weights=check_weights(weights),
        min_std=min_std,
        min_valid=min_valid,
        bands=tuple(band.strip() for band in bands.split(",")),
        search=_pixels(search),
        interpolation=cast("Interpolation", interpolation),  # NCCParameters checks it
        alternative=check_alternative(alternative),
        per_frame=per_frame,
    )
    if "ncc" not in parameters.bands:
        raise ValueError(f"--bands must contain ncc, got {bands}; it is what is summed up")
    # All that can be checked without them is checked: the heavy imports begin here.
    from napari_local_ncc.image.spatial_image import parse_selection
    from napari_local_ncc.io.reading import read_image
    from napari_local_ncc.io.writing import check_layout, check_space, map_sink
    from napari_local_ncc.maps.bands import bands_on
    from napari_local_ncc.maps.comparison import Comparison
    from napari_local_ncc.maps.run import progress_in, run_comparison
    from napari_local_ncc.reports.describe import describe_comparison
    from napari_local_ncc.transforms.resampling import labels_on

    budget = None if memory is None else _bytes(memory)
    how: dict[str, Any] = {
        "absent_chunks": absent_chunks,
        "positions": not ignore_positions,
        "reader": reader,
    }
    a = read_image(
        fixed, scene=scene_fixed, select=parse_selection(select_fixed), level=level_fixed, **how
    )
    b = read_image(
        moving, scene=scene_moving, select=parse_selection(select_moving), level=level_moving, **how
    )
    a, b = _place(a, grid_fixed, ndim), _place(b, grid_moving, ndim)
    say_stages(a, b)
    allowed = None
    if mask is not None:
        allowed = read_image(
            mask,
            scene=scene_mask,
            select=parse_selection(select_mask),
            level=level_mask,
            **how | AS_LABELS,
        )
        allowed = allowed.select_known(parse_selection(select_fixed))
        allowed = laid_over(_place(allowed, grid_mask, ndim), a.grid, stretch)
    regions = None
    if labels is not None:
        regions = read_image(labels, **how | AS_LABELS).with_spatial_ndim(ndim)
        regions = laid_over(regions, a.grid, stretch)
    comparison = Comparison(a, b, allowed, parameters, unitless=meaning)
    if transform is not None:
        comparison = comparison.with_registration(_transform(transform, comparison.grid))
    plan = describe_comparison(comparison, model=register)
    check_layout(output, comparison.grid, parameters)
    check_space(
        output, 4 * len(bands_on(parameters, comparison.grid)) * prod(comparison.grid.shape)
    )
    if regions is not None:
        labels_on(regions, comparison.grid)  # or an error, before there is any work
    say(plan)
    is_series = bool(comparison.grid.series_shape)
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
            sink=map_sink(output, overwrite=overwrite, resume=resume),
            by_frame=is_series or table is not None or report_ is not None,
            threads=threads,
            client=client,
            memory=budget,
        )
        result = follow(translate(run, progress_in))
    tell(f"compare  {plan}")
    if result.refinement is not None:
        tell(f"refine   {result.refinement}")
    if len(parameters.bands) > 1 or register != UNREGISTERED:
        from napari_local_ncc.reports.headline import headline

        in_short = headline(result.registration, result.tally)
        tell(f"in short {in_short}")
        if in_short.next_step is not None:
            tell(f"next     {in_short.next_step.advice}")
    report(result.registration if register != UNREGISTERED else None, result.tally.lines(fdr))
    by_frame = None
    if result.frames is not None:
        from napari_local_ncc.reports.tables import frame_table

        by_frame = frame_table(result.frames, result.map.grid)
        for line in by_frame.lines() if is_series else []:
            tell(f"frame    {line}")
    tell(f"map      {output}")
    if table is not None:
        _write_table(table, by_frame, output, regions)
        tell(f"table    {table}")
    if vectors is not None:
        _write_vectors(vectors, output, stride)
        tell(f"vectors  {vectors}")
    if plot is not None:
        _plot(plot, a, b, output)
        tell(f"figure   {plot}")
    if report_ is not None:
        _write_report(report_, result, plan, fdr, output, searched=register != UNREGISTERED)
        tell(f"report   {report_}")
    written = {
        "map": output,
        "table": table,
        "vectors": vectors,
        "figure": plot,
        "report": report_,
    }
    answer("map", lambda: _facts(result, plan, fdr, by_frame, written))
    judge(strict, _doubts(result))


def _bytes(memory: str) -> int:
    from napari_local_ncc.chunked.budget import parse_memory

    return parse_memory(memory)


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


def _facts(
    result: RunResult,
    plan: str,
    rate: float,
    frames: FrameTable | None,
    written: dict[str, Path | None],
) -> dict[str, Any]:
    from napari_local_ncc.reports.document import comparison_facts

    outputs = {name: path for name, path in written.items() if path is not None}
    return comparison_facts(
        result.comparison,
        result.tally,
        plan=plan,
        rate=rate,
        refinement=result.refinement,
        frames=frames,
        outputs=outputs,
    )


def _write_report(
    path: Path, result: RunResult, plan: str, rate: float, output: Path, *, searched: bool
) -> None:
    """Write the page of a comparison; the map is read back."""
    from napari_local_ncc.batch.compare import judge_frames, plain_document, with_verdicts
    from napari_local_ncc.io.writing import read_map
    from napari_local_ncc.reports.document import pair_facts
    from napari_local_ncc.reports.html_report import write_pair_report
    from napari_local_ncc.reports.tables import frame_table

    comparison, frames = result.comparison, result.frames
    facts = pair_facts(
        comparison,
        result.tally,
        read_map(output),
        rate=rate,
        plan=plan,
        refinement=result.refinement,
        frames=None if frames is None else frame_table(frames, result.map.grid),
        outputs={"map": output},
    )
    names = {"fixed": comparison.fixed.name, "moving": comparison.moving.name}
    facts |= {"name": f"{names['moving']} on {names['fixed']}", "files": names}
    verdicts = judge_frames(comparison, searched=searched)
    write_pair_report(plain_document(with_verdicts(facts, verdicts)), path)


def _doubts(result: RunResult) -> list[str]:
    """Return what there is to doubt in a map: of its transform, its null, or all of it."""
    doubts = doubts_of(result.registration)
    if result.refinement is not None and result.refinement.doubt:
        doubts.append(result.refinement.doubt)
    calibration = result.map.calibration
    if calibration is not None and calibration.fallback:
        doubts.append(calibration.fallback)
    if not result.tally.summary.defined:
        doubts.append("no pixel is defined")
    return doubts


def _pixels(text: str) -> int | tuple[int, ...]:
    """Read whole pixels: "3", or "0,3,3" for one per axis."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"cannot read {text!r}; write whole pixels (3), or 0,3,3") from None
    return numbers if len(numbers) > 1 else numbers[0]


def _is_json(text: str | None) -> bool:
    return text is not None and text.lstrip().startswith("{")


def _transform(text: str, grid: Grid) -> Registration:
    """Return the transform of a file, or of a JSON text, for images on a grid."""
    from napari_local_ncc.transforms.registration import Registration
    from napari_local_ncc.transforms.transform_file import read_transform

    if not _is_json(text):
        return read_transform(text, grid)
    try:
        return Registration.from_dict(json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"cannot read the JSON of --transform: {error!r}") from error


def _place(image: SpatialImage, grid: str, ndim: int | None) -> SpatialImage:
    """Put an image on the grid of a JSON text; without one, count its spatial axes."""
    from napari_local_ncc.geometry.grid import Grid

    if not grid:
        return image.with_spatial_ndim(ndim)
    try:
        place = Grid.from_dict(json.loads(grid))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"cannot read the grid of {image.name}: {error}") from error
    return image.replace(grid=place)


def _write_table(
    path: Path, by_frame: FrameTable | None, map_path: Path, regions: SpatialImage | None
) -> None:
    """Write the table by frame, or by region of the map, which is read back."""
    from napari_local_ncc.io.writing import read_map
    from napari_local_ncc.reports.tables import iter_label_table, write_csv

    if regions is not None:
        write_csv(follow(iter_label_table(read_map(map_path), regions)), path)
    elif by_frame is not None:
        write_csv(by_frame, path)


def _write_vectors(path: Path, map_path: Path, stride: int) -> None:
    """Write the shift of the map, which is read back, as vectors."""
    from napari_local_ncc.io.writing import read_map
    from napari_local_ncc.reports.tables import write_csv
    from napari_local_ncc.reports.vectors import vector_table

    write_csv(vector_table(read_map(map_path), stride=stride), path)


def _plot(path: Path, fixed: SpatialImage, moving: SpatialImage, map_path: Path) -> None:
    """Draw the pair and the map, which is read back: it is not computed again."""
    from napari_local_ncc.files.whole import whole_file
    from napari_local_ncc.io.writing import read_map
    from napari_local_ncc.reports.figures import comparison_figure

    written = read_map(map_path).image("ncc")
    figure = comparison_figure({"fixed": fixed, "moving": moving}, {"local NCC": written})
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=150)
