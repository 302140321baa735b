"""An array in a file that travels by its path: dask sends it to other processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from napari_local_ncc.image.read_guard import ReadError, describe_part, guard_reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from os import PathLike

    from numpy.typing import NDArray

    Version = tuple[int, int]  # time and size


@dataclass(frozen=True, slots=True, eq=False)
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
    stamp : str
        What is equal where the same array of the same files, as they were then, is.
    beside : tuple of str
        Other files that hold some of the samples.
    parts : ndarray of int, shape (files beside, 2, ndim), optional
        Where the samples that each of those holds begin and end. Default: they may be anywhere,
        and every reading looks at all files.
    """

    opener: Callable[[str, Any], Any]
    path: str
    key: Any
    versions: tuple[Version, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stamp: str
    beside: tuple[str, ...] = ()
    parts: NDArray[np.intp] | None = None
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
        parts: NDArray[np.intp] | None = None,
    ) -> Self:
        """Refer to the file at `path`, and those `beside` it, as they are now."""
        place, *others = (os.path.abspath(each) for each in (path, *beside))
        versions = tuple(map(version_of, (place, *others)))
        native = dtype.newbyteorder("=")
        told = opener.__module__, opener.__qualname__, place, key, versions
        stamp = sha256(repr(told).encode("utf-8", "surrogateescape")).hexdigest()
        return cls(opener, place, key, versions, shape, native, stamp, tuple(others), parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileArray) and self.stamp == other.stamp

    def __hash__(self) -> int:
        # thousands of names and versions would take as long as to read
        return hash(self.stamp)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def array(self) -> Any:
        """The array-like in the open file."""
        return _open(self, os.getpid())

    def __getitem__(self, index: Any) -> NDArray[Any]:
        with guard_reading(self.path, describe_part(index, self.shape)):
            files = self._files_of(index)
            _check_versions(files)
            samples = np.asarray(self.array[index], dtype=self.dtype)
            _check_versions(files)  # HDF5 and ITK read zeros where a file was cut off meanwhile
            return samples

    def _files_of(self, index: Any) -> list[tuple[str, Version]]:
        """Return the files that hold the samples of an index, and what they were."""
        numbers: Iterable[int] = range(len(self.beside))
        if self.parts is not None:
            first, last = _ends(index, self.shape)
            held = (self.parts[:, 0] <= last) & (self.parts[:, 1] > first)
            numbers = np.flatnonzero(held.all(axis=1)).tolist()
        beside = ((self.beside[k], self.versions[k + 1]) for k in numbers)
        return [(self.path, self.versions[0]), *beside]


def _ends(index: Any, shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Return the first and the last position that an index takes of each axis."""
    ends = [(0, n - 1) for n in shape]
    for k, part in enumerate(index if isinstance(index, tuple) else (index,)):
        taken = range(shape[k])[part]
        if isinstance(taken, int):
            ends[k] = (taken, taken)
        elif taken:
            ends[k] = (min(taken[0], taken[-1]), max(taken[0], taken[-1]))
    return np.transpose(ends)


def _check_versions(files: list[tuple[str, Version]]) -> None:
    for path, version in files:
        check_version(path, version)


@lru_cache(maxsize=32)
def _open(source: FileArray, pid: int) -> Any:
    # pid is part of the key only: a forked child shares its parent's file position, so it must
    # not read through the parent's handle
    return source.opener(source.path, source.key)


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
