"""Windows across the chunks of dask arrays, without copies.

A task gets the source chunks that its windows reach into, as they are. `map_overlap` would
join them first, compute margins that it then cuts off, and add a task for every strip.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise, product
from typing import TYPE_CHECKING, Any, NamedTuple

import dask.array as da
import numpy as np
from dask.array.overlap import ensure_minimum_chunksize
from dask.array.utils import meta_from_array
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    Slices = tuple[slice, ...]


class _Part(NamedTuple):
    """What a task needs of one source chunk along one axis."""

    chunk: int
    crop: slice  # within the chunk
    where: slice  # within all that the task needs


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """An array that dask can only slice: of one that it can copy, it copies all."""

    array: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.array.dtype)

    def __getitem__(self, index: Any) -> Any:
        return np.asarray(self.array[index])


def as_lazy(array: Any, chunks: Any) -> da.Array:
    """Wrap an array (NumPy, Zarr, ...) for dask without copying or reading it.

    Parameters
    ----------
    array : array
        Has shape, dtype, and slices.
    chunks : tuple
        As dask takes them.

    Returns
    -------
    dask array
        Its tasks hold views of `array`: what is written into it later is seen.
    """
    view = _View(array)
    meta = np.empty((0,) * view.ndim, view.dtype)
    return da.from_array(view, chunks=chunks, name=False, meta=meta)


def without_masks(array: da.Array) -> da.Array:
    """Return a dask array in which what masked arrays hide is NaN, which is "no sample"."""
    if not isinstance(meta_from_array(array), np.ma.MaskedArray):
        return array
    floating = np.result_type(array.dtype, np.float32)
    meta = np.empty((0,) * array.ndim, floating)
    return array.astype(floating).map_blocks(np.ma.filled, np.nan, dtype=floating, meta=meta)


def map_windows(
    block: Callable[..., Any],
    arrays: list[da.Array],
    depth: tuple[int, ...],
    *,
    bands: int | None = None,
) -> da.Array:
    """Apply a function of windows to dask arrays of one shape, chunk by chunk.

    Parameters
    ----------
    block : callable
        ``block(*images, region=...)`` returns the float32 result in the region of images
        that come as lists of (where, array), as `kernels.driver.ncc_of_pieces` takes them;
        with `bands`, several results stacked on a leading axis.
    arrays : list of dask array
        The images; the first determines the chunks.
    depth : tuple of int
        How far windows reach along each axis.
    bands : int, optional
        How many results the function gives at once. Default: one, without a band axis.

    Returns
    -------
    dask array of float32, shape (...) or (bands, ...)
        One task per chunk. Chunks shorter than a window are joined.
    """
    chunks = tuple(
        ensure_minimum_chunksize(min(2 * reach + 1, sum(lengths)), lengths)
        for reach, lengths in zip(depth, arrays[0].chunks, strict=True)
    )
    leading = () if bands is None else (bands,)
    sources = [array.rechunk(chunks) for array in arrays]
    needs = [_needs(*axis) for axis in zip(chunks, depth, strict=True)]
    name = f"local-ncc-{tokenize(block, depth, bands, *(source.name for source in sources))}"
    tasks = {}
    for index in np.ndindex(*map(len, chunks)):
        regions, parts = zip(*(need[i] for need, i in zip(needs, index, strict=True)), strict=True)
        pieces = list(product(*parts))
        cuts = [tuple((part.crop, part.where) for part in piece) for piece in pieces]
        keys = [tuple(part.chunk for part in piece) for piece in pieces]
        tasks[(name, *(0 for _ in leading), *index)] = (
            partial(_apply, block, regions, cuts),
            *([(source.name, *key) for key in keys] for source in sources),
        )
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=sources)
    chunks = (*((n,) for n in leading), *chunks)
    return da.Array(graph, name, chunks, meta=np.empty((0,) * len(chunks), np.float32))


def _needs(lengths: tuple[int, ...], depth: int) -> list[tuple[slice, list[_Part]]]:
    """Return, for each chunk along an axis, its place in what it needs, and that in parts."""
    edges = list(pairwise(accumulate(lengths, initial=0)))
    needs = []
    for start, stop in edges:
        low, high = max(start - depth, 0), min(stop + depth, edges[-1][1])
        parts = [
            _Part(
                chunk,
                slice(max(low - first, 0), min(high, last) - first),
                slice(max(first, low) - low, min(high, last) - low),
            )
            for chunk, (first, last) in enumerate(edges)
            if first < high and last > low
        ]
        needs.append((slice(start - low, stop - low), parts))
    return needs


def _apply(
    block: Callable[..., Any],
    region: Slices,
    cuts: list[tuple[tuple[slice, slice], ...]],
    *sources: list[Any],
) -> Any:
    images = [
        [
            (tuple(where for _, where in cut), chunk[tuple(crop for crop, _ in cut)])
            for cut, chunk in zip(cuts, chunks, strict=True)
        ]
        for chunks in sources
    ]
    return block(*images, region=region)


def join_pieces(pieces: list[tuple[Slices, Any]], xp: ModuleType) -> Any:
    """Copy the pieces of an image into one array of a namespace."""
    shape = [max(where[axis].stop for where, _ in pieces) for axis in range(len(pieces[0][0]))]
    image = xp.empty(shape, pieces[0][1].dtype)
    for where, array in pieces:
        image[where] = array
    return image
