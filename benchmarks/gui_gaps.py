"""How long napari's window stands still while a map is computed: gaps between timer ticks.

`xvfb-run -a python benchmarks/gui_gaps.py` prints, for a large pair and a long series, the
longest gaps between two ticks of a 5 ms timer, from pressing Run to the end of the run, and
how long Cancel takes. On a virtual screen drawing is done by the processor, so the gaps are
those of a machine without a graphics card.
"""

from __future__ import annotations

import os
import tempfile
import time

os.environ["NAPARI_CONFIG"] = os.path.join(tempfile.mkdtemp(), "settings.yaml")

import napari
import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

CASES = {"8192 x 8192": (8192, 8192), "50 x 1024 x 1024": (50, 1024, 1024)}


def open_pair(viewer: napari.Viewer, shape: tuple[int, ...]) -> None:
    """Add two noisy images of one thing."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 200, shape, dtype=np.uint8)
    labels = ("t", "y", "x")[-len(shape) :]
    for name in ("fixed", "moving"):
        noisy = base + rng.integers(0, 50, shape, dtype=np.uint8)
        levels = [noisy]
        while max(levels[-1].shape[-2:]) > 4096:  # as a microscope's software stores it
            levels.append(levels[-1][..., ::2, ::2])
        multiscale = len(levels) > 1
        viewer.add_image(
            levels if multiscale else noisy, multiscale=multiscale, name=name, axis_labels=labels
        )


class Ticks:
    """The gaps between the ticks of a timer, in seconds."""

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(5)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.gaps.append(now - self._last)
        self._last = now


def let_work(until: float, condition: object = None) -> None:
    """Let the window work until a time, or until a condition holds."""
    while time.perf_counter() < until and not (callable(condition) and condition()):
        QApplication.processEvents()
        time.sleep(0.001)


def measure(name: str, shape: tuple[int, ...]) -> None:
    """Run, run again and cancel, and print the gaps."""
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1366, 768)
    _, widget = viewer.window.add_plugin_dock_widget("napari-local-ncc", "Local NCC")
    open_pair(viewer, shape)
    let_work(time.perf_counter() + 3)
    for what in ("run", "run again"):
        ticks, began = Ticks(), time.perf_counter()
        widget["run"].native.click()
        let_work(began + 90, lambda: widget["run"].enabled)
        seconds = time.perf_counter() - began
        let_work(time.perf_counter() + 0.5)
        longest = ", ".join(f"{1000 * gap:.0f}" for gap in sorted(ticks.gaps)[:-6:-1])
        print(f"{name}, {what}: {seconds:.1f} s; longest gaps {longest} ms", flush=True)
    widget["run"].native.click()
    let_work(time.perf_counter() + 0.6)
    began = time.perf_counter()
    widget["cancel"].native.click()
    let_work(began + 10, lambda: widget["run"].enabled)
    print(f"{name}, cancel: {1000 * (time.perf_counter() - began):.0f} ms", flush=True)
    viewer.close()


if __name__ == "__main__":
    for case, size in CASES.items():
        measure(case, size)
