"""Where `tables` was until 0.1; see `napari_local_ncc.reports`."""

from napari_local_ncc.reports.tables import frame_table, label_table, write_csv

__all__ = ["frame_table", "label_table", "write_csv"]
