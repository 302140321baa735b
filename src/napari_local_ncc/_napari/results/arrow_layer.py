"""A shift as arrows in the viewer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari.layers import Vectors

from napari_local_ncc._napari.layers.convert import METADATA
from napari_local_ncc._napari.layers.kept_transforms import keep_transform
from napari_local_ncc._napari.results.result_layer import (
    earlier_layer,
    selection_kept,
    whole_or_not,
)

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_local_ncc._napari.results.result_spec import Product

FOLLOWS = ("features", "edge_color", "length")  # what a new shift changes in its layer


def show_arrows(viewer: Viewer, product: Product, *, keep_earlier: bool) -> None:
    """Add a Vectors layer, or bring that of an earlier run of the same pair up to date.

    Where there is no shift to believe there are no arrows, and no layer: napari cannot colour
    an empty one.
    """
    (ends,) = product.levels
    metadata = {METADATA: product.metadata | {"complete": True}}
    layer = None if keep_earlier else earlier_layer(viewer, product, partial(_fits, product))
    if not len(ends):
        if layer is not None:
            viewer.layers.remove(layer)
        return
    if layer is None:
        layer = Vectors(
            ends, name=product.name, metadata=metadata, **product.placement, **product.style
        )
        undo = partial(_remove, viewer, layer)
        with selection_kept(viewer, when=True), whole_or_not(product.name, undo):
            viewer.add_layer(layer)
    else:
        layer.data = ends
        for name in FOLLOWS:
            setattr(layer, name, product.style[name])
        for name, value in product.placement.items():
            setattr(layer, name, value)
        layer.metadata = layer.metadata | metadata
    keep_transform(layer, product.registration)


def _remove(viewer: Viewer, layer: Layer) -> None:
    if layer in viewer.layers:
        viewer.layers.remove(layer)


def _fits(product: Product, layer: Layer) -> bool:
    return isinstance(layer, Vectors) and layer.ndim == product.grid.ndim
