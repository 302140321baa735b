"""A dense field beside its JSON file, as Zarr: complete and the right one, or an error."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from napari_local_ncc.image.read_guard import ReadError, check_claim, guard_reading
from napari_local_ncc.progress import uninterrupted
from napari_local_ncc.transforms.displacement_field import field_array

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

FORMAT = "napari-local-ncc displacement"
COMPRESSORS = (ZstdCodec(), Crc32cCodec())
CHUNK = {1: 2**20, 2: 1024, 3: 128}  # px a side


def field_path(path: Path) -> Path:
    """Return where the dense field of the transform file `path` lies: beside it."""
    return path.with_suffix(".zarr")


def check_replaceable(path: Path) -> None:
    """Raise FileExistsError if a field must not be written to `path`."""
    if path.exists() and _attributes(path).get("format") != FORMAT:
        raise FileExistsError(
            f"the dense field would be written to {path}, which holds something else; "
            "choose another name for the transform"
        )


def write_field(field: NDArray[np.float32], ndim: int, folder: Path) -> str:
    """Write a field to a new Zarr array, and return its checksum.

    Parameters
    ----------
    field : ndarray of float32, shape (..., ndim, *shape)
        The displacements.
    ndim : int
        Number of spatial axes.
    folder : path
        The array's folder, which does not exist.
    """
    array = write_vectors(field, ndim, folder, edge=CHUNK[ndim])
    checksum = _checksum(field, ndim)
    with uninterrupted():
        array.attrs.update({"format": FORMAT, "checksum": checksum})
    return checksum


def write_vectors(
    field: NDArray[np.float32], ndim: int, folder: Path, *, edge: int
) -> zarr.Array[Any]:
    """Write a field to a new Zarr array, in which what is lost later is undefined.

    Parameters
    ----------
    field, ndim, folder
        As for `write_field`.
    edge : int
        Of the chunks, in pixels.
    """
    chunks = (1,) * (field.ndim - ndim) + tuple(min(n, edge) for n in field.shape[-ndim:])
    with uninterrupted():  # or Zarr's own thread would go on, and make anew what was removed
        array = zarr.create_array(
            folder,
            shape=field.shape,
            dtype="float32",
            chunks=chunks,
            compressors=COMPRESSORS,
            fill_value=np.nan,
            config={"write_empty_chunks": True},
        )
    for box in _slices(field.shape, ndim, chunks):
        with uninterrupted():
            array[box] = field[box]
    return array


def read_field(path: Path, shape: Sequence[int], ndim: int, checksum: str) -> NDArray[np.float32]:
    """Read the field of a transform.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged, of another shape, or of another transform.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"the dense field {path} is missing; a flow is its .json file and the .zarr beside it"
        )
    if _attributes(path).get("format") != FORMAT:
        raise ReadError(f"{path} is no dense field of local-ncc; make the flow again")
    with guard_reading(path, "the dense field"):
        array = zarr.open_array(path, mode="r")
        if tuple(array.shape) != tuple(shape) or array.dtype != np.float32:
            raise ReadError(f"its shape is {array.shape}, not {tuple(shape)}, or no float32")
        check_claim(array.nbytes, array.nbytes_stored(), "the dense field")
        field = field_array(shape)
        for box in _slices(shape, ndim, array.chunks):
            field[box] = array[box]
    if _checksum(field, ndim) != checksum:
        raise ReadError(
            f"the dense field {path} is damaged or belongs to another transform (its checksum "
            f"is not {checksum}); make the flow again"
        )
    return field


def _attributes(path: Path) -> dict[str, Any]:
    """Return the attributes of a Zarr array; none for what is no such array."""
    try:
        with guard_reading(path):
            return dict(zarr.open_array(path, mode="r").attrs)
    except (ReadError, OSError):
        return {}


def _slices(
    shape: Sequence[int], ndim: int, chunks: Sequence[int]
) -> Iterator[tuple[int | slice, ...]]:
    """Yield slabs of whole chunks of every frame and component."""
    lead, first = shape[: len(shape) - ndim], len(shape) - ndim
    for index in np.ndindex(*lead):
        for start in range(0, shape[first], chunks[first]):
            yield (*index, slice(start, min(start + chunks[first], shape[first])))


def _checksum(field: NDArray[np.float32], ndim: int) -> str:
    value = 0
    for index in np.ndindex(field.shape[:-ndim]):
        for row in field[index]:
            value = zlib.crc32(np.ascontiguousarray(row, "<f4").data, value)
    return f"{value:08x}"
