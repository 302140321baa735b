"""The inspector's last tab: a map's recipe, to copy or to load into the main widget."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qtpy.QtGui import QFontDatabase
from qtpy.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QPlainTextEdit,
    QPushButton,
)

from napari_local_ncc._napari.compare.fields import EXISTING
from napari_local_ncc._napari.inspect.tab import Tab
from napari_local_ncc._napari.layers.kept_transforms import transform_of
from napari_local_ncc._napari.layers.map_layers import comparison_of, is_map, record
from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.geometry.kind import UNREGISTERED
from napari_local_ncc.parameters import BANDS, NCCParameters
from napari_local_ncc.reports.recipe import as_command_line, as_python, checked_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image
    from napari.viewer import Viewer

PLUGIN, WIDGET = "napari-local-ncc", "Local NCC"


class RecipeTab(Tab):
    """Shows how to make a map again."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self._write_as: Callable[[dict[str, Any]], str] = as_python
        self.copy_python = QPushButton("Copy as Python")
        self.copy_command = QPushButton("Copy as command line")
        self.copy_python.setToolTip("Show a Python program that makes this map, and copy it.")
        self.copy_command.setToolTip("Show a command that makes this map, and copy it.")
        self.load = QPushButton("Load settings")
        self.load.setToolTip("Set the fields of the Local NCC widget to what made this map.")
        self.recipe = QPlainTextEdit()
        self.recipe.setReadOnly(True)
        self.recipe.setAccessibleName("Recipe of the map")
        self.recipe.setToolTip("What makes the same map again: to run, to keep, to publish.")
        self.recipe.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.recipe.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        row = QHBoxLayout()
        for button in (self.copy_python, self.copy_command):
            button.setStyleSheet("padding: 3px 2px")  # or the dock would widen beyond 300 px
            row.addWidget(button)
        self.column.addLayout(row)
        self.column.addWidget(self.recipe, stretch=1)
        self.column.addWidget(self.load)
        self.column.addWidget(self.text)
        self.copy_python.clicked.connect(lambda: self._copy(as_python))
        self.copy_command.clicked.connect(lambda: self._copy(as_command_line))
        self.load.clicked.connect(self._load)
        self.look_at(None)

    def look_at(self, layer: Image | None) -> None:
        """Take a map; its recipe is written when the tab is shown."""
        self._layer = layer
        for button in (self.copy_python, self.copy_command, self.load):
            button.setEnabled(layer is not None)
        if self.isVisible():
            self._write()

    def showEvent(self, event: Any) -> None:
        """Write the recipe, which looks into files, only when it is seen."""
        self._write()
        super().showEvent(event)

    def _write(self, *_: Any) -> None:
        layer = self._layer
        is_there = layer is not None and is_map(layer)  # it may have lost its record since
        self.recipe.setPlainText(self._recipe(layer) if is_there else "")

    def _recipe(self, layer: Image) -> str:
        images = {}
        with suppress(ValueError):  # without its layers, a recipe rests on its files alone
            comparison = comparison_of(self._viewer, layer)
            images = {role: getattr(comparison, role) for role in ("fixed", "moving", "mask")}
        provenance = checked_files(record(layer), images)
        return self._write_as(provenance)

    def _copy(self, write_as: Callable[[dict[str, Any]], str]) -> None:
        """Show the recipe in a language, and copy it."""
        self._write_as = write_as
        self._write()
        QApplication.clipboard().setText(self.recipe.toPlainText())
        self.text.setText("Copied.")

    def _load(self) -> None:
        if self._layer is None or not is_map(self._layer):
            return
        _, widget = self._viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
        missing = load_settings(widget, self._viewer, self._layer)
        self.text.setText(
            f"Not there any more: {', '.join(missing)}." if missing else "Settings loaded."
        )


def load_settings(widget: Any, viewer: Viewer, layer: Image) -> list[str]:
    """Set the main widget's fields to what made a map.

    Returns
    -------
    list of str
        What is needed but not there any more: layers, or the transform.
    """
    provenance = record(layer)
    missing = _choose_layers(widget, viewer, provenance)
    for role in ("fixed", "moving"):
        chosen = (provenance[role]["source"] or {}).get("select", {})
        widget[f"{role}_pick"].value = ", ".join(f"{k}={i}" for k, i in chosen.items())
    widget["level"].value = (provenance["fixed"]["source"] or {}).get("level", 0)
    space = Grid.from_dict(provenance["fixed"]["grid"]).spatial_ndim
    if widget["window"].visible:
        widget["window"].value = space
    for name, value in _settings(NCCParameters(**provenance["parameters"])).items():
        widget[name].value = value
    widget["unitless"].value = provenance["unitless"]
    return missing + _choose_transform(widget, layer)


def _choose_layers(widget: Any, viewer: Viewer, provenance: dict[str, Any]) -> list[str]:
    """Choose the layers that were compared; return the names of those that are gone."""
    missing = []
    for role in ("fixed", "moving", "mask"):
        origin = provenance[role]
        if origin is None:
            widget[role].value = None
        elif origin["name"] in viewer.layers:
            widget[role].value = viewer.layers[origin["name"]]
        else:
            missing.append(origin["name"])
    return missing


def _settings(parameters: NCCParameters) -> dict[str, Any]:
    """Return what the fields say for some parameters."""
    radius, search = parameters.radius, parameters.search
    found: dict[str, Any] = {"exact_radius": radius if isinstance(radius, str) else ""}
    if isinstance(radius, tuple):
        found["exact_radius"] = ", ".join(map(str, radius))
    if isinstance(radius, int):
        found["radius"] = radius
    return found | {
        "weights": parameters.weights,
        "interpolation": parameters.interpolation,
        "alternative": parameters.alternative,
        "per_frame": parameters.per_frame,
        "min_std": str(parameters.min_std),
        "min_valid": parameters.min_valid,
        **{name: name in parameters.bands for name in BANDS if name != "ncc"},
        "search": search if isinstance(search, int) else max(search),
    }


def _choose_transform(widget: Any, layer: Image) -> list[str]:
    """Take the very transform of a map; where it was not kept, the model that found it."""
    widget["refine"].value = False  # what it found is in the transform
    described = record(layer)["registration"]
    if described is None:
        widget["registration"].value = UNREGISTERED
        return []
    try:
        transform_of(layer)
    except ValueError:
        widget["registration"].value = described["model"]
        return [f"its {described['model']}, which is to be found anew"]
    widget["transform"].reset_choices()
    widget["transform"].value = layer.name
    widget["registration"].value = EXISTING
    return []
