"""An array of a file that does not hold all of its chunks: what is missing is invalid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class PartialArray:
    """An array-like of which some chunks are not in the file: they read as NaN.

    Parameters
    ----------
    source : array_like
        The file's array; what it gives for a missing chunk is not believed.
    chunks : tuple of int
        Edges of the file's chunks.
    missing : ndarray of bool
        Which of the chunks are not there; one entry per chunk, axes as of `source`.
    """

    source: Any
    chunks: tuple[int, ...]
    missing: NDArray[np.bool_]
    reads_boxes: ClassVar[bool] = True  # see `chunked.blocks.compute_block`

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the samples."""
        return tuple(self.source.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """A floating type that holds the samples, and NaN."""
        return np.result_type(self.source.dtype, np.float32)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        hidden = self._missing_at(index)
        if hidden.all():  # many are quickly said to be absent, but not quickly read
            return np.full(hidden.shape, np.nan, self.dtype)
        samples = np.asarray(self.source[index], self.dtype)
        if hidden.any():
            samples = np.where(hidden, self.dtype.type(np.nan), samples)
        return samples

    def _missing_at(self, index: Any) -> NDArray[np.bool_]:
        index = index if isinstance(index, tuple) else (index,)
        whole = (*index, *(slice(None),) * (self.ndim - len(index)))
        places = [
            np.atleast_1d(np.arange(n)[part]) // edge
            for n, part, edge in zip(self.shape, whole, self.chunks, strict=True)
        ]
        taken = tuple(0 if isinstance(part, int) else slice(None) for part in whole)
        hidden: NDArray[np.bool_] = self.missing[np.ix_(*places)][taken]
        return hidden
