"""Start and stop a run from the dock: one at a time, whatever may fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.notifications import (
    Notification,
    NotificationSeverity,
    notification_manager,
)
from psygnal import Signal

from napari_local_ncc._napari.results.job import Outcome
from napari_local_ncc._napari.results.result_layer import LayerError
from napari_local_ncc._napari.results.run import Run
from napari_local_ncc.progress import MENDABLE

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Mapping

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_local_ncc._napari.compare.report import Report
    from napari_local_ncc._napari.results.job import Job, Message
    from napari_local_ncc._napari.worker import Failure

BEGINNERS = (
    "run",
    "register",
    "run_several",
    "apply_transform",
    "next_step",
)  # the buttons that start a run

NOTHING_LEFT = "Local NCC was closed during its run, which was cancelled: nothing was added."


class RunControl:
    """Runs what is asked for, and keeps the buttons and the report true.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the results go.
    fields : mapping of str to magicgui.widgets.Widget
        The fields by name.
    report : Report
        What happens is said there.
    deliver : callable
        Takes what a run gave: its job if it has one, its `Outcome`, and the NCC layer if it
        filled one.

    Attributes
    ----------
    ended : psygnal.Signal
        An `Outcome`, a `Failure`, or None where the user ended the run; and the NCC layer.
    """

    ended = Signal(object, object)

    def __init__(
        self,
        viewer: Viewer,
        fields: Mapping[str, Any],
        report: Report,
        deliver: Callable[[Job | None, Outcome, Layer | None], None],
    ) -> None:
        self._viewer, self._fields, self._report = viewer, fields, report
        self._deliver = deliver
        self._job: Job | None = None
        self.run: Run | None = None

    def launch(
        self,
        steps_of: Callable[[threading.Event], Generator[Message, None, Outcome]],
        job: Job | None = None,
        *,
        keep_earlier: bool | None = None,
    ) -> None:
        """Begin a run, unless one is under way."""
        if self.run is not None:
            error = ValueError("One run at a time: cancel the one that is going, or wait.")
            self._report.fail(error)
            return
        self.show_running(True)
        self._job = job
        self._report.say("Starting")
        keeps = self._fields["keep"].value if keep_earlier is None else keep_earlier
        self.run = Run(self._viewer, steps_of, keep_earlier=keeps)
        self.run.progressed.connect(self._report.show_progress)
        self.run.ended.connect(self._receive)
        self.run.start()

    def cancel(self) -> tuple[int, int] | None:
        """End the run at once; return how many tiles it leaves, and of how many, if it does."""
        if self.run is None:
            return None
        keep = self._fields["on_cancel"].value == "keep"
        try:
            kept = self.run.cancel(keep=keep)
        finally:  # whatever a layer may raise, the next run can begin
            self._free()
        self._report.say(
            "Cancelled; nothing was added."
            if kept is None
            else f"Cancelled; {kept[0]} of {kept[1]} tiles are finished and kept."
        )
        self.ended.emit(None, None)
        return kept

    def close(self) -> None:
        """End the run, and say so: its dock is closed, and nobody could see or cancel it."""
        run = self.run
        if run is None:
            return
        is_left = self.cancel() is not None
        _warn(run.left_behind if is_left else NOTHING_LEFT)

    def let_go(self) -> None:
        """End the run, and show nothing more: the widget is gone."""
        if self.run is None:
            return
        self.run.ended.disconnect()
        self.run.progressed.disconnect()
        self.run.abandon()
        told = self.run.left_behind
        self.run = None
        if told:
            _warn(told)

    def show_running(self, running: bool) -> None:
        """Let the buttons say whether a run is under way."""
        for name in BEGINNERS:
            self._fields[name].enabled = not running
        self._fields["cancel"].enabled = running
        self._fields["progress"].visible = running
        self._fields["progress"].value = 0

    def _free(self) -> None:
        self.run = None
        self.show_running(False)

    def _receive(self, result: Outcome | Failure | None) -> None:
        layer = None if self.run is None else self.run.map_layer
        self._free()
        try:
            self._tell(result, layer)
        finally:
            self.ended.emit(result, layer)

    def _tell(self, result: Outcome | Failure | None, layer: Layer | None) -> None:
        if result is None:
            self._report.say("Stopped, since the result's layer was removed.")
        elif isinstance(result, Outcome):
            self._deliver(self._job, result, layer)
        elif isinstance(result.error, (*MENDABLE, LayerError)):
            self._report.fail(result.error)
        else:
            raise result.error  # a defect of ours: napari shows it with its traceback


def _warn(text: str) -> None:
    """Tell by napari, where no dock does."""
    notification_manager.dispatch(Notification(text, NotificationSeverity.WARNING))
