"""How long napari's window stands still while a map is computed, and what it does meanwhile.

`xvfb-run -a python benchmarks/gui_gaps.py [plane] [series]` does things in a viewer, first by
hand with plain arrays of the same size and no plugin (with idle and with busy cores), then with
the plugin, and prints for everything the gaps of more than 50 ms between two ticks of a 5 ms
timer. Of a gap it says how long the GUI thread computed, waited for a core, and slept (waiting
for Python's lock, for the drawing threads, for a file), and where it was most of the time: in
which function of ours, if in any, and in which function of what napari is made of.

On a virtual screen drawing is done by the processor, so the gaps are those of a machine without
a graphics card. Linux only: times are read from /proc.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["NAPARI_CONFIG"] = os.path.join(tempfile.mkdtemp(), "settings.yaml")

import napari
import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

CASES = {"plane": (8192, 8192), "series": (50, 1024, 1024)}
LONG = 0.05  # s: shorter gaps are not listed
OURS = f"napari_local_ncc{os.sep}"


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without a turn of the event loop: its parts in seconds, and where it was spent."""

    length: float
    computing: float
    waiting: float
    here: str
    beside: str

    def __str__(self) -> str:
        asleep = max(self.length - self.computing - self.waiting, 0)
        parts = f"{self.computing * 1000:.0f} + {self.waiting * 1000:.0f} + {asleep * 1000:.0f}"
        beside = f"\n        meanwhile {self.beside}" if self.beside else ""
        return f"{self.length * 1000:4.0f} ms = {parts}; {self.here}{beside}"


class Watch:
    """Measures the gaps between the ticks of a timer, and looks at the GUI thread in them."""

    def __init__(self) -> None:
        self.gaps: list[Gap] = []
        self.ticks = 0
        self._seen: list[tuple[float, str, str]] = []
        self._last = (time.perf_counter(), *_core_times())
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(5)
        self._ended = threading.Event()
        threading.Thread(target=self._look, args=(threading.get_ident(),), daemon=True).start()

    def stop(self) -> None:
        """Count the gap that is open, and no other."""
        self._tick()
        self._timer.stop()
        self._ended.set()

    def _tick(self) -> None:
        self.ticks += 1
        now = (time.perf_counter(), *_core_times())
        length, computing, waiting = np.subtract(now, self._last)
        if length > LONG:
            seen = [places for at, *places in self._seen if at > self._last[0]]
            here = _most([place for place, _ in seen]) or "never seen: Python's lock was held"
            beside = _most([place for _, place in seen])
            self.gaps.append(Gap(length, computing, waiting, here, beside))
        self._last = now
        self._seen.clear()

    def _look(self, gui: int) -> None:
        while not self._ended.wait(0.005):
            frames = sys._current_frames()
            others = [frame for ident, frame in frames.items() if ident != gui]
            beside = {_place(each) for each in others if _is_busy(each)}
            where = _place(frames[gui])
            self._seen.append((time.perf_counter(), where, " and ".join(sorted(beside))))


def _core_times() -> tuple[float, float]:
    """Return for how long this thread has computed, and waited for a core, in seconds."""
    computing, waiting, _ = Path("/proc/thread-self/schedstat").read_text(encoding="utf-8").split()
    return int(computing) / 1e9, int(waiting) / 1e9


def _place(frame: FrameType | None) -> str:
    """Return the innermost function of ours, if there is one, and of all."""
    inner, ours = frame, None
    while frame is not None and ours is None:
        ours = frame if OURS in frame.f_code.co_filename else None
        frame = frame.f_back
    names = [_name(each) for each in (ours, inner) if each is not None]
    return " > ".join(dict.fromkeys(names))


def _is_busy(frame: FrameType) -> bool:
    """Say whether a thread does something, as far as its Python code tells."""
    waits = ("threading.py", "queue.py", "thread.py")
    return Path(frame.f_code.co_filename).name not in (*waits, Path(__file__).name)


def _most(places: list[str]) -> str:
    common = Counter(place for place in places if place).most_common(3)
    return "; ".join(f"{n / len(places):.0%} {place}" for place, n in common)


def _name(frame: FrameType) -> str:
    file = "/".join(Path(frame.f_code.co_filename).parts[-3:])
    return f"{file}:{frame.f_lineno} {frame.f_code.co_qualname}"


def let_work(seconds: float, condition: Callable[[], bool] | None = None) -> None:
    """Let the window work for a time, or until a condition holds."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until and not (condition is not None and condition()):
        QApplication.processEvents()
        time.sleep(0.001)


@contextmanager
def measured(name: str) -> Iterator[None]:
    """Print the gaps of what is done within."""
    watch, began = Watch(), time.perf_counter()
    yield
    let_work(0.3)
    watch.stop()
    seconds = time.perf_counter() - began
    longest = sorted(watch.gaps, key=lambda gap: -gap.length)
    print(f"{name}: {len(longest)} gaps in {seconds:.1f} s, {watch.ticks} ticks", flush=True)
    for gap in longest[:5]:
        print(f"    {gap}", flush=True)


@contextmanager
def busy_cores() -> Iterator[None]:
    """Keep every core busy with threads that do not hold Python's lock."""
    ended, block = threading.Event(), bytes(2**22)

    def work() -> None:
        while not ended.is_set():
            hashlib.sha256(block)

    threads = [threading.Thread(target=work) for _ in range(os.cpu_count() or 1)]
    for thread in threads:
        thread.start()
    yield
    ended.set()
    for thread in threads:
        thread.join()


def open_pair(viewer: napari.Viewer, shape: tuple[int, ...]) -> None:
    """Add two noisy images of one thing."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 200, shape, dtype=np.uint8)
    for name in ("fixed", "moving"):
        noisy = base + rng.integers(0, 50, shape, dtype=np.uint8)
        levels = [noisy]
        while max(levels[-1].shape[-2:]) > 4096:  # as a microscope's software stores it
            levels.append(levels[-1][..., ::2, ::2])
        multiscale = len(levels) > 1
        viewer.add_image(
            levels if multiscale else noisy,
            multiscale=multiscale,
            name=name,
            axis_labels=("t", "y", "x")[-len(shape) :],
            contrast_limits=(0, 250),
        )


def move_about(viewer: napari.Viewer, what: str, seconds: float = 1) -> None:
    """Zoom, pan and step."""
    camera = viewer.scene.camera
    for times in range(3):
        with measured(f"{what}, zoom {times}"):
            camera.zoom *= 2
            let_work(seconds)
    for times in range(3):
        with measured(f"{what}, pan {times}"):
            camera.center = tuple(np.add(camera.center, (0, 50, 60)))
            let_work(seconds)
    if viewer.dims.ndim > 2:
        for frame in (3, 4, 30):
            with measured(f"{what}, frame {frame}"):
                viewer.dims.set_current_step(0, frame)
                let_work(seconds)
    viewer.reset_view()
    let_work(1)


def by_hand(name: str, shape: tuple[int, ...]) -> None:
    """Do what a run does to the viewer, without the plugin."""
    viewer = new_viewer()
    open_pair(viewer, shape)
    let_work(2)
    data: Any = np.full(shape, np.nan, np.float32)
    if len(shape) == 2:
        data = [data[::step, ::step].copy() for step in (1, 2, 4, 8, 16, 32)]
    with measured(f"{name}, by hand, add a layer"):
        layer = viewer.add_image(data, contrast_limits=(-1, 1), multiscale=len(shape) == 2)
        let_work(1)
    with measured(f"{name}, by hand, show its colorbar"):
        layer.colorbar.visible = True
        let_work(1)
    for what in ("idle", "busy"):
        with measured(f"{name}, by hand, draw anew 5 times, {what} cores"):
            if what == "busy":
                with busy_cores():
                    draw_anew(layer)
            else:
                draw_anew(layer)
    move_about(viewer, f"{name}, by hand")
    with measured(f"{name}, by hand, remove the layer"):
        viewer.layers.remove(layer)
        let_work(1)
    viewer.close()


def draw_anew(layer: Any) -> None:
    """Draw a layer whose data have changed."""
    for _ in range(5):
        layer.refresh(extent=False, thumbnail=False, highlight=False)
        let_work(0.5)


def with_plugin(name: str, shape: tuple[int, ...]) -> None:
    """Run, run again, cancel, and preview."""
    viewer = new_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-local-ncc", "Local NCC")
    open_pair(viewer, shape)
    let_work(3)
    for what in ("run", "run again"):
        with measured(f"{name}, {what}"):
            widget["run"].native.click()
            let_work(90, lambda: widget["run"].enabled)
    for model in ("none", "translation"):
        widget["registration"].value = model
        cancel(name, widget, model)
    widget["registration"].value = "none"
    while len(viewer.layers) > 2:
        viewer.layers.pop()
    let_work(1)
    preview(name, viewer, widget)
    viewer.close()


def cancel(name: str, widget: Any, model: str) -> None:
    """Cancel a run, and print how long it takes until the window is free, and the cores."""
    for delay in (0.1, 0.5, 1.5):
        widget["run"].native.click()
        let_work(delay, lambda: widget["run"].enabled)
        said = widget["message"].value
        began = time.perf_counter()
        widget["cancel"].native.click()
        QApplication.processEvents()
        free = time.perf_counter() - began
        assert widget["run"].enabled
        let_work(20, lambda: not computing())
        idle = time.perf_counter() - began
        print(
            f"{name}, cancel after {delay} s ({model}; {said!r}): "
            f"window {1000 * free:.0f} ms, threads {1000 * idle:.0f} ms",
            flush=True,
        )
        let_work(1)


def computing() -> list[threading.Thread]:
    """Return the threads that compute for us."""
    return [each for each in threading.enumerate() if each.name.startswith("local-ncc")]


def preview(name: str, viewer: napari.Viewer, widget: Any) -> None:
    """Switch the preview on, turn knobs, and move about."""
    with measured(f"{name}, preview on"):
        widget["preview"].value = True
        let_work(4)
    for radius in (5, 30):
        with measured(f"{name}, preview, radius {radius}"):
            widget["radius"].value = radius
            let_work(3)
    move_about(viewer, f"{name}, preview", 2)
    with measured(f"{name}, preview off"):
        widget["preview"].value = False
        let_work(1)


def new_viewer() -> napari.Viewer:
    """Open a window of a laptop's size."""
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1366, 768)
    return viewer


if __name__ == "__main__":
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; computing + waiting + asleep")
    for case in sys.argv[1:] or CASES:
        by_hand(case, CASES[case])
        with_plugin(case, CASES[case])
