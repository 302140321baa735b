"""The dock widget: choose two layers, run, get an NCC layer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_local_ncc._napari.answer.panel import ResultPanel
from napari_local_ncc._napari.compare.fields import EXISTING, main_fields, more_fields
from napari_local_ncc._napari.compare.layout import (
    MAIN,
    Docking,
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
from napari_local_ncc._napari.compare.placement_section import Placement
from napari_local_ncc._napari.compare.preferences import PLUGIN, preferences, remember
from napari_local_ncc._napari.compare.read_fields import Choices
from napari_local_ncc._napari.compare.report import Report
from napari_local_ncc._napari.compare.roles import ROLES, Roles
from napari_local_ncc._napari.compare.run_control import RunControl
from napari_local_ncc._napari.compare.transform_actions import TransformActions
from napari_local_ncc._napari.compare.transforms_section import Transforms
from napari_local_ncc._napari.compare.welcome import welcome
from napari_local_ncc._napari.layers.convert import default_window_ndim, has_units
from napari_local_ncc._napari.preview.preview import LivePreview
from napari_local_ncc._napari.results.job import run_job
from napari_local_ncc._napari.results.warm_up import search_memory, warm_up
from napari_local_ncc._napari.several.queue import Queue
from napari_local_ncc._napari.several.section import Several
from napari_local_ncc._napari.storage.map_files import MapFiles
from napari_local_ncc._napari.worker import Failure, NewestOnly, explain
from napari_local_ncc.geometry.units import unit_symbol
from napari_local_ncc.progress import MENDABLE
from napari_local_ncc.registration.engines import ENGINES
from napari_local_ncc.reports.describe import describe_comparison, describe_registration
from napari_local_ncc.reports.headline import NextStep, headline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import napari
    from magicgui.widgets import Widget
    from napari.layers import Layer

    from napari_local_ncc._napari.results.job import Job, Outcome
    from napari_local_ncc.geometry.kind import Kind

INSPECTOR = "Local NCC inspector"
WIDER = 2  # times the search, when it is widened


class LocalNCCWidget(Container):
    """Compare two image layers window by window.

    Parameters
    ----------
    viewer : napari.Viewer
        Where the layers come from and the results go.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._named: dict[str, Widget] = {}
        self._transforms = Transforms(viewer)
        self._choices = Choices(viewer, self, self._transforms)
        self._transform_section = Section(
            "transform_section",
            "Transform: load, save, apply",
            self._transforms,
            "Use a transform again: for other channels, labels and points, or from a file.",
        )
        self._several = Several(viewer)
        self._placement = Placement(viewer, self._choices, self._transforms)
        self._fields = Container(
            widgets=[
                main_fields(viewer),
                Section("more", "More settings", more_fields(), "Weights, limits, bands, output."),
                Section(
                    "placement_section",
                    "Placement: by hand, landmarks",
                    self._placement,
                    "Say where a registration begins, where its search does not find it.",
                ),
                self._transform_section,
                Section(
                    "several_section",
                    "Several against fixed",
                    self._several,
                    "Compare several layers with fixed, one after the other, each with a verdict.",
                ),
            ],
            labels=False,
        )
        self._fields.margins = (0, 0, 0, 0)
        self._welcome = welcome(viewer)
        self._panel = ResultPanel(viewer)
        details = Fold("details", "Details")
        said = reports(self._panel, details)
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
        texts = TextScroll(said.native)
        self.native.layout().insertWidget(4, texts, 1)
        self._preview = LivePreview(viewer, self, self._choices.job)
        self._roles = Roles(self, self._offer_choices)
        self._report = Report(self, details, texts.reveal)
        self._control = RunControl(viewer, self, self._report, self._deliver)
        self._files = MapFiles(
            self.native, self._panel, self._control.launch, self._report.say, self._report.fail
        )
        self._warm_up: NewestOnly[None, bool] = NewestOnly(_receive_warmth)
        self._start_from_preferences()
        self._connect()
        self._control.show_running(False)
        self.reset_choices()
        docked = QTimer(self.native)  # which ends it if the widget goes first
        docked.setSingleShot(True)
        docked.timeout.connect(self._make_ready)
        docked.start(0)

    def _make_ready(self) -> None:
        """Load what a run needs while the user still chooses."""
        align_labels(self._fields)  # in the window's font
        # or the dock would grow, and the canvas jump, when images are opened
        self._welcome.native.setMinimumWidth(self._scroll.minimumSizeHint().width())
        unit_symbol("micrometer")  # pint reads its units once, which two threads at once spoil
        self._warm_up.work(warm_up)

    def _connect(self) -> None:
        for layer in ROLES:
            self[layer].changed.connect(self._offer_choices)
        self._fields.changed.connect(self._show_plan)
        self._fields.changed.connect(self._preview.refresh)
        transforms = TransformActions(
            self._viewer,
            self,
            self._transforms,
            self._choices,
            self._report,
            self._control.launch,
        )
        self._queue = Queue(self._viewer, self, self._choices, self._control)
        self._several.follow(self._queue)
        presses: dict[str, Callable[[], object]] = {
            "more": self._offer_choices,
            "placement_section": self._offer_choices,
            "transform_section": self._offer_choices,
            "run": partial(self._begin, compare=True),
            "register": partial(self._begin, compare=False),
            "run_several": self._begin_several,
            "export_several": self._export_several,
            "several_section": self._offer_choices,
            "cancel": self._control.cancel,
            "guide": lambda: show_guide(self.native),
            "inspect": self._inspect,
            "details": self._report.unfold_details,
            "save_map": self._files.ask_and_save,
            "load_map": self._files.ask_and_load,
            "load_transform": transforms.load,
            "save_transform": transforms.save,
            "apply_transform": transforms.apply,
        }
        for name, action in presses.items():
            self[name].changed.connect(_without_value(action))
        for field in _fields_of(self):
            if isinstance(field, Section):
                field.unfolded.connect(partial(self._scroll.reveal, field.native))
            if not isinstance(field, Container):
                name = getattr(field, "text", "") or field.label or field.name
                field.native.setAccessibleName(field.native.accessibleName() or name)
        self._panel.stepped.connect(self._take_step)
        self._panel.turned.connect(self._tell_of_result)
        self._placement.told.connect(self._report.say)
        self._placement.failed.connect(self._report.fail)
        self._placement.placed.connect(self._use_placement)
        self._docking = Docking(self.native, undocked=self._rest)
        self.native.destroyed.connect(self._quit)
        QApplication.instance().aboutToQuit.connect(self._quit)

    def __getitem__(self, key: Any) -> Any:
        """Find a field by its name, wherever the layout has put it, or by position."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        if key not in self._named:  # once: every tick of a run asks for some
            fields = reversed([*_fields_of(self)])
            self._named = {field.name: field for field in fields}
        return self._named[key]

    def _start_from_preferences(self) -> None:
        """Set every field that has a preference."""
        names = {field.name for field in _fields_of(self)}
        for name, value in preferences().items():
            if name in names:
                self[name].value = value

    def reset_choices(self, *_: Any) -> None:
        """Offer the layers that are there now, a different one for fixed and for moving."""
        before = self._roles.followed
        super().reset_choices()
        self._roles.fill(before)
        if None in self._roles.layers or self._roles.layers != before:
            self._offer_choices()  # else a layer came or went that is not compared

    def _offer_choices(self, *_: Any) -> None:
        """Show the fields that matter for the two layers, and what would be done."""
        align_labels(self._fields)
        layers = self._roles.layers
        both = all(layer is not None for layer in layers)
        deep = both and max(layer.ndim for layer in layers) > 2
        self._welcome.visible = is_empty = not self["fixed"].choices
        self._scroll.setVisible(not is_empty)
        self["window"].visible = deep
        if self._roles.follow():
            self._report.drop_complaint()  # it was about other layers
            self["start"].value = ""  # so was what was placed
            if both:  # what the user chose for a pair is kept
                self["window"].value = default_window_ndim(*layers) if deep else 2
        for name, layer in zip(("fixed_pick", "moving_pick"), layers, strict=True):
            self[name].visible = both and (layer.ndim > 2 or layer.rgb)
        self["level"].visible = both and any(layer.multiscale for layer in layers)
        self["unitless"].visible = both and has_units(layers[0]) != has_units(layers[1])
        self._show_plan()

    def _show_plan(self, *_: Any) -> None:
        self["radius"].enabled = not self["exact_radius"].value.strip()
        searching = ("shift", "classes", "shift_error", "refine")
        self["search"].enabled = any(self[name].value for name in searching)
        if self["registration"].value == EXISTING and not self._transform_section.is_unfolded:
            self._transform_section.unfold()
        try:
            comparison = self._choices.comparison(masked=False)
            plan = describe_comparison(comparison, model=self._choices.model())
            plan += self._placement.plan(self._choices.model())
        except MENDABLE as error:
            self._report.plan(str(error), is_possible=False)
        else:
            self._report.plan(plan, is_possible=True)

    def _inspect(self) -> None:
        self._viewer.window.add_plugin_dock_widget(PLUGIN, INSPECTOR)

    def _use_placement(self, kind: Kind) -> None:
        """Choose a registration that keeps what was placed: as it is where none was asked for."""
        field = self["registration"]
        engine = ENGINES.get(field.value)
        if engine is not None and engine.kind.includes(kind):
            return
        wanted = ENGINES[kind] if engine is not None else None
        field.value = EXISTING if wanted is None or wanted.missing else str(kind)

    def _take_step(self, step: NextStep) -> None:
        """Do what the headline proposes: set the fields for it, and run."""
        if step is NextStep.SEARCH:
            search = self["search"]
            search.value = min(WIDER * search.value, search.max)
        else:
            if step is NextStep.REGISTER:  # told of the images as they lie, not as they were placed
                self["start"].value = ""
            model = "flow" if step is NextStep.FLOW else "translation"
            self["registration"].value = model
        self._begin(compare=True)

    def _tell_of_result(self) -> None:
        result = self._panel.result
        self._report.turn_to(() if result is None else result.details)

    def _begin(self, *, compare: bool) -> None:
        self._offer_choices()  # the layers may have been edited since
        try:
            job = self._choices.job(compare=compare)
        except MENDABLE as error:
            self._report.fail(error)
            return
        settings = {
            field.name: field.value for field in _fields_of(self) if hasattr(field, "value")
        }
        if settings["registration"] == EXISTING:
            del settings["registration"]  # the next session does not have it
        remember(settings)
        self._control.launch(partial(run_job, job), job)

    def _begin_several(self) -> None:
        try:
            self._queue.start(self._several.chosen())
        except MENDABLE as error:
            self._report.fail(error)
        else:
            self._scroll.reveal(self._several.table)

    def _export_several(self) -> None:
        try:
            path = self._several.export()
        except MENDABLE as error:
            self._report.fail(error)
        else:
            self._report.say("" if path is None else f"Written to {path}")

    def _deliver(self, job: Job | None, outcome: Outcome, layer: Layer | None) -> None:
        """Show what a run gave."""
        if job is not None:
            self._preview.use(job, outcome.registration)
        found = outcome.registration
        if found is not None:
            self._transforms.keep(f"last: {found.model}", found)
        if outcome.kept is not None and layer is not None:
            self._panel.show_result(layer)
            self._report.tell(outcome.kept.details)
        elif found is not None:
            self._panel.show_headline(headline(found))
            refined = [] if outcome.refinement is None else [f"Refined: {outcome.refinement}"]
            self._report.tell([f"Registration: {describe_registration(found)}", *refined])

    def _rest(self) -> None:
        """Compute nothing while no window holds the widget; napari may dock it again."""
        self["preview"].value = False
        self._control.close()

    def _quit(self) -> None:
        """End what is running, and show nothing more: the widget is gone."""
        self._warm_up.let_go()
        self._preview.close()
        self._panel.let_go()
        self._files.let_go()
        self._control.let_go()


def _fields_of(container: Container) -> Iterator[Widget]:
    """Yield every field of a container, at any depth, and the containers too."""
    for field in container._list:
        yield field
        if isinstance(field, Container):
            yield from _fields_of(field)


def _receive_warmth(answer: bool | Failure) -> None:
    """End what makes ready; a defect of ours is raised, the rest is said by the run it concerns."""
    if isinstance(answer, Failure):
        explain(answer)
    elif answer:
        search_memory()


def _without_value(action: Callable[[], object]) -> Callable[[object], object]:
    """Return a slot for a button's value, which says nothing."""
    return lambda _: action()
