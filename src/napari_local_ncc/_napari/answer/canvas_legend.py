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
from vispy.scene.visuals import Compound, Markers, Text

if TYPE_CHECKING:
    from napari.viewer import Viewer

NAME = "local_ncc_classes"
LINE, CHIP, LETTER = 18, 11, 7.5  # px
FONT = 10  # points


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
        self._chips, self._names = Markers(), Text(font_size=FONT, anchor_x="left")
        super().__init__(node=Compound([self._chips, self._names]), **options)
        self.overlay.events.entries.connect(self._draw)
        self.viewer.canvas.events.background_color.connect(self._draw)
        self.reset()

    def reset(self) -> None:
        """Draw from the beginning."""
        self._draw()
        super().reset()

    def _draw(self, *_: Any) -> None:
        entries = self.overlay.entries
        if not entries:
            return
        colors, names = zip(*entries, strict=True)
        rows = LINE * (np.arange(len(entries)) + 0.5)
        at = np.column_stack([np.full(len(entries), CHIP / 2), rows])
        self._chips.set_data(
            pos=at, face_color=list(colors), edge_width=0, size=CHIP, symbol="square"
        )
        self._names.text = list(names)
        self._names.pos = at + np.array([CHIP, 0])
        self._names.color = self._get_fgcolor()
        self.x_size = 2 * CHIP + LETTER * max(map(len, names))
        self.y_size = float(LINE * len(entries))
        self._on_position_change()


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
