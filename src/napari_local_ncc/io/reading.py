"""One door for every image file."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from napari_local_ncc.image.read_guard import ReadError, ReadNote, check_file, guard_reading
from napari_local_ncc.image.source import Source
from napari_local_ncc.io.readers.scene import Request, choose_scene, list_scenes
from napari_local_ncc.io.readers.sniff import format_of, is_address, is_pattern
from napari_local_ncc.io.stored import READABLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.io.readers.scene import Absent, Scene
    from napari_local_ncc.io.stored import StoredImage


WHOLE = Request()


class Reader(Protocol):
    """What a module of `readers` does for a format."""

    def scenes(self, path: Path | str) -> list[Scene]:
        """List the images of a file."""

    def read(self, path: Path | str, scene: int, request: Request) -> StoredImage:
        """Read one of them lazily."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageFile:
    """An image of a file, and what the file says of it.

    Parameters
    ----------
    image : SpatialImage
        The image.
    scenes : list of Scene
        All images of the file.
    scene : int
        Which of them it is.
    facts : tuple of (str, str)
        What the file says of its samples, by name.
    notes : tuple of str
        What whoever compares the image has to know of it.
    """

    image: SpatialImage
    scenes: list[Scene]
    scene: int
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def read_image(
    path: str | PathLike[str],
    *,
    scene: int | str | None = None,
    select: Mapping[str, int] | None = None,
    level: int = 0,
    absent_chunks: Absent | None = None,
    positions: bool = True,
    reader: str | None = None,
    name: str | None = None,
) -> SpatialImage:
    """Open an image file lazily, with its place in the world.

    The format is told by the content. Independent axes (time, channel, pages) come
    first; axes of length 1 are dropped, but for the last two. Colours become their
    luminance on the same intensity scale, NaN where transparent, unless a channel is
    selected; a picture is turned upright as its orientation tag says. What a file
    promises and does not hold is NaN. Without a calibration in OME or ImageJ metadata or
    OME-Zarr transformations, the world is the pixel grid: printing resolutions are ignored.

    Parameters
    ----------
    path : path_like
        A file, the folder of a Zarr, or the address of one (``https://``, ``s3://``).
    scene : int or str, optional
        Which of several images (series, positions, wells) of the file, by its index or
        name. Default: the first; where there are others, a `ReadNote` says so.
    select : mapping of str to int, optional
        One index to take of each named axis, e.g. ``{"c": 0, "t": 3}``.
    level : int, default 0
        Resolution level of a pyramid; 0 is the full one.
    absent_chunks : {"invalid", "fill"}, optional
        What chunks, tiles and planes are that the file leaves out: undefined, or the fill
        value of the file. Default: undefined, but the fill value in labels and masks.
    positions : bool, default True
        Whether stage positions say where the image lies.
    reader : str, optional
        The name of an installed plugin of napari to read the file by. Default: our own.
    name : str, optional
        What to call the image in messages. Default: the file's name.

    Returns
    -------
    SpatialImage
        The image. TIFF, npy and Zarr are read when computed; pictures at once. What of it
        is missing or not used is warned of (`ReadNote`) and kept in ``source.notes``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read, or has no such scene, axis, index or level.
    TypeError
        If the samples are complex or no numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import read_image
    >>> np.save("image.npy", np.arange(6.0).reshape(2, 3))
    >>> image = read_image("image.npy")
    >>> image.name, image.grid.shape
    ('image.npy', (2, 3))
    """
    request = Request(level, absent_chunks, positions)
    found = open_image(path, request, scene=scene, select=select, reader=reader, name=name)
    for note in found.notes:
        warnings.warn(f"{found.image.name}: {note}", ReadNote, stacklevel=2)
    return found.image


def read_source(source: Source) -> SpatialImage:
    """Read the samples of an image once more; what is to be said of them was said."""
    request = Request(source.level, source.absent_chunks, source.positions)
    path, scene, select = str(source.path), source.scene, source.select
    return open_image(path, request, scene=scene, select=select, reader=source.reader).image


def open_image(
    path: str | PathLike[str],
    request: Request = WHOLE,
    *,
    scene: int | str | None = None,
    select: Mapping[str, int] | None = None,
    reader: str | None = None,
    name: str | None = None,
) -> ImageFile:
    """Do the same as `read_image`, with what the file says of the image beside it.

    `request` holds its `level`, `absent_chunks` and `positions`.
    """
    location = str(path) if is_address(path) else Path(path)
    if isinstance(location, Path) and not is_pattern(location):
        check_file(path)
    scenes, index, stored = _read(location, scene, request, reader)
    called = name or Path(str(path).rstrip("/")).name
    try:
        chosen = stored.select(select or {}).without_colour().sort_axes()
        image = chosen.image(called)
    except ValueError as error:
        raise ReadError(f"{location}: {error}") from error
    notes = stored.notes
    if len(scenes) > 1 and scene is None:
        notes = (
            f"taken is the first of {len(scenes)} images: {list_scenes(scenes)}; choose by scene= "
            "(--scene-fixed, --scene-moving)",
            *notes,
        )
    facts = dict(stored.facts)
    source = Source(
        location if isinstance(location, str) else str(location.absolute()),
        select or {},
        request.level,
        image.grid,
        scene=scene if scene is None else index,
        absent_chunks=request.absent,
        positions=request.positions,
        reader=reader,
        notes=notes,
        stage=facts.get("position", "") if request.positions else "",
        channels=tuple(filter(None, facts.get("channels", "").split(", "))),
    )
    return ImageFile(image.replace(source=source), scenes, index, stored.facts, notes)


def _read(
    path: Path | str, scene: int | str | None, request: Request, plugin: str | None
) -> tuple[list[Scene], int, StoredImage]:
    with guard_reading(path, remedy=_remedy(path)):
        if plugin is None:
            reader = cast("Reader", import_module(format_of(path)))
        else:
            from napari_local_ncc.io.readers.plugin import PluginReader

            reader = PluginReader(plugin)
        scenes = reader.scenes(path)
        index = choose_scene(scenes, scene)
        return scenes, index, reader.read(path, index, request)


def _remedy(path: Path | str) -> str:
    if isinstance(path, str):
        return (
            "; over a network Zarr is read: https:// needs pip install "
            "'napari-local-ncc[formats]', s3:// pip install s3fs"
        )
    return f"; readable are {READABLE}"
