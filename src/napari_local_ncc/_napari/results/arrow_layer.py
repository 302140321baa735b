"""A shift as arrows in the viewer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari.layers import Vectors

from napari_local_ncc._napari.layers.convert import METADATA
from napari_local_ncc._napari.layers.kept_transforms import keep_transform
from napari_local_ncc._napari.results.kept_results import keep_result
from napari_local_ncc._napari.results.result_layer import earlier_layer

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_local_ncc._napari.results.kept_results import KeptResult
    from napari_local_ncc._napari.results.result_spec import Product

FOLLOWS = ("features", "edge_color", "length")  # what a new shift changes in its layer


def update_arrows(viewer: Viewer, kept: KeptResult) -> None:
    """Bring the arrows of an earlier run of the same pair up to date, if they are there.

    Where there is no shift to believe there are no arrows, and no layer: napari cannot colour
    an empty one.
    """
    product = kept.products["arrows"]
    (ends,) = product.levels
    layer = earlier_layer(viewer, product, partial(_fits, product))
    if layer is None:
        return
    if not len(ends):
        viewer.layers.remove(layer)
        return
    layer.data = ends
    for name in FOLLOWS:
        setattr(layer, name, product.style[name])
    for name, value in product.placement.items():
        setattr(layer, name, value)
    layer.metadata = layer.metadata | {METADATA: product.metadata | {"complete": True}}
    keep_transform(layer, product.registration)
    keep_result(layer, kept)


def _fits(product: Product, layer: Layer) -> bool:
    return isinstance(layer, Vectors) and layer.ndim == product.grid.ndim
