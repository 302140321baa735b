"""The part of the dock for several layers: which, and a table of what was found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from magicgui.widgets import Container, PushButton, Select
from qtpy.QtWidgets import QAbstractItemView, QFileDialog, QTableWidget, QTableWidgetItem

from napari_local_ncc._napari.layers.convert import METADATA, image_layers
from napari_local_ncc.batch.results import write_rows

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_local_ncc._napari.several.queue import Queue

COLUMNS = ("moving", "verdict", "in short")
LIST, TABLE = 90, 120  # px high


class Several(Container):
    """Choose layers to compare with fixed, and see what came of each.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers are offered.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._queue: Queue | None = None
        self._layers = Select(
            name="several",
            label="",
            choices=self._offered,
            tooltip="The layers to compare with fixed, one after the other: channels, rounds, "
            "sections. Ctrl or Shift chooses more than one.",
        )
        self._layers.native.setMaximumHeight(LIST)
        self._layers.native.setAccessibleName("Layers to compare with fixed")
        buttons = Container(
            layout="horizontal",
            labels=False,
            widgets=[
                PushButton(
                    name="run_several",
                    text="Run all",
                    tooltip="Compare each with fixed, with the settings above; Cancel ends all.",
                ),
                PushButton(
                    name="export_several",
                    text="Export CSV",
                    tooltip="Write the table below to a file, with what is left of a shift.",
                ),
            ],
        )
        buttons.margins = (0, 0, 0, 0)
        super().__init__(widgets=[self._layers, buttons], labels=False)
        self.margins = (0, 0, 0, 0)
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setAccessibleName("What was found of each pair")
        self.table.setToolTip(
            "Good: shown to lie right within 1 px over 90 % of what has structure. Failed: shown "
            "to be wrong. Check: neither. Press a row to see its map."
        )
        self.table.setHorizontalHeaderLabels(COLUMNS)
        self.table.horizontalHeader().setStretchLastSection(True)
        self.table.verticalHeader().hide()
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setFixedHeight(TABLE)
        self.table.hide()
        self.table.cellClicked.connect(self._show_map)
        self.native.layout().addWidget(self.table)

    def chosen(self) -> list[Image]:
        """Return the layers that are chosen, in the order of the list."""
        return [layer for layer in self._layers.choices if layer in self._layers.value]

    def follow(self, queue: Queue) -> None:
        """Show what is known of a queue's pairs."""
        self._queue = queue
        queue.changed.connect(self._show)

    def export(self) -> Path | None:
        """Write the table to a file that is asked for, and return that.

        Raises
        ------
        ValueError
            If there is no table yet.
        """
        rows = [] if self._queue is None else [entry.row() for entry in self._queue.entries]
        if not rows:
            raise ValueError("There is no table yet: choose layers and press Run all first.")
        path, _ = QFileDialog.getSaveFileName(self.native, "Export CSV", "pairs.csv", "CSV (*.csv)")
        if not path:
            return None
        write_rows(rows, Path(path))
        return Path(path)

    def _offered(self, _: Select) -> list[Image]:
        return [each for each in image_layers(self._viewer) if METADATA not in each.metadata]

    def _show(self) -> None:
        entries = [] if self._queue is None else self._queue.entries
        self.table.setVisible(bool(entries))
        self.table.setRowCount(len(entries))
        for number, entry in enumerate(entries):
            row = entry.row()
            texts = row["moving"], row["verdict"] or entry.state, row["headline"] or row["reason"]
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip("\n".join(dict.fromkeys(filter(None, (text, row["reason"])))))
                self.table.setItem(number, column, item)
        self.table.resizeColumnToContents(1)

    def _show_map(self, row: int, _: int) -> None:
        if self._queue is not None:
            self._queue.show(self._queue.entries[row])
