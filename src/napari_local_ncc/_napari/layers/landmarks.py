"""Landmarks as Points layers: where they lie in the world of an image, and empty ones to fill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Points

from napari_local_ncc._napari.layers.convert import placement, viewer_to_layer_units

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer
    from numpy.typing import NDArray

COLORS = {"fixed": "#3f9be8", "moving": "#ffe14d"}  # told apart by who sees no red or green
NUMBER = "number"
SIZE = 0.02  # of the image's shorter side


def point_layers(viewer: Viewer) -> list[Points]:
    """Return the Points layers of a viewer."""
    return [layer for layer in viewer.layers if isinstance(layer, Points)]


def landmarks_of(viewer: Viewer, points: Points, image: Image) -> NDArray[np.float64]:
    """Return the points of a layer in the world of an image, shape (points, axes).

    Raises
    ------
    ValueError
        If the layer is empty, or has fewer axes than the image's plane.
    """
    if not len(points.data):
        raise ValueError(f"{points.name} holds no points: add some, in the order of the other's")
    if points.ndim < 2:
        raise ValueError(f"{points.name} has {points.ndim} axis; landmarks need 2 or more")
    world = np.array([points.data_to_world(point) for point in points.data])
    world = world / viewer_to_layer_units(viewer, points)
    axes = min(points.ndim, image.ndim)
    return np.asarray(world[:, -axes:] * viewer_to_layer_units(viewer, image)[-axes:])


def add_landmark_layer(viewer: Viewer, image: Image, role: str) -> Points:
    """Add an empty layer for the landmarks of an image, on its pixels."""
    layer = Points(
        ndim=image.ndim,
        name=f"{role} landmarks",
        size=max(1.0, SIZE * min(image.extent.data[1][-2:] + 1)),
        symbol="cross",
        face_color=COLORS[role],
        border_color="black",
        features={NUMBER: np.empty(0, int)},
        text={"string": "{" + NUMBER + "}", "color": COLORS[role], "anchor": "upper_left"},
        **placement(image),
    )
    layer.events.data.connect(lambda _: _number(layer))
    viewer.add_layer(layer)
    layer.mode = "add"
    return layer


def _number(layer: Points) -> None:
    """Write at each point which it is, by which it is paired."""
    layer.features = {NUMBER: np.arange(1, len(layer.data) + 1)}
