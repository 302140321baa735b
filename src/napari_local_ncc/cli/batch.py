"""`local-ncc batch`."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_local_ncc.cli.console import (
    DOUBTFUL,
    Strict,
    answer,
    follow,
    judge,
    say,
    tell,
    warn,
)
from napari_local_ncc.cli.options import (
    RATE,
    AbsentChunks,
    Bands,
    DiscoveryRate,
    IgnorePositions,
    Json,
    Metric,
    Mirror,
    Ndim,
    Radius,
    ReaderPlugin,
    Refine,
    Register,
    Report,
    Search,
    UnitlessMeaning,
    Weights,
    app,
    band_names,
    check_registered,
    reading,
    whole_pixels,
)
from napari_local_ncc.geometry.kind import UNREGISTERED
from napari_local_ncc.parameters import NCCParameters, check_alternative, check_weights
from napari_local_ncc.progress import Progress, translate

if TYPE_CHECKING:
    from napari_local_ncc.batch.pairs import FilePair
    from napari_local_ncc.batch.run import PairBegun


@app.command("batch")
def batch_(
    pairs: Annotated[
        list[str],
        typer.Argument(
            help="A table (.csv) with the columns fixed and moving, and, if wanted, name, mask and "
            "transform; or two folders or patterns, fixed and moving, paired by name (one file "
            "as fixed: all of moving are compared with it)."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")],
    register: Register = UNREGISTERED,
    metric: Metric = "mutual information",
    mirror: Mirror = False,
    refine: Refine = False,
    radius: Radius = "4",
    weights: Weights = "box",
    bands: Bands = "ncc,confidence,shift,classes",
    search: Search = "3",
    alternative: Annotated[
        str,
        typer.Option(
            help="'two-sided' where contrast may be inverted: then structure that is not found "
            "again is no sign of a wrong place."
        ),
    ] = "greater",
    fdr: DiscoveryRate = RATE,
    ndim: Ndim = None,
    unitless: UnitlessMeaning = None,
    maps: Annotated[bool, typer.Option(help="Whether to write the maps.")] = True,
    report: Report = None,
    multiqc: Annotated[
        Path | None,
        typer.Option(metavar="NAME_mqc.json", help="Also write a table that MultiQC reads."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Compare again what an earlier run has compared.")
    ] = False,
    absent_chunks: AbsentChunks = None,
    ignore_positions: IgnorePositions = False,
    reader: ReaderPlugin = None,
    strict: Strict = False,
    json_: Json = False,
) -> None:
    """Compare many pairs, and say which are good, which failed, and which to check.

    An earlier run in the same folder is resumed. Ends with code 3 where a pair could not be
    compared, and, with --strict, where one is not good.
    """
    parameters = NCCParameters(
        radius=radius,
        weights=check_weights(weights),
        bands=band_names(bands),
        search=whole_pixels(search),
        alternative=check_alternative(alternative),
    )
    check_registered(register)
    chosen = _pairs(pairs)
    from napari_local_ncc.batch.compare import Settings
    from napari_local_ncc.batch.results import counts, outliers, pair_row, write_results
    from napari_local_ncc.batch.run import iter_run_batch

    settings = Settings(
        parameters=parameters,
        model=register,
        options={"metric": metric, "mirror": mirror},
        refine=refine,
        ndim=ndim,
        rate=fdr,
        reading=reading(absent_chunks, ignore_positions, reader),
        unitless=unitless,
        keep_maps=maps,
    )
    pages = [(path, end) for path, end in ((report, ".html"), (multiqc, ".json")) if path]
    _check_pages(pages, chosen, output, keep_maps=maps)
    found = follow(translate(iter_run_batch(chosen, settings, output, fresh=fresh), _progress_in))
    rows = [pair_row(each) for each in found]
    odd = outliers(rows)
    for row in rows:
        tell(f"{row['verdict']:8} {row['name']}: {row['reason']}")
    for name, said in odd.items():
        tell(f"outlier  {name}: {said}")
    written = write_results(found, output)
    for path, write in ((report, _write_report), (multiqc, _write_multiqc)):
        if path is not None:
            write(found, odd, path)
            written["report" if path is report else "multiqc"] = path
    totals = counts(rows)
    tell("pairs    " + ", ".join(f"{number} {name}" for name, number in totals.items()))
    for name, path in written.items():
        tell(f"{name:8} {path}")
    facts = {"counts": totals, "outliers": list(odd), "pairs": rows, "outputs": written}
    answer("batch", lambda: facts)
    if totals["error"]:
        warn(f"local-ncc: {totals['error']} of {len(rows)} pairs could not be compared")
        raise typer.Exit(DOUBTFUL)
    bad = {name: totals[name] for name in ("failed", "check") if totals[name]}
    judge(strict, [f"{number} of {len(rows)} pairs: {name}" for name, number in bad.items()])


def _pairs(words: list[str]) -> list[FilePair]:
    from napari_local_ncc.batch.pairs import pair_by_name, read_pairs
    from napari_local_ncc.io.outputs import check_inputs

    if len(words) == 1:
        check_inputs(words)
        if not words[0].lower().endswith(".csv"):
            raise ValueError(f"{words[0]} is no table (.csv); or give two folders or patterns")
        return read_pairs(words[0])
    if len(words) != 2:
        raise ValueError(
            f"give a table, or two folders or patterns, got {len(words)} words; "
            "quote patterns, so that the shell leaves them as they are"
        )
    return pair_by_name(*words)


def _check_pages(
    pages: list[tuple[Path, str]], pairs: list[FilePair], folder: Path, *, keep_maps: bool
) -> None:
    """Fail before the work where a page cannot be written; one that is there is replaced.

    The folder of the results may be that of a page: it is made here, unless a page is refused.
    """
    from napari_local_ncc.batch.run import check_folder
    from napari_local_ncc.io.outputs import check_free

    check_folder(pairs, folder, keep_maps=keep_maps)
    files = [path for pair in pairs for path in astuple(pair)[1:] if path]
    folder = folder.resolve()  # of ``a/../b`` no ``a`` is to be made
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for path, ending in pages:
            check_free(path, overwrite=True, inputs=files, ending=ending)
    except BaseException:
        for each in new:
            each.rmdir()
        raise


def _progress_in(event: PairBegun | Progress) -> tuple[Progress, ...]:
    if isinstance(event, Progress):
        return (event,)
    known = ", compared before" if event.is_done else ""
    say(f"pair {event.number} of {event.total}: {event.pair.name}{known}")
    return ()


def _write_report(found: list[dict[str, Any]], odd: dict[str, str], path: Path) -> None:
    from napari_local_ncc.reports.html_report import write_batch_report

    write_batch_report(found, odd, path)


def _write_multiqc(found: list[dict[str, Any]], odd: dict[str, str], path: Path) -> None:
    from napari_local_ncc.batch.multiqc import write_multiqc

    write_multiqc(found, path)
