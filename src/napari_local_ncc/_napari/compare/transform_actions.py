"""What the buttons of the transforms do: load one, save one, carry another layer along."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari.layers import Points

from napari_local_ncc._napari.compare.apply_transform import add_moved_points, run_application
from napari_local_ncc._napari.compare.fields import EXISTING
from napari_local_ncc.progress import MENDABLE
from napari_local_ncc.reports.describe import describe_registration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.viewer import Viewer

    from napari_local_ncc._napari.compare.read_fields import Choices
    from napari_local_ncc._napari.compare.report import Report
    from napari_local_ncc._napari.compare.transforms_section import Transforms


class TransformActions:
    """Loads, saves and applies the transform that is chosen.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where moved points go.
    fields : mapping of str to magicgui.widgets.Widget
        The fields by name.
    transforms : Transforms
        Where the transform is chosen.
    choices : Choices
        What the other fields say.
    report : Report
        What was done is said there.
    launch : callable
        Takes the steps that move a layer, and runs them.
    """

    def __init__(
        self,
        viewer: Viewer,
        fields: Mapping[str, Any],
        transforms: Transforms,
        choices: Choices,
        report: Report,
        launch: Callable[..., None],
    ) -> None:
        self._viewer, self._fields, self._transforms = viewer, fields, transforms
        self._choices, self._report, self._launch = choices, report, launch

    def load(self) -> None:
        """Ask for a file, and use the transform in it."""
        try:
            has_fixed = self._fields["fixed"].value is not None
            grid = self._choices.fixed_grid() if has_fixed else None
            registration = self._transforms.load(grid)
        except MENDABLE as error:
            self._report.fail(error)
            return
        if registration is not None:
            self._fields["registration"].value = EXISTING
            self._report.say(f"Loaded: {describe_registration(registration)}")

    def save(self) -> None:
        """Ask for a file, and write the chosen transform to it."""
        try:
            path = self._transforms.save()
        except MENDABLE as error:
            self._report.fail(error)
            return
        if path is not None:
            self._report.say(f"Saved {path}")

    def apply(self) -> None:
        """Bring the other layer onto the fixed image."""
        try:
            self._apply()
        except MENDABLE as error:
            self._report.fail(error)

    def _apply(self) -> None:
        layer, registration = self._fields["other"].value, self._transforms.choice()
        if layer is None:
            raise ValueError("choose the other layer that is to be moved")
        if isinstance(layer, Points):
            count = add_moved_points(self._viewer, layer, registration)
            self._report.say(f"{count} points moved onto the fixed image.")
        else:
            self._launch(partial(run_application, self._choices.application(layer, registration)))
