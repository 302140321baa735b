"""An array in a file that travels by its path: dask sends it to other processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FileArray:
    """Samples of one resolution level of a file, opened where and when they are read.

    Open TIFF files do not pickle, and a pickled memory map is all of its pixels. This
    holds only the path; every process opens the file once and keeps it open.

    Parameters
    ----------
    opener : callable
        Module-level function ``(path, level) -> array-like`` that opens the file.
    path : str
        The file.
    level : int
        Resolution level.
    version : tuple of int
        Time and size of the file, so that a file written anew is opened anew.
    shape : tuple of int
        Shape of the samples.
    dtype : dtype
        Their type, in native byte order.
    """

    opener: Callable[[str, int], Any]
    path: str
    level: int
    version: tuple[int, int]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def at(
        cls,
        opener: Callable[[str, int], Any],
        path: str | PathLike[str],
        level: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> Self:
        """Refer to the file at `path` as it is now."""
        status = os.stat(path)
        version = (status.st_mtime_ns, status.st_size)
        return cls(opener, os.path.abspath(path), level, version, shape, dtype.newbyteorder("="))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def array(self) -> Any:
        """The array-like in the open file."""
        return _opened(self.opener, self.path, self.level, self.version, os.getpid())

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return np.asarray(self.array[index], dtype=self.dtype)


@lru_cache(maxsize=32)
def _opened(
    opener: Callable[[str, int], Any], path: str, level: int, version: tuple[int, int], pid: int
) -> Any:
    # version and pid are part of the key only: a forked child shares its parent's file
    # position, so it must not read through the parent's handle
    return opener(path, level)
