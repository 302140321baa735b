"""An array in a file that travels by its path: dask sends it to other processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from napari_local_ncc.image.read_guard import ReadError, describe_part, guard_reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from os import PathLike

    from numpy.typing import NDArray

    Version = tuple[int, int]  # time and size


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
    versions : tuple of (int, int)
        Time and size of the file, and of those in `beside`: what was written anew or cut off
        meanwhile is not read.
    shape : tuple of int
        Shape of the samples.
    dtype : dtype
        Their type, in native byte order.
    beside : tuple of str
        Other files that hold some of the samples.
    """

    opener: Callable[[str, Any], Any]
    path: str
    key: Any
    versions: tuple[Version, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    beside: tuple[str, ...] = ()
    reads_boxes: ClassVar[bool] = True  # see `chunked.blocks.compute_block`

    @classmethod
    def at(
        cls,
        opener: Callable[[str, Any], Any],
        path: str | PathLike[str],
        key: Any,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        beside: Iterable[str | PathLike[str]] = (),
    ) -> Self:
        """Refer to the file at `path`, and those `beside` it, as they are now."""
        place, *others = (os.path.abspath(each) for each in (path, *beside))
        versions = tuple(map(version_of, (place, *others)))
        native = dtype.newbyteorder("=")
        return cls(opener, place, key, versions, shape, native, tuple(others))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def array(self) -> Any:
        """The array-like in the open file."""
        self._check_versions()
        return _open(self.opener, self.path, self.key, self.versions, os.getpid())

    def __getitem__(self, index: Any) -> NDArray[Any]:
        with guard_reading(self.path, describe_part(index, self.shape)):
            samples = np.asarray(self.array[index], dtype=self.dtype)
            self._check_versions()  # HDF5 and ITK read zeros where a file was cut off meanwhile
            return samples

    def _check_versions(self) -> None:
        for path, version in zip((self.path, *self.beside), self.versions, strict=True):
            check_version(path, version)


@lru_cache(maxsize=32)
def _open(
    opener: Callable[[str, Any], Any],
    path: str,
    key: Any,
    versions: tuple[Version, ...],
    pid: int,
) -> Any:
    # versions and pid are part of the key only: a forked child shares its parent's file
    # position, so it must not read through the parent's handle
    return opener(path, key)


def check_version(path: str, version: Version) -> None:
    """Raise ReadError where a file is not as `version_of` found it."""
    try:
        found = version_of(path)
    except FileNotFoundError as error:
        raise ReadError(f"{path} is gone; it was there when it was opened") from error
    if found != version:
        raise ReadError(f"{path} was written anew, or cut off, since it was opened; read it again")


def version_of(path: str | PathLike[str]) -> Version:
    """Return the time and the size of a file."""
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size
