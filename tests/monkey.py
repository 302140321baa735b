"""A monkey at the plugin's docks: presses, turns, types and drags at random, from a seed.

`python tests/monkey.py SEED [ACTIONS]` opens napari on the display that there is, lets the
monkey at it, and ends with 0 if no exception passed through the plugin, a run works afterwards,
and threads and memory are back at their level. `test_monkey.py` does so at night.

Left out, since napari 0.9.2 crashes by them without any plugin, in OpenGL: removing layers by
hand and adding others. Left out, too, since it only waits: models that take seconds.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import random
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import napari
import numpy as np
from qtpy.QtCore import QEvent, QThreadPool
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDialog,
    QFileDialog,
    QLineEdit,
    QTabWidget,
    QWidget,
)
from scipy.ndimage import gaussian_filter, shift

PLUGIN, OURS = "napari-local-ncc", f"napari_local_ncc{os.sep}"
DOCKS = ("Local NCC", "Local NCC inspector")
MOST_LAYERS = 14
PARTS = 3  # viewers, one after the other
MOST_GROWTH = 150e6  # bytes that a viewer may leave: napari's own leaves 20 to 35 MB
TEXTS = ("", "0", "1", "2 mm", "3, 5", "-1", "nonsense", "t=0", "z=99", "c", "1e999", "\u00b5")
NAMES = ("local-ncc.ome.zarr", "map.ome.tif", "transform.json", "table.csv", "no folder/x.json")


class Monkey:
    """Has a viewer with both docks, and does one thing after the other."""

    def __init__(self, seed: float) -> None:
        self.random = random.Random(seed)
        self.faults: list[str] = []
        self.others = 0
        self.folder = Path(tempfile.mkdtemp())
        sys.excepthook = self._note
        threading.excepthook = lambda args: self._note(
            args.exc_type, args.exc_value, args.exc_traceback
        )
        for name in ("getOpenFileName", "getSaveFileName"):
            setattr(QFileDialog, name, lambda *_, **__: (self._path(), ""))
        QFileDialog.getExistingDirectory = lambda *_, **__: self._path()
        self.viewer, self.rng = napari.Viewer(), np.random.default_rng(int(100 * seed))
        self.docks: dict[str, QWidget] = {}

    def begin(self) -> None:
        """Open a dock and images of some kinds."""
        self.open_dock(DOCKS[0])
        texture = gaussian_filter(self.rng.normal(size=(4, 90, 110)), (0, 1.5, 1.5)) * 100
        units = {"scale": (0.5, 0.5), "units": ("mm", "mm")}
        self.viewer.add_image(texture[0], name="fixed", **units)
        self.viewer.add_image(shift(texture[0], (1, -2), mode="wrap"), name="moving", **units)
        self.viewer.add_image(texture, name="series", axis_labels=("t", "y", "x"))
        self.viewer.add_image(texture[0, :1, :1], name="a pixel")
        levels = [np.kron(texture[0], np.ones((k, k))) for k in (4, 2, 1)]
        self.viewer.add_image(levels, name="pyramid", multiscale=True)
        self.viewer.add_labels((texture[0] > 50).astype(int), name="labels", **units)
        self.viewer.add_points(self.rng.random((5, 2)) * 40, name="points", units=("mm", "mm"))
        self.viewer.add_shapes([[[5, 5], [5, 30], [30, 30], [30, 5]]], name="shapes")

    def act(self) -> str:
        """Do one thing, and say what."""
        ways = {
            self.touch_a_field: 10,
            self.press_run: 3,
            self.move_the_view: 2,
            self.edit_a_layer: 2,
            self.add_a_layer: 1,
            self.turn_the_window: 1,
            self.open_or_close_a_dock: 1,
        }
        (way,) = self.random.choices(list(ways), weights=list(ways.values()))
        told = f"{way.__name__}: {way()}"
        self.wait(self.random.choice((0, 0, 0.05, 0.3, 1)))
        return told

    def touch_a_field(self) -> str:
        """Use any field or button of ours that can be used now."""
        kinds = (QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit, QTabWidget)
        there = [
            child
            for dock in self.docks.values()
            for kind in kinds
            for child in dock.findChildren(kind)
            if child.isVisible() and child.isEnabled()
        ]
        if not there:
            return "nothing is there"
        field = self.random.choice(there)
        told = f"{type(field).__name__} {field.accessibleName() or field.objectName()!r}"
        if isinstance(field, QAbstractButton):
            field.click()
        elif isinstance(field, QComboBox):
            count = field.count()
            usable = [k for k in range(count) if field.model().item(k).isEnabled()]
            field.setCurrentIndex(self.random.choice(usable or [-1]))
            told += f" to {field.currentText()!r}"
        elif isinstance(field, QAbstractSpinBox):
            field.stepBy(self.random.randint(-3, 3))
        elif isinstance(field, QTabWidget):
            field.setCurrentIndex(self.random.randrange(field.count()))
        elif not isinstance(field.parent(), QAbstractSpinBox):
            field.setText(self.random.choice(TEXTS))
            field.editingFinished.emit()
            told += f" to {field.text()!r}"
        return told

    def press_run(self) -> str:
        """Run, or stop what runs; open the dock first where it is closed."""
        widget = self.widget()
        if widget is None:
            self.open_dock(DOCKS[0])
            return "open the dock"
        name = "run" if widget["run"].enabled else "cancel"
        widget[name].native.click()
        return name

    def move_the_view(self) -> str:
        """Zoom, pan, step, or point at something."""
        camera, dims = self.viewer.scene.camera, self.viewer.dims
        what = self.random.choice(("zoom", "pan", "step", "point", "reset"))
        if what == "zoom":
            camera.zoom *= self.random.choice((0.3, 0.8, 1.5, 4))
        elif what == "pan":
            camera.center = tuple(np.add(camera.center, self.rng.normal(size=3) * 20))
        elif what == "step" and dims.ndim > 2:
            dims.set_current_step(0, self.random.randrange(5))
        elif what == "reset":
            self.viewer.reset_view()
        else:
            self.viewer.cursor.position = tuple(self.rng.random(dims.ndim) * 60)
        return what

    def edit_a_layer(self) -> str:
        """Change what a layer is, where it lies or how it looks."""
        layer = self.random.choice(self.viewer.layers)
        changes = {
            "visible": not layer.visible,
            "opacity": self.random.random(),
            "name": self.random.choice(("x", "a layer of a long name " * 3, "NCC", "µ")),
            "translate": self.rng.normal(size=layer.ndim),
            "scale": self.rng.uniform(0.3, 2, layer.ndim),
            "units": self.random.choice((("mm",), ("pixel",), ("um",))) * layer.ndim,
            "metadata": {},
        }
        name = self.random.choice([*changes, "data", "selected", "order"])
        if name in changes:
            setattr(layer, name, changes[name])
        elif name == "selected":
            self.viewer.layers.selection = {layer}
        elif name == "order":
            self.viewer.layers.move(self.viewer.layers.index(layer), 0)
        elif layer.name in ("fixed", "moving"):
            layer.data = layer.data[: self.random.randint(20, 90)]
        return f"{name} of {layer.name}"

    def add_a_layer(self) -> str:
        """Add an image, up to a number of layers."""
        if len(self.viewer.layers) >= MOST_LAYERS:
            return "enough of them"
        shape = self.random.choice(((64, 64), (1, 5), (3, 40, 30), (40, 30, 3), (2, 2, 20, 20)))
        self.viewer.add_image(self.rng.random(shape).astype("f4"), name=f"image {shape}")
        return str(shape)

    def turn_the_window(self) -> str:
        """Change its size or theme, or close what has popped up."""
        what = self.random.choice(("size", "size", "theme", "dialogs", "menu"))
        popup = QApplication.activePopupWidget()
        if what == "size":
            self.viewer.window.resize(
                self.random.randint(700, 1900), self.random.randint(500, 1050)
            )
        elif what == "theme":
            self.viewer.theme = self.random.choice(("dark", "light"))
        elif what == "menu" and popup is not None and popup.actions():
            self.random.choice(popup.actions()).trigger()
        for top in QApplication.topLevelWidgets():
            if isinstance(top, QDialog):
                top.close()
        if popup is not None:
            popup.close()
        return what

    def open_or_close_a_dock(self) -> str:
        """Open a dock, or close it in the middle of whatever it does."""
        name = self.random.choice(DOCKS)
        if name in self.docks and self.random.random() < 0.5:
            self.viewer.window.remove_dock_widget(self.docks.pop(name))
            return f"close {name}"
        self.open_dock(name)
        return f"open {name}"

    def open_dock(self, name: str) -> None:
        """Open a dock by its menu's action."""
        _, widget = self.viewer.window.add_plugin_dock_widget(PLUGIN, name)
        self.docks[name] = widget.native

    def widget(self):
        """Return the main widget, if it is open."""
        if DOCKS[0] not in self.docks:
            return None
        return self.docks[DOCKS[0]]._magic_widget

    def wait(self, seconds: float, condition=lambda: False) -> bool:
        """Let the window work for a time, or until a condition holds."""
        end = time.monotonic() + seconds
        while True:
            QApplication.processEvents()
            QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)  # a loop would
            if condition() or time.monotonic() > end:
                return condition()
            time.sleep(0.005)

    def check_a_run(self) -> None:
        """See whether a run works after all that."""
        self.open_dock(DOCKS[0])
        widget = self.widget()
        widget["cancel"].native.click()
        widget["preview"].value = False
        images = [self.viewer.add_image(self.rng.random((40, 50)), name=n) for n in "ab"]
        plain = {"registration": "none", "exact_radius": "", "min_std": "0", "radius": 3}
        plain |= {"mask": None, "refine": False, "search": 1, "per_frame": False}
        for name, value in (dict(zip(("fixed", "moving"), images, strict=True)) | plain).items():
            widget[name].value = value
        widget["fixed_pick"].value = widget["moving_pick"].value = ""
        widget["run"].native.click()
        assert self.wait(1200, lambda: widget["run"].enabled), "the run does not end"
        ids = {"fixed": str(images[0].unique_id), "moving": str(images[1].unique_id)}
        records = [layer.metadata.get(PLUGIN, {}) for layer in self.viewer.layers]
        made = [record for record in records if record.get("layers") == {"kind": "ncc", **ids}]
        assert made, f"no map: {widget['message'].value!r}"
        assert made[0]["complete"], "the map is not complete"

    def end(self) -> None:
        """Close the window, and wait for what still computes."""
        self.viewer.close()
        pool = QThreadPool.globalInstance()
        assert self.wait(300, lambda: not pool.activeThreadCount() and not computing()), "threads"
        del self.viewer  # napari keeps the hook for errors, and the monkey with it
        self.docks.clear()

    def _path(self) -> str:
        return str(self.folder / self.random.choice(NAMES))

    def _note(self, kind, error, trace) -> None:
        text = "".join(traceback.format_exception(kind, error, trace))
        if OURS in text:
            self.faults.append(text)
        else:
            self.others += 1
        print(text, flush=True)


def computing() -> list[str]:
    """Return the names of the threads that compute for us."""
    return [each.name for each in threading.enumerate() if each.name.startswith("local-ncc")]


def resident() -> float:
    """Return the memory of this process, in bytes, without what malloc keeps for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def main(seed: int, actions: int) -> int:
    """Let the monkey at it; return 0 if all is well."""
    faulthandler.enable()
    faults, others, levels = [], 0, []
    for part in range(PARTS):  # the first ones bring what is loaded once
        monkey = Monkey(seed + part / PARTS)
        monkey.begin()
        for k in range(actions // PARTS):
            print(f"{part}.{k}: ", end="", flush=True)
            print(monkey.act(), flush=True)
        monkey.check_a_run()
        monkey.end()
        faults += monkey.faults
        others += monkey.others
        del monkey
        levels.append(resident())
    grown = levels[-1] - levels[-2]
    print(
        f"seed {seed}: {actions} actions, {len(faults)} exceptions of ours, "
        f"{others} of others, {len(computing())} threads, "
        f"{' -> '.join(f'{level / 1e6:.0f}' for level in levels)} MB"
    )
    return int(bool(faults) or grown > MOST_GROWTH)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]] or [0]
    raise SystemExit(main(*(numbers if len(numbers) == 2 else [numbers[0], 300])))
