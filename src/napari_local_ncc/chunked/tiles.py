"""Compute a lazy map tile by tile: tiles as they land, progress, cancel."""

from __future__ import annotations

import math
import os
import sys
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
from dask.array.core import slices_from_chunks
from dask.threaded import get as get_in_threads

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from concurrent.futures import Future

    import dask.array as da
    from numpy.typing import NDArray

POLL = 0.1  # s between looks at whether a computation was cancelled


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One finished chunk of a map.

    Parameters
    ----------
    location : tuple of slice
        Where it belongs.
    data : ndarray
        The values.
    done, total : int
        Number of chunks finished, this one counted, and of all chunks.
    """

    location: tuple[slice, ...]
    data: NDArray[Any]
    done: int
    total: int


class _TileSink:
    """Where finished chunks go: a queue that somebody reads."""

    def __init__(self, cancelled: threading.Event) -> None:
        self._cancelled, self._ended = cancelled, threading.Event()
        # One waiting tile per thread: a slow consumer slows the computation, not fills memory.
        self._queue: Queue[tuple[tuple[slice, ...], NDArray[Any]]] = Queue(os.cpu_count() or 1)

    def put(self, location: tuple[slice, ...], data: NDArray[Any]) -> None:
        """Hand over a chunk, waiting for the reader; raise CancelledError if there is none."""
        while not (self._cancelled.is_set() or self._ended.is_set()):
            with suppress(Full):
                return self._queue.put((location, data), timeout=POLL)
        raise CancelledError

    def tiles(self, run: Future[None]) -> Iterator[tuple[tuple[slice, ...], NDArray[Any]]]:
        """Yield what the running computation hands over, until it is done."""
        while True:
            done = run.done()
            try:
                yield self._queue.get(timeout=0 if done else POLL)
            except Empty:
                if done:
                    return

    def end(self) -> None:
        """Refuse further chunks, which ends the computation."""
        self._ended.set()


def compute_tiles(
    array: da.Array,
    *,
    workers: int | None = None,
    cancelled: threading.Event | None = None,
    first: Sequence[float] | None = None,
) -> Generator[Tile, None, None]:
    """Compute a dask array and yield its chunks as they are finished.

    Parameters
    ----------
    array : dask array
        What to compute. Work that several chunks share is done once (with `first`: once
        in every round).
    workers : int, optional
        Number of threads; default: one per core.
    cancelled : threading.Event, optional
        Cancels when it is set, even where nobody will close the generator any more (as
        when a program quits).
    first : sequence of float, optional
        An index of the array to begin at: chunks are computed in rounds of growing size,
        the nearest first. Frames (axes in chunks of one sample) count before all else:
        the whole frame that `first` lies in comes before its neighbours.

    Yields
    ------
    Tile
        Every chunk once, in the order in which they finish. Closing the generator cancels:
        chunks being computed finish, no other is begun.

    Raises
    ------
    concurrent.futures.CancelledError
        If `cancelled` was set.
    Exception
        Whatever the computation raises.
    """
    sink = _TileSink(cancelled or threading.Event())
    workers = workers or os.cpu_count() or 1
    rounds = _rounds(array, first, workers)
    with ThreadPoolExecutor(1, thread_name_prefix="local-ncc") as scheduler:
        run = scheduler.submit(_compute_rounds, array, rounds, sink, workers)
        try:
            for done, (location, data) in enumerate(sink.tiles(run), start=1):
                yield Tile(location, data, done, array.npartitions)
            run.result()
        finally:
            sink.end()


def _compute_rounds(
    array: da.Array, rounds: list[NDArray[np.intp]], sink: _TileSink, workers: int
) -> None:
    """Compute the chunks of every round, by their positions among all chunks."""
    blocks = array.to_delayed().ravel()
    locations = slices_from_chunks(array.chunks)
    put = dask.delayed(sink.put, pure=False, traverse=False)
    for positions in rounds:
        handed_over = [put(locations[k], blocks[k]) for k in positions]
        # callbacks=[]: napari's opportunistic cache registers global ones that break this.
        # By its name the scheduler is found only after a second's import of distributed.
        dask.compute(*handed_over, scheduler=get_in_threads, num_workers=workers, callbacks=[])


def _rounds(array: da.Array, first: Sequence[float] | None, workers: int) -> list[NDArray[np.intp]]:
    """Return the chunks' positions, in rounds of growing size around a place if one is given.

    A scheduler has its own order, so nearness needs rounds: few, since what chunks of two
    rounds share is computed in both.
    """
    if first is None:
        return [np.arange(array.npartitions)]
    centres = [np.cumsum(edges) - (np.array(edges) + 1) / 2 for edges in array.chunks]
    away = np.meshgrid(*(np.abs(c - f) for c, f in zip(centres, first, strict=True)), indexing="ij")
    are_frames = [max(edges) == 1 for edges in array.chunks]
    by_frame, within = np.zeros(array.numblocks), np.zeros(array.numblocks)
    for distance, is_frame in zip(away, are_frames, strict=True):
        if is_frame:
            by_frame += distance
        else:
            within += distance**2
    nearest_first = np.lexsort((within.ravel(), by_frame.ravel()))
    frames = math.prod(
        n for n, is_frame in zip(array.numblocks, are_frames, strict=True) if is_frame
    )
    frame = array.npartitions // frames
    parts = 2 * workers * 16 ** np.arange(8)
    ends = [*parts[parts < frame], *(frame * 4 ** np.arange(math.log(frames, 4)).astype(int))]
    return np.split(nearest_first, ends)


def compute_array(array: da.Array) -> NDArray[Any]:
    """Compute a dask array; napari's opportunistic cache must not join in.

    Where no client of a cluster can be there, dask is not to look for one: see `compute_here`.
    """
    return compute_arrays(array)[0]


def compute_arrays(*arrays: da.Array) -> list[NDArray[Any]]:
    """Compute several dask arrays at once, which costs dask little more than one of them."""
    scheduler = None if "distributed" in sys.modules else get_in_threads
    found = dask.compute(*arrays, scheduler=scheduler, callbacks=[])
    return [np.asarray(array) for array in found]
