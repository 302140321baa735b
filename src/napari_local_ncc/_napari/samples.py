"""File > Open Sample: pairs with a known transform, as layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc import sample_data
from napari_local_ncc._napari.layers.convert import placement_on

if TYPE_CHECKING:
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.sample_data import SamplePair

LayerData = tuple[Any, dict[str, Any], str]


def brain_slices() -> list[LayerData]:
    """Return the 2-D pair as layers."""
    return _layers(sample_data.brain_slice())


def drifting_series() -> list[LayerData]:
    """Return the static reference and the time series as layers."""
    return _layers(sample_data.drifting_series())


def head_volumes() -> list[LayerData]:
    """Return the 3-D pair as layers."""
    return _layers(sample_data.head_volume())


def _layers(pair: SamplePair) -> list[LayerData]:
    return [_layer(pair.fixed, "green"), _layer(pair.moving, "magenta")]


def _layer(image: SpatialImage, color: str) -> LayerData:
    data = np.asarray(image.data)
    style = {
        "name": image.name,
        "colormap": color,
        "blending": "additive",
        "contrast_limits": (float(data.min()), float(data.max())),
    }
    return data, placement_on(image.grid) | style, "image"
