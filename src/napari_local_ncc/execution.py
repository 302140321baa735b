"""Compute a lazy map tile by tile: tiles as they land, progress, cancel."""

from __future__ import annotations

import os
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Any

import dask.array as da

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from concurrent.futures import Future

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
    """A store target that hands every finished chunk to a queue."""

    def __init__(self, array: da.Array, cancelled: threading.Event) -> None:
        self.shape, self.dtype = array.shape, array.dtype
        self._cancelled, self._ended = cancelled, threading.Event()
        # One waiting tile per thread: a slow consumer slows the computation, not fills memory.
        self._queue: Queue[tuple[tuple[slice, ...], NDArray[Any]]] = Queue(os.cpu_count() or 1)

    def __setitem__(self, location: tuple[slice, ...], data: NDArray[Any]) -> None:
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
    array: da.Array, *, workers: int | None = None, cancelled: threading.Event | None = None
) -> Generator[Tile, None, None]:
    """Compute a dask array and yield its chunks as they are finished.

    Parameters
    ----------
    array : dask array
        What to compute. Work that several chunks share is done once.
    workers : int, optional
        Number of threads; default: one per core.
    cancelled : threading.Event, optional
        Cancels when it is set, even where nobody will close the generator any more (as
        when a program quits).

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
    sink = _TileSink(array, cancelled or threading.Event())
    stored = da.store(array, sink, lock=False, compute=False)
    with ThreadPoolExecutor(1, thread_name_prefix="local-ncc") as scheduler:
        # callbacks=[]: napari's opportunistic cache registers global ones that break this.
        run = scheduler.submit(
            stored.compute, scheduler="threads", num_workers=workers, callbacks=[]
        )
        try:
            for done, (location, data) in enumerate(sink.tiles(run), start=1):
                yield Tile(location, data, done, array.npartitions)
            run.result()
        finally:
            sink.end()
