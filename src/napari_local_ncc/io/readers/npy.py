"""NumPy's own files."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.image.read_guard import ReadError
from napari_local_ncc.io.file_array import FileArray
from napari_local_ncc.io.readers.scene import Scene
from napari_local_ncc.io.stored import StoredImage, check_level, numbered_axes, stored_image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_local_ncc.io.readers.scene import Request


def scenes(path: Path) -> list[Scene]:
    """List the one array of a ``.npy`` file."""
    shape, _, _ = _header(path)
    return [Scene("", shape)]


def read(path: Path, scene: int, request: Request) -> StoredImage:
    """Memory-map a ``.npy`` file; it has one level and names no axes."""
    check_level(request.level, 1)
    source = npy_array(path)
    return stored_image(source, numbered_axes(source.ndim))


def npy_array(path: Path) -> FileArray:
    """Refer to the array of a ``.npy`` file, complete or ReadError."""
    shape, dtype, begin = _header(path)
    # objects are never unpickled; `check_real` will reject them
    needed = begin + math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and path.stat().st_size < needed:
        raise ReadError("cannot read all of it: the file is cut off; copy it again")
    return FileArray.at(open_npy, path, 0, shape, dtype)


def open_npy(path: str, key: int = 0) -> NDArray[Any]:
    """Memory-map the array of a file."""
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return shape, type, and where the samples begin."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
        return shape, dtype, file.tell()
