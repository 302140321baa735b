"""A matplotlib figure in napari's colours, or a line that says how to get one."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QLabel, QLineEdit, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure
    from napari.viewer import Viewer

INSTALL = "pip install 'napari-local-ncc[plot]'"
FONT_SIZE = 8


def has_plots() -> bool:
    """Say whether the extra `plot` is installed."""
    return find_spec("napari_matplotlib") is not None


def missing_plots() -> QWidget:
    """Return what stands in for a figure where the extra is not installed."""
    label = QLabel("Figures need napari-matplotlib; install it with:")
    label.setWordWrap(True)
    command = QLineEdit(INSTALL)  # it scrolls where it is too long, and can be copied whole
    command.setReadOnly(True)
    command.setCursorPosition(0)
    command.setAccessibleName("How to install figures")
    hint = QWidget()
    column = QVBoxLayout(hint)
    column.addWidget(label)
    column.addWidget(command)
    column.addStretch(1)
    return hint


def make_plot(viewer: Viewer) -> Any:
    """Return a widget with a figure: `show(draw)` draws on it, now and in every theme.

    Made here and not at import, since napari-matplotlib is an extra.
    """
    import matplotlib.style
    from napari.utils.events import Event
    from napari.utils.theme import get_theme
    from napari_matplotlib.base import BaseNapariMPLWidget

    class Plot(BaseNapariMPLWidget):
        """A figure that is drawn anew when napari's theme changes."""

        def __init__(self, viewer: Viewer) -> None:
            super().__init__(viewer)
            self.toolbar.hide()
            self.layout().setContentsMargins(0, 0, 0, 0)
            self.canvas.setMinimumSize(200, 160)
            self._draw: Callable[[Figure], Any] | None = None

        def show_drawn(self, draw: Callable[[Figure], Any]) -> Any:
            """Draw the figure, and remember how."""
            self._draw = draw
            return self._redraw()

        def let_go(self) -> None:
            """Hear no more of the viewer."""
            self.viewer.events.theme.disconnect(self._on_napari_theme_changed)

        def listen(self) -> None:
            """Hear of it again, and draw in its theme, which may have changed meanwhile."""
            self.viewer.events.theme.connect(self._on_napari_theme_changed)
            self._on_napari_theme_changed(Event("theme", value=self.viewer.theme))

        def _redraw(self) -> Any:
            text = get_theme(self.viewer.theme).text.as_hex()
            style = self.napari_theme_style_sheet | {
                "font.size": FONT_SIZE,
                "axes.titlesize": FONT_SIZE + 1,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "xtick.color": text,
                "ytick.color": text,
                "xtick.labelcolor": text,
                "ytick.labelcolor": text,
                "legend.facecolor": "none",
                "legend.edgecolor": "none",
                "legend.labelcolor": text,
            }
            with matplotlib.style.context(style):
                self.figure.clear()
                drawn = None if self._draw is None else self._draw(self.figure)
                self.canvas.draw_idle()
            return drawn

        def _on_napari_theme_changed(self, event: Any) -> None:
            super()._on_napari_theme_changed(event)
            self._redraw()

    return Plot(viewer)
