"""The inspector's second tab: the distribution of a map, and a threshold to drag."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
)

from napari_local_ncc._napari.inspect.mpl_canvas import has_plots
from napari_local_ncc._napari.inspect.tab import EMPTY, Tab
from napari_local_ncc._napari.layers.convert import placement
from napari_local_ncc._napari.layers.map_layers import counterpart, grid_of, record, values_of
from napari_local_ncc._napari.worker import Failure, NewestOnly
from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.image.spatial_image import map_chunks
from napari_local_ncc.maps.grouped_histogram import GroupTally
from napari_local_ncc.reports.tables import THRESHOLD, frame_table

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.viewer import Viewer

PLOT_MOUSE = ("button_press_event", "motion_notify_event")
ONE_FRAME = Grid((1, 1))


class HistogramTab(Tab):
    """Shows the distribution of a map, and lets a threshold be dragged."""

    counted = Signal()

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self._line: Any = None
        self.tallies: dict[str, GroupTally] = {}
        self.latest: NewestOnly[None, dict[str, GroupTally]] = NewestOnly(self._receive)
        self.masks: NewestOnly[None, tuple[Image, dict[str, Any]]] = NewestOnly(self._show_mask)
        self._masks: WeakKeyDictionary[Image, Labels] = WeakKeyDictionary()  # the last of a map
        self.plot = self.make_plot()
        self.let_go_of(self.latest, self.masks)
        self.text.setText(EMPTY)
        self.threshold = QDoubleSpinBox()
        self.threshold.setRange(-1, 1)
        self.threshold.setSingleStep(0.05)
        self.threshold.setDecimals(2)
        self.threshold.setValue(THRESHOLD)
        self.threshold.setToolTip("Drag the line in the histogram, or type a value.")
        self.make_mask = QPushButton("Add mask")
        self.make_mask.setToolTip(
            "Add a Labels layer: 1 where ncc reaches the threshold. Another threshold of the same "
            "map updates it."
        )
        self.threshold.setAccessibleName("Threshold of the NCC")
        row = QHBoxLayout()
        for widget in (QLabel("threshold"), self.threshold, self.make_mask):
            row.addWidget(widget)
        self.column.addWidget(self.plot, stretch=1)
        self.column.addLayout(row)
        self.column.addWidget(self.text)
        self.threshold.valueChanged.connect(self._move_line)
        self.make_mask.clicked.connect(self._add_mask)
        if has_plots():
            for event in PLOT_MOUSE:
                self.plot.canvas.mpl_connect(event, self._drag)

    def look_at(self, layer: Image | None) -> None:
        """Count a map's values, and those of its counterpart before or after registration."""
        self._layer = layer
        self.tallies = {}
        self.make_mask.setEnabled(layer is not None)
        if layer is None:
            self.text.setText(EMPTY)
            return
        self.text.setText("Counting")
        other = counterpart(self._viewer, layer)
        maps = {} if other is None else {_moment(other): other}
        maps[_moment(layer) if maps else layer.name] = layer
        arrays = {name: (values_of(each), grid_of(each)) for name, each in maps.items()}
        self.latest.ask(partial(_count, arrays))

    def _receive(self, answer: dict[str, GroupTally] | Failure) -> None:
        if isinstance(answer, Failure):
            raise answer.error  # counting what is in memory: a defect of ours
        self.tallies = answer
        self._draw()
        self.counted.emit()

    @property
    def tally(self) -> GroupTally | None:
        """The counts of the chosen map itself, by frame; None while they are not there."""
        return list(self.tallies.values())[-1] if self.tallies else None

    def _draw(self) -> None:
        self._describe()
        if has_plots():
            from napari_local_ncc.reports.inspector_figures import EDGES, draw_histogram

            counts = {name: tally.histogram(EDGES) for name, tally in self.tallies.items()}
            value = self.threshold.value
            self._line = self.plot.show_drawn(
                lambda f: self._keep(draw_histogram(f, counts, value()))
            )

    def _keep(self, line: Any) -> Any:
        self._line = line
        return line

    def _describe(self) -> None:
        lines = []
        for name, tally in self.tallies.items():
            whole = tally.together()
            (text,) = frame_table(whole, ONE_FRAME, self.threshold.value()).lines()
            lines.append(f"{name}: {text}" if len(self.tallies) > 1 else text)
        self.text.setText("\n".join(lines))

    def _move_line(self, value: float) -> None:
        self._describe()
        if self._line is not None:
            self._line.set_xdata([value, value])
            self.plot.canvas.draw_idle()

    def _drag(self, event: Any) -> None:
        if event.button == 1 and event.inaxes is not None:
            self.threshold.setValue(event.xdata)

    def _add_mask(self) -> None:
        layer, threshold = self._layer, self.threshold.value()
        if layer is not None:
            name = f"{layer.name} ≥ {threshold:.2f}"
            arguments = {"name": name, "multiscale": layer.multiscale, **placement(layer)}
            self.masks.ask(partial(_mask, layer, threshold, arguments))

    def _show_mask(self, answer: tuple[Image, dict[str, Any]] | Failure) -> None:
        if isinstance(answer, Failure):
            raise answer.error  # comparing what is in memory: a defect of ours
        layer, mask = answer
        earlier = self._masks.get(layer)
        if earlier is None or earlier not in self._viewer.layers:
            self._masks[layer] = self._viewer.add_labels(**mask)
        else:
            earlier.data, earlier.name = mask["data"], mask["name"]


def _moment(layer: Image) -> str:
    return "before registration" if record(layer)["registration"] is None else "registered"


def _mask(
    layer: Image, threshold: float, arguments: dict[str, Any]
) -> tuple[Image, dict[str, Any]]:
    """Return a map, and the arguments of a layer that is 1 where it, at each level, reaches."""
    data = layer.data
    levels = [
        (np.asarray(level) >= np.float32(threshold)).astype(np.uint8)
        for level in (data if arguments["multiscale"] else [data])
    ]
    return layer, {"data": levels if arguments["multiscale"] else levels[0], **arguments}


def _count(arrays: dict[str, tuple[Any, Grid]]) -> dict[str, GroupTally]:
    """Count maps frame by frame, in pieces that fit into the processor's cache."""
    tallies = {}
    for name, (values, grid) in arrays.items():
        tallies[name] = GroupTally()
        steps = map_chunks(grid)
        starts = [range(0, n, step) for n, step in zip(grid.shape, steps, strict=True)]
        for corner in np.ndindex(*(len(s) for s in starts)):
            box = tuple(
                slice(s[k], min(s[k] + step, n))
                for s, k, step, n in zip(starts, corner, steps, grid.shape, strict=True)
            )
            tallies[name].add_frames(box, np.asarray(values[box]), grid)
    return tallies
