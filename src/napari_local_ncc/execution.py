"""Compute a lazy map tile by tile: tiles as they land, progress, cancel."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

import dask.array as da

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray


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


class _CancelledError(Exception):
    """Raised inside the scheduler's threads to end a computation nobody wants any more."""


class _TileSink:
    """A store target that hands every finished chunk to a queue."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = shape, dtype
        # One waiting tile per thread: a slow consumer slows the computation, not fills memory.
        self.queue: Queue[tuple[tuple[slice, ...], NDArray[Any]] | None] = Queue(
            os.cpu_count() or 1
        )
        self.cancelled = threading.Event()

    def __setitem__(self, location: tuple[slice, ...], data: NDArray[Any]) -> None:
        if self.cancelled.is_set():
            raise _CancelledError
        self.queue.put((location, data))


def compute_tiles(array: da.Array, *, workers: int | None = None) -> Generator[Tile, None, None]:
    """Compute a dask array and yield its chunks as they are finished.

    Parameters
    ----------
    array : dask array
        What to compute. Work that several chunks share is done once.
    workers : int, optional
        Number of threads; default: one per core.

    Yields
    ------
    Tile
        Every chunk once, in the order in which they finish. Closing the generator cancels:
        chunks being computed finish, no other is begun.

    Raises
    ------
    Exception
        Whatever the computation raises.
    """
    sink = _TileSink(array.shape, array.dtype)
    stored = da.store(array, sink, lock=False, compute=False)
    with ThreadPoolExecutor(1, thread_name_prefix="local-ncc") as scheduler:
        run = scheduler.submit(_run, stored, sink, workers)
        try:
            for done in range(array.npartitions):
                item = sink.queue.get()
                if item is None:  # ended early: by an error, which result() raises
                    break
                location, data = item
                yield Tile(location, data, done + 1, array.npartitions)
            run.result()
        finally:
            sink.cancelled.set()
            while not run.done():  # free the threads that wait to hand over a tile
                with suppress(Empty):
                    sink.queue.get(timeout=0.02)


def _run(stored: Any, sink: _TileSink, workers: int | None) -> None:
    try:
        # callbacks=[]: napari's opportunistic cache registers global ones that break this.
        stored.compute(scheduler="threads", num_workers=workers, callbacks=[])
    finally:
        if not sink.cancelled.is_set():
            sink.queue.put(None)
