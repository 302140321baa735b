"""The classes by name and colour on the canvas, while they are shown.

An overlay of the canvas, told to napari as in its own example, `examples/dev/overlays.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari._vispy.overlays.base import ViewerOverlayMixin, VispyCanvasOverlay
from napari._vispy.utils.visual import overlay_to_visual
from napari.components._viewer_constants import CanvasPosition
from napari.components.overlays import CanvasOverlay
from qtpy.QtCore import QPoint, QRect, Qt
from qtpy.QtGui import QColor, QFont, QFontMetrics, QImage, QPainter
from superqt.utils import qimage_to_array
from vispy.scene.visuals import Image

if TYPE_CHECKING:
    from napari.viewer import Viewer
    from numpy.typing import NDArray

NAME = "local_ncc_classes"
LINE, CHIP, GAP, FONT = 18, 11, 6, 13  # px


class ClassLegend(CanvasOverlay):
    """Names in colours.

    Parameters
    ----------
    entries : tuple of (str, str)
        A colour and a name, each.
    """

    entries: tuple[tuple[str, str], ...] = ()


class VispyClassLegend(ViewerOverlayMixin, VispyCanvasOverlay):
    """Draws them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(node=Image(np.zeros((1, 1, 4), np.uint8)), **options)
        self.overlay.events.entries.connect(self._draw)
        self.viewer.canvas.events.background_color.connect(self._draw)
        self.reset()

    def reset(self) -> None:
        """Draw from the beginning."""
        self._draw()
        super().reset()

    def _draw(self, *_: Any) -> None:
        if not self.overlay.entries:
            return
        picture = paint_entries(self.overlay.entries, QColor.fromRgbF(*self._get_fgcolor()))
        self.node.set_data(picture)
        self.y_size, self.x_size = map(float, picture.shape[:2])
        self._on_position_change()
        self.node.update()


def paint_entries(entries: tuple[tuple[str, str], ...], ink: QColor) -> NDArray[np.uint8]:
    """Return a picture of names behind squares of their colours, a line each.

    By Qt: the text of vispy computes every letter anew, which stops napari for 0.3 s.

    Parameters
    ----------
    entries : tuple of (str, str)
        A colour and a name, each.
    ink : QColor
        The colour of the letters.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 4)
        Red, green, blue, opacity.
    """
    font = QFont()
    font.setPixelSize(FONT)
    letters = QFontMetrics(font)
    longest = max(letters.horizontalAdvance(name) for _, name in entries)
    width, height = CHIP + GAP + longest + 2, LINE * len(entries)
    picture = QImage(width, height, QImage.Format.Format_ARGB32)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setFont(font)
    painter.setPen(ink)
    for row, (color, name) in enumerate(entries):
        chip = QRect(0, 0, CHIP, CHIP)
        chip.moveCenter(QPoint(CHIP // 2, LINE * row + LINE // 2))
        painter.fillRect(chip, QColor(color))
        place = QRect(CHIP + GAP, LINE * row, longest + 2, LINE)
        painter.drawText(place, Qt.AlignmentFlag.AlignVCenter, name)
    painter.end()
    return np.asarray(qimage_to_array(picture))


overlay_to_visual[ClassLegend] = VispyClassLegend


def show_class_legend(viewer: Viewer, entries: tuple[tuple[str, str], ...]) -> None:
    """Show the names of classes on the canvas, or none."""
    overlays = viewer.canvas.overlays
    if NAME not in overlays:
        if not entries:
            return
        overlays[NAME] = ClassLegend(position=CanvasPosition.BOTTOM_LEFT, entries=entries)
    legend = overlays[NAME]
    if entries:
        legend.entries = entries
    legend.visible = bool(entries)
