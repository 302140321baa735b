"""Samples that lie in a file as they are, read and never mapped.

A mapped file that another program cuts off ends the process by a signal that Python cannot catch.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.image.read_guard import ReadError

if TYPE_CHECKING:
    from io import FileIO

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class RawSamples:
    """An array-like in a file without compression: a part of it is read when it is asked for.

    Parameters
    ----------
    path : str
        The file; it is opened for each part.
    dtype : dtype
        Of a sample, in the byte order of the file.
    offset : int
        Byte of the first sample.
    stored_shape : tuple of int
        Shape as the samples follow each other, the last axis the fastest.
    order : tuple of int, optional
        Which axis of the file each axis of the array is. Default: the same.
    """

    path: str
    dtype: np.dtype[Any]
    offset: int
    stored_shape: tuple[int, ...]
    order: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the samples."""
        return tuple(self.stored_shape[k] for k in self._order)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.stored_shape)

    @property
    def _order(self) -> tuple[int, ...]:
        return tuple(range(self.ndim)) if self.order is None else self.order

    def __getitem__(self, index: Any) -> NDArray[Any]:
        given = index if isinstance(index, tuple) else (index,)
        whole = (*given, *(slice(None),) * (self.ndim - len(given)))
        taken = [
            range(n)[part : part + 1 or None] if isinstance(part, int) else range(n)[part]
            for n, part in zip(self.shape, whole, strict=True)
        ]
        for part, n, positions in zip(whole, self.shape, taken, strict=True):
            if isinstance(part, int) and not positions:
                raise IndexError(f"index {part} is out of bounds for an axis of {n}")
        stored = [taken[self._order.index(k)] for k in range(self.ndim)]
        found = self._read(stored).transpose(self._order)
        return found[tuple(0 if isinstance(part, int) else slice(None) for part in whole)]

    def _read(self, taken: list[range]) -> NDArray[Any]:
        """Read positions of each axis of the file; what lies together, at once."""
        split = self._split(taken)
        outer, along, inner = taken[:split], taken[split], self.stored_shape[split + 1 :]
        if not all(map(len, taken)):
            return np.empty([len(positions) for positions in taken], self.dtype)
        first, last = min(along), max(along)
        strides = [math.prod(self.stored_shape[k + 1 :]) for k in range(self.ndim)]
        runs = np.empty((*map(len, outer), last - first + 1, *inner), self.dtype)
        flat = runs.reshape(-1, (last - first + 1) * math.prod(inner)).view(np.uint8)
        with open(self.path, "rb", buffering=0) as file:
            for run, places in zip(flat, itertools.product(*outer), strict=True):
                before = sum(k * stride for k, stride in zip(places, strides, strict=False))
                file.seek(self.offset + (before + first * strides[split]) * self.dtype.itemsize)
                _fill(file, run)
        chosen = np.arange(len(along)) * along.step + along[0] - first
        return runs if along.step == 1 else runs.take(chosen, axis=split)

    def _split(self, taken: list[range]) -> int:
        """Return the axis along which one reading goes: those after it are read whole."""
        split = self.ndim - 1
        while split and taken[split] == range(self.stored_shape[split]):
            split -= 1
        leaves_out = abs(taken[split].step) > 1 and len(taken[split]) > 1
        return split + 1 if leaves_out and split < self.ndim - 1 else split


def _fill(file: FileIO, run: NDArray[np.uint8]) -> None:
    """Read as many bytes as an array takes; systems give at most 2 GB at once."""
    there, room = 0, memoryview(run)  # type: ignore[arg-type]  # an array is a buffer
    while there < len(room):
        read = file.readinto(room[there:])
        if not read:
            raise ReadError("the file is cut off; copy it again")
        there += read
