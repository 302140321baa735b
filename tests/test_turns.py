"""Who drags the view has a core: fewer tasks run, and all of them are done."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from napari_local_ncc.chunked.blocks import Turns


@pytest.mark.parametrize("cores", [1, 2, 4])
@pytest.mark.parametrize("is_left", [True, False])
def test_a_core_is_left_while_it_is_asked_for(cores, is_left):
    turns, lock = Turns(cores), threading.Lock()
    running, most = 0, 0
    together = threading.Barrier(cores)

    def task(box):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if not is_left:
            together.wait(30)  # of as many as there are cores
        with lock:
            running -= 1
        return box

    if is_left:
        turns.leave_a_core(3600)
    with ThreadPoolExecutor(cores) as pool:
        done = list(pool.map(lambda k: turns.run(task, (slice(k),)), range(8 * cores)))
    assert done == [(slice(k),) for k in range(8 * cores)]
    assert most == cores if not is_left else most <= max(cores - 1, 1)


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
