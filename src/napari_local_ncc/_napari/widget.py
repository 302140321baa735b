"""The dock widget: choose two layers, run, get an NCC layer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error
from qtpy.QtWidgets import QApplication

from napari_local_ncc._napari.fields import align_labels, buttons, inputs, reports
from napari_local_ncc._napari.job import BAD_INPUT, Failure, Job, Outcome, attempt
from napari_local_ncc._napari.layers import (
    add_ncc_layer,
    add_registered_layer,
    default_window_ndim,
    has_units,
    mask_image,
    placement,
    placement_on,
    spatial_image,
)
from napari_local_ncc._napari.preview import LivePreview
from napari_local_ncc.image import parse_selection
from napari_local_ncc.parameters import NCCParameters
from napari_local_ncc.summary import describe_pairing, describe_registration

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from napari_local_ncc.image import SpatialImage
    from napari_local_ncc.progress import Progress

STEPS = {
    "register": "Registering",
    "load": "Loading the kernel (a few seconds after an installation)",
    "compare": "Comparing",
    "resample": "Resampling",
}


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
        self._is_gone = False
        self._pair: list[Image] = []
        choices = inputs()
        super().__init__(widgets=[choices, buttons(), *reports()], labels=False)
        for layer in ("fixed", "moving"):
            self[layer].changed.connect(self._offer_choices)
        choices.changed.connect(self._show_plan)
        self._preview = LivePreview(viewer, self, self._collect)
        choices.changed.connect(self._preview.refresh)
        self["run"].changed.connect(self._start)
        self["cancel"].changed.connect(self._cancel)
        self.native.destroyed.connect(self._quit)
        QApplication.instance().aboutToQuit.connect(self._quit)
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
        self._offer_choices()

    def _offer_choices(self, *_: Any) -> None:
        """Show the fields that matter for the two layers, and what would be done."""
        align_labels(self[0])
        layers = [self[name].value for name in ("fixed", "moving")]
        both = all(layer is not None for layer in layers)
        deep = both and max(layer.ndim for layer in layers) > 2
        self["window"].visible = deep
        if both and layers != self._pair:  # what the user chose for a pair is kept
            self["window"].value = default_window_ndim(*layers) if deep else 2
        self._pair = layers
        for name, layer in zip(("fixed_pick", "moving_pick"), layers, strict=True):
            self[name].visible = both and (layer.ndim > 2 or layer.rgb)
        self["level"].visible = both and any(layer.multiscale for layer in layers)
        self["unitless"].visible = both and has_units(layers[0]) != has_units(layers[1])
        self._show_plan()

    def _show_plan(self, *_: Any) -> None:
        try:
            fixed, moving = self._images()
            plan = describe_pairing(
                fixed,
                moving,
                self._parameters(),
                self["unitless"].value,
                model=self["registration"].value,
            )
        except BAD_INPUT as error:
            plan = str(error)
        self["plan"].value = plan

    def _start(self) -> None:
        self._offer_choices()  # the layers may have been edited since
        try:
            job = self._collect()
        except BAD_INPUT as error:
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

    def _images(self) -> tuple[SpatialImage, SpatialImage]:
        fixed, moving = self["fixed"].value, self["moving"].value
        picks = self._picks()
        if fixed is None or moving is None or (fixed is moving and picks[0] == picks[1]):
            raise ValueError(
                "Two different image layers are needed: one fixed, one moving. "
                "File > Open Sample > Local NCC has some."
            )
        ndim, level = self["window"].value, self["level"].value
        return (
            spatial_image(fixed, ndim, chosen=picks[0], level=level),
            spatial_image(moving, ndim, chosen=picks[1], level=level),
        )

    def _picks(self) -> list[dict[str, int]]:
        return [parse_selection(self[name].value) for name in ("fixed_pick", "moving_pick")]

    def _parameters(self) -> NCCParameters:
        return NCCParameters(
            radius=self["radius"].value,
            weights=self["weights"].value,
            interpolation=self["interpolation"].value,
        )

    def _collect(self) -> Job:
        fixed, moving = self._images()
        layer, mask = self["fixed"].value, self["mask"].value
        as_it_is = not self._picks()[0] and self["level"].value == 0
        return Job(
            fixed=fixed,
            moving=moving,
            mask=None if mask is None else mask_image(mask, fixed, self._picks()[0]),
            model=self["registration"].value,
            parameters=self._parameters(),
            add_registered=self["add_registered"].value,
            placement=placement(layer) if as_it_is else placement_on(fixed.grid),
            unitless=self["unitless"].value,
            multiscale=layer.multiscale,
        )

    def _show_progress(self, progress: Progress) -> None:
        if self._cancelled.is_set():
            return
        bar = self["progress"]
        bar.max, bar.value = max(progress.total, 1), progress.done
        part = f": {progress.done} of {progress.total}" if progress.total > 1 else ""
        self["message"].value = STEPS[progress.step] + part

    def _receive(self, result: Outcome | Failure | None) -> None:
        if self._is_gone:
            return
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
        self._preview.use(outcome.job, outcome.map.registration)
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
        self["cancel"].enabled = False
        self["message"].value = "Cancelling"

    def _quit(self) -> None:
        """End what is running, and show nothing more: the widget is gone."""
        self._is_gone = True
        self._cancelled.set()
        self._preview.close()

    def _set_running(self, running: bool) -> None:
        self["run"].enabled = not running
        self["cancel"].enabled = running
        self["progress"].visible = running
        self["progress"].value = 0
