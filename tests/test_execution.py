"""Tiles as they land: complete, cancelled, failed."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import CancelledError

import dask.array as da
import numpy as np
import pytest

from napari_local_ncc.chunked.tiles import compute_tiles


def test_the_tiles_make_up_the_whole(rng):
    data = rng.normal(size=(50, 70))
    lazy = da.from_array(data, chunks=(20, 30)) * 2
    result, done = np.full(data.shape, np.nan), []
    for tile in compute_tiles(lazy):
        result[tile.location] = tile.data
        done.append((tile.done, tile.total))
    np.testing.assert_array_equal(result, data * 2)
    assert done == [(k, 9) for k in range(1, 10)]


def test_closing_cancels_and_leaves_no_thread():
    computed = []

    def slow(block):
        time.sleep(0.01)
        computed.append(1)
        return block

    lazy = da.zeros((400, 4), chunks=(1, 4)).map_blocks(slow, dtype=float)
    computed.clear()
    tiles = compute_tiles(lazy, workers=2)
    next(tiles)
    tiles.close()
    time.sleep(0.1)  # chunks that were being computed finish
    count = len(computed)
    assert count < 50
    time.sleep(0.1)
    assert len(computed) == count
    assert not [t for t in threading.enumerate() if t.name.startswith("local-ncc")]


def test_an_event_cancels_even_if_nobody_listens():
    lazy = da.zeros(300, chunks=1)
    cancelled = threading.Event()
    tiles = compute_tiles(lazy, workers=2, cancelled=cancelled)
    next(tiles)
    cancelled.set()
    deadline = time.monotonic() + 10
    while dask_is_busy() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not dask_is_busy()
    with pytest.raises(CancelledError):
        list(tiles)


def dask_is_busy():
    """Say whether the thread that schedules still waits for something."""
    scheduling = [t for t in threading.enumerate() if t.name.startswith("local-ncc")]
    frames = sys._current_frames()
    return any("compute" in _names(frames.get(t.ident)) for t in scheduling)


def _names(frame):
    names = []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names


def test_an_error_reaches_the_caller():
    def fail(block, block_info=None):
        if block_info[0]["chunk-location"] == (3,):
            raise OSError("disk on fire")
        return block

    lazy = da.zeros(10, chunks=1).map_blocks(fail, dtype=float, meta=np.zeros(0))
    with pytest.raises(OSError, match="disk on fire"):
        list(compute_tiles(lazy))


def test_a_slow_consumer_bounds_the_memory():
    alive = []

    def make(block):
        alive.append(1)
        return block

    lazy = da.zeros(300, chunks=1).map_blocks(make, dtype=float, meta=np.zeros(0))
    alive.clear()
    tiles = compute_tiles(lazy, workers=2)
    for k in range(20):
        next(tiles)
        time.sleep(0.005)
        assert len(alive) < k + 30
    tiles.close()


@pytest.mark.parametrize(
    ("shape", "chunks", "first"),
    [((90, 70), (10, 10), (64.0, 12.0)), ((5, 40, 40), (1, 10, 10), (3.0, 39.0, 0.0))],
)
def test_the_nearest_chunks_come_first(shape, chunks, first):
    lazy = da.zeros(shape, chunks=chunks) + 1
    result, order = np.zeros(shape), []
    for tile in compute_tiles(lazy, workers=1, first=first):
        result[tile.location] += tile.data
        order.append(
            [part.start <= f < part.stop for part, f in zip(tile.location, first, strict=True)]
        )
    np.testing.assert_array_equal(result, 1)
    assert any(all(inside) for inside in order[:2])
    if len(shape) == 3:  # the frame that is looked at comes before all others
        assert all(inside[0] for inside in order[:16])
        assert not any(inside[0] for inside in order[16:])


def test_rounds_grow_so_that_few_chunks_are_shared_between_them(rng):
    computed = []

    def count(block):
        computed.append(1)
        return block

    lazy = da.zeros((160, 160), chunks=10).map_blocks(count, dtype=float, meta=np.zeros((0, 0)))
    shared = da.map_overlap(lambda x: x, lazy, depth=1, boundary="none", dtype=float)
    computed.clear()
    list(compute_tiles(shared, workers=2, first=(80, 80)))
    assert len(computed) < 1.4 * 256
