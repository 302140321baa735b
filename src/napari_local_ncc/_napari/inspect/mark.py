"""The mark on the canvas: where the inspected pixel and its window lie.

It is an overlay of the scene. A layer of shapes would stand in the list of layers, be saved
with them, be offered wherever a layer is chosen, and disappear below the next result. napari
keeps overlays in public (`viewer.scene.overlays`); how a new kind is drawn is told to it as in
its own example, `examples/dev/overlays.py`.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from napari._vispy.overlays.base import ViewerOverlayMixin, VispySceneOverlay
from napari._vispy.utils.visual import overlay_to_visual
from napari.components.overlays import SceneOverlay
from vispy.scene.visuals import Compound, Line

from napari_local_ncc._napari.layers.convert import viewer_to_layer_units

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_local_ncc._napari.inspect.inspected_pixel import Inspection

LINES = (("black", 3), ("white", 1))  # px: one of the two is seen on any colour
PLACE = ("scale", "translate", "rotate", "shear", "affine", "units")  # of the map


class WindowOverlay(SceneOverlay):
    """Straight lines in the scene.

    Parameters
    ----------
    ends : tuple of tuple of float
        Where each line begins and ends, one after another, along the displayed axes of the
        viewer's world.
    """

    ends: tuple[tuple[float, ...], ...] = ()


class VispyWindowOverlay(ViewerOverlayMixin, VispySceneOverlay):
    """Draws them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(node=Compound([Line() for _ in LINES]), **options)
        self.overlay.events.ends.connect(self._draw)
        self.reset()

    def reset(self) -> None:
        """Draw from the beginning."""
        super().reset()
        self._draw()

    def _draw(self) -> None:
        if not self.overlay.ends:
            return
        ends = np.array(self.overlay.ends)[:, ::-1]  # x comes first in a scene
        ends = np.pad(ends, ((0, 0), (0, 3 - ends.shape[1])))
        for line, (color, width) in zip(self.node._subvisuals, LINES, strict=True):
            line.set_data(pos=ends, color=color, width=width, connect="segments")


overlay_to_visual[WindowOverlay] = VispyWindowOverlay


class WindowMark:
    """Marks a pixel and its window on the canvas while their numbers can be seen.

    Parameters
    ----------
    viewer : napari.Viewer
        Where the map is.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._found: Inspection | None = None
        self._is_seen = False
        self._name = f"local_ncc_window_{id(self)}"  # another inspector may be on its way out
        self.overlay = WindowOverlay(blending="translucent_no_depth")
        self.listen()

    def put(self, found: Inspection | None) -> None:
        """Mark another pixel, or none."""
        self._follow(None if found is None else found.layer)
        self._found = found
        self._draw()

    def show(self, seen: bool) -> None:
        """Show it, or hide it."""
        self._is_seen = seen
        self._draw()

    def listen(self) -> None:
        """Follow what the viewer shows."""
        for name in ("ndisplay", "order", "units"):
            getattr(self._viewer.dims.events, name).connect(self._draw)

    def let_go(self) -> None:
        """Leave no trace in the viewer."""
        self.put(None)
        for name in ("ndisplay", "order", "units"):
            getattr(self._viewer.dims.events, name).disconnect(self._draw)
        self._viewer.scene.overlays.pop(self._name, None)

    def _follow(self, layer: Image | None) -> None:
        """Move with a map when that is moved."""
        before = None if self._found is None else self._found.layer
        for name in PLACE:
            if before is not None:
                getattr(before.events, name).disconnect(self._draw)
            if layer is not None:
                getattr(layer.events, name).connect(self._draw)

    def _draw(self, *_: Any) -> None:
        found, overlays = self._found, self._viewer.scene.overlays
        ends: tuple[tuple[float, ...], ...] = ()
        if self._is_seen and found is not None and found.layer in self._viewer.layers:
            ends = outline(self._viewer, found)
        if ends:
            self.overlay.ends = ends
            if self._name not in overlays:
                overlays[self._name] = self.overlay
        self.overlay.visible = bool(ends)


def outline(viewer: Viewer, found: Inspection) -> tuple[tuple[float, ...], ...]:
    """Return the edges of a pixel and of its window, for `WindowOverlay`.

    They are rectangles where two axes are displayed, and boxes where three are. There are
    none where an axis is displayed that the map does not have.
    """
    first = viewer.dims.ndim - found.layer.ndim
    shown = [axis - first for axis in viewer.dims.displayed]
    if min(shown) < 0:
        return ()
    index = np.array(found.index, float)
    boxes = [(index - 0.5, index + 0.5), found.bounds()]
    ends = np.concatenate([_edges(low, high, index, shown) for low, high in boxes])
    world = np.array([found.layer.data_to_world(end) for end in ends])
    world /= viewer_to_layer_units(viewer, found.layer)
    return tuple(tuple(map(float, end)) for end in world[:, shown])


def _edges(
    low: NDArray[np.float64], high: NDArray[np.float64], index: NDArray[np.float64], axes: list[int]
) -> NDArray[np.float64]:
    """Return the ends of a box's edges along some axes, at an index along the others."""
    corners = np.tile(index, (2 ** len(axes), 1))
    corners[:, axes] = list(product(*((low[axis], high[axis]) for axis in axes)))
    bits = [2**k for k in range(len(axes))]
    pairs = [(n, n | bit) for n in range(len(corners)) for bit in bits if not n & bit]
    return corners[np.array(pairs).ravel()]
