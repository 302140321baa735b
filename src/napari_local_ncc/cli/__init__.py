"""The command line: `local-ncc`, one module for each command."""

from napari_local_ncc.cli.main import main

__all__ = ["main"]
