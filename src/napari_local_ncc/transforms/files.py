"""Transform files: which there are, and those of one frame read and written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_local_ncc.files.whole import whole_file
from napari_local_ncc.image.read_guard import ReadError, check_file, guard_reading, reason_of
from napari_local_ncc.transforms.formats.table import (
    FORMATS,
    Options,
    TransformFormat,
    content_of,
    format_named,
    format_of,
)

if TYPE_CHECKING:
    from os import PathLike

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.transforms.frame_transform import FrameTransform

OWN = ".json"
WRITTEN = (OWN, *(ending for one in FORMATS if one.write for ending in one.endings))


def is_transform_path(path: str | PathLike[str]) -> bool:
    """Return whether a path ends as a transform file, and as nothing else, does."""
    name = Path(path).name.lower()
    return name.endswith((OWN, ".tfm", ".txt", ".mat", ".h5"))


def check_transform_path(
    path: str | PathLike[str], *, dense: bool = False
) -> TransformFormat | None:
    """Return the format that a path to write to stands for; None is this package's own.

    Raises
    ------
    ValueError
        If its ending is unknown, or such files do not hold a flow and this is one.
    """
    file = Path(path)
    if file.suffix.lower() == OWN:
        return None
    kind = format_named(file)
    if kind is None or kind.write is None:
        raise ValueError(f"{path} must end in {', '.join(WRITTEN)}")
    if dense and not kind.holds_flows:
        flows = [ending for one in FORMATS if one.holds_flows for ending in one.endings]
        raise ValueError(
            f"{path} can hold only models without a dense field, and not that of a flow; "
            f"save it as {', '.join((OWN, *flows))}"
        )
    return kind


def is_own_document(file: Path) -> bool:
    """Return whether a file is read as this package's own: by its ending, or as JSON.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    if check_file(file).suffix.lower() == OWN:
        return True
    return file.is_file() and content_of(file).text.lstrip().startswith("{")


def read_frame(file: Path, grid: Grid | None, options: Options) -> FrameTransform:
    """Read the transform of one frame from another program's file; see `Registration.load`."""
    kind = format_of(content_of(file))
    if kind is None:
        names = ", ".join(dict.fromkeys(one.name for one in FORMATS))
        raise ReadError(f"{file} is no transform file that is known: {OWN}, {names}")
    if grid is None:
        raise ValueError(
            f"{file} ({kind.name}) says nothing of units and axes: "
            "give the fixed image's grid (--like FIXED)"
        )
    with guard_reading(file, whole=f"the transform ({kind.name}) "):
        try:
            return kind.read(file, grid.space(), options)
        except ValueError as error:  # it says itself what is wrong
            raise ReadError(f"{file}: {reason_of(error)}") from error


def write_frame(
    found: FrameTransform, file: Path, options: Options, *, overwrite: bool = True
) -> None:
    """Write the transform of one frame in the format that the ending stands for."""
    kind = check_transform_path(file, dense=found.displacement is not None)
    if kind is None or kind.write is None:
        raise ValueError(f"{file} is not the file of one frame")
    if file.is_dir():
        from napari_local_ncc.transforms.formats.omezarr import check_replaceable

        check_replaceable(file)
    with whole_file(file, overwrite=overwrite) as partial:
        kind.write(found, partial, options)
