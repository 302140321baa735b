"""Moving a layer by hand, in napari's own transform mode, and putting it back."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari_local_ncc._napari.layers.convert import placement, set_changed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.layers import Image, Layer
    from napari.viewer import Viewer

SEE_THROUGH = 0.6  # opacity of what is moved: what it is moved onto shows through


class ManualMove:
    """Lets the user drag and turn a layer, and remembers where it lay.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the layers are.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._before: WeakKeyDictionary[Layer, dict[str, Any]] = WeakKeyDictionary()
        self._moved: Image | None = None
        self._opacity = 1.0

    @property
    def is_going_on(self) -> bool:
        """Whether a layer that is still there is being moved."""
        return self._moved is not None and self._moved in self._viewer.layers

    def begin(self, layer: Image) -> None:
        """Give a layer the handles that move, turn and scale it.

        Raises
        ------
        ValueError
            If the viewer shows 3-D, where napari has no handles.
        """
        if self._viewer.dims.ndisplay != 2:
            raise ValueError("napari moves layers by hand in 2-D only: switch to 2-D first")
        self.end()
        before = self._before.pop(_plain(layer), placement(layer))
        self._before[_plain(layer)] = before  # the last of them
        self._moved, self._opacity = layer, layer.opacity
        layer.visible = True
        layer.opacity = min(SEE_THROUGH, layer.opacity)
        self._viewer.layers.selection = {layer}
        layer.mode = "transform"

    def end(self) -> Image | None:
        """Take the handles away and return the layer that had them; it stays where it is."""
        if self._moved is not None and self._moved in self._viewer.layers:
            self._moved.mode = "pan_zoom"
            self._moved.opacity = self._opacity
        moved, self._moved = self._moved, None
        return moved

    def was_moved(self, layer: Image) -> bool:
        """Say whether it is known where a layer lay before it was moved."""
        return _plain(layer) in self._before

    def moved_last(self, layer: Image) -> Layer | None:
        """Return a layer if it was moved; else the one of those there that was moved last."""
        there = [each for each in self._before if each in self._viewer.layers]
        return layer if self.was_moved(layer) else next(reversed(there), None)

    @contextmanager
    def as_before(self, layer: Image) -> Iterator[None]:
        """Lay a layer where it lay; where what is done there fails, it is as the user left it."""
        now, before = placement(layer), self._before[_plain(layer)]
        set_changed(layer, before)
        try:
            yield
        except BaseException:
            set_changed(layer, now)
            raise
        self.put_back(layer)

    def put_back(self, layer: Layer) -> None:
        """Lay a layer where it lay before it was first moved."""
        self.end()
        set_changed(layer, self._before.pop(_plain(layer)))


def _plain(layer: Layer) -> Layer:
    """Return the layer itself, where a plugin's viewer gives a proxy of it."""
    plain: Layer = getattr(layer, "__wrapped__", layer)
    return plain
