"""Run the notebook in place, so that it shows what its cells give: python docs/run_notebook.py.

Needs nbclient and ipykernel (dependency group docs).
"""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parent.parent / "examples" / "tutorial.ipynb"


def main() -> None:
    """Execute all cells, and keep what they show."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        cell.metadata = {}
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    for cell in notebook.cells:
        cell.metadata = {}  # times of running, which change
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
