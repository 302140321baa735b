"""A computation under way: its thread, its layers, and when it will be done."""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.compat import isalive
from qtpy.QtCore import QTimer

from napari_local_ncc._napari.results.arrow_layer import update_arrows
from napari_local_ncc._napari.results.derived_bands import remove_outdated
from napari_local_ncc._napari.results.job import Landed, Outcome
from napari_local_ncc._napari.results.kept_results import KeptResult, keep_result
from napari_local_ncc._napari.results.result_layer import (
    ResultLayer,
    has_earlier,
    remove_leftovers,
)
from napari_local_ncc._napari.results.result_spec import Product
from napari_local_ncc._napari.worker import Failure, start_worker
from napari_local_ncc.chunked.blocks import TURNS
from napari_local_ncc.progress import Progress, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari.layers import Layer
    from napari.utils.events import Event
    from napari.viewer import Viewer

    from napari_local_ncc._napari.results.job import Message

TICK = 200  # ms between two looks at what has landed
DRAG = 0.5  # s for which a core is left to napari when the view moves
AT_ONCE = ("ncc", "registered", "labels")  # the kinds that a layer shows while they come


class Run:
    """Compute in a thread, and show in the viewer what it gives while it runs.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the results go.
    steps_of : callable
        Takes an event that cancels; returns a generator of messages.
    keep_earlier : bool
        Whether to add new layers even where an earlier run of the same pair left some.

    Attributes
    ----------
    progressed : psygnal.Signal
        A `Progress` and the seconds that are left of this step, or None; at most every
        0.2 s.
    ended : psygnal.Signal
        An `Outcome`, a `Failure`, or None where the result was removed by the user. Not
        after `cancel` or `abandon`.
    """

    progressed = Signal(Progress, object)
    ended = Signal(object)

    def __init__(
        self,
        viewer: Viewer,
        steps_of: Callable[[threading.Event], Generator[Message, None, Outcome]],
        *,
        keep_earlier: bool,
    ) -> None:
        self._viewer = viewer
        self._steps_of = steps_of
        self._keep_earlier = keep_earlier
        self._cancelled = threading.Event()
        self._results: dict[Product, ResultLayer] = {}
        self._waiting: deque[Message] = deque()
        self._is_taking = False
        self._kept: KeptResult | None = None
        self._ending: tuple[Outcome | Failure | None] | None = None  # come before its turn
        self._progress = Progress(Step.START, 0, 1)
        self._filled: dict[Step, Progress] = {}  # layers, by tiles
        self._step_began = monotonic()
        self._timer = QTimer()
        self._timer.setInterval(TICK)
        self._timer.timeout.connect(self._show)

    def start(self) -> None:
        """Begin; to be called on the GUI thread."""
        self._viewer.layers.events.removed.connect(self._layer_removed)
        for event in self._view_events():
            event.connect(_leave_a_core)
        self._timer.start()
        start_worker(self._steps_of, self._cancelled, self._receive, self._finish)

    @property
    def layers(self) -> list[Layer]:
        """The layers that it fills."""
        return [result.layer for result in self._results.values()]

    def cancel(self, *, keep: bool) -> tuple[int, int] | None:
        """End at once; the thread stops by itself when it next can.

        Parameters
        ----------
        keep : bool
            Whether to leave the tiles that are finished, marked as a part of the result.

        Returns
        -------
        tuple of int or None
            How many tiles are finished, and of how many; None if nothing is left.
        """
        self.abandon()
        for result in self._results.values():
            if keep:
                result.leave()
            else:
                result.undo()
        if keep and self._kept is not None and self.map_layer is not None:
            self._keep(self._kept)
        if not self._keep_earlier:
            remove_leftovers(self._viewer, self._results)
        is_left = keep and any(each.has_tiles for each in self._results.values() if each.is_there)
        return self._tiles() if is_left else None

    def abandon(self) -> None:
        """End without touching the window, which may be gone."""
        self._cancelled.set()
        if isalive(self._timer):  # where Python ends during a run, Qt has taken it along
            self._timer.stop()
        self._viewer.layers.events.removed.disconnect(self._layer_removed)
        for event in self._view_events():
            event.disconnect(_leave_a_core)

    def _view_events(self) -> tuple[Any, ...]:
        camera = self._viewer.scene.camera.events
        return camera.center, camera.zoom, camera.angles, self._viewer.dims.events.point

    def _tiles(self) -> tuple[int, int]:
        """Return how many tiles of all layers are finished, and of how many."""
        told = self._filled.values()
        return sum(each.done for each in told), sum(each.total for each in told)

    @property
    def left_behind(self) -> str:
        """What to say of the unfinished layers that it leaves; empty where it leaves none."""
        names = [result.layer.name for result in self._results.values() if result.is_there]
        if not names:
            return ""
        done, total = self._tiles()
        return (
            f"Local NCC was closed during its run: {', '.join(names)} "
            f"{'holds' if len(names) == 1 else 'hold'} {done} of {total} tiles, "
            "the rest is blank. Run again to complete it."
        )

    def _receive(self, message: Message) -> None:
        """Take a message in its turn: napari lets further ones in while it adds a layer."""
        self._waiting.append(message)
        if self._is_taking:
            return
        self._is_taking = True
        try:
            while self._waiting:
                self._take(self._waiting.popleft())
        except Exception as error:  # of a layer: the run ends, which says so
            self._waiting.clear()
            self._ending = (Failure(error),)
        finally:
            self._is_taking = False
        if self._ending is not None:
            self._finish(*self._ending)

    def _take(self, message: Message) -> None:
        if self._cancelled.is_set():
            return
        if isinstance(message, KeptResult):
            self._kept = message
            return
        if isinstance(message, Product):
            self._show_product(message)
            return
        if isinstance(message, Landed):
            for product in message.products:
                if product in self._results:
                    self._results[product].tile_landed(message.location)
            message = message.progress
        if message.step != self._progress.step:
            self._step_began = monotonic()
        self._progress = message
        if message.step in (Step.COMPARE, Step.RESAMPLE):
            self._filled[message.step] = message

    def _show_product(self, product: Product) -> None:
        """Show a product in a layer: the NCC, and what an earlier run has a layer of."""
        is_followed = not self._keep_earlier and has_earlier(self._viewer, product)
        if product.kind not in AT_ONCE and not is_followed:
            return
        result = ResultLayer(self._viewer, product, keep_earlier=self._keep_earlier)
        if self._cancelled.is_set():  # while it was added
            result.undo()
        else:
            self._results[product] = result

    def _finish(self, ending: Outcome | Failure | None) -> None:
        if self._is_taking:
            self._ending = (ending,)
            return
        if self._cancelled.is_set():
            return
        self.abandon()
        try:
            self._settle(ending)
        finally:  # whatever a layer may raise, the widget is free again
            self.ended.emit(ending)

    def _settle(self, ending: Outcome | Failure | None) -> None:
        """Bring the layers into the state in which they stay."""
        for result in self._results.values():
            if isinstance(ending, Outcome):
                result.complete()
            else:
                result.undo()
        if isinstance(ending, Outcome) and ending.kept is not None:
            self._keep(ending.kept)
            if "arrows" in ending.kept.products and not self._keep_earlier:
                update_arrows(self._viewer, ending.kept)
            remove_outdated(self._viewer)
        if isinstance(ending, Outcome) and not self._keep_earlier:
            remove_leftovers(self._viewer, self._results)

    def _keep(self, kept: KeptResult) -> None:
        for product, result in self._results.items():
            if product.kind != "registered":
                keep_result(result.layer, kept)

    @property
    def map_layer(self) -> Layer | None:
        """The NCC layer that it fills, if it makes a map and that is still there."""
        for product, result in self._results.items():
            if product.kind == "ncc" and result.is_there:
                return result.layer
        return None

    def _show(self) -> None:
        for result in self._results.values():
            result.draw()
        self.progressed.emit(self._progress, self._seconds_left())

    def _seconds_left(self) -> float | None:
        done, total = self._progress.done, self._progress.total
        if done == 0:
            return None
        return (monotonic() - self._step_began) / done * (total - done)

    def _layer_removed(self, event: Event) -> None:
        """End when nothing is left to be filled: the user does not want the result."""
        results = self._results.values()
        if event.value in self.layers and not any(result.is_there for result in results):
            self.abandon()
            self.ended.emit(None)


def _leave_a_core(_: object = None) -> None:
    """Let the view follow the mouse: what computes takes a core fewer for a while."""
    TURNS.leave_a_core(DRAG)
