"""What the layer list shows of arrows: a dot in its colour where each begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari.layers import Vectors
    from napari.utils.events import Event


def keep_thumbnail(layer: Vectors) -> None:
    """Draw the thumbnail of arrows now, and again whenever napari has drawn its own.

    That of napari 0.9.2 is all but black: it takes colours in [0, 1] for whole numbers.
    """
    layer.events.thumbnail.connect(_draw)
    layer.thumbnail = _dots(layer)


def _draw(event: Event) -> None:
    dots = _dots(event.source)
    if not np.array_equal(dots, event.source.thumbnail):
        event.source.thumbnail = dots


def _dots(layer: Vectors) -> np.ndarray:
    """Return a picture of where arrows begin in the plane, of all frames."""
    picture = np.zeros(layer.thumbnail.shape, np.uint8)
    picture[..., 3] = 255
    places = layer.data[:, 0, -2:]
    if len(places):
        places = places - places.min(axis=0)
        times = (min(picture.shape[:2]) - 1) / max(places.max(), 1)
        colors = 255 * np.asarray(layer.edge_color)[:, :3]
        picture[*(places * times).astype(int).T, :3] = colors.round()
    return picture
