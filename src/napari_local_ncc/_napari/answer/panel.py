"""The head of the dock's report: a sentence, what to do next, a switch, and a legend."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container, Label, PushButton
from psygnal import Signal

from napari_local_ncc._napari.answer.canvas_legend import show_class_legend
from napari_local_ncc._napari.answer.legend import Legend, LegendWidget, legend_of
from napari_local_ncc._napari.answer.show import select_view, show_view
from napari_local_ncc._napari.answer.views import View
from napari_local_ncc._napari.compare.layout import wrap
from napari_local_ncc._napari.layers.map_layers import maps_in
from napari_local_ncc._napari.results.kept_results import map_layer_of, result_of
from napari_local_ncc.reports.headline import NextStep

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_local_ncc._napari.results.kept_results import KeptResult
    from napari_local_ncc.reports.headline import Headline


BEFORE_UNIT = re.compile(r"(?<=\d) ")  # no line begins with a unit


class ResultPanel(Container):
    """Shows what a run found in short, and one of its maps on the canvas.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the maps are.

    Attributes
    ----------
    stepped : psygnal.Signal
        A `NextStep` whose button was pressed.
    turned : psygnal.Signal
        Another result is shown since the user has turned to it.
    """

    stepped = Signal(NextStep)
    turned = Signal()

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._layer: Image | None = None
        self._step: NextStep | None = None
        self.view = View.NCC
        self._head = Label(name="headline")
        wrap(self._head.native)
        self._head.native.setStyleSheet("font-weight: 600")
        self._next = PushButton(name="next_step", text="Next", tooltip=NextStep.REGISTER.reason)
        self._buttons = {
            view: PushButton(name=f"view_{view}", text=view.text, tooltip=view.question)
            for view in View
        }
        self._switch = Container(
            name="views", layout="horizontal", labels=False, widgets=[*self._buttons.values()]
        )
        self._legend = LegendWidget()
        super().__init__(widgets=[self._head, self._next, self._switch], labels=False)
        self._arrange()
        self._connect()
        self._show_nothing()

    def _arrange(self) -> None:
        self.margins = self._switch.margins = (0, 0, 0, 0)
        self._switch.native.layout().setSpacing(2)
        self.native.layout().setSpacing(4)
        self.native.layout().addWidget(self._legend)
        for view, button in self._buttons.items():
            button.native.setCheckable(True)
            button.native.setAutoExclusive(True)
            button.native.setStyleSheet("padding: 3px 2px")
            button.native.setMinimumWidth(20)
            button.native.setAccessibleName(f"Show {view.text}: {view.question}")

    def _connect(self) -> None:
        for view, button in self._buttons.items():
            button.native.clicked.connect(partial(self._press, view))
        self._next.native.clicked.connect(self._press_next)
        self._viewer.layers.selection.events.active.connect(self._follow)
        self._viewer.layers.events.removed.connect(self._follow_removal)

    @property
    def legend(self) -> Legend:
        """What the legend says."""
        return self._legend.legend

    @property
    def layer(self) -> Image | None:
        """The NCC layer of what is shown, if any is."""
        return self._layer

    @property
    def result(self) -> KeptResult | None:
        """What is shown, if anything is."""
        return result_of(self._layer)

    def show_result(self, layer: Image) -> None:
        """Show what the run of an NCC layer found, in the same view as before if it has that."""
        self._layer = layer
        result = result_of(layer)
        if result is None:
            self._show_nothing()
            return
        self.show_headline(result.headline)
        self._switch.visible = True
        self._legend.setVisible(True)
        for view, button in self._buttons.items():
            is_there = view.kinds[0] in result.products
            button.native.setEnabled(is_there)
            button.tooltip = view.question if is_there else f"Not computed: {view.absent}."
        if self.view.kinds[0] not in result.products:
            self.view = View.NCC
        self._choose(self.view)

    def show_headline(self, headline: Headline) -> None:
        """Say something in short, with a button for what is best done next."""
        self._head.value = BEFORE_UNIT.sub("\u00a0", str(headline))
        self._head.visible = bool(str(headline))
        self._step = headline.next_step
        self._next.visible = self._step is not None
        if self._step is not None:
            self._next.text, self._next.tooltip = self._step.text, self._step.reason

    def let_go(self) -> None:
        """Hear no more of the viewer, and leave no trace in it."""
        self._viewer.layers.selection.events.active.disconnect(self._follow)
        self._viewer.layers.events.removed.disconnect(self._follow_removal)
        show_class_legend(self._viewer, ())

    def _show_nothing(self) -> None:
        self._layer = self._step = None
        for part in (self._head, self._next, self._switch):
            part.visible = False
        self._legend.setVisible(False)
        show_class_legend(self._viewer, ())

    def _press(self, view: View, *_: Any) -> None:
        self._choose(view)
        if self._layer is not None:
            select_view(self._viewer, self._layer, view)

    def _choose(self, view: View) -> None:
        result, layer = self.result, self._layer
        if result is None or layer is None:
            return
        self.view = view
        self._buttons[view].native.setChecked(True)
        self._legend.show_legend(legend_of(result, view))
        show_view(self._viewer, layer, view)
        show_class_legend(self._viewer, self.legend.chips if view is View.CLASSES else ())

    def _press_next(self) -> None:
        if self._step is not None:
            self.stepped.emit(self._step)

    def _follow(self, *_: Any) -> None:
        """Show the result that a layer belongs to which the user has selected."""
        layer = map_layer_of(self._viewer, self._viewer.layers.selection.active)
        if layer is not None and layer != self._layer and result_of(layer) is not None:
            self.show_result(layer)
            self.turned.emit()

    def _follow_removal(self, *_: Any) -> None:
        if self._layer is None or self._layer in self._viewer.layers:
            return
        others = [layer for layer in maps_in(self._viewer) if result_of(layer) is not None]
        if others:
            self.show_result(others[0])
        else:
            self._show_nothing()
        self.turned.emit()
