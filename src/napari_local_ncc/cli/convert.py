"""`local-ncc convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_local_ncc.cli.console import answer, tell
from napari_local_ncc.cli.options import Json, Ndim, Overwrite, app
from napari_local_ncc.geometry.kind import Kind

if TYPE_CHECKING:
    from napari_local_ncc.transforms.registration import Registration


@app.command("convert")
def convert(
    transform: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="Transform: of `register`, ITK, ANTs, elastix, BigWarp, OME-Zarr, or a matrix.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="By its ending: .json, .tfm, .txt, .mat, .h5, TransformParameters.0.txt, .nii.gz, "
            ".mha, .nrrd, .npy, .csv, .ome.zarr.",
        ),
    ],
    like: Annotated[
        str | None,
        typer.Option(metavar="FIXED", help="The fixed image; other programs' files need it."),
    ] = None,
    ndim: Ndim = None,
    order: Annotated[
        str, typer.Option(help="Of the axes in a matrix that is read: zyx (as arrays) or xyz.")
    ] = "zyx",
    order_out: Annotated[
        str, typer.Option(help="Of the axes in a matrix that is written: zyx or xyz.")
    ] = "zyx",
    model: Annotated[
        str, typer.Option(help=f"What is fitted to landmarks: {', '.join(Kind)}.")
    ] = Kind.AFFINE.value,
    overwrite: Overwrite = False,
    json_: Json = False,
) -> None:
    """Write the transform of one program as another reads it."""
    from napari_local_ncc.geometry.units import unit_symbol
    from napari_local_ncc.io.outputs import check_free, check_inputs
    from napari_local_ncc.io.reading import read_image
    from napari_local_ncc.reports.describe import describe_registration
    from napari_local_ncc.transforms.files import check_transform_path
    from napari_local_ncc.transforms.formats.frame_by_points import METRIC
    from napari_local_ncc.transforms.transform_file import read_transform

    check_inputs([transform, like])
    check_transform_path(output)
    check_free(output, overwrite, [path for path in (transform, like) if path is not None])
    grid = None if like is None else read_image(like).with_spatial_ndim(ndim).grid
    found = read_transform(transform, grid, order=order, model=model)
    found.save(output, order=order_out, overwrite=overwrite)
    tell(f"transform {found.model}; {describe_registration(found)}")
    for report in found.reports:
        if report.metric == METRIC:
            tell(
                f"landmarks missed by {report.score:.4g} {unit_symbol(found.grid.units[-1])} (rms)"
            )
    tell(f"written   {output}")
    answer("convert", lambda: _facts(found, output))


def _facts(found: Registration, output: Path) -> dict[str, Any]:
    from napari_local_ncc.reports.document import registration_facts

    return {"registration": registration_facts(found), "outputs": {"transform": output}}
