"""A map computed block by block: each is computed, kept and summed up by one task."""

from __future__ import annotations

import os
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.chunked.blocks import (
    TURNS,
    block_edges,
    blocks_of,
    compute_block,
    run_tasks,
    thread_pool,
)
from napari_local_ncc.maps.map_summary import MapTally
from napari_local_ncc.progress import uninterrupted

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Iterator, Sequence
    from concurrent.futures import ThreadPoolExecutor
    from contextlib import AbstractContextManager

    from distributed import Client
    from numpy.typing import NDArray

    from napari_local_ncc.chunked.slab import Slab
    from napari_local_ncc.maps.grouped_histogram import GroupTally
    from napari_local_ncc.maps.pipeline import ConfidenceMap

    Box = tuple[slice, ...]
    Sink = Callable[[ConfidenceMap], AbstractContextManager[Any]]

RETRIES = 3  # of a block whose worker was lost


@dataclass(frozen=True, slots=True, eq=False)
class MapPart:
    """A finished block of a map.

    Parameters
    ----------
    location : tuple of slice
        Where it lies in the bands array.
    bands : ndarray of float32, or None
        Its values; None where another process keeps them.
    tally : MapTally or None
        The block in numbers, if they were asked for.
    frames : GroupTally or None
        Its NCC frame by frame, if that was asked for.
    total : int
        How many blocks the run is of.
    """

    location: Box
    bands: NDArray[np.float32] | None
    tally: MapTally | None
    frames: GroupTally | None
    total: int


@dataclass(frozen=True, slots=True, eq=False)
class MapTask:
    """What is done for every block of a map; it travels to other processes.

    Parameters
    ----------
    map : ConfidenceMap
        The map.
    pixels : object or None
        Takes and gives blocks by item; None keeps nothing.
    finished : frozenset of tuple of int
        Where the blocks begin that `pixels` holds already: these are not computed again.
    summed : bool
        Whether to sum up the bands.
    by_frame : bool
        Whether to sum up the NCC of each frame, too.
    returned : bool
        Whether the values are returned.
    total : int
        How many blocks it is done for.
    """

    map: ConfidenceMap
    pixels: Any
    finished: frozenset[tuple[int, ...]]
    summed: bool
    by_frame: bool
    returned: bool
    total: int

    def __call__(self, box: Box) -> MapPart:
        """Compute, keep and sum up a block."""
        if start_of(box) in self.finished:
            data = np.asarray(self.pixels[box])
        else:
            data = compute_block(self.map.bands, box)
            if self.pixels is not None:
                self.pixels[box] = data
        tally = None
        if self.summed:
            tally = MapTally.of(self.map)
            tally.add(data, box[1:])
        frames = self._count_frames(box, data) if self.by_frame else None
        return MapPart(box, data if self.returned else None, tally, frames, self.total)

    def _count_frames(self, box: Box, data: NDArray[np.float32]) -> GroupTally:
        from napari_local_ncc.maps.grouped_histogram import GroupTally

        frames = GroupTally()
        ncc = data[self.map.band_names.index("ncc")]
        frames.add_frames(box[1:], ncc, self.map.grid)
        return frames


def start_of(box: Box) -> tuple[int, ...]:
    """Return where a box begins."""
    return tuple(part.start for part in box)


def stream_map(
    confidence_map: ConfidenceMap,
    sink: Sink | None = None,
    *,
    summed: bool = False,
    by_frame: bool = False,
    first: Sequence[float] | None = None,
    threads: int | None = None,
    client: Client | None = None,
    cancelled: threading.Event | None = None,
) -> Generator[MapPart, None, None]:
    """Compute a map block by block, and keep what it is in a sink if there is one.

    Parameters
    ----------
    confidence_map : ConfidenceMap
        The map; the chunks of its bands are the blocks.
    sink : callable, optional
        Takes the map, and returns a context that takes blocks by item assignment and keeps
        them where it closes without an error; see `napari_local_ncc.io.map_sink`. Blocks are
        given to it from several threads.
    summed : bool, default False
        Whether to sum up the bands.
    by_frame : bool, default False
        Whether to sum up the NCC of each frame, too.
    first : sequence of float, optional
        The pixel of the grid to begin at. Default: in the order of memory.
    threads : int, optional
        How many; default: one per core. Not with a client.
    client : distributed.Client, optional
        Where to compute. Its workers read the images and write the map themselves, if the
        sink is a store and not memory. A block whose worker is lost is computed again.
    cancelled : threading.Event, optional
        Cancels when it is set, from any thread.

    Yields
    ------
    MapPart
        Every block once; where the sink is of a slab, those of the slab.

    Raises
    ------
    concurrent.futures.CancelledError
        If `cancelled` was set.
    """
    bands = confidence_map.bands
    begin = None if first is None else (0.0, *first)
    boxes: Sequence[Box] = blocks_of(bands.shape, block_edges(bands), begin)
    kept = nullcontext() if sink is None else sink(confidence_map)
    with kept as pixels, _pool(threads, client) as (pool, at_once):
        slab: Slab | None = getattr(pixels, "slab", None)
        boxes = boxes if slab is None else slab.of(boxes)
        remote = client is not None
        there = remote and getattr(pixels, "shared", False)
        here = pixels if remote and not there else None
        finished: frozenset[tuple[int, ...]] = getattr(pixels, "finished", frozenset())
        task = MapTask(
            confidence_map,
            None if here is not None else pixels,
            finished,
            summed,
            by_frame,
            returned=not there,
            total=len(boxes),
        )
        run = run_tasks(task, boxes, pool, at_once=at_once, cancelled=cancelled)
        with closing(run):
            for part in run:
                if here is not None:
                    here[part.location] = part.bands
                record = getattr(pixels, "record", None)
                if record is not None and start_of(part.location) not in finished:
                    record(start_of(part.location))
                yield part


@contextmanager
def _pool(threads: int | None, client: Client | None) -> Iterator[tuple[Any, int]]:
    """Give what runs tasks, and how many at a time."""
    if client is None:
        with thread_pool(threads) as pool:
            yield _Threads(pool), threads or os.cpu_count() or 1
        return
    with client.get_executor(pure=False, retries=RETRIES) as executor:
        yield _Cluster(client, executor), max(1, sum(client.nthreads().values()))


@dataclass(frozen=True, slots=True, eq=False)
class _Threads:
    """Hands out tasks; a pool that is interrupted while it begins a thread forgets that one."""

    pool: ThreadPoolExecutor

    def submit(self, task: Callable[[Box], Any], box: Box) -> Any:
        """Hand out a box."""
        with uninterrupted():
            return self.pool.submit(TURNS.run, task, box)


class _Cluster:
    """Runs one task for many boxes on a cluster: the task travels once to each worker."""

    def __init__(self, client: Client, executor: Any) -> None:
        self._client, self._executor = client, executor
        self._sent: dict[int, Any] = {}

    def submit(self, task: Callable[[Box], Any], box: Box) -> Any:
        """Hand out a box."""
        if id(task) not in self._sent:
            # by a task of the cluster's own, which it repeats where the result is lost
            self._sent[id(task)] = self._client.submit(partial(_give, task), pure=False)
        return self._executor.submit(_run, self._sent[id(task)], box)


def _give(task: Any) -> Any:
    return task


def _run(task: Callable[[Box], Any], box: Box) -> Any:
    return task(box)
