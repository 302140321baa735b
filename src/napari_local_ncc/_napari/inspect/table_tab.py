"""The inspector's third tab: a map in a table, by frame or by label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
from napari.layers import Labels
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
)

from napari_local_ncc._napari.inspect.mpl_canvas import has_plots
from napari_local_ncc._napari.inspect.tab import Tab
from napari_local_ncc._napari.layers.convert import spatial_image
from napari_local_ncc._napari.layers.map_layers import grid_of, record, values_of
from napari_local_ncc._napari.results.kept_results import bands_beside
from napari_local_ncc._napari.worker import Failure, NewestOnly, explain
from napari_local_ncc.chunked.windows import as_lazy
from napari_local_ncc.image.spatial_image import map_chunks
from napari_local_ncc.maps.pipeline import ConfidenceMap
from napari_local_ncc.parameters import NCCParameters
from napari_local_ncc.progress import MENDABLE
from napari_local_ncc.reports.tables import (
    THRESHOLD,
    FrameTable,
    frame_table,
    label_table,
    write_csv,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.maps.grouped_histogram import GroupTally
    from napari_local_ncc.reports.tables import LabelTable

ROW = 22  # px
MEANINGS = {  # of the columns, by how their names begin
    "index": "The label that the row is about.",
    "pixels": "How many pixels have this label.",
    "median_ncc": "Half of the defined pixels have a lower NCC.",
    "lower_ncc": "A quarter of the defined pixels have a lower NCC.",
    "upper_ncc": "A quarter of the defined pixels have a higher NCC.",
    "defined_shift": "The share of the label's pixels that have a shift.",
    "defined": "The share of the pixels that have an NCC: not flat, masked or outside an image.",
    "above_": "The share of the defined pixels that reach the threshold of the histogram.",
    "median_": "The median of this band over the pixels of the label.",
    "share_": "The share of the label's pixels that are in this class.",
    "": "The frame that the row is about, counted along this axis from 0.",
}


class TableTab(Tab):
    """Shows a map's table by frame, or by label."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self._threshold = THRESHOLD
        self.table: dict[str, list[Any]] = {}  # by column
        self._shown: FrameTable | LabelTable | None = None
        self._tally: GroupTally | None = None
        self.latest: NewestOnly[None, tuple[Labels, LabelTable]] = NewestOnly(self._receive)
        self.rows = QComboBox()
        self.rows.setToolTip("A row for each frame, or for each label of a Labels layer.")
        self.rows.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.export = QPushButton("Export CSV")
        self.export.setToolTip("Write this table to a file; what is undefined is empty.")
        self.rows.setAccessibleName("A row per frame or label")
        self.plot = self.make_plot()
        self.let_go_of(self.latest)
        self.grid = QTableWidget()
        self.grid.setAccessibleName("The map in numbers")
        self.grid.setToolTip(
            "The map in numbers: a row sums up one frame, or the pixels of one label. "
            "Point at the head of a column for what it says."
        )
        self.grid.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.grid.verticalHeader().hide()
        self.grid.verticalHeader().setDefaultSectionSize(ROW)
        row = QHBoxLayout()
        row.addWidget(QLabel("a row per"))
        row.addWidget(self.rows, stretch=1)
        row.addWidget(self.export)
        self.column.addLayout(row)
        self.column.addWidget(self.plot, stretch=3)
        self.column.addWidget(self.grid, stretch=2)
        self.column.addWidget(self.text)
        self.rows.currentIndexChanged.connect(self._refresh)
        self.export.clicked.connect(self._export)
        self.offer()

    def offer(self) -> None:
        """Offer the Labels layers that are there now, beside the frames."""
        chosen = self.rows.currentText()
        self.rows.blockSignals(True)
        self.rows.clear()
        self.rows.addItem("frame", None)
        for layer in self._viewer.layers:
            if isinstance(layer, Labels):
                self.rows.addItem(f"label of {layer.name}", layer)
        place = self.rows.findText(chosen)
        self.rows.setCurrentIndex(max(place, 0))
        self.rows.blockSignals(False)
        if place < 0 and chosen:
            self._refresh()

    def look_at(self, layer: Image | None, threshold: float, tally: GroupTally | None) -> None:
        """Show the table of a map whose frames are counted already."""
        self._layer, self._threshold, self._tally = layer, threshold, tally
        self._refresh()

    def _refresh(self, *_: Any) -> None:
        labels = self.rows.currentData()
        if self._layer is None:
            return
        if labels is None:
            if self._tally is not None:
                self._show(frame_table(self._tally, grid_of(self._layer), self._threshold))
            return
        self.text.setText("Counting")
        bands = {"ncc": values_of(self._layer)} | bands_beside(self._viewer, self._layer)
        own = record(self._layer)
        if "classes" not in own["parameters"]["bands"]:
            bands.pop("classes", None)  # told by thresholds alone
        try:
            question = _label_question(bands, own, grid_of(self._layer), labels, self._threshold)
        except MENDABLE as error:
            self.text.setText(str(error))
            return
        self.latest.ask(question)

    def _receive(self, answer: tuple[Labels, LabelTable] | Failure) -> None:
        if isinstance(answer, Failure):
            self.text.setText(explain(answer))
        else:
            labels, table = answer
            labels.features = table.columns()
            self._show(table)

    def _show(self, shown: FrameTable | LabelTable) -> None:
        self._shown, self.table = shown, shown.columns()
        table = self.table
        self.text.setText("")
        count = len(next(iter(table.values())))
        self.grid.setColumnCount(len(table))
        self.grid.setRowCount(count)
        self.grid.setHorizontalHeaderLabels([name.replace("_", " ") for name in table])
        for column, values in enumerate(table.values()):
            for row, value in enumerate(values):
                text = f"{value:.3f}" if isinstance(value, float) else str(value)
                self.grid.setItem(row, column, QTableWidgetItem(text))
        for column, name in enumerate(table):
            self.grid.horizontalHeaderItem(column).setToolTip(_meaning(name))
        self.grid.resizeColumnsToContents()
        series = shown if isinstance(shown, FrameTable) and count > 1 else None
        self.plot.setVisible(series is not None)
        if series is not None and has_plots():
            from napari_local_ncc.reports.inspector_figures import draw_frames

            self.plot.show_drawn(lambda figure: draw_frames(figure, series))

    def _export(self) -> None:
        if self._shown is None:
            self.text.setText("There is no table yet: run Local NCC first.")
            return
        path, _ = QFileDialog.getSaveFileName(self, "Export CSV", "ncc.csv", "CSV (*.csv)")
        if not path:
            return
        try:
            write_csv(self._shown, path)
        except MENDABLE as error:
            self.text.setText(str(error))
        else:
            self.text.setText(f"Written to {path}")


def _meaning(column: str) -> str:
    """Say what a column of the table holds."""
    return next(text for start, text in MEANINGS.items() if column.startswith(start))


def _label_question(
    bands: dict[str, Any], own: dict[str, Any], grid: Grid, labels: Labels, threshold: float
) -> Callable[[], tuple[Labels, LabelTable]]:
    """Return the counting of a map in each label, for another thread."""
    values = da.stack([as_lazy(each, map_chunks(grid)) for each in bands.values()])
    regions = spatial_image(labels)
    regions = regions.with_spatial_ndim(min(grid.spatial_ndim, regions.grid.ndim))
    result = ConfidenceMap(
        values, tuple(bands), grid, NCCParameters(**own["parameters"]), None, own
    )
    return lambda: (labels, label_table(result, regions, threshold=threshold))
