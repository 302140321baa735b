"""An array in a file that travels by its path: dask sends it to other processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from napari_local_ncc.image.read_guard import ReadError, describe_part, guard_reading

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from numpy.typing import NDArray

    Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class FileArray:
    """Samples of one array of a file, opened where and when they are read.

    Open TIFF files do not pickle, and a pickled memory map is all of its pixels. This
    holds only the path; every process opens the file once and keeps it open.

    Parameters
    ----------
    opener : callable
        Module-level function ``(path, key) -> array-like`` that opens the file.
    path : str
        The file.
    key : hashable
        Which of its arrays.
    version : tuple of int
        Time and size of the file: one that was written anew meanwhile is not read.
    shape : tuple of int
        Shape of the samples.
    dtype : dtype
        Their type, in native byte order.
    """

    opener: Callable[[str, Any], Any]
    path: str
    key: Any
    version: Version
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    reads_boxes: ClassVar[bool] = True  # see `chunked.blocks.compute_block`

    @classmethod
    def at(
        cls,
        opener: Callable[[str, Any], Any],
        path: str | PathLike[str],
        key: Any,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> Self:
        """Refer to the file at `path` as it is now."""
        place = os.path.abspath(path)
        return cls(opener, place, key, _version(place), shape, dtype.newbyteorder("="))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def array(self) -> Any:
        """The array-like in the open file."""
        return _open(self.opener, self.path, self.key, self.version, os.getpid())

    def __getitem__(self, index: Any) -> NDArray[Any]:
        with guard_reading(self.path, describe_part(index, self.shape)):
            return np.asarray(self.array[index], dtype=self.dtype)


@lru_cache(maxsize=32)
def _open(
    opener: Callable[[str, Any], Any], path: str, key: Any, version: Version, pid: int
) -> Any:
    # pid is part of the key only: a forked child shares its parent's file position, so it
    # must not read through the parent's handle
    try:
        found = _version(path)
    except FileNotFoundError as error:
        raise ReadError(f"{path} is gone; it was there when it was opened") from error
    if found != version:
        raise ReadError(f"{path} was written anew since it was opened; read it again")
    return opener(path, key)


def _version(path: str) -> Version:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size
