"""The second dock widget: why a pixel of a map has its value, and the map in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import ComboBox, Container
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QComboBox, QTabWidget

from napari_local_ncc._napari.answer.show import layers_of_run, show_band, show_product
from napari_local_ncc._napari.compare.layout import MAIN, Docking, dock_of, tabify_onto
from napari_local_ncc._napari.compare.preferences import memory_budget
from napari_local_ncc._napari.inspect.eye_tab import EyeTab
from napari_local_ncc._napari.inspect.histogram_tab import HistogramTab
from napari_local_ncc._napari.inspect.pixel_tab import PixelTab
from napari_local_ncc._napari.inspect.recipe_tab import RecipeTab
from napari_local_ncc._napari.inspect.scatter_tab import ScatterTab
from napari_local_ncc._napari.inspect.table_tab import TableTab
from napari_local_ncc._napari.layers.convert import world_units
from napari_local_ncc._napari.layers.map_layers import is_map, maps_in
from napari_local_ncc._napari.results.derived_bands import derivable, derive_band
from napari_local_ncc._napari.results.kept_results import result_of
from napari_local_ncc._napari.worker import Failure, NewestOnly
from napari_local_ncc.geometry.units import unit_factor

if TYPE_CHECKING:
    from collections.abc import Generator

    import napari
    from napari.layers import Image, Layer

    from napari_local_ncc._napari.inspect.tab import Listener
    from napari_local_ncc._napari.results.kept_results import KeptResult
    from napari_local_ncc._napari.results.result_spec import Product

CLICK = 3  # px a mouse may move and still click
LEAST_HEIGHT = 190  # px: above another dock, for the moment until it joins its tabs
NARROW_TABS = "QTabBar::tab { padding: 3px 2px }"  # all names fit 300 px
CHANGES = ("data", "metadata")  # of a layer, when a run has begun or ended in it


class InspectorWidget(Container):
    """Inspect an NCC map: a pixel's windows, the distribution, tables, and the recipe.

    Parameters
    ----------
    viewer : napari.Viewer
        Where the maps are.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._world: tuple[float, ...] | None = None  # where the mouse was
        self._units: tuple[str, ...] = ()
        self._is_in_front = self._is_listening = False
        self._watched: Image | None = None
        choice = ComboBox(
            name="map",
            choices=self._choices,
            tooltip="The NCC layer to inspect; run Local NCC to make one.",
        )
        band = ComboBox(
            name="band",
            label="show also",
            choices=self._bands,
            nullable=True,
            tooltip="Add a layer with one more band of the map: the components and the error of "
            "the shift, its gain, and what else was computed; or how the shift stretches and turns "
            "the image, which is computed now, of windows that agree or are displaced.",
        )
        for box in (choice, band):
            box.native.setAccessibleName(box.label)
            box.native.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
        self.derived: NewestOnly[None, tuple[KeptResult, Product]] = NewestOnly(self._show_derived)
        self.pixel, self.histogram = PixelTab(viewer), HistogramTab(viewer)
        self.scatter, self.eye = ScatterTab(viewer), EyeTab(viewer)
        self.table, self.recipe = TableTab(viewer), RecipeTab(viewer)
        self.tabs = QTabWidget()
        self.tabs.setStyleSheet(NARROW_TABS)
        for name, tab in (
            ("Pixel", self.pixel),
            ("Histogram", self.histogram),
            ("Scatter", self.scatter),
            ("Summary", self.table),
            ("Eye", self.eye),
            ("Recipe", self.recipe),
        ):
            self.tabs.addTab(tab, name)
        super().__init__(widgets=[choice, band])
        self.native.layout().addWidget(self.tabs)
        self.native.setMinimumHeight(LEAST_HEIGHT)
        self._later = QTimer(self.native)  # a run keeps its result after its layer has changed
        self._later.setSingleShot(True)
        self._later.timeout.connect(self["band"].reset_choices)
        self.native.layout().setContentsMargins(3, 6, 3, 6)
        self._connect()
        self._choose()
        self._join_later()

    def reset_choices(self, *_: Any) -> None:
        """Offer the maps and the labels that are there now; a new map is chosen."""
        before = self["map"].choices
        super().reset_choices()
        new = [layer for layer in self["map"].choices if layer is not None and layer not in before]
        if new:
            self["map"].value = new[0]
        if self["map"].value is None and self._watched is not None:
            self._choose()  # magicgui does not say that the last map has gone
        self.table.offer()

    def _join_later(self) -> None:
        """Go to the main widget's tabs once napari has docked this one, which is after now."""
        docked = QTimer(self.native)  # which ends it if the widget goes first
        docked.setSingleShot(True)
        docked.timeout.connect(self._join)
        docked.start(0)

    def _join(self) -> None:
        tabify_onto(MAIN, self.native)
        dock = dock_of(self.native)
        if dock is not None:
            dock.visibilityChanged.connect(self._raise)
        self._show_mark()

    def _choices(self, _: Any) -> list[Layer]:
        return list(maps_in(self._viewer))

    def _bands(self, _: Any) -> list[tuple[str, str]]:
        """Return the bands that no layer shows yet, as the choice wants them: title and kind."""
        layer = self._map() if self._watched is not None else None
        kept = result_of(layer)
        if layer is None or kept is None:
            return []
        there = layers_of_run(self._viewer, layer)
        found = [
            (product.name, kind)
            for kind, product in kept.products.items()
            if kind not in there and len(product.levels[0])
        ]
        if kept.is_whole:
            found += [(band.title, band.name) for band in derivable(kept) if band.name not in there]
        return found

    def _show_band(self, kind: str | None) -> None:
        layer = self._map()
        kept = result_of(layer)
        if kind is None or layer is None or kept is None:
            return
        if kind in kept.products:
            show_band(self._viewer, layer, kind)
        else:
            budget = memory_budget()
            self.derived.ask(lambda: (kept, derive_band(kept, kind, budget)))

    def _show_derived(self, answer: tuple[KeptResult, Product] | Failure) -> None:
        if isinstance(answer, Failure):
            raise answer.error  # computing from what is in memory: a defect of ours
        kept, product = answer
        layer = self._map()
        if layer is not None and result_of(layer) is kept:  # else another run came in between
            show_product(self._viewer, layer, product, scale=True)

    def _connect(self) -> None:
        self["map"].changed.connect(self._choose)
        self["band"].changed.connect(self._show_band)
        self.histogram.counted.connect(self._tabulate)
        self.histogram.threshold.valueChanged.connect(self._tabulate)
        self.tabs.currentChanged.connect(self._show_mark)
        self._hear()
        self._docking = Docking(self.native, undocked=self._quit, docked=self._listen)
        self.native.destroyed.connect(self._quit)

    def _hear(self) -> None:
        self._is_in_front = self._is_listening = True
        self._viewer.mouse_drag_callbacks.append(self._press)
        self._viewer.mouse_move_callbacks.append(self._move)
        for event in self._dims_events():
            event.connect(self._step)

    def _choose(self, *_: Any) -> None:
        layer = self["map"].value
        self._watch(layer)
        self["band"].reset_choices()
        self._count()
        layer = self._map()
        self.recipe.look_at(layer)
        self.eye.look_at(layer)
        self.pixel.look_at(layer)
        self._inspect()

    def _map(self) -> Image | None:
        """Return the chosen map, if it has neither gone nor lost its record since."""
        layer = self["map"].value
        return layer if layer in self._viewer.layers and is_map(layer) else None

    def _watch(self, layer: Image | None) -> None:
        """Count anew when the chosen map is computed anew."""
        for event in CHANGES:
            if self._watched is not None:
                getattr(self._watched.events, event).disconnect(self._count)
            if layer is not None:
                getattr(layer.events, event).connect(self._count)
        self._watched = layer

    def _count(self, *_: Any) -> None:
        self._later.start(0)
        self.histogram.look_at(self._map())
        self.scatter.look_at(self._map())
        self._tabulate()

    def _tabulate(self, *_: Any) -> None:
        threshold = self.histogram.threshold.value()
        self.table.look_at(self._map(), threshold, self.histogram.tally)

    def _inspect(self) -> None:
        """Show the windows at the chosen position, in the frame that is displayed."""
        layer = self._map()
        if layer is None or self._world is None:
            return
        dims, units = self._viewer.dims, world_units(self._viewer)
        world = list(dims.point)
        for axis in dims.displayed:
            k = axis - dims.ndim
            if -k <= len(self._world):  # else there were fewer axes then
                world[axis] = self._world[k] * unit_factor(self._units[k], units[k])
        self._world, self._units = tuple(world), units
        self.pixel.point_at(layer, world)

    def _press(self, _: Any, event: Any) -> Generator[None, None, None]:
        """Inspect where the mouse was pressed, unless it was to drag the canvas."""
        start = np.array(event.pos)
        yield
        while event.type == "mouse_move":
            yield
        if np.linalg.norm(np.array(event.pos) - start) <= CLICK:
            self._point(event)

    def _move(self, _: Any, event: Any) -> None:
        if self.pixel.hover.isChecked():
            self._point(event)

    def _point(self, event: Any) -> None:
        """Inspect what is under the mouse; in 3-D that is a line, and no pixel."""
        if self._is_seen() and self._viewer.dims.ndisplay == 2:
            self._world, self._units = tuple(event.position), world_units(self._viewer)
            self._inspect()

    def _is_seen(self) -> bool:
        is_open = self._is_in_front and self.native.isVisible()
        return bool(is_open and self.tabs.currentWidget() is self.pixel)

    def _raise(self, in_front: bool) -> None:
        """Note whether the dock is open, and before those that it shares its place with."""
        self._is_in_front = in_front
        self._show_mark()

    def _show_mark(self, *_: Any) -> None:
        """Mark the pixel while its numbers can be seen, and bring them up to date then."""
        self.pixel.mark.show(self._is_seen())
        self._step()

    def _dims_events(self) -> list[Any]:
        return [self._viewer.dims.events.current_step, self._viewer.dims.events.units]

    def _step(self, *_: Any) -> None:
        if self._is_seen():
            self._inspect()

    def _listen(self) -> None:
        """Hear of the viewer again: the widget was closed, and is docked once more."""
        if self._is_listening:
            return
        self._hear()
        for part in self._listeners():
            part.listen()
        self.reset_choices()
        self._choose()
        self._join_later()

    def _quit(self) -> None:
        """Hear no more of the viewer: the widget is gone, or out of the window.

        Or the viewer would keep it, with all figures, since it keeps what it calls.
        """
        if not self._is_listening:
            return
        self._is_listening = False
        self._watch(None)
        self._viewer.mouse_drag_callbacks.remove(self._press)
        self._viewer.mouse_move_callbacks.remove(self._move)
        for event in self._dims_events():
            event.disconnect(self._step)
        for part in self._listeners():
            part.let_go()

    def _listeners(self) -> tuple[Listener, ...]:
        tabs = (self.pixel, self.histogram, self.scatter, self.table, self.eye)
        return *tabs, self.derived
