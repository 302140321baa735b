"""The inspector's tab with the scatter plot of the whole images, and the automatic threshold."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt

from napari_local_ncc._napari.compare.layout import TextScroll, wrap
from napari_local_ncc._napari.inspect.mpl_canvas import has_plots
from napari_local_ncc._napari.inspect.tab import EMPTY, Tab
from napari_local_ncc._napari.layers.map_layers import comparison_of
from napari_local_ncc._napari.worker import Failure, NewestOnly, explain
from napari_local_ncc.maps.derived.joint_histogram import automatic_threshold, joint_histogram
from napari_local_ncc.progress import MENDABLE
from napari_local_ncc.reports.scatter import describe_scatter, draw_scatter

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer
    from qtpy.QtGui import QShowEvent

    from napari_local_ncc.maps.comparison import Comparison
    from napari_local_ncc.maps.derived.joint_histogram import AutoThreshold, JointHistogram

    Found = tuple[JointHistogram, AutoThreshold | None]


class ScatterTab(Tab):
    """Shows which values of moving meet which of fixed; counted when it is looked at."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self.found: Found | None = None
        self._is_asked = False
        self.latest: NewestOnly[None, Found] = NewestOnly(self._receive)
        self.let_go_of(self.latest)
        self.plot = self.make_plot()
        self.text.setText(EMPTY)
        self.text.setAlignment(Qt.AlignmentFlag.AlignTop)
        wrap(self.text)
        self.column.addWidget(self.plot, stretch=3)
        self.column.addWidget(TextScroll(self.text), stretch=2)

    def look_at(self, layer: Image | None) -> None:
        """Count the images of a map: now, or when the tab is opened."""
        self._layer, self._is_asked, self.found = layer, False, None
        self.latest.forget()
        self.text.setText(EMPTY if layer is None else "")
        if self.isVisible():
            self._ask()

    def showEvent(self, event: QShowEvent) -> None:
        """Count what was not counted yet."""
        super().showEvent(event)
        self._ask()

    def _ask(self) -> None:
        if self._layer is None or self._is_asked:
            return
        self._is_asked = True
        self.text.setText("Counting")
        try:
            comparison = comparison_of(self._viewer, self._layer)
        except MENDABLE as error:
            self.text.setText(str(error))
            return
        self.latest.ask(partial(_count, comparison))

    def _receive(self, answer: Found | Failure) -> None:
        if isinstance(answer, Failure):
            self.text.setText(explain(answer))
            return
        self.found = answer
        self.text.setText("\n".join(describe_scatter(*answer)))
        if has_plots():
            self.plot.show_drawn(lambda figure: draw_scatter(figure, *answer))


def _count(comparison: Comparison) -> Found:
    histogram = joint_histogram(comparison)
    return histogram, automatic_threshold(histogram)
