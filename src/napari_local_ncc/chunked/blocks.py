"""Blocks of a lazy array, each computed by a task of its own, a few at a time.

A task is run by an executor of `concurrent.futures`, or of `dask.distributed`, which has the same
interface. It computes its block from the array's graph alone: no other task waits for it, and
memory is that of the blocks under way, whatever their number. One core is left to a person at the
screen while they drag.
"""

from __future__ import annotations

import os
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from threading import Condition
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from uuid import uuid4

import dask
import dask.array as da
import numpy as np
from dask.local import get_sync

from napari_local_ncc.chunked.culling import culled

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    Box = tuple[slice, ...]

Result = TypeVar("Result")

POLL = 0.1  # s between looks at whether a computation was cancelled
AHEAD = 2  # tasks handed out for each that runs


def block_edges(array: da.Array) -> tuple[int, ...]:
    """Return the edges of the blocks of an array: those of its largest chunks."""
    return tuple(max(lengths, default=0) for lengths in array.chunks)


def blocks_of(
    shape: Sequence[int], edges: Sequence[int], first: Sequence[float] | None = None
) -> list[Box]:
    """Cut a box of some shape into blocks of equal edges, but for those at the ends.

    Parameters
    ----------
    shape, edges : sequence of int
        Of the whole and of a block.
    first : sequence of float, optional
        An index to begin at: the nearest blocks come first. Frames (axes in blocks of one
        sample) count before all else: the whole frame that `first` lies in comes before its
        neighbours. Default: in the order of memory.

    Returns
    -------
    list of tuple of slice
        The blocks.
    """
    counts = [-(-n // edge) if edge else 0 for n, edge in zip(shape, edges, strict=True)]
    places = np.stack(np.unravel_index(np.arange(np.prod(counts)), counts), axis=-1)
    if first is not None:
        places = places[_nearest_first(places, shape, edges, first)]
    return [
        tuple(
            slice(k * edge, min((k + 1) * edge, n))
            for k, edge, n in zip(place, edges, shape, strict=True)
        )
        for place in places.tolist()
    ]


def _nearest_first(
    places: NDArray[np.intp], shape: Sequence[int], edges: Sequence[int], first: Sequence[float]
) -> NDArray[np.intp]:
    starts = places * edges
    centres = (starts + np.minimum(starts + edges, shape) - 1) / 2
    away = np.abs(centres - first)
    frames = np.array(edges) == 1
    return np.lexsort((np.square(away[:, ~frames]).sum(axis=1), away[:, frames].sum(axis=1)))


def lazy_blocks(
    task: Callable[[Box], NDArray[Any]],
    whole: Box,
    chunks: tuple[tuple[int, ...], ...],
    dtype: np.dtype[Any],
    leading: tuple[tuple[int, ...], ...] = (),
) -> da.Array:
    """Return a lazy array of which a task computes every block by itself.

    Parameters
    ----------
    task : callable
        Takes a box, returns its values, with some axes of their own before.
    whole : tuple of slice
        The box that the array is.
    chunks : tuple of tuple of int
        How it is cut, as dask has it.
    dtype : dtype
        Of the values.
    leading : tuple of tuple of int
        Chunks of the axes before; one each.
    """
    starts = [
        (part.start + np.cumsum((0, *lengths))).tolist()
        for part, lengths in zip(whole, chunks, strict=True)
    ]
    return da.map_blocks(
        partial(_run_block, task, starts),
        chunks=(*leading, *chunks),
        dtype=dtype,
        meta=np.empty((0,) * (len(leading) + len(chunks)), dtype),
        name=f"local-ncc-{uuid4().hex}",
    )


def _run_block(
    task: Callable[[Box], NDArray[Any]], starts: list[list[int]], block_id: tuple[int, ...]
) -> NDArray[Any]:
    own = block_id[len(block_id) - len(starts) :]
    return task(tuple(slice(s[k], s[k + 1]) for s, k in zip(starts, own, strict=True)))


def compute_block(array: da.Array | NDArray[Any], box: tuple[slice | int, ...]) -> NDArray[Any]:
    """Compute a box of an array in this thread.

    Of what only reads a file it is read at once: in pieces, as chunks have it, the strips that
    a window reaches into cost a read each.
    """
    if not isinstance(array, da.Array):
        return np.asarray(array[box])
    source = _source_of(array)
    (block,) = compute_here(culled(array, box)[box]) if source is None else (source[box],)
    return np.asarray(block)


def _source_of(array: da.Array) -> Any:
    """Return the array-like of a file that an array is, if it is nothing else, or None."""
    layers, name = array.dask.layers, f"original-{array.name}"  # as `da.from_array` names it
    if len(layers) != 2 or name not in layers:
        return None
    source = layers[name].get(name)
    if not getattr(source, "reads_boxes", False):
        return None
    return source if (source.shape, source.dtype) == (array.shape, array.dtype) else None


def take(array: da.Array, index: Sequence[slice | int]) -> da.Array:
    """Return ``array[index]``; what only reads a file stays that, see `compute_block`.

    Parameters
    ----------
    array : dask array
        Any.
    index : sequence of slice or int
        Of the axes, or the first of them.

    Returns
    -------
    dask array
        The part, in the chunks that dask gives it.
    """
    part, source = array[tuple(index)], _source_of(array)
    whole = [*index, *(slice(None) for _ in range(array.ndim - len(index)))]
    axes = tuple(range(n)[each] for n, each in zip(array.shape, whole, strict=True))
    thinned = any(isinstance(axis, range) and axis.step != 1 for axis in axes)
    if source is None or thinned or not part.size:
        return part
    meta = np.empty((0,) * part.ndim, part.dtype)
    return da.from_array(_Part(source, axes), part.chunks, name=False, meta=meta, fancy=False)


@dataclass(frozen=True, slots=True)
class _Part:
    """Of an array-like one index, or a range of step 1, of each axis."""

    source: Any
    axes: tuple[int | range, ...]
    reads_boxes: ClassVar[bool] = True

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis) for axis in self.axes if isinstance(axis, range))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.source.dtype)

    def __getitem__(self, index: tuple[slice | int, ...]) -> NDArray[Any]:
        left = iter(index)
        axes = (axis[next(left)] if isinstance(axis, range) else axis for axis in self.axes)
        found = [_slice_of(a) if isinstance(a, range) else a for a in axes]
        return np.asarray(self.source[tuple(found)])


def _slice_of(part: range) -> slice:
    """Return the slice that takes a range of indices, none of which is negative."""
    if not part:
        return slice(0)
    return slice(part.start, part.stop if part.stop >= 0 else None, part.step)


def compute_here(*arrays: da.Array) -> tuple[Any, ...]:
    """Compute some arrays in this thread.

    napari's opportunistic cache, which registers callbacks for all, must not join in. Of a
    scheduler's name dask makes sure by importing distributed, which takes a second.
    """
    found: tuple[Any, ...] = dask.compute(*arrays, scheduler=get_sync, callbacks=[])
    return found


@contextmanager
def thread_pool(threads: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Give threads to run tasks; what has not begun is dropped where the context ends.

    Parameters
    ----------
    threads : int, optional
        How many; default: one per core.
    """
    pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="local-ncc")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def run_tasks(
    task: Callable[[Box], Result],
    boxes: Iterable[Box],
    pool: Executor,
    *,
    at_once: int,
    cancelled: threading.Event | None = None,
) -> Generator[Result, None, None]:
    """Run a task for every box, and yield what it returns as it ends.

    Parameters
    ----------
    task : callable
        Takes a box.
    boxes : iterable of tuple of slice
        The boxes, in the order in which they are handed out.
    pool : concurrent.futures.Executor
        Runs them.
    at_once : int
        How many it runs at a time. A few more wait: a slow consumer slows the computation,
        and does not fill memory.
    cancelled : threading.Event, optional
        Cancels when it is set, from any thread.

    Yields
    ------
    object
        What the task returns, once for every box. Closing the generator cancels: what runs
        ends, no other is begun.

    Raises
    ------
    concurrent.futures.CancelledError
        If `cancelled` was set.
    Exception
        Whatever the task raises.
    """
    left, under_way = iter(boxes), set[Future[Result]]()
    try:
        while True:
            for box in islice(left, AHEAD * at_once - len(under_way)):
                under_way.add(pool.submit(task, box))
            if not under_way:
                return
            done, under_way = wait(under_way, POLL, FIRST_COMPLETED)
            if cancelled is not None and cancelled.is_set():
                raise CancelledError
            for each in done:
                yield each.result()
    finally:
        for each in under_way:
            each.cancel()


class Turns:
    """Lets tasks begin: as many as will, but one fewer than there are cores while one is left.

    Parameters
    ----------
    cores : int
        How many there are; the last one is never left.
    """

    def __init__(self, cores: int) -> None:
        self._most = max(cores - 1, 1)
        self._left_until = 0.0
        self._running = 0
        self._change = Condition()

    def leave_a_core(self, seconds: float) -> None:
        """Leave one for a while, or for a while longer; tasks that run are not stopped."""
        self._left_until = monotonic() + seconds

    def run(self, task: Callable[[Box], Result], box: Box) -> Result:
        """Run a task when it may, in this thread."""
        with self._change:
            while self._running >= self._most and (left := self._left_until - monotonic()) > 0:
                self._change.wait(left)
            self._running += 1
        try:
            return task(box)
        finally:
            with self._change:
                self._running -= 1
                self._change.notify_all()


TURNS = Turns(os.cpu_count() or 1)  # cores are the whole process's
