"""Make the pictures of the README, on a virtual screen: `xvfb-run python docs/make_images.py`."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import napari
from qtpy.QtWidgets import QApplication

from napari_local_ncc.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
LAPTOP = (1366, 768)


def demo_figure() -> None:
    """Draw the demo's figure."""
    with tempfile.TemporaryDirectory() as folder:
        main(["demo", "-o", folder])
        shutil.copy(Path(folder) / "figure.png", HERE / "demo.png")


def widget_screenshot() -> None:
    """Run the widget on the first sample and take the window's picture."""
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(*LAPTOP)
    viewer.open_sample("napari-local-ncc", "slices")
    _, widget = viewer.window.add_plugin_dock_widget("napari-local-ncc", "Local NCC")
    widget["registration"].value = "translation"
    widget["run"].native.click()
    wait(lambda: widget["run"].enabled)
    viewer.canvas.overlays.scale_bar.visible = True
    wait(lambda: False, seconds=1)  # let the canvas draw
    viewer.window.screenshot(HERE / "widget.png", canvas_only=False, flash=False)
    viewer.close()


def wait(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Let the window work until a condition holds."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    demo_figure()
    widget_screenshot()
