"""The inspector's tab to compare fixed and registered moving by eye."""

from __future__ import annotations

from functools import partial
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

from napari_local_ncc._napari.compare.layout import wrap
from napari_local_ncc._napari.compare.preferences import memory_budget
from napari_local_ncc._napari.compare.roles import PLACE
from napari_local_ncc._napari.inspect.tab import EMPTY, Tab
from napari_local_ncc._napari.layers.convert import METADATA
from napari_local_ncc._napari.layers.map_layers import LOOKED_AT, comparison_of, kind
from napari_local_ncc._napari.layers.pair_in_turn import PairInTurn, SwipedPair
from napari_local_ncc._napari.results.compared_images import (
    compared_layers,
    is_as_compared,
    limits_of,
    make_checkerboard,
    make_looked_at,
)
from napari_local_ncc._napari.results.kept_results import is_same_run, keep_result, result_of
from napari_local_ncc._napari.results.result_layer import free_name, new_layer, selection_kept
from napari_local_ncc._napari.worker import Failure, NewestOnly, explain
from napari_local_ncc.progress import MENDABLE, Progress

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator

    from napari.layers import Image
    from napari.viewer import Viewer
    from qtpy.QtGui import QHideEvent

    from napari_local_ncc._napari.results.compared_images import Made
    from napari_local_ncc._napari.results.kept_results import KeptResult
    from napari_local_ncc._napari.results.result_spec import Product
    from napari_local_ncc.maps.comparison import Comparison

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
        self._followed: tuple[Image, ...] = ()
        self.latest: NewestOnly[Progress, tuple[KeptResult, list[Product]]] = NewestOnly(
            self._receive, self._tell
        )
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
        """Let the layers look as before; the buttons may be gone."""
        self._follow_edits()
        shown, self._shown = self._shown, None
        if shown is not None:
            shown.end()
        super().let_go()

    def listen(self) -> None:
        """Begin with nothing shown."""
        super().listen()
        self._ended()

    def _kept(self) -> tuple[Image, KeptResult]:
        layer, kept = self._layer, result_of(self._layer)
        if layer is None or kept is None or not kept.is_whole:
            raise ValueError("this map is not complete, or of another session: run again")
        return layer, kept

    def _toggle(self, button: QPushButton, begin: Callable[[Image, Image], None]) -> None:
        """Begin a view of the pair, or end it."""
        wanted = button.isChecked()
        self._stop()
        if wanted and self._make(self._making_of_pair):
            button.setChecked(True)
            self._then = begin

    def _add_board(self) -> None:
        self._stop()
        self._make(self._making_of_board)

    def _make(self, making: Callable[..., Callable[[threading.Event], Made]]) -> bool:
        """Begin to make images of what the map compared, and say whether that can be done."""
        try:
            layer, kept = self._kept()
            layers = compared_layers(self._viewer, layer)
            work = making(kept, comparison_of(self._viewer, layer), *layers)
        except MENDABLE as error:
            self._fail(error)
            return False
        self._follow_edits(layers)
        self.latest.work(partial(_keep_beside, kept, work))
        return True

    def _making_of_pair(
        self, kept: KeptResult, comparison: Comparison, fixed: Image, moving: Image
    ) -> Callable[[threading.Event], Made]:
        """Return what makes moving as it was compared, and fixed where its layer shows more."""
        limits = {"moving": limits_of(moving)}
        if not is_as_compared(fixed, comparison.fixed):
            limits["fixed"] = limits_of(fixed)
        return partial(make_looked_at, kept, comparison, limits, memory_budget())

    def _making_of_board(
        self, kept: KeptResult, comparison: Comparison, fixed: Image, moving: Image
    ) -> Callable[[threading.Event], Made]:
        limits = limits_of(fixed), limits_of(moving)
        square = self.square.value()
        return partial(make_checkerboard, kept, comparison, square, limits, memory_budget())

    def _follow_edits(self, layers: tuple[Image, ...] = ()) -> None:
        """Stop where one of these layers is edited: what is shown is not what it was made of."""
        for layer in self._followed:
            for name in PLACE:
                getattr(layer.events, name).disconnect(self._stop)
        self._followed = layers
        for layer in layers:
            for name in PLACE:
                getattr(layer.events, name).connect(self._stop)

    def _tell(self, progress: Progress) -> None:
        self.text.setText(f"{progress.text}: {progress.done} of {progress.total}")

    def _receive(self, answer: tuple[KeptResult, list[Product]] | Failure) -> None:
        then, self._then = self._then, None
        if isinstance(answer, Failure):
            self._stop()
            self.text.setText(explain(answer))
            return
        self.text.setText(INVITATION)
        kept, products = answer
        try:
            layer, shown = self._kept()
            fixed, _ = compared_layers(self._viewer, layer)
        except MENDABLE as error:
            self._fail(error)
            return
        if layer not in self._viewer.layers or shown is not kept:  # another run came in between
            self._stop()
            return
        made = {product.kind: self._layer_of(product, layer, kept) for product in products}
        if then is None:
            self._follow_edits()
            made["checkerboard"].visible = True
        else:
            then(made.get(f"{LOOKED_AT}fixed", fixed), made[f"{LOOKED_AT}moving"])

    def _layer_of(self, product: Product, layer: Image, kept: KeptResult) -> Image:
        """Return the layer of a product, hidden: that of an earlier one if there is one."""
        for earlier in self._viewer.layers:
            if kind(earlier) == product.kind and is_same_run(earlier, layer):
                earlier.data = product.levels if len(product.levels) > 1 else product.levels[0]
                earlier.contrast_limits = product.style["contrast_limits"]
                return earlier
        new = new_layer(product, free_name(self._viewer, product))
        new.visible = False
        new.metadata = {METADATA: product.metadata | {"complete": True}}
        keep_result(new, kept)
        with selection_kept(self._viewer, when=True):
            self._viewer.add_layer(new)
        return new

    def _fail(self, error: Exception) -> None:
        self._stop()
        self.text.setText(str(error))

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

    def _stop(self, *_: object) -> None:
        """End what is shown, and forget what is being made: it would come unasked."""
        self._follow_edits()
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


def _keep_beside(
    kept: KeptResult, making: Callable[[threading.Event], Made], cancelled: threading.Event
) -> Generator[Progress, None, tuple[KeptResult, list[Product]]]:
    """Make some products, and say of which result they are."""
    return kept, (yield from making(cancelled))
