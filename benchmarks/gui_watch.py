"""Gaps between the turns of napari's event loop: how long they are, and what was done in them.

Linux only: times are read from /proc.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

TICK = 5  # ms
LONG = 0.05  # s: where shorter gaps were spent is not said
OURS = f"napari_local_ncc{os.sep}"


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without a turn of the event loop: its parts in seconds, and where it was spent."""

    ended: float
    length: float
    computing: float
    waiting: float
    here: str

    def __str__(self) -> str:
        asleep = max(self.length - self.computing - self.waiting, 0)
        parts = f"{self.computing * 1000:.0f} + {self.waiting * 1000:.0f} + {asleep * 1000:.0f}"
        return f"{self.length * 1000:.0f} ms = {parts}; {self.here}"


class Watch:
    """Measures the gaps between the ticks of a timer, and looks at the GUI thread in them."""

    def __init__(self) -> None:
        self.gaps: list[Gap] = []
        self.began = self._last = (time.perf_counter(), *core_times())
        self.seconds = self.computing = 0.0
        self._seen: list[tuple[float, str]] = []
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(TICK)
        self._ended = threading.Event()
        threading.Thread(target=self._look, args=(threading.get_ident(),), daemon=True).start()

    def stop(self) -> None:
        """Count the gap that is open, and no other."""
        self._tick()
        self._timer.stop()
        self._ended.set()
        self.seconds, self.computing, _ = np.subtract(self._last, self.began).tolist()

    def longest(self, *, until: float = np.inf, since: float = -np.inf) -> Gap:
        """Return the gap in which the GUI thread computed longest, of those that ended within."""
        found = [gap for gap in self.gaps if since <= gap.ended <= until]
        nothing = Gap(0.0, 0.0, 0.0, 0.0, "")
        return max(found, key=lambda gap: gap.computing, default=nothing)

    def _tick(self) -> None:
        now = (time.perf_counter(), *core_times())
        length, computing, waiting = np.subtract(now, self._last).tolist()
        seen = [place for at, place in self._seen if at > self._last[0]] if length > LONG else []
        self.gaps.append(Gap(now[0], length, computing, waiting, _most(seen)))
        self._last = now
        self._seen.clear()

    def _look(self, gui: int) -> None:
        while not self._ended.wait(TICK / 1000):
            self._seen.append((time.perf_counter(), _place(sys._current_frames()[gui])))


@contextmanager
def watched() -> Iterator[Watch]:
    """Watch what is done within, and what comes of it in the next turns."""
    watch = Watch()
    yield watch
    let_work(0.3)
    watch.stop()


def core_times() -> tuple[float, float]:
    """Return for how long this thread has computed, and waited for a core, in seconds."""
    computing, waiting, _ = Path("/proc/thread-self/schedstat").read_text(encoding="utf-8").split()
    return int(computing) / 1e9, int(waiting) / 1e9


def let_work(seconds: float, condition: Callable[[], bool] | None = None) -> None:
    """Let the window work for a time, or until a condition holds."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until and not (condition is not None and condition()):
        QApplication.processEvents()
        time.sleep(0.001)


def _place(frame: FrameType | None) -> str:
    """Return the innermost function of ours, if there is one, and of all."""
    inner, ours = frame, None
    while frame is not None and ours is None:
        ours = frame if OURS in frame.f_code.co_filename else None
        frame = frame.f_back
    names = [_name(each) for each in (ours, inner) if each is not None]
    return " > ".join(dict.fromkeys(names))


def _most(places: list[str]) -> str:
    common = Counter(places).most_common(2)
    return "; ".join(f"{n / len(places):.0%} {place}" for place, n in common)


def _name(frame: FrameType) -> str:
    file = "/".join(Path(frame.f_code.co_filename).parts[-3:])
    return f"{file}:{frame.f_lineno} {frame.f_code.co_qualname}"
