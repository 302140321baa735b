"""`local-ncc demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_local_ncc.cli.app import app
from napari_local_ncc.cli.console import follow, report
from napari_local_ncc.cli.write_map import ncc_image, summed, written


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")] = Path(
        "local-ncc-demo"
    ),
    overwrite: Annotated[bool, typer.Option(help="Replace results of an earlier run.")] = False,
) -> None:
    """Register and compare two real images that come with the package."""
    from napari_local_ncc.io.writing import check_output
    from napari_local_ncc.maps.pipeline import confidence_map
    from napari_local_ncc.registration.door import iter_register
    from napari_local_ncc.reports.describe import describe_pairing
    from napari_local_ncc.reports.figures import check_figure, comparison_figure
    from napari_local_ncc.sample_data import brain_slice
    from napari_local_ncc.transforms.resampling import resample

    output.mkdir(parents=True, exist_ok=True)
    figure_path, map_path = output / "figure.png", output / "ncc.ome.zarr"
    check_output(map_path, overwrite)
    check_figure(figure_path, overwrite)
    pair = brain_slice()
    registration = follow(iter_register(pair.fixed, pair.moving))
    before = confidence_map(pair.fixed, pair.moving)
    after = confidence_map(pair.fixed, pair.moving, registration=registration)
    tally = follow(written(after, map_path, overwrite=overwrite, workers=None))

    registered = resample(pair.moving, pair.fixed.grid, registration)
    figure = comparison_figure(
        {"fixed": pair.fixed, "moving": pair.moving, "moving, registered": registered},
        {"NCC before": ncc_image(before), "NCC after registration": ncc_image(after)},
    )
    figure.savefig(figure_path, dpi=150)
    print(f"compare  {describe_pairing(pair.fixed, pair.moving, after.parameters)}")
    report(registration, tally.lines(), before=summed(before))
    print(f"truth    shift {', '.join(f'{step:g}' for step in pair.shift)} px (y, x)")
    print(f"map      {map_path}\nfigure   {figure_path}")
