"""`local-ncc info`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_local_ncc.cli.console import answer, tell
from napari_local_ncc.cli.options import (
    AbsentChunks,
    IgnorePositions,
    Json,
    ReaderPlugin,
    Scene,
    app,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.io.reading import ImageFile
    from napari_local_ncc.maps.pipeline import ConfidenceMap
    from napari_local_ncc.transforms.registration import Registration


@app.command()
def info(
    file: Annotated[str, typer.Argument(help="An image, a map, or a transform (.json, .tfm).")],
    like: Annotated[
        str | None,
        typer.Option(metavar="FIXED", help="The fixed image of an ITK transform, for its units."),
    ] = None,
    scene: Scene = None,
    absent_chunks: AbsentChunks = None,
    ignore_positions: IgnorePositions = False,
    reader: ReaderPlugin = None,
    json_: Json = False,
) -> None:
    """Say what a file holds, and what of it would be used: an image, a map, or a transform."""
    request = {"absent": absent_chunks, "positions": not ignore_positions}
    found = _open(file, like, request, scene=scene, reader=reader)
    for line in _lines(found):
        tell(line)
    answer("info", lambda: {"file": file} | _facts(found))


def _open(
    file: str, like: str | None, asked: dict[str, Any], *, scene: str | None, reader: str | None
) -> ImageFile | Registration | ConfidenceMap:
    """Open a file as what it is."""
    from napari_local_ncc.io.outputs import check_inputs

    check_inputs([file, like])
    from napari_local_ncc.io.readers.scene import Request
    from napari_local_ncc.io.reading import open_image, read_image
    from napari_local_ncc.io.writing import is_map, read_map
    from napari_local_ncc.transforms.files import is_transform_path

    path, request = Path(file), Request(**asked)
    if "://" in file:
        return open_image(file, request, scene=scene, reader=reader)
    named = is_transform_path(path) and not _is_image_of_hdf5(path)
    if (
        named or _is_table_of_transform(path) or like is not None
    ):  # whatever a transform's file is called
        from napari_local_ncc.transforms.transform_file import read_transform

        grid = None if like is None else read_image(like).grid
        return read_transform(path, grid)
    if is_map(path) and scene is None:
        return read_map(path)
    return open_image(path, request, scene=scene, reader=reader)


def _lines(found: ImageFile | Registration | ConfidenceMap) -> Iterator[str]:
    from napari_local_ncc.io.reading import ImageFile
    from napari_local_ncc.maps.pipeline import ConfidenceMap

    if isinstance(found, ImageFile):
        return _of_image(found)
    return _of_map(found) if isinstance(found, ConfidenceMap) else _of_transform(found)


def _facts(found: ImageFile | Registration | ConfidenceMap) -> dict[str, Any]:
    from napari_local_ncc.io.reading import ImageFile
    from napari_local_ncc.maps.pipeline import ConfidenceMap
    from napari_local_ncc.reports.document import image_facts, map_facts, transform_facts

    if isinstance(found, ImageFile):
        return image_facts(found)
    return map_facts(found) if isinstance(found, ConfidenceMap) else transform_facts(found)


def _is_image_of_hdf5(path: Path) -> bool:
    """Say whether a ``.h5``, which transforms of ITK end in too, holds an image."""
    if path.suffix.lower() != ".h5" or not path.is_file():
        return False
    from napari_local_ncc.io.readers.hdf5 import holds_transform

    return not holds_transform(path)


def _is_table_of_transform(path: Path) -> bool:
    """Say whether a ``.csv``, which points and results end in too, holds a matrix or landmarks."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    from napari_local_ncc.transforms.formats.table import content_of, known_by_content

    return known_by_content(content_of(path)) is not None


def _of_image(found: ImageFile) -> Iterator[str]:
    yield f"image    {found.image.name}, {found.image.data.dtype}"
    for k, scene in enumerate(found.scenes if len(found.scenes) > 1 else []):
        yield f"scene    {k}: {scene}" + (", this one" if k == found.scene else "")
    for name, fact in found.facts:
        yield f"{name:<8} {fact}"
    yield from _of_grid(found.image.grid)
    for note in found.notes:
        yield f"note     {note}"


def _of_transform(found: Registration) -> Iterator[str]:
    from napari_local_ncc.reports.describe import describe_registration

    yield f"transform {found.model}, fixed world to moving world"
    yield f"register {describe_registration(found)}"
    yield from _of_grid(found.grid)


def _of_map(found: ConfidenceMap) -> Iterator[str]:
    chosen = found.parameters
    made = _of_document(found.provenance, "software")
    yield f"map      {', '.join(found.band_names)}; made with {made}"
    names = [_of_document(found.provenance, image, "name") for image in ("fixed", "moving")]
    yield f"compare  {names[0]} with {names[1]}"
    yield f"window   radius {chosen.radius}, weights {chosen.weights}"
    yield f"moved    {_moved(found)}"
    yield from _of_grid(found.grid)


def _moved(found: ConfidenceMap) -> str:
    """Say by what the moving image of a map was moved, and whether that was relied on."""
    from napari_local_ncc.geometry.kind import with_article
    from napari_local_ncc.reports.headline import headline

    document = found.provenance.get("registration")
    if document is None:
        return "no"
    model = with_article(_of_document(document, "model"))
    if found.registration is not None:
        return f"by {model}. {headline(found.registration).registration}"
    # a flow, whose field lies elsewhere
    reports = document.get("reports") if isinstance(document, dict) else None
    refused = [report for report in reports or () if not report.get("applied", True)]
    return f"by {model}" + ("; its start is kept" if refused else "")


def _of_document(document: Any, *names: str) -> str:
    """Return what a document says under some names, one inside the other: what is told, or ?."""
    for name in names:
        document = document.get(name) if isinstance(document, dict) else None
    return "?" if document is None else str(document)


def _of_grid(grid: Grid) -> Iterator[str]:
    from napari_local_ncc.geometry.grid import axis_name
    from napari_local_ncc.geometry.units import unit_symbol

    yield f"size     {'x'.join(map(str, grid.shape))}"
    for k, (label, unit) in enumerate(zip(grid.axis_labels, grid.units, strict=True)):
        kind = "space" if grid.spatial[k] else "each on its own"
        where = f"step {grid.spacing[k]:g}, from {grid.origin[k]:g} {unit_symbol(unit)}"
        yield f"axis     {axis_name(label)}: {grid.shape[k]} px, {where}, {kind}"
    yield from _directions(grid)


def _directions(grid: Grid) -> Iterator[str]:
    """Say where pixels go in the world, if not each axis along its own."""
    import numpy as np

    from napari_local_ncc.geometry.grid import axis_name

    names = list(map(axis_name, grid.axis_labels))
    directions = grid.pixel_to_world[:-1, :-1] / grid.spacing
    if np.allclose(directions, np.eye(grid.ndim), rtol=0, atol=1e-6):
        return
    for name, column in zip(names, directions.T, strict=True):
        pairs = zip(column, names, strict=True)
        parts = [f"{part:+.4g} {other}" for part, other in pairs if abs(part) > 1e-6]
        yield f"along    {name}: {', '.join(parts)} of the world"
