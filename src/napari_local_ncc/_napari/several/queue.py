"""Compare several layers with one fixed, one after the other, and judge each pair."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_local_ncc._napari.answer.show import layers_of_run
from napari_local_ncc._napari.results.job import Outcome, run_job
from napari_local_ncc.batch.compare import iter_verdicts
from napari_local_ncc.batch.run import ERROR
from napari_local_ncc.geometry.kind import UNREGISTERED
from napari_local_ncc.progress import MENDABLE, Progress, Step
from napari_local_ncc.reports.verdict import judge_series

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Iterable, Mapping

    from napari.layers import Image, Layer
    from napari.viewer import Viewer

    from napari_local_ncc._napari.compare.read_fields import Choices
    from napari_local_ncc._napari.compare.run_control import RunControl
    from napari_local_ncc._napari.results.job import Job, Message
    from napari_local_ncc._napari.worker import Failure
    from napari_local_ncc.reports.verdict import Verdict

WAITING, RUNNING, DONE, STOPPED = "waiting", "running", "done", "stopped"


@dataclass(eq=False)
class Entry:
    """A pair of the queue, and what is known of it.

    Attributes
    ----------
    fixed, moving : str
        The layers' names.
    state : str
        "waiting", "running", "done", "stopped", or "error".
    error : str
        Why it could not be compared; empty where it could.
    verdict : Verdict or None
        Whether both show the same place, once it is done.
    headline : str
        What was found, in a sentence.
    map_id : str
        That of the NCC layer; empty where there is none.
    """

    fixed: str
    moving: str
    state: str = WAITING
    error: str = ""
    verdict: Verdict | None = None
    headline: str = ""
    map_id: str = ""

    def fail(self, error: BaseException) -> None:
        """Note why it could not be compared."""
        self.state = ERROR
        self.error = " ".join(str(error).split()) or type(error).__name__

    def row(self) -> dict[str, Any]:
        """Return what a table says of the pair, in the words of a batch."""
        judged = self.verdict
        found = {"verdict": "", "reason": ""}  # it waits, runs, or was stopped
        if judged is not None:
            found = {"verdict": judged.judgement.value, "reason": judged.reason}
        elif self.error:
            found = {"verdict": ERROR, "reason": self.error}
        return {
            "name": self.moving,
            "fixed": self.fixed,
            "moving": self.moving,
            **found,
            "headline": self.headline,
            "distance_px": None if judged is None else judged.distance_px,
            "error_px": None if judged is None else judged.error_px,
            "right_share": None if judged is None else judged.right_share,
        }


def run_and_judge(
    job: Job, entry: Entry, cancelled: threading.Event
) -> Generator[Message, None, Outcome]:
    """Do a job as `run_job` does, then judge the pair."""
    outcome = yield from run_job(job, cancelled)
    comparison = job.comparison.with_registration(outcome.registration)
    frames = max(1, prod(comparison.grid.series_shape))
    verdicts: list[Verdict] = []
    yield Progress(Step.JUDGE, 0, frames)
    for verdict in iter_verdicts(comparison, searched=job.model != UNREGISTERED):
        if cancelled.is_set():
            return outcome
        verdicts.append(verdict)
        yield Progress(Step.JUDGE, len(verdicts), frames)
    entry.verdict = judge_series(verdicts)
    return outcome


class Queue:
    """Runs the pairs in turn, with the fields as they are when it starts.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the layers are.
    fields : mapping of str to magicgui.widgets.Widget
        The fields by name.
    choices : Choices
        What the fields say.
    control : RunControl
        What runs.

    Attributes
    ----------
    changed : psygnal.Signal
        Something else is known of a pair.
    entries : list of Entry
        The pairs, in their order.
    """

    changed = Signal()

    def __init__(
        self, viewer: Viewer, fields: Mapping[str, Any], choices: Choices, control: RunControl
    ) -> None:
        self._viewer, self._fields = viewer, fields
        self._choices, self._control = choices, control
        self.entries: list[Entry] = []
        self._waiting: deque[tuple[Entry, Job]] = deque()
        self._current: Entry | None = None
        control.ended.connect(self._settle)

    def start(self, layers: Iterable[Image]) -> None:
        """Compare some layers with fixed.

        Raises
        ------
        ValueError
            If there is none but fixed, or a run is under way.
        """
        fixed = self._fields["fixed"].value
        moving = [layer for layer in layers if layer is not fixed]
        if fixed is None or not moving:
            raise ValueError("choose one layer or several, beside fixed, to compare with it")
        if self._control.run is not None:
            raise ValueError("One run at a time: cancel the one that is going, or wait.")
        self.entries = [Entry(fixed.name, layer.name) for layer in moving]
        for entry, layer in zip(self.entries, moving, strict=True):
            try:
                self._waiting.append((entry, self._choices.job(layer)))
            except MENDABLE as error:
                entry.fail(error)
        self._begin_next()

    def show(self, entry: Entry) -> None:
        """Show the map of a pair, and hide those of the others."""
        layer = self._map_of(entry)
        if layer is None:
            return
        for other in self.entries:
            hidden = None if other is entry else self._map_of(other)
            for each in {} if hidden is None else layers_of_run(self._viewer, hidden).values():
                each.visible = False
        layer.visible = True
        self._viewer.layers.selection.active = layer

    def _map_of(self, entry: Entry) -> Layer | None:
        layers = self._viewer.layers
        return next((each for each in layers if str(each.unique_id) == entry.map_id), None)

    def _begin_next(self) -> None:
        if self._waiting:
            self._current, job = self._waiting.popleft()
            self._current.state = RUNNING
            self._control.launch(partial(run_and_judge, job, self._current), job)
        self.changed.emit()

    def _settle(self, result: Outcome | Failure | None, layer: Layer | None) -> None:
        """Note what a run gave, and go on; a run that was cancelled ends all."""
        entry, self._current = self._current, None
        if entry is None:  # it was no run of the queue
            return
        if isinstance(result, Outcome):
            entry.state = DONE
            entry.headline = "" if result.kept is None else str(result.kept.headline)
            entry.map_id = "" if layer is None else str(layer.unique_id)
            if layer is not None:
                layer.name = f"NCC {entry.moving}"
            self.show(entry)
        elif result is None:
            for each in (entry, *(each for each, _ in self._waiting)):
                each.state = STOPPED
            self._waiting.clear()
        else:
            entry.fail(result.error)
        self._begin_next()
