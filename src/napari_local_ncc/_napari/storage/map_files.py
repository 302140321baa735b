"""The dock's buttons for maps in files, and what is dropped on the dock."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QFileDialog, QMenu

from napari_local_ncc._napari.compare.preferences import memory_budget
from napari_local_ncc._napari.results.load import run_load
from napari_local_ncc._napari.storage.write_map import iter_save_result
from napari_local_ncc._napari.worker import Failure, NewestOnly
from napari_local_ncc.io.writing import is_map

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_local_ncc._napari.answer.panel import ResultPanel

SAVED = "Maps, OME-Zarr (*.ome.zarr);;Maps, OME-TIFF (*.ome.tif)"
LOADED = "Maps (*.tif *.tiff *.npy *.nii *.nii.gz *.nrrd *.mha zarr.json)"
MARK = ".ncc"  # by which napari finds our reader of TIFF files
ZARR = ".ome.zarr"
NAME = f"map{MARK}{ZARR}"


class MapFiles(QObject):
    """Saves the map that the panel shows, and loads others.

    Parameters
    ----------
    dock : QWidget
        What files are dropped on.
    panel : ResultPanel
        What is shown.
    launch : callable
        Takes the steps that load a map, and runs them.
    say : callable
        Takes what to say.
    fail : callable
        Takes what went wrong.
    """

    def __init__(
        self,
        dock: QWidget,
        panel: ResultPanel,
        launch: Callable[..., None],
        say: Callable[[str], None],
        fail: Callable[[Exception], None],
    ) -> None:
        super().__init__(dock)
        self._dock, self._panel, self._launch = dock, panel, launch
        self._say, self._fail = say, fail
        self._writer: NewestOnly[Any, list[str]] = NewestOnly(self._receive, self._follow)
        dock.setAcceptDrops(True)
        dock.installEventFilter(self)

    def ask_and_save(self) -> None:
        """Ask where to write the map that is shown, and write it."""
        name, kind = QFileDialog.getSaveFileName(self._dock, "Save the map", NAME, SAVED)
        path = Path(name)
        has_ending = path.suffix not in ("", MARK) and not path.suffix[1:].isdigit()  # as of v1.2
        if name and has_ending:
            self.save(path)
        elif name:
            ending = f"{MARK}{kind.rpartition('*')[2].rstrip(')') or ZARR}"
            whole = path.name.removesuffix(MARK) + ending
            self.save(path.with_name(whole), replace=False)  # nobody was asked

    def save(self, path: Path, *, replace: bool = True) -> None:
        """Write the map that is shown, replacing what is there where the dialog has asked."""
        result = self._panel.result
        if result is None:
            self._fail(ValueError("there is no map to save: run, or load one"))
            return
        self._say(f"Writing {path.name}")
        self._writer.work(lambda _: iter_save_result(result, path, overwrite=replace))

    def ask_and_load(self) -> None:
        """Ask for a map, in a folder or in a file, and load it."""
        menu = QMenu(self._dock)
        menu.addAction("OME-Zarr (a folder) ...", partial(self._ask, folder=True))
        menu.addAction("OME-TIFF and others (a file) ...", partial(self._ask, folder=False))
        menu.popup(self._dock.cursor().pos())

    def load(self, path: Path) -> None:
        """Show a map from a file."""
        if not is_map(path):
            text = f"{path.name} holds no map of this plugin; open it as an image instead"
            self._fail(ValueError(text))
            return
        self._launch(partial(run_load, path, memory_budget()), keep_earlier=True)

    def let_go(self) -> None:
        """Receive nothing more."""
        self._writer.let_go()

    def eventFilter(self, dock: QObject, event: QEvent) -> bool:
        """Take a map that is dropped on the dock."""
        if event.type() not in (QEvent.Type.DragEnter, QEvent.Type.Drop):
            return super().eventFilter(dock, event)
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        if len(paths) != 1:
            return super().eventFilter(dock, event)
        event.acceptProposedAction()
        if event.type() == QEvent.Type.Drop:
            self.load(paths[0])
        return True

    def _ask(self, *, folder: bool) -> None:
        if folder:
            path = QFileDialog.getExistingDirectory(self._dock, "Load a map in a folder")
        else:
            path, _ = QFileDialog.getOpenFileName(self._dock, "Load a map in a file", "", LOADED)
        if path:
            self.load(Path(path))

    def _follow(self, tile: Any) -> None:
        self._say(f"Writing: {tile.done} of {tile.total}")

    def _receive(self, answer: list[str] | Failure) -> None:
        if isinstance(answer, Failure):
            self._fail(answer.error)
        else:
            self._say(f"Saved {answer[0]}")
