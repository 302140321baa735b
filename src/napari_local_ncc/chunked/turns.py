"""Cores are lent: what computes leaves one to a person at the screen while they drag."""

from __future__ import annotations

import os
from threading import Condition
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Box = tuple[slice, ...]
Result = TypeVar("Result")


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
