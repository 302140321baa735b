"""Two layers that are looked at alone, in the same colours: in turn, or beside a moving edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_local_ncc._napari.layers.convert import layer_grid, placement_on, set_changed

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image, Layer
    from napari.viewer import Viewer

    from napari_local_ncc.geometry.grid import Grid

LOOKS = {"colormap": "gray", "blending": "translucent_no_depth", "opacity": 1.0}


class LonePair:
    """Shows fixed alone, and leaves all as it was when it ends; so it does when a layer goes.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where they are.
    fixed, moving : napari.layers.Image
        The layers.
    ended : callable
        Is called when it has ended because a layer went.
    """

    def __init__(
        self, viewer: Viewer, fixed: Image, moving: Image, ended: Callable[[], None]
    ) -> None:
        self._viewer, self._pair, self._ended = viewer, (fixed, moving), ended
        self._visible = {layer: layer.visible for layer in viewer.layers}
        self._looks = {
            layer: {name: getattr(layer, name) for name in LOOKS} for layer in self._pair
        }
        for layer in viewer.layers:
            layer.visible = layer == fixed
        for layer in self._pair:
            _set(layer, LOOKS)
        viewer.layers.events.removed.connect(self._follow_removal)

    def end(self) -> None:
        """Let all layers look as before."""
        self._viewer.layers.events.removed.disconnect(self._follow_removal)
        there = list(self._viewer.layers)
        for layer, looks in self._looks.items():
            if layer in there:
                _set(layer, looks)
        for layer, visible in self._visible.items():
            if layer in there:
                layer.visible = visible

    def _follow_removal(self, event: Any) -> None:
        if event.value in self._pair:
            self.end()
            self._ended()


class PairInTurn(LonePair):
    """Shows fixed and moving in turn."""

    def __init__(
        self, viewer: Viewer, fixed: Image, moving: Image, ended: Callable[[], None]
    ) -> None:
        super().__init__(viewer, fixed, moving, ended)
        self._timer = QTimer()
        self._timer.timeout.connect(self._turn)

    def start(self, per_second: float) -> None:
        """Turn so many times a second."""
        self._timer.start(round(1000 / per_second))

    def end(self) -> None:
        """Stop, and let all layers look as before."""
        self._timer.stop()
        super().end()

    def _turn(self) -> None:
        fixed, moving = self._pair
        moving.visible, fixed.visible = fixed.visible, moving.visible


class SwipedPair(LonePair):
    """Shows fixed left of an edge along the last axis, and moving, which is ours, right of it."""

    def __init__(
        self, viewer: Viewer, fixed: Image, moving: Image, ended: Callable[[], None]
    ) -> None:
        super().__init__(viewer, fixed, moving, ended)
        self._grid, self._data = layer_grid(moving), moving.data
        self._levels = list(moving.data) if moving.multiscale else [moving.data]
        below, above = viewer.layers.index(moving), viewer.layers.index(fixed)
        if below < above:
            viewer.layers.move(below, above + 1)
        moving.visible = True

    def move_to(self, share: float) -> None:
        """Put the edge at a share of the width."""
        width = self._grid.shape[-1]
        coarsest = 2 ** (len(self._levels) - 1)  # of which all levels have whole pixels
        start = min(round(share * width / coarsest) * coarsest, width - coarsest)
        start = max(start, 0)
        whole = [slice(0, n) for n in self._grid.shape[:-1]]
        parts = [level[..., start // 2**k :] for k, level in enumerate(self._levels)]
        self._lay(
            parts if len(parts) > 1 else parts[0],
            self._grid.crop((*whole, slice(start, width))),
        )

    def end(self) -> None:
        """Show all of moving again, and let all layers look as before."""
        self._lay(self._data, self._grid)  # while it is seen: a hidden layer draws no thumbnail
        super().end()

    def _lay(self, data: Any, grid: Grid) -> None:
        _, moving = self._pair
        if moving in self._viewer.layers:
            moving.data = data
            set_changed(moving, placement_on(grid))


def _set(layer: Layer, looks: dict[str, Any]) -> None:
    for name, value in looks.items():
        setattr(layer, name, value)
