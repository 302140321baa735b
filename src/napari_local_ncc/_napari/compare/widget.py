"""The dock widget: choose two layers, run, get an NCC layer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container
from napari.layers import Image, Points
from napari.utils.notifications import (
    ErrorNotification,
    Notification,
    NotificationSeverity,
    notification_manager,
)
from qtpy.QtWidgets import QApplication

from napari_local_ncc._napari.answer.panel import ResultPanel
from napari_local_ncc._napari.compare.apply_transform import add_moved_points, run_application
from napari_local_ncc._napari.compare.fields import EXISTING, main_fields, more_fields
from napari_local_ncc._napari.compare.layout import (
    MAIN,
    FittingScroll,
    Fold,
    Section,
    TextScroll,
    actions,
    align_labels,
    map_actions,
    progress_bar,
    reports,
    show_guide,
)
from napari_local_ncc._napari.compare.preferences import PLUGIN, preferences, remember
from napari_local_ncc._napari.compare.read_fields import Choices
from napari_local_ncc._napari.compare.transforms_section import Transforms
from napari_local_ncc._napari.compare.welcome import welcome
from napari_local_ncc._napari.layers.convert import METADATA, default_window_ndim, has_units
from napari_local_ncc._napari.preview.preview import LivePreview
from napari_local_ncc._napari.results.job import Outcome, run_job
from napari_local_ncc._napari.results.result_layer import LayerError
from napari_local_ncc._napari.results.run import Run
from napari_local_ncc._napari.storage.map_files import MapFiles
from napari_local_ncc.progress import MENDABLE, Step
from napari_local_ncc.reports.describe import describe_comparison, describe_registration
from napari_local_ncc.reports.headline import NextStep, headline

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Iterator

    import napari
    from magicgui.widgets import Widget

    from napari_local_ncc._napari.results.job import Job, Message
    from napari_local_ncc._napari.worker import Failure
    from napari_local_ncc.progress import Progress

INSPECTOR = "Local NCC inspector"
PREPARING = "Preparing the calibration"  # the first time, its kernels are compiled
ROLES = ("fixed", "moving")
WIDER = 2  # times the search, when it is widened
PLACE = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels", "data")


class LocalNCCWidget(Container):
    """Compare two image layers window by window.

    Parameters
    ----------
    viewer : napari.Viewer
        Where the layers come from and the results go.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._run: Run | None = None
        self._job: Job | None = None
        self._pair: list[Image] = []
        self._complaint = ""  # the last error that was said
        self._told = ""  # the last report that was given
        self._has_plan = False
        self._transforms = Transforms(viewer)
        self._choices = Choices(viewer, self, self._transforms)
        self._transform_section = Section(
            "transform_section",
            "Transform: load, save, apply",
            self._transforms,
            "Use a transform again: for other channels, labels and points, or from a file.",
        )
        self._fields = Container(
            widgets=[
                main_fields(viewer),
                Section("more", "More settings", more_fields(), "Weights, limits, bands, output."),
                self._transform_section,
            ],
            labels=False,
        )
        self._fields.margins = (0, 0, 0, 0)
        self._welcome = welcome(viewer)
        self._panel = ResultPanel(viewer)
        self._details = Fold("details", "Details")
        said = reports(self._panel, self._details)
        super().__init__(
            widgets=[
                self._welcome,
                self._fields,
                actions(),
                progress_bar(),
                said,
                map_actions(),
            ],
            labels=False,
        )
        self.native.setObjectName(MAIN)
        self.native.layout().setSpacing(3)
        self.native.layout().setContentsMargins(3, 6, 3, 6)  # it fits 300 px
        self._scroll = FittingScroll(self._fields)
        self.native.layout().insertWidget(1, self._scroll)
        self.native.layout().insertWidget(4, TextScroll(said.native), 1)
        self._preview = LivePreview(viewer, self, self._choices.job)
        self._files = MapFiles(self.native, self._panel, self._launch, self._say, self._fail)
        self._start_from_preferences()
        self._connect()
        self._set_running(False)
        self.reset_choices()

    def _connect(self) -> None:
        for layer in ROLES:
            self[layer].changed.connect(self._offer_choices)
        self._fields.changed.connect(self._show_plan)
        self._fields.changed.connect(self._preview.refresh)
        presses: dict[str, Callable[[], object]] = {
            "more": self._offer_choices,
            "transform_section": self._offer_choices,
            "run": partial(self._begin, compare=True),
            "register": partial(self._begin, compare=False),
            "cancel": self._cancel,
            "guide": lambda: show_guide(self.native),
            "inspect": self._inspect,
            "details": self._unfold_details,
            "save_map": self._files.ask_and_save,
            "load_map": self._files.ask_and_load,
            "load_transform": self._load_transform,
            "save_transform": self._save_transform,
            "apply_transform": self._apply_transform,
        }
        for name, action in presses.items():
            self[name].changed.connect(_without_value(action))
        for field in _fields_of(self):
            if not isinstance(field, Container):
                name = getattr(field, "text", "") or field.label or field.name
                field.native.setAccessibleName(field.native.accessibleName() or name)
        self._panel.stepped.connect(self._take_step)
        self.native.destroyed.connect(self._quit)
        QApplication.instance().aboutToQuit.connect(self._quit)

    def __getitem__(self, key: Any) -> Any:
        """Find a field by its name, wherever the layout has put it, or by position."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        return next(field for field in _fields_of(self) if field.name == key)

    def _start_from_preferences(self) -> None:
        """Set every field that has a preference."""
        names = {field.name for field in _fields_of(self)}
        for name, value in preferences().items():
            if name in names:
                self[name].value = value

    def reset_choices(self, *_: Any) -> None:
        """Offer the layers that are there now, a different one for fixed and for moving."""
        before = self._pair or [None, None]
        super().reset_choices()
        self._fill_roles(dict(zip(ROLES, before, strict=True)))
        self._offer_choices()

    def _fill_roles(self, before: dict[str, Image | None]) -> None:
        """Give a role whose layer went to one that is free, or to none; else keep the two apart."""
        there = self["moving"].choices
        gone = [role for role, layer in before.items() if layer not in there]
        kept = [layer for layer in before.values() if layer in there]
        alone = kept[0] if len(gone) == 1 else self["fixed"].value
        free = [  # our own results are compared only where the user chooses them
            layer for layer in there if layer is not alone and METADATA not in layer.metadata
        ]
        if len(gone) == 1:
            self[gone[0]].native.setCurrentIndex(-1)  # the other layer takes no second role
        if free and len(gone) == 1:
            self[gone[0]].value = free[0]
        elif free and self["moving"].value is alone:
            self["moving"].value = free[0]

    def _offer_choices(self, *_: Any) -> None:
        """Show the fields that matter for the two layers, and what would be done."""
        align_labels(self._fields)
        layers = [self[name].value for name in ROLES]
        both = all(layer is not None for layer in layers)
        deep = both and max(layer.ndim for layer in layers) > 2
        self._welcome.visible = is_empty = not self["fixed"].choices
        self._scroll.setVisible(not is_empty)
        self["window"].visible = deep
        if layers != self._pair:
            self._follow(layers)
            if self["message"].value == self._complaint:
                self._say("")  # it was about other layers
            if both:  # what the user chose for a pair is kept
                self["window"].value = default_window_ndim(*layers) if deep else 2
        for name, layer in zip(("fixed_pick", "moving_pick"), layers, strict=True):
            self[name].visible = both and (layer.ndim > 2 or layer.rgb)
        self["level"].visible = both and any(layer.multiscale for layer in layers)
        self["unitless"].visible = both and has_units(layers[0]) != has_units(layers[1])
        self._show_plan()

    def _follow(self, layers: list[Image]) -> None:
        """Keep the plan true when the chosen layers are edited."""
        for layer in filter(None, self._pair):
            for name in PLACE:
                getattr(layer.events, name).disconnect(self._offer_choices)
        for layer in filter(None, layers):
            for name in PLACE:
                getattr(layer.events, name).connect(self._offer_choices)
        self._pair = layers

    def _show_plan(self, *_: Any) -> None:
        self["radius"].enabled = not self["exact_radius"].value.strip()
        searching = ("shift", "classes", "shift_error", "refine")
        self["search"].enabled = any(self[name].value for name in searching)
        if self["registration"].value == EXISTING and not self._transform_section.is_unfolded:
            self._transform_section.unfold()
        self._has_plan = True
        try:
            comparison = self._choices.comparison(masked=False)
            plan = describe_comparison(comparison, model=self._choices.model())
        except MENDABLE as error:
            plan, self._has_plan = str(error), False
        self["plan"].value = plan
        self._fold()

    def _say(self, text: str, *, is_report: bool = False) -> None:
        """Show a message; a report stays folded away while its headline is shown."""
        self["message"].value = text
        self._told = text if is_report else ""
        self._fold()

    def _fold(self) -> None:
        """Show what matters now: beside a headline neither what was planned nor all figures."""
        is_answered = self["headline"].visible
        all_of_it = not is_answered or self._details.is_unfolded
        self["details"].visible = is_answered
        self["plan"].visible = all_of_it or not self._has_plan
        self["message"].visible = all_of_it or not self._told

    def _unfold_details(self) -> None:
        self._details.unfold(not self._details.is_unfolded)
        self._fold()

    def _inspect(self) -> None:
        self._viewer.window.add_plugin_dock_widget(PLUGIN, INSPECTOR)

    def _take_step(self, step: NextStep) -> None:
        """Do what the headline proposes: set the fields for it, and run."""
        if step is NextStep.SEARCH:
            search = self["search"]
            search.value = min(WIDER * search.value, search.max)
        else:
            model = "flow" if step is NextStep.FLOW else "translation"
            self["registration"].value = model
        self._begin(compare=True)

    def _begin(self, *, compare: bool) -> None:
        self._offer_choices()  # the layers may have been edited since
        try:
            job = self._choices.job(compare=compare)
        except MENDABLE as error:
            self._fail(error)
            return
        settings = {
            field.name: field.value for field in _fields_of(self) if hasattr(field, "value")
        }
        if settings["registration"] == EXISTING:
            del settings["registration"]  # the next session does not have it
        remember(settings)
        self._launch(partial(run_job, job), job)

    def _launch(
        self,
        steps_of: Callable[[threading.Event], Generator[Message, None, Outcome]],
        job: Job | None = None,
        *,
        keep_earlier: bool | None = None,
    ) -> None:
        if self._run is not None:
            self._fail(ValueError("One run at a time: cancel the one that is going, or wait."))
            return
        self._set_running(True)
        self._job = job
        self._say("Starting")
        keeps = self["keep"].value if keep_earlier is None else keep_earlier
        self._run = Run(self._viewer, steps_of, keep_earlier=keeps)
        self._run.progressed.connect(self._show_progress)
        self._run.ended.connect(self._receive)
        self._run.start()

    def _show_progress(self, progress: Progress, seconds_left: float | None) -> None:
        bar = self["progress"]
        left = "" if seconds_left is None else f", {_duration(seconds_left)} left"
        bar.native.setUpdatesEnabled(False)  # else it draws the window at once, canvas and all
        bar.native.setFormat(f"%p %{left}")
        bar.max, bar.value = max(progress.total, 1), progress.done
        bar.native.setUpdatesEnabled(True)
        text = PREPARING if progress.step is Step.CALIBRATE and not progress.done else progress.text
        is_counted = progress.total > 1 and text is not PREPARING
        part = f": {progress.done} of {progress.total}" if is_counted else ""
        metric = "" if progress.metric is None else f", metric {progress.metric:.4f}"
        self._say(text + part + metric)

    def _receive(self, result: Outcome | Failure | None) -> None:
        layer = None if self._run is None else self._run.map_layer
        self._set_running(False)
        if result is None:
            self._say("Stopped, since the result's layer was removed.")
        elif isinstance(result, Outcome):
            self._report(result, layer)
        elif isinstance(result.error, (*MENDABLE, LayerError)):
            self._fail(result.error)
        else:
            raise result.error  # a defect of ours: napari shows it with its traceback

    def _report(self, outcome: Outcome, layer: Any) -> None:
        if self._job is not None:
            self._preview.use(self._job, outcome.registration)
        found = outcome.registration
        if found is not None:
            self._transforms.keep(f"the last one: {found.model}", found)
        if outcome.kept is not None and layer is not None:
            self._panel.show_result(layer)
            self._say("\n".join(outcome.kept.details), is_report=True)
        elif found is not None:
            self._panel.show_headline(headline(found))
            refined = [] if outcome.refinement is None else [f"Refined: {outcome.refinement}"]
            lines = [f"Registration: {describe_registration(found)}", *refined]
            self._say("\n".join(lines), is_report=True)

    def _fail(self, error: Exception) -> None:
        self._complaint = str(error) or type(error).__name__
        self._say(self._complaint)
        if not isinstance(error, MENDABLE):  # of napari or a plugin: with its traceback
            notification_manager.dispatch(ErrorNotification(error))

    def _cancel(self) -> None:
        if self._run is None:
            return
        keep = self["on_cancel"].value == "keep"
        try:
            progress = self._run.cancel(keep=keep)
        finally:  # whatever a layer may raise, the next run can begin
            self._set_running(False)
        kept = keep and progress.done and progress.step in (Step.COMPARE, Step.RESAMPLE)
        self._say(
            f"Cancelled; {progress.done} of {progress.total} tiles are finished and kept."
            if kept
            else "Cancelled; nothing was added."
        )

    def _quit(self) -> None:
        """End what is running, and show nothing more: the widget is gone."""
        self._preview.close()
        self._panel.let_go()
        self._files.let_go()
        if self._run is not None:
            self._run.ended.disconnect()
            self._run.progressed.disconnect()
            self._run.abandon()
            told = self._run.left_behind
            self._run = None
            if told:
                notification_manager.dispatch(Notification(told, NotificationSeverity.WARNING))

    def _set_running(self, running: bool) -> None:
        for name in ("run", "register", "apply_transform", "next_step"):
            self[name].enabled = not running
        self["cancel"].enabled = running
        self["progress"].visible = running
        self["progress"].value = 0
        if not running:
            self._run = None

    def _load_transform(self) -> None:
        try:
            layer = self["fixed"].value
            grid = None if layer is None else self._choices.fixed_grid()
            registration = self._transforms.load(grid)
        except MENDABLE as error:
            self._fail(error)
            return
        if registration is not None:
            self["registration"].value = EXISTING
            self._say(f"Loaded: {describe_registration(registration)}")

    def _save_transform(self) -> None:
        try:
            path = self._transforms.save()
        except MENDABLE as error:
            self._fail(error)
            return
        if path is not None:
            self._say(f"Saved {path}")

    def _apply_transform(self) -> None:
        layer = self["other"].value
        try:
            registration = self._transforms.choice()
            if layer is None:
                raise ValueError("choose the other layer that is to be moved")
            if isinstance(layer, Points):
                count = add_moved_points(self._viewer, layer, registration)
                self._say(f"{count} points moved onto the fixed image.")
            else:
                self._launch(
                    partial(run_application, self._choices.application(layer, registration))
                )
        except MENDABLE as error:
            self._fail(error)


def _fields_of(container: Container) -> Iterator[Widget]:
    """Yield every field of a container, at any depth, and the containers too."""
    for field in container._list:
        yield field
        if isinstance(field, Container):
            yield from _fields_of(field)


def _without_value(action: Callable[[], object]) -> Callable[[object], object]:
    """Return a slot for a button's value, which says nothing."""
    return lambda _: action()


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
