"""The dock widget: choose two layers, run, get an NCC layer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    Label,
    ProgressBar,
    PushButton,
    SpinBox,
    Widget,
    create_widget,
)
from napari.layers import Image, Labels
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error

from napari_local_ncc._napari.job import Failure, Job, Outcome, attempt
from napari_local_ncc._napari.layers import (
    add_ncc_layer,
    add_registered_layer,
    default_window_ndim,
    placement,
    spatial_image,
)
from napari_local_ncc.parameters import NCCParameters
from napari_local_ncc.summary import describe_registration

if TYPE_CHECKING:
    import napari

    from napari_local_ncc.progress import Progress

BAD_INPUT = (ValueError, TypeError, MemoryError, OSError)
STEPS = {"register": "Registering", "compare": "Comparing", "resample": "Resampling"}


class LocalNCCWidget(Container):
    """Compare two image layers window by window.

    Parameters
    ----------
    viewer : napari.Viewer
        Where the layers come from and the results go.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._cancelled = threading.Event()
        inputs = Container(widgets=_inputs(), labels=True)
        inputs.margins = (0, 0, 0, 0)
        super().__init__(widgets=[inputs, _buttons(), *_reports()], labels=False)
        self["message"].native.setWordWrap(True)
        self["fixed"].changed.connect(self._offer_window_ndim)
        self["moving"].changed.connect(self._offer_window_ndim)
        self["run"].changed.connect(self._start)
        self["cancel"].changed.connect(self._cancel)
        self.native.destroyed.connect(self._cancel)
        self._set_running(False)
        self.reset_choices()

    def __getitem__(self, key: Any) -> Any:
        """Find a field by its name, wherever the layout has put it, or by position."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        rows = [row for row in self if isinstance(row, Container)]
        return next(field for group in (*rows, self._list) for field in group if field.name == key)

    def reset_choices(self, *_: Any) -> None:
        """Offer the layers that are there now, a different one for fixed and for moving."""
        super().reset_choices()
        others = [layer for layer in self["moving"].choices if layer is not self["fixed"].value]
        if others and self["moving"].value is self["fixed"].value:
            self["moving"].value = others[0]
        self._offer_window_ndim()

    def _offer_window_ndim(self, *_: Any) -> None:
        fixed, moving = self["fixed"].value, self["moving"].value
        deep = fixed is not None and moving is not None and max(fixed.ndim, moving.ndim) > 2
        self["window"].visible = deep
        self["window"].value = default_window_ndim(fixed, moving) if deep else 2

    def _start(self) -> None:
        try:
            job = self._collect()
        except (ValueError, TypeError) as error:
            self._fail(error)
            return
        self._set_running(True)
        self["message"].value = "Starting"
        self._cancelled.clear()
        create_worker(
            attempt,
            job,
            self._cancelled,
            _connect={"yielded": self._show_progress, "returned": self._receive},
        )

    def _collect(self) -> Job:
        fixed, moving, mask = (self[name].value for name in ("fixed", "moving", "mask"))
        if fixed is None or moving is None or fixed is moving:
            raise ValueError(
                "Two different image layers are needed: one fixed, one moving. "
                "File > Open Sample > Local NCC has some."
            )
        ndim = self["window"].value
        return Job(
            fixed=spatial_image(fixed, ndim),
            moving=spatial_image(moving, ndim),
            mask=None if mask is None else spatial_image(mask, ndim),
            model=self["registration"].value,
            parameters=NCCParameters(self["radius"].value, self["weights"].value),
            add_registered=self["add_registered"].value,
            placement=placement(fixed),
        )

    def _show_progress(self, progress: Progress) -> None:
        bar = self["progress"]
        bar.max, bar.value = max(progress.total, 1), progress.done
        self["message"].value = f"{STEPS[progress.step]}: {progress.done} of {progress.total}"

    def _receive(self, result: Outcome | Failure | None) -> None:
        self._set_running(False)
        if result is None:
            self["message"].value = "Cancelled; nothing was added."
        elif isinstance(result, Outcome):
            self._deliver(result)
        elif isinstance(result.error, BAD_INPUT):
            self._fail(result.error)
        else:
            raise result.error  # a defect of ours: napari shows it with its traceback

    def _deliver(self, outcome: Outcome) -> None:
        if outcome.registered is not None:
            add_registered_layer(self._viewer, outcome)
        add_ncc_layer(self._viewer, outcome)
        lines = [f"NCC: {outcome.summary}"]
        registration = outcome.map.registration
        if registration is not None:
            lines.append(f"Registration: {describe_registration(registration)}")
        self["message"].value = ".\n".join(lines)

    def _fail(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        self["message"].value = text
        show_error(text)

    def _cancel(self) -> None:
        self._cancelled.set()

    def _set_running(self, running: bool) -> None:
        self["run"].enabled = not running
        self["cancel"].enabled = running
        self["progress"].visible = running
        self["progress"].value = 0


def _inputs() -> list[Widget]:
    return [
        create_widget(
            name="fixed",
            annotation=Image,
            options={"tooltip": "The reference: the result lies on its pixels."},
        ),
        create_widget(
            name="moving",
            annotation=Image,
            options={"tooltip": "The image to compare with it, brought onto its pixels."},
        ),
        ComboBox(
            name="registration",
            choices=[("already aligned", "none"), ("translation", "translation")],
            tooltip="How to move the moving image onto the fixed one first. "
            "A series is registered frame by frame.",
        ),
        ComboBox(
            name="window",
            choices=[("2-D, plane by plane", 2), ("3-D", 3)],
            tooltip="2-D takes every plane or frame on its own; 3-D compares volumes.",
        ),
        SpinBox(
            name="radius",
            label="radius (px)",
            value=4,
            min=1,
            max=10_000,
            tooltip="The window is 2 x radius + 1 pixels wide. Small shows detail, "
            "large is less noisy.",
        ),
        ComboBox(
            name="weights",
            choices=["box", "gaussian"],
            tooltip="Box: all pixels of a window count the same. "
            "Gaussian: the middle counts more (sigma = radius / 3).",
        ),
        create_widget(
            name="mask",
            annotation=Labels,
            options={
                "nullable": True,
                "tooltip": "Labels where samples may be used; none: everywhere.",
            },
        ),
        CheckBox(
            name="add_registered",
            label="",
            text="add registered moving layer",
            tooltip="Also add the moving image as it was compared.",
        ),
    ]


def _buttons() -> Container:
    run = PushButton(
        name="run",
        text="Run",
        tooltip="Add an NCC layer. High similarity is no proof that a registration is right.",
    )
    cancel = PushButton(name="cancel", text="Cancel", tooltip="Stop; nothing is added.")
    buttons = Container(layout="horizontal", labels=False, widgets=[run, cancel])
    buttons.margins = (0, 0, 0, 0)
    return buttons


def _reports() -> list[Widget]:
    return [ProgressBar(name="progress"), Label(name="message")]
