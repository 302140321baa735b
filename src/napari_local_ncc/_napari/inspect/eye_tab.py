"""The inspector's tab to compare fixed and registered moving by eye."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QHBoxLayout,
    QPushButton,
    QSlider,
    QSpinBox,
    QWidget,
)

from napari_local_ncc._napari.answer.show import layers_of_run, show_product
from napari_local_ncc._napari.compare.layout import wrap
from napari_local_ncc._napari.compare.preferences import memory_budget
from napari_local_ncc._napari.inspect.tab import EMPTY, Tab
from napari_local_ncc._napari.layers.convert import METADATA
from napari_local_ncc._napari.layers.map_layers import comparison_of
from napari_local_ncc._napari.layers.pair_in_turn import PairInTurn, SwipedPair
from napari_local_ncc._napari.results.compared_images import (
    compared_layers,
    limits_of,
    make_checkerboard,
    make_registered,
    registered_layer,
)
from napari_local_ncc._napari.results.kept_results import keep_result, result_of
from napari_local_ncc._napari.results.result_layer import new_layer
from napari_local_ncc._napari.worker import Failure, NewestOnly, explain
from napari_local_ncc.progress import MENDABLE, Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image
    from napari.viewer import Viewer
    from qtpy.QtGui import QHideEvent

    from napari_local_ncc._napari.results.kept_results import KeptResult
    from napari_local_ncc._napari.results.result_spec import Product

INVITATION = (
    "Is moving where it belongs? Watch for what jumps as you blink, and for edges that break in a "
    "checkerboard or at the line of a swipe."
)
FASTEST = 3.0  # turns a second: what flashes faster can harm (WCAG 2.3.1)


class EyeTab(Tab):
    """Shows fixed and registered moving in turn, square by square, or beside a moving edge."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self._shown: PairInTurn | SwipedPair | None = None
        self._then: Callable[[Image, Image], None] | None = None
        self.latest: NewestOnly[Progress, Product] = NewestOnly(self._receive, self._tell)
        self.let_go_of(self.latest)
        self.blink = _button("Blink", "Show fixed and registered moving in turn; press to stop.")
        self.rate = QDoubleSpinBox()
        self.rate.setRange(0.2, FASTEST)
        self.rate.setSingleStep(0.2)
        self.rate.setValue(1.0)
        self.rate.setSuffix(" per s")
        self.rate.setAccessibleName("Turns a second")
        self.rate.setToolTip("How often the images take turns.")
        self.swipe = _button("Swipe", "Show moving right of a line that you drag; press to stop.")
        self.line = QSlider(Qt.Orientation.Horizontal)
        self.line.setRange(0, 100)
        self.line.setValue(50)
        self.line.setEnabled(False)
        self.line.setAccessibleName("Where the line of the swipe is, in percent of the width")
        self.line.setToolTip("Left of the line is fixed, right of it moving.")
        self.board = QPushButton("Checkerboard")
        self.board.setToolTip("Add a layer with fixed and moving in turn, square by square.")
        self.square = QSpinBox()
        self.square.setRange(2, 4096)
        self.square.setValue(32)
        self.square.setSuffix(" px")
        self.square.setAccessibleName("Side of a square of the checkerboard")
        self.square.setToolTip("Side of a square, in pixels of fixed.")
        self.text.setText(EMPTY)
        wrap(self.text)
        for row in ((self.blink, self.rate), (self.swipe, self.line), (self.board, self.square)):
            self.column.addLayout(_row(*row))
        self.column.addWidget(self.text)
        self.column.addStretch(1)
        # PySide6 calls a partial without the argument of the signal: what takes any serves both
        self.blink.clicked.connect(lambda *_: self._toggle(self.blink, self._begin_blink))
        self.swipe.clicked.connect(lambda *_: self._toggle(self.swipe, self._begin_swipe))
        self.board.clicked.connect(self._add_board)
        self.rate.valueChanged.connect(self._set_rate)
        self.line.valueChanged.connect(self._move_line)

    def look_at(self, layer: Image | None) -> None:
        """Compare the images of another map from now on."""
        if layer is not self._layer:
            self._stop()
        self._layer = layer
        self.text.setText(EMPTY if layer is None else INVITATION)
        for button in (self.blink, self.swipe, self.board):
            button.setEnabled(layer is not None)

    def hideEvent(self, event: QHideEvent) -> None:
        """Stop when the tab or the dock is left."""
        super().hideEvent(event)
        if self._then is not None or self._shown is not None:  # a checkerboard comes all the same
            self._stop()

    def let_go(self) -> None:
        """Let the layers look as before; the buttons are gone."""
        if self._shown is not None:
            self._shown.end()
        super().let_go()

    def _kept(self) -> tuple[Image, KeptResult]:
        layer, kept = self._layer, result_of(self._layer)
        if layer is None or kept is None or not kept.is_whole:
            raise ValueError("this map is not complete, or of another session: run again")
        return layer, kept

    def _toggle(self, button: QPushButton, begin: Callable[[Image, Image], None]) -> None:
        """Begin a view of the pair, or end it."""
        wanted = button.isChecked()
        self._stop()
        if not wanted:
            return
        button.setChecked(True)
        self._with_registered(begin)

    def _with_registered(self, then: Callable[[Image, Image], None]) -> None:
        """Do something with the registered layer, once there is one."""
        try:
            layer, kept = self._kept()
            fixed, moving = compared_layers(self._viewer, layer)
            there = registered_layer(self._viewer, layer)
            if there is not None:
                then(fixed, there)
                return
            comparison = comparison_of(self._viewer, layer)
        except MENDABLE as error:
            self._fail(error)
            return
        self._then = then
        making = make_registered(kept, comparison, limits_of(moving), memory_budget())
        self.latest.work(making)

    def _add_board(self) -> None:
        self._stop()
        try:
            layer, kept = self._kept()
            fixed, moving = compared_layers(self._viewer, layer)
            comparison = comparison_of(self._viewer, layer)
        except MENDABLE as error:
            self._fail(error)
            return
        limits = limits_of(fixed), limits_of(moving)
        square = self.square.value()
        self.latest.work(make_checkerboard(kept, comparison, square, limits, memory_budget()))

    def _tell(self, progress: Progress) -> None:
        self.text.setText(f"{progress.text}: {progress.done} of {progress.total}")

    def _receive(self, answer: Product | Failure) -> None:
        then, self._then = self._then, None
        if isinstance(answer, Failure):
            self._stop()
            self.text.setText(explain(answer))
            return
        self.text.setText(INVITATION)
        layer = self._layer
        if layer is None or layer not in self._viewer.layers:
            return
        if answer.kind == "checkerboard":
            self._show_board(layer, answer)
        elif then is not None:
            self._show_registered(answer, then)

    def _show_registered(self, product: Product, then: Callable[[Image, Image], None]) -> None:
        """Add the registered layer, and do something with the pair, if it is still there."""
        try:
            layer, kept = self._kept()
            fixed, _ = compared_layers(self._viewer, layer)
        except MENDABLE as error:
            self._fail(error)
            return
        registered = new_layer(product, product.name)
        registered.visible = False  # but while it is looked at
        registered.metadata = {METADATA: product.metadata | {"complete": True}}
        keep_result(registered, kept)
        self._viewer.add_layer(registered)
        then(fixed, registered)

    def _fail(self, error: Exception) -> None:
        self._stop()
        self.text.setText(str(error))

    def _show_board(self, layer: Image, product: Product) -> None:
        """Show a checkerboard, in the layer of an earlier one if there is one."""
        earlier = layers_of_run(self._viewer, layer).get("checkerboard")
        if earlier is None:
            show_product(self._viewer, layer, product)
        else:
            earlier.data = product.levels if len(product.levels) > 1 else product.levels[0]
            earlier.visible = True

    def _begin_blink(self, fixed: Image, registered: Image) -> None:
        self._shown = PairInTurn(self._viewer, fixed, registered, self._ended)
        self._shown.start(self.rate.value())

    def _begin_swipe(self, fixed: Image, registered: Image) -> None:
        self._shown = SwipedPair(self._viewer, fixed, registered, self._ended)
        self._shown.move_to(self.line.value() / 100)
        self.line.setEnabled(True)

    def _set_rate(self, rate: float) -> None:
        if isinstance(self._shown, PairInTurn):
            self._shown.start(rate)

    def _move_line(self, percent: int) -> None:
        if isinstance(self._shown, SwipedPair):
            self._shown.move_to(percent / 100)

    def _stop(self) -> None:
        """End what is shown, and forget what is being made: it would come unasked."""
        if self.latest.is_busy:
            self.latest.forget()
            self.text.setText(INVITATION)
        shown, self._shown, self._then = self._shown, None, None
        if shown is not None:
            shown.end()
        self._ended()

    def _ended(self) -> None:
        self._shown = None
        self.blink.setChecked(False)
        self.swipe.setChecked(False)
        self.line.setEnabled(False)


def _button(text: str, tooltip: str) -> QPushButton:
    button = QPushButton(text)
    button.setCheckable(True)
    button.setToolTip(tooltip)
    return button


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget, stretch=1)
    return row
