"""NumPy's own files."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.image.read_guard import ReadError
from napari_local_ncc.io.file_array import FileArray
from napari_local_ncc.io.readers.raw_samples import RawSamples
from napari_local_ncc.io.readers.scene import Scene
from napari_local_ncc.io.stored import StoredImage, check_level, numbered_axes, stored_image

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    from napari_local_ncc.io.readers.scene import Request


def scenes(path: Path) -> list[Scene]:
    """List the one array of a ``.npy`` file."""
    return [Scene("", open_npy(path).shape)]


def read(path: Path, scene: int, request: Request) -> StoredImage:
    """Read a ``.npy`` file lazily; it has one level and names no axes."""
    check_level(request.level, 1)
    source = npy_array(path)
    return stored_image(source, numbered_axes(source.ndim))


def npy_array(path: Path) -> FileArray:
    """Refer to the array of a ``.npy`` file, complete or ReadError."""
    found = open_npy(path)
    # objects are never unpickled; `check_real` will reject them
    needed = found.offset + math.prod(found.shape) * found.dtype.itemsize
    if not found.dtype.hasobject and path.stat().st_size < needed:
        raise ReadError("cannot read all of it: the file is cut off; copy it again")
    return FileArray.at(open_npy, path, 0, found.shape, found.dtype)


def open_npy(path: str | PathLike[str], key: int = 0) -> RawSamples:
    """Read the header of a file: shape, type, and where the samples begin."""
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, is_fortran, dtype = read(file)
        if not is_fortran:
            return RawSamples(str(path), dtype, file.tell(), shape)
        order = tuple(reversed(range(len(shape))))
        return RawSamples(str(path), dtype, file.tell(), shape[::-1], order)
