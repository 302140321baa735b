"""`local-ncc refine`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_local_ncc.cli.console import Strict, answer, follow, judge, save_transform, tell
from napari_local_ncc.cli.inputs import AS_LABELS, say_stages
from napari_local_ncc.cli.options import (
    AbsentChunks,
    IgnorePositions,
    Json,
    Mask,
    Ndim,
    Overwrite,
    Radius,
    ReaderPlugin,
    SceneFixed,
    SceneMoving,
    Search,
    Weights,
    app,
    reading,
    whole_pixels,
)
from napari_local_ncc.parameters import NCCParameters, check_weights

if TYPE_CHECKING:
    from napari_local_ncc.maps.refinement import Refinement
    from napari_local_ncc.transforms.registration import Registration


@app.command("refine")
def refine_(
    fixed: Annotated[str, typer.Argument(help="Image that stays where it is.")],
    moving: Annotated[str, typer.Argument(help="Image that lies on it, nearly.")],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="Transform: a .json file, its field (.zarr) beside it."
        ),
    ],
    transform: Annotated[
        str | None,
        typer.Option(metavar="T.json", help="Where to begin. Default: the images as they lie."),
    ] = None,
    radius: Radius = "4",
    weights: Weights = "box",
    search: Search = "3",
    ndim: Ndim = None,
    mask: Mask = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="2GB", help="Refuse what needs more: the bands of the whole map."),
    ] = None,
    scene_fixed: SceneFixed = None,
    scene_moving: SceneMoving = None,
    absent_chunks: AbsentChunks = None,
    ignore_positions: IgnorePositions = False,
    reader: ReaderPlugin = None,
    strict: Strict = False,
    overwrite: Overwrite = False,
    json_: Json = False,
) -> None:
    """Let the residual shift of the map refine a transform, until the map gets no better."""
    from napari_local_ncc.io.outputs import check_free, check_inputs, check_unchanged, states_of
    from napari_local_ncc.transforms.files import OWN

    inputs = [path for path in (fixed, moving, mask, transform) if path is not None]
    check_inputs(inputs)
    if output.suffix.lower() != OWN:
        raise ValueError(f"{output} must end in {OWN}: what is refined may have a dense field")
    for path in (output, output.with_suffix(".zarr")):
        check_free(path, overwrite, inputs)
    parameters = NCCParameters(
        radius=radius,
        weights=check_weights(weights),
        search=whole_pixels(search),
        bands=("ncc", "shift"),
    )
    from napari_local_ncc.chunked.budget import parse_memory

    budget = None if memory is None else parse_memory(memory)
    from napari_local_ncc.image.pairing import warn_of_spacing
    from napari_local_ncc.io.reading import read_image
    from napari_local_ncc.maps.comparison import Comparison
    from napari_local_ncc.maps.refinement import refinement_of
    from napari_local_ncc.maps.run import check_refined
    from napari_local_ncc.transforms.registration import Registration
    from napari_local_ncc.transforms.transform_file import read_transform

    how = reading(absent_chunks, ignore_positions, reader)
    images = [
        read_image(path, scene=scene, **how).with_spatial_ndim(ndim)
        for path, scene in ((fixed, scene_fixed), (moving, scene_moving))
    ]
    say_stages(*images)
    allowed = None
    if mask is not None:
        allowed = read_image(mask, **how | AS_LABELS).with_spatial_ndim(ndim)
    comparison = Comparison(images[0], images[1], allowed, parameters)
    warn_of_spacing(comparison.fixed, comparison.moving)
    if transform is not None:
        comparison = comparison.with_registration(read_transform(transform, comparison.grid))
    if budget is not None:
        check_refined(comparison, budget)
    states = states_of([*images, allowed])
    refinement = follow(refinement_of(comparison))
    check_unchanged(states, "transform")
    tell(f"refine   {refinement}")
    found = refinement.registration or Registration.identity(comparison.grid)
    save_transform(found, output, overwrite=overwrite)
    answer("refine", lambda: _facts(refinement, found, output))
    judge(strict, [refinement.doubt] if refinement.doubt else [])


def _facts(refinement: Refinement, found: Registration, output: Path) -> dict[str, Any]:
    from napari_local_ncc.reports.document import refinement_facts, registration_facts

    return {
        "registration": registration_facts(found),
        "refinement": refinement_facts(refinement),
        "outputs": {"transform": output},
    }
