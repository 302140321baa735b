"""Where `recipe` was until 0.1; see `napari_local_ncc.reports`."""

from napari_local_ncc.reports.recipe import as_command_line, as_python, checked_files

__all__ = ["as_command_line", "as_python", "checked_files"]
