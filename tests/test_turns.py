"""Who drags the view has a core: fewer tasks run, and all of them are done."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from napari_local_ncc.chunked.blocks import Turns


@pytest.mark.parametrize("cores", [1, 2, 4])
@pytest.mark.parametrize("is_left", [True, False])
def test_a_core_is_left_while_it_is_asked_for(cores, is_left):
    turns, release = Turns(cores), threading.Event()
    begun = threading.Semaphore(0)
    together = max(cores - is_left, 1)

    def task(box):
        begun.release()
        assert release.wait(60)
        return box

    if is_left:
        turns.leave_a_core(3600)
    boxes = [(slice(k),) for k in range(cores + 2)]
    with ThreadPoolExecutor(len(boxes)) as pool:
        done = [pool.submit(turns.run, task, box) for box in boxes]
        if is_left:
            assert all(begun.acquire(timeout=60) for _ in range(together))
            assert not begun.acquire(timeout=0.2)  # those that run are held: no other begins
        else:
            assert all(begun.acquire(timeout=60) for _ in boxes)
        release.set()
        assert [each.result(60) for each in done] == boxes


def test_it_is_left_for_a_while_only():
    turns, begun = Turns(2), threading.Event()
    turns.leave_a_core(0.05)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(turns.run, lambda _: begun.wait(30), ())
        second = pool.submit(turns.run, lambda _: begun.set(), ())
        assert first.result(60)  # the second began while the first ran
        second.result(60)


def test_a_task_that_fails_gives_its_turn_back():
    turns = Turns(2)
    turns.leave_a_core(3600)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            turns.run(lambda _: 1 / 0, ())
    assert turns.run(len, (slice(1),)) == 1
