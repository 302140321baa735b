"""What the dock says: what is planned, how far a run is, what was found, what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.notifications import ErrorNotification, notification_manager

from napari_local_ncc._napari.results.warm_up import is_warm
from napari_local_ncc.progress import MENDABLE, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from qtpy.QtWidgets import QWidget

    from napari_local_ncc._napari.compare.layout import Fold
    from napari_local_ncc.progress import Progress

PREPARING = "Preparing the calibration"  # the first time, its kernels are compiled


class Report:
    """Fills the dock's texts, and folds away what does not matter now.

    Parameters
    ----------
    fields : mapping of str to magicgui.widgets.Widget
        The fields by name: "plan", "message", "progress", and the answer's "headline".
    details : Fold
        The line that folds all figures away.
    reveal : callable
        Scrolls to one of the texts.
    """

    def __init__(
        self, fields: Mapping[str, Any], details: Fold, reveal: Callable[[QWidget], None]
    ) -> None:
        self._fields = fields
        self._details = details
        self._reveal = reveal
        self._complaint = ""  # the last error that was said
        self._is_told = False  # the message is a report, whose headline says enough
        self._has_plan = False

    def plan(self, text: str, *, is_possible: bool) -> None:
        """Say what would be done, or why nothing can be."""
        self._fields["plan"].value = text
        self._has_plan = is_possible
        self.fold()

    def say(self, text: str) -> None:
        """Say what is so now, in sight: below a headline or a plan it would go unseen."""
        self._say(text, is_told=False)
        if text:
            self._reveal(self._fields["message"].native)

    def tell(self, lines: Iterable[str]) -> None:
        """Say all that was found: it stays folded away while its headline is shown."""
        self._say("\n".join(lines), is_told=True)
        self._reveal(self._fields["headline"].native)

    def turn_to(self, lines: Iterable[str]) -> None:
        """Tell of another result, where one was told of; what happened just now stays."""
        if self._is_told or not self._fields["message"].value:
            self.tell(lines)

    def fail(self, error: Exception) -> None:
        """Say what went wrong; what the user cannot mend is shown by napari, with its traceback."""
        self._complaint = str(error) or type(error).__name__
        self.say(self._complaint)
        if not isinstance(error, MENDABLE):
            notification_manager.dispatch(ErrorNotification(error))

    def drop_complaint(self) -> None:
        """Say nothing any more of what was wrong."""
        if self._fields["message"].value == self._complaint:
            self.say("")

    def show_progress(self, progress: Progress, seconds_left: float | None) -> None:
        """Say how far a run has come."""
        bar = self._fields["progress"]
        left = "" if seconds_left is None else f", {_duration(seconds_left)} left"
        bar.native.setUpdatesEnabled(False)  # else it draws the window at once, canvas and all
        bar.native.setFormat(f"%p %{left}")
        bar.max, bar.value = max(progress.total, 1), progress.done
        bar.native.setUpdatesEnabled(True)
        text = PREPARING if progress.step is Step.CALIBRATE and not progress.done else progress.text
        is_counted = progress.total > 1 and text is not PREPARING
        if not (progress.done or progress.step is Step.LOAD or is_warm()):
            text += f" ({Step.LOAD.note})"
        part = f": {progress.done} of {progress.total}" if is_counted else ""
        metric = "" if progress.metric is None else f", metric {progress.metric:.4f}"
        self._say(text + part + metric, is_told=False)

    def unfold_details(self) -> None:
        """Show all figures below the headline, or fold them away."""
        self._details.unfold(not self._details.is_unfolded)
        self.fold()

    def fold(self) -> None:
        """Show what matters now: beside a headline neither what was planned nor all figures."""
        is_answered = self._fields["headline"].visible
        all_of_it = not is_answered or self._details.is_unfolded
        self._details.visible = is_answered
        is_repeated = self._fields["plan"].value == self._fields["message"].value
        self._fields["plan"].visible = not is_repeated and (all_of_it or not self._has_plan)
        self._fields["message"].visible = all_of_it or not self._is_told

    def _say(self, text: str, *, is_told: bool) -> None:
        self._fields["message"].value = text
        self._is_told = is_told and bool(text)
        self.fold()


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
