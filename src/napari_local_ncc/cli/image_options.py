"""What every command says of the image files that it reads."""

from __future__ import annotations

import json
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from napari_local_ncc.cli.console import VOICE, answer_in_json, say, tell, warn
from napari_local_ncc.progress import Note

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.transforms.registration import Registration


# Zarr's writers leave out chunks that are all 0
AS_LABELS: dict[str, Any] = {"absent_chunks": "fill"}


def _scene(image: str) -> typer.models.OptionInfo:
    return typer.Option(
        metavar="SCENE", help=f"Which of several images of {image}'s file: index or name."
    )


SceneFixed = Annotated[str | None, _scene("fixed")]
SceneMoving = Annotated[str | None, _scene("moving")]
SceneMask = Annotated[str | None, _scene("the mask")]
Scene = Annotated[str | None, _scene("the image")]
AbsentChunks = Annotated[
    Literal["invalid", "fill"] | None,
    typer.Option(
        help="What parts are that a file leaves out: undefined, or its fill value. "
        "Default: undefined; fill in masks and labels."
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        is_eager=True,
        callback=answer_in_json,
        help="Print one JSON document to standard output, and all else to standard error.",
    ),
]
IgnorePositions = Annotated[
    bool,
    typer.Option("--ignore-positions", help="Lay images at 0, not where their stage stood."),
]


ReaderPlugin = Annotated[
    str | None,
    typer.Option("--reader", metavar="PLUGIN", help="Read images by this plugin of napari."),
]
Stretch = Annotated[
    bool,
    typer.Option("--stretch", help="Lay a mask or labels of another size over the whole image."),
]


def reading(
    absent_chunks: Literal["invalid", "fill"] | None, ignore_positions: bool, reader: str | None
) -> dict[str, Any]:
    """Return what these options are as arguments of `read_image`."""
    return {"absent_chunks": absent_chunks, "positions": not ignore_positions, "reader": reader}


def laid_over(marks: SpatialImage, grid: Grid, stretch: bool) -> SpatialImage:
    """Lay a mask or labels over the whole of a grid where that is wanted, and say so."""
    if not stretch or marks.grid.space().shape == grid.space().shape:
        return marks
    sizes = ["x".join(map(str, g.space().shape)) for g in (marks.grid, grid)]
    say(f"{marks.name} ({sizes[0]}) is laid over the whole image ({sizes[1]})")
    return marks.stretch_over(grid)


def save_transform(found: Registration, output: Path) -> None:
    """Write a transform into its file, or to standard output if that is kept for it."""
    if VOICE.data:
        print(json.dumps(found.to_dict()))
    else:
        found.save(output)
        tell(f"transform {output}")


def say_stages(fixed: SpatialImage, moving: SpatialImage) -> None:
    """Say that stage positions lay the images, where they lay them apart."""
    from napari_local_ncc.image.pairing import stage_advice

    stages = {image.source.stage for image in (fixed, moving) if image.source is not None}
    if len(stages) > 1:
        say(stage_advice(fixed, moving).removeprefix("; "))


@contextmanager
def notes_said() -> Iterator[None]:
    """Say what a file lacks or what of it is not used, and the like, in one line each."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", Note)
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            if issubclass(category, Note):
                warn(str(message))
            else:
                shown(message, category, *rest, **more)

        warnings.showwarning = show
        yield
