"""`local-ncc demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_local_ncc.cli.console import follow, report, tell
from napari_local_ncc.cli.options import app
from napari_local_ncc.progress import finish, translate


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")] = Path(
        "local-ncc-demo"
    ),
    overwrite: Annotated[bool, typer.Option(help="Replace results of an earlier run.")] = False,
) -> None:
    """Register and compare two real images that come with the package."""
    from napari_local_ncc.files.whole import whole_file
    from napari_local_ncc.io.outputs import check_output
    from napari_local_ncc.io.sinks import map_sink
    from napari_local_ncc.maps.comparison import Comparison
    from napari_local_ncc.maps.run import progress_in, run_comparison
    from napari_local_ncc.reports.describe import describe_comparison
    from napari_local_ncc.reports.figures import check_figure, comparison_figure
    from napari_local_ncc.sample_data import brain_slice
    from napari_local_ncc.transforms.resampling import resample

    output.mkdir(parents=True, exist_ok=True)
    figure_path, map_path = output / "figure.png", output / "ncc.ome.zarr"
    check_output(map_path, overwrite)
    check_figure(figure_path, overwrite)
    pair = brain_slice()
    comparison = Comparison(pair.fixed, pair.moving)
    sink = map_sink(map_path, overwrite=overwrite)
    after = follow(
        translate(run_comparison(comparison, model="translation", sink=sink), progress_in)
    )
    before = finish(run_comparison(comparison))

    registered = resample(pair.moving, pair.fixed.grid, after.registration)
    figure = comparison_figure(
        {"fixed": pair.fixed, "moving": pair.moving, "moving, registered": registered},
        {"NCC before": before.map.image("ncc"), "NCC after registration": after.map.image("ncc")},
    )
    with whole_file(figure_path, overwrite=overwrite) as partial:
        figure.savefig(partial, dpi=150)
    tell(f"compare  {describe_comparison(comparison)}")
    report(after.registration, after.tally.lines(), before=before.tally.summary)
    tell(f"truth    shift {', '.join(f'{step:g}' for step in pair.shift)} px (y, x)")
    tell(f"map      {map_path}")
    tell(f"figure   {figure_path}")
