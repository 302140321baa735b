"""What the inspector's tabs share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_local_ncc._napari.inspect.mpl_canvas import has_plots, make_plot, missing_plots

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

EMPTY = "There is no map yet: run Local NCC first."


class Listener(Protocol):
    """What hears of the viewer, or works for it, until it is let go; it may listen again."""

    def let_go(self) -> None:
        """Hear no more of it."""
        ...

    def listen(self) -> None:
        """Hear of it again."""
        ...


class Tab(QWidget):
    """A tab about a map, with a text.

    Parameters
    ----------
    viewer : napari.Viewer
        Where the layers are.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._layer: Image | None = None
        self._listeners: list[Listener] = []
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.column = QVBoxLayout(self)

    def make_plot(self) -> Any:
        """Return a widget for a figure, or what says how to get one."""
        if not has_plots():
            return missing_plots()
        plot = make_plot(self._viewer)
        self.let_go_of(plot)
        return plot

    def let_go_of(self, *listeners: Listener) -> None:
        """Note what is to hear no more of the viewer when the inspector goes."""
        self._listeners += listeners

    def let_go(self) -> None:
        """Hear no more of the viewer."""
        for listener in self._listeners:
            listener.let_go()

    def listen(self) -> None:
        """Hear of it again: the inspector was closed, and is docked once more."""
        for listener in self._listeners:
            listener.listen()
