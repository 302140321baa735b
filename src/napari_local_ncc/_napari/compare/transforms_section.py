"""The transforms that are there: of earlier results and from files; what to do with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container
from napari.layers import Image, Labels, Layer, Points
from psygnal import Signal
from qtpy.QtWidgets import QFileDialog

from napari_local_ncc._napari.compare.fields import field_group
from napari_local_ncc._napari.compare.layout import button_row
from napari_local_ncc._napari.layers.convert import METADATA
from napari_local_ncc._napari.layers.kept_transforms import transform_of
from napari_local_ncc._napari.layers.map_layers import is_map, run_of
from napari_local_ncc.transforms.files import WRITTEN
from napari_local_ncc.transforms.transform_file import read_transform, write_transform

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.transforms.registration import Registration

SAVED = f"Transforms ({' '.join(f'*{ending}' for ending in WRITTEN)})"
LOADED = "Transforms, of other programs too (*)"  # they are known by what is in them


class Transforms(Container):
    """Choose a transform, load or save it, apply it to another layer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers are looked at.

    Attributes
    ----------
    kept : psygnal.Signal
        Another transform was kept.
    """

    kept = Signal()

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._kept: dict[str, Registration] = {}
        choice = ComboBox(
            name="transform",
            choices=lambda _: self.names(),
            nullable=True,
            tooltip="A transform that was found or loaded before. 'Existing transform' above "
            "uses it instead of registering anew; Save and Apply take it.",
        )
        other = ComboBox(
            name="other",
            label="other layer",
            choices=self._others,
            nullable=True,
            tooltip="A layer that lies where the moving image lies: another channel, labels or "
            "points of it.",
        )
        super().__init__(
            widgets=[
                field_group([choice]),
                button_row(
                    ("load_transform", "Load", "Read a transform from a file."),
                    ("save_transform", "Save", "Write the chosen transform to a file."),
                ),
                field_group([other]),
                button_row(
                    (
                        "apply_transform",
                        "Apply to the other layer",
                        "Bring it onto the fixed image as a new layer. Labels are not "
                        "interpolated; points are moved.",
                    )
                ),
            ],
            labels=False,
        )
        self.margins = (0, 0, 0, 0)
        self._choice = choice

    def keep(self, name: str, registration: Registration) -> None:
        """Keep a transform under a name and choose it."""
        self._kept[name] = registration
        self._choice.reset_choices()
        self._choice.value = name
        self.kept.emit()

    def choice(self) -> Registration:
        """Return the transform that is chosen.

        Raises
        ------
        ValueError
            If none is.
        """
        name = self._choice.value
        if name not in self.names():
            raise ValueError("no transform is chosen; register first, or load one from a file")
        return self.named(name)

    def named(self, name: str) -> Registration:
        """Return the transform of a name.

        Raises
        ------
        ValueError
            If it is not there any more.
        """
        if name in self._kept:
            return self._kept[name]
        if name not in self._of_layers():
            raise ValueError(f"the transform {name} is not there any more; choose another one")
        found = transform_of(self._of_layers()[name])
        assert found is not None  # as `_of_layers` has looked
        return found

    def load(self, fixed: Grid | None) -> Registration | None:
        """Ask for a file, keep the transform in it, and return it; None if there is no file.

        An ITK file needs the grid of the fixed image: it knows no units.
        """
        path, _ = QFileDialog.getOpenFileName(self.native, "Load a transform", "", LOADED)
        if not path:
            return None
        registration = read_transform(path, fixed)
        self.keep(Path(path).name, registration)
        return registration

    def save(self) -> Path | None:
        """Write the chosen transform to a file that is asked for, and return that."""
        registration = self.choice()
        path, _ = QFileDialog.getSaveFileName(
            self.native, "Save the transform", "transform.json", SAVED
        )
        if not path:
            return None
        write_transform(registration, path)
        return Path(path)

    def names(self) -> list[str]:
        """Return the names of the transforms that are there."""
        return [*self._kept, *self._of_layers()]

    def _of_layers(self) -> dict[str, Layer]:
        """Return a result of each run that has a transform, by name: the map if there is one."""
        runs: list[dict[str, Any] | None] = []
        found = []
        for layer in sorted(self._viewer.layers, key=lambda layer: not is_map(layer)):
            has_one = layer.metadata.get(METADATA, {}).get("registration")
            if has_one and run_of(layer) not in runs:
                runs.append(run_of(layer))
                found.append(layer)
        return {layer.name: layer for layer in found}

    def _others(self, _: ComboBox) -> list[Layer]:
        return [
            layer for layer in self._viewer.layers if isinstance(layer, Image | Labels | Points)
        ]
