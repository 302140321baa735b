"""Live preview: the map of what is in view, again whenever the view or a knob changes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_local_ncc._napari.compare.layout import Docking
from napari_local_ncc._napari.layers.convert import PREVIEW, ncc_colors, placement_on, set_changed
from napari_local_ncc._napari.preview.compute import Sight, look
from napari_local_ncc._napari.preview.view import View
from napari_local_ncc._napari.worker import Failure, NewestOnly, explain
from napari_local_ncc.geometry.kind import UNREGISTERED
from napari_local_ncc.progress import MENDABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from magicgui.widgets import Container
    from napari.layers import Image, Layer
    from napari.viewer import Viewer

    from napari_local_ncc._napari.results.job import Job
    from napari_local_ncc.maps.comparison import Comparison
    from napari_local_ncc.transforms.registration import Registration

REST = 150  # ms without a change before it computes
# What may change of a layer that is compared, or that is the mask.
CHANGES = ("data", "paint", "scale", "translate", "rotate", "shear", "affine", "units")


class LivePreview:
    """Keeps a layer with the NCC of what is in view while a widget's toggle is on.

    One computation runs at a time, on a worker thread. A change cancels it, and once
    nothing has changed for a moment the next one begins.

    Parameters
    ----------
    viewer : napari.Viewer
        Where it shows.
    widget : Container
        Its field `preview` is the toggle, and `preview_note` says what is shown.
    collect : callable
        Returns what the widget's fields ask for now, or raises one of `MENDABLE`.
    """

    def __init__(self, viewer: Viewer, widget: Container, collect: Callable[[], Job]) -> None:
        self._viewer = viewer
        self._widget = widget
        self._collect = collect
        self._is_on = False
        self._layer: Image | None = None
        self._known: tuple[Job, Registration | None] | None = None
        self._view: View | None = None
        self._watched: list[Layer] = []
        self._asked: tuple[Job, Comparison]
        self._worker: NewestOnly[Sight, Sight] = NewestOnly(self._receive, self._show)
        self._rest = QTimer()
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST)
        self._rest.timeout.connect(self._begin)
        widget["preview"].changed.connect(self._switch)
        self._docking = Docking(widget.native, undocked=self._switch_off)
        for event in self._view_events():
            event.connect(self._look_again)
        viewer.layers.events.removed.connect(self._on_removed)

    def refresh(self, *_: Any) -> None:
        """Drop what is being computed, and compute anew in a moment, if the toggle is on."""
        self._worker.forget()
        if self._is_on:
            self._rest.start()

    def use(self, job: Job, registration: Registration | None) -> None:
        """Take the transform of a run for the previews of the same pair and model."""
        self._known = (job, registration)
        self.refresh()

    def _switch_off(self) -> None:
        self._widget["preview"].value = False

    def close(self) -> None:
        """Stop for good: the widget is gone."""
        self._is_on = False
        self._worker.let_go()

    def _view_events(self) -> list[Any]:
        camera, dims = self._viewer.scene.camera.events, self._viewer.dims.events
        size = self._viewer.canvas.events.size
        return [camera.center, camera.zoom, dims.point, dims.order, dims.ndisplay, size]

    def _switch(self, on: bool) -> None:
        if on:
            self._is_on = True
            self.refresh()
        else:
            self._stop()
            self._say("")

    def _stop(self) -> None:
        self._is_on = False
        self._rest.stop()
        self.refresh()
        self._watch([])
        self._clear()

    def _look_again(self, *_: Any) -> None:
        """Refresh if it is another view: showing a preview may itself cause such events."""
        if self._viewer.dims.ndisplay != 2 or View.of(self._viewer) != self._view:
            self.refresh()

    def _begin(self) -> None:
        if not self._is_on:
            return
        try:
            job = self._collect()
            comparison = job.comparison.with_registration(self._registration(job))
            self._view = View.of(self._viewer)
        except MENDABLE as error:
            self._fail(str(error))
            return
        self._watch([self._widget[name].value for name in ("fixed", "moving", "mask")])
        self._asked = job, comparison
        self._worker.work(partial(look, comparison, self._view))

    def _receive(self, result: Sight | Failure) -> None:
        if isinstance(result, Failure):
            self._fail(explain(result))
        else:
            self._show(result)

    def _show(self, sight: Sight) -> None:
        place = placement_on(sight.grid)
        job, comparison = self._asked
        if self._layer is not None and self._layer.ndim != sight.grid.ndim:
            self._clear()
        if self._layer is None:
            self._add(sight, place)
        else:
            self._layer.data = sight.ncc
            set_changed(self._layer, place)
        self._say(_description(job, comparison, sight))

    def _add(self, sight: Sight, place: dict[str, Any]) -> None:
        """Add the layer, and leave the user's selection as it is."""
        selected = set(self._viewer.layers.selection)
        self._layer = self._viewer.add_image(
            sight.ncc,
            name="preview",
            metadata={PREVIEW: True},
            **ncc_colors(),
            **place,
        )
        if selected:
            self._viewer.layers.selection = selected

    def _clear(self) -> None:
        layer, self._layer = self._layer, None
        if layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def _on_removed(self, event: Any) -> None:
        """Take a layer removed by hand for a wish to be rid of the preview."""
        if self._layer is not None and event.value == self._layer:  # ours is napari's proxy of it
            self._layer = None
            self._widget["preview"].value = False

    def _watch(self, layers: list[Layer | None]) -> None:
        for layer in self._watched:
            for name in CHANGES:
                if name in layer.events:
                    layer.events[name].disconnect(self.refresh)
        self._watched = [layer for layer in layers if layer is not None]
        for layer in self._watched:
            for name in CHANGES:
                if name in layer.events:
                    layer.events[name].connect(self.refresh)

    def _registration(self, job: Job) -> Registration | None:
        """Return the chosen transform, or the last run's if it was for this pair and model."""
        if job.comparison.registration is not None:
            return job.comparison.registration
        if self._known is None or _question(self._known[0]) != _question(job):
            return None
        return self._known[1]

    def _fail(self, why: str) -> None:
        self._view = None
        self._clear()
        self._say(f"No preview: {why}")

    def _say(self, text: str) -> None:
        self._widget["preview_note"].value = text


def _question(job: Job) -> tuple[Any, ...]:
    """Return what a registration answers."""
    compared = job.comparison
    images = [(image.name, image.grid.to_dict()) for image in (compared.fixed, compared.moving)]
    return (job.model, compared.unitless, images)


def _description(job: Job, comparison: Comparison, sight: Sight) -> str:
    model = job.model
    said = "every pixel in view"
    if sight.step > 1:
        said = f"one pixel in {sight.step} along each axis"
    if job.comparison.registration is not None:
        said += f", with the existing {job.comparison.registration.model}"
    elif comparison.registration is not None:
        said += f", with the {model} of the last run"
    elif model != UNREGISTERED:
        said += f", NOT registered: Run finds the {model}, then it is used here"
    return f"Preview: {said}" + ("." if sight.share == 1 else f"; {sight.share:.0%} computed")
