"""One door for every image file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_local_ncc.image.source import Source
from napari_local_ncc.io import npy, omezarr, picture, tiff
from napari_local_ncc.io.stored import READABLE, ReadError, StoredImage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from napari_local_ncc.image.spatial_image import SpatialImage


def read_image(
    path: str | PathLike[str],
    *,
    select: Mapping[str, int] | None = None,
    level: int = 0,
    name: str | None = None,
) -> SpatialImage:
    """Open an image file lazily, with its place in the world.

    The format is told by the content. Independent axes (time, channel, pages) come
    first; axes of length 1 are dropped, but for the last two. Colours become their
    luminance on the same intensity scale, NaN where transparent, unless a channel is
    selected. Without a calibration in OME or ImageJ metadata or OME-Zarr
    transformations, the world is the pixel grid: printing resolutions are ignored.

    Parameters
    ----------
    path : path_like
        A file, or the folder of a Zarr.
    select : mapping of str to int, optional
        One index to take of each named axis, e.g. ``{"c": 0, "t": 3}``.
    level : int, default 0
        Resolution level of a pyramid; 0 is the full one.
    name : str, optional
        What to call the image in messages. Default: the file's name.

    Returns
    -------
    SpatialImage
        The image. TIFF, npy and Zarr are read when computed; other formats at once.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read, or has no such axis, index or level.
    TypeError
        If the samples are complex or no numbers.
    """
    location = Path(path)
    stored = _read(location, level)
    try:
        chosen = stored.select(select or {}).without_colour().ordered()
        image = chosen.image(name or location.name)
    except ValueError as error:
        raise ReadError(f"{location}: {error}") from error
    return image.replace(source=Source(str(location.absolute()), select or {}, level, image.grid))


def _read(path: Path, level: int) -> StoredImage:
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    start = b"" if path.is_dir() else _first_bytes(path)
    try:
        if path.is_dir():
            return omezarr.read_zarr(path, level)
        if start.startswith(npy.MAGIC):
            return npy.read_npy(path, level)
        if start.startswith(tiff.MAGICS):
            return tiff.read_tiff(path, level)
        return picture.read_picture(path, level)
    except ReadError as error:
        raise ReadError(f"{path}: {error}") from error
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # a broken file makes the format libraries raise anything
        raise ReadError(
            f"cannot read {path} ({_first_line(error)}); readable are {READABLE}"
        ) from error


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        start = file.read(8)
    if not start:
        raise ReadError(f"{path} is empty (0 bytes)")
    return start


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
