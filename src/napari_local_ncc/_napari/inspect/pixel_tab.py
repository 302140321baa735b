"""The inspector's first tab: the two windows behind a pixel, and what they say."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox

from napari_local_ncc._napari.compare.layout import TextScroll, wrap
from napari_local_ncc._napari.inspect.inspected_pixel import Inspection
from napari_local_ncc._napari.inspect.mark import WindowMark
from napari_local_ncc._napari.inspect.mpl_canvas import has_plots
from napari_local_ncc._napari.inspect.tab import EMPTY, Tab
from napari_local_ncc._napari.layers.convert import viewer_to_layer_units
from napari_local_ncc._napari.layers.map_layers import comparison_of, values_of
from napari_local_ncc._napari.results.kept_results import bands_beside
from napari_local_ncc._napari.worker import Failure, NewestOnly, explain
from napari_local_ncc.geometry.grid import axis_name
from napari_local_ncc.maps.bands import SHIFT, SHIFT_ERROR
from napari_local_ncc.maps.window import windows_at
from napari_local_ncc.progress import MENDABLE
from napari_local_ncc.reports.describe import pixel_decimals, pixel_sides
from napari_local_ncc.shift.interpret import CLASSES

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_local_ncc.maps.comparison import Comparison
    from napari_local_ncc.maps.window import WindowPair

LENGTH = f"{SHIFT}length"
OUTSIDE = "This is outside the map: click a pixel of it."
INVITATION = "Click a pixel in the viewer: its two windows, and how alike they are, appear here."


class PixelTab(Tab):
    """Shows the windows of the pixel that was pointed at."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self.shown: Inspection | None = None
        self.latest: NewestOnly[None, Inspection] = NewestOnly(self._receive)
        self.mark = WindowMark(viewer)
        self.hover = QCheckBox("follow the mouse")
        self.hover.setToolTip("Inspect the pixel under the mouse, without a click.")
        self.text.setText(EMPTY)
        self.text.setAlignment(Qt.AlignmentFlag.AlignTop)
        wrap(self.text)
        self.plot = self.make_plot()
        self.let_go_of(self.latest, self.mark)
        self.column.addWidget(self.hover)
        self.column.addWidget(self.plot, stretch=3)
        self.column.addWidget(TextScroll(self.text), stretch=2)

    def look_at(self, layer: Image | None) -> None:
        """Say what to do first, for a map or without one."""
        self._say(EMPTY if layer is None else INVITATION)

    def point_at(self, layer: Image, world: Any) -> None:
        """Inspect the pixel of a map that lies at a position of the viewer's world, all axes."""
        own_world = np.array(world, float)[-layer.ndim :] * viewer_to_layer_units(
            self._viewer, layer
        )
        place = np.rint(layer.world_to_data(own_world)).astype(int)
        data = values_of(layer)
        if any(not 0 <= i < n for i, n in zip(place, data.shape, strict=True)):
            self._say(OUTSIDE)
            return
        index = tuple(int(i) for i in place)
        try:
            comparison = comparison_of(self._viewer, layer)
        except MENDABLE as error:
            self._say(str(error))
            return
        self.latest.ask(partial(_inspect, layer, index, comparison))

    def _receive(self, answer: Inspection | Failure) -> None:
        if isinstance(answer, Failure):
            self._say(explain(answer))
        else:
            self.shown = answer
            self.mark.put(answer)
            self.text.setText("<br>".join(_facts(self._viewer, answer)))
            if has_plots():
                self._draw(answer)

    def _say(self, text: str) -> None:
        """Say why no pixel is inspected."""
        self.latest.forget()
        self.mark.put(None)
        self.text.setText(text)

    def _draw(self, found: Inspection) -> None:
        from napari_local_ncc.reports.inspector_figures import draw_windows

        profile = _profile(found)
        self.plot.show_drawn(lambda figure: draw_windows(figure, found.pair, profile))


def _inspect(layer: Image, index: tuple[int, ...], comparison: Comparison) -> Inspection:
    return Inspection(index, windows_at(comparison, index), layer)


def _profile(found: Inspection) -> dict[str, Any] | None:
    """Return the map's values along its first independent axis through the pixel, if any."""
    grid = found.pair.grid
    series = len(found.index) - grid.ndim
    if not series:
        return None
    line = (slice(None), *found.index[1:])
    return {
        "values": np.asarray(values_of(found.layer)[line]),
        "current": found.index[0],
        "label": axis_name(found.layer.axis_labels[0]),
    }


def _facts(viewer: Viewer, found: Inspection) -> list[str]:
    """Say what is known of a pixel, a line each."""
    from napari_local_ncc.reports.inspector_figures import size_text

    pair, layer = found.pair, found.layer
    labels = [axis_name(label) for label in layer.axis_labels]
    where = ", ".join(f"{a} {i}" for a, i in zip(labels, found.index, strict=True))
    stored = float(values_of(layer)[found.index])
    valid = int(pair.valid.sum())
    lines = [
        f"<b>ncc {_number(pair.ncc)}</b> at pixel {where}",
        f"window {size_text(pair)}, {valid} of {pair.weights.size} samples valid",
    ]
    if np.isfinite(pair.slope):
        lines.append(f"moving ≈ {pair.slope:.3g} × fixed {pair.offset:+.3g}")
    bands = {name: float(other[found.index]) for name, other in bands_beside(viewer, layer).items()}
    confidence = _number(bands["confidence"]) if "confidence" in bands else "not computed"
    lines.append(f"confidence {confidence}")
    lines += _noise_facts(pair, bands)
    if np.isfinite(pair.effective):
        lines.append(f"effective number of samples {pair.effective:.1f}")
    lines += _shift_facts(pair, bands)
    if not np.isclose(stored, pair.ncc, atol=1e-3, equal_nan=True):
        lines.append(f"the map says {_number(stored)}: its images have changed since")
    return lines


def _noise_facts(pair: WindowPair, bands: dict[str, float]) -> list[str]:
    """Say what the noise lets identical structure reach, and so what the window is."""
    lines = []
    ceiling = bands.get("ceiling", np.nan)
    if ceiling > 0:
        share = f", of which ncc is {pair.ncc / ceiling:z.0%}" if np.isfinite(pair.ncc) else ""
        lines.append(f"this noise allows ncc {ceiling:.3f}{share}")
    elif ceiling == 0:
        lines.append("this noise allows no ncc: there is no structure above it")
    if "classes" in bands:
        lines.append(f"class: {CLASSES[int(bands['classes'])]}")
    return lines


def _shift_facts(pair: WindowPair, bands: dict[str, float]) -> list[str]:
    """Say where within the search the windows are most alike: as the map says, if it does."""
    labels = [axis_name(pair.grid.axis_labels[axis]) for axis in pair.axes]
    own = dict(zip(labels, pair.shift, strict=True))
    steps = {axis: bands.get(f"{SHIFT}{axis}", step) for axis, step in own.items()}
    if not np.isfinite(list(steps.values())).all():
        return ["residual shift undefined: no best match within the search"]
    errors = {axis: bands.get(f"{SHIFT_ERROR}{axis}", np.nan) for axis in steps}
    sides, unit = pixel_sides(pair.grid)
    sides = sides[list(pair.axes)]
    digits = pixel_decimals(min(sides))
    parts = []
    for (axis, step), side in zip(steps.items(), sides, strict=True):
        sd = errors[axis] * side
        within = "" if np.isnan(sd) else f" ± {sd:.{digits}f}"
        parts.append(f"shift {axis} {step * side:z.{digits}f}{within} {unit}")
    if LENGTH in bands:
        parts.append(f"|shift| {bands[LENGTH]:.{digits}f} {unit}")
    lines = [", ".join(parts)]
    best, gain = bands.get("ncc_best", pair.best), bands.get("gain", pair.gain)
    return [*lines, f"best NCC {best:z.3f} there, gain {gain:z.3f}"]


def _number(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:z.3f}"
