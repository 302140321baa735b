"""A shift as arrows in the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Vectors

from napari_local_ncc._napari.layers import METADATA
from napari_local_ncc._napari.result_layer import selection_kept
from napari_local_ncc._napari.transform_of import keep_transform

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_local_ncc._napari.product import Product

FOLLOWS = ("features", "edge_color", "length")  # what a new shift changes in its layer


def show_arrows(viewer: Viewer, product: Product, *, keep_earlier: bool) -> None:
    """Add a Vectors layer, or bring that of an earlier run of the same pair up to date."""
    (ends,) = product.levels
    metadata = {METADATA: product.metadata | {"complete": True}}
    layer = None if keep_earlier else _earlier(viewer, product)
    if layer is None:
        with selection_kept(viewer, when=True):
            layer = viewer.add_vectors(
                ends, name=product.name, metadata=metadata, **product.placement, **product.style
            )
    else:
        layer.data = ends
        for name in FOLLOWS:
            setattr(layer, name, product.style[name])
        for name, value in product.placement.items():
            setattr(layer, name, value)
        layer.metadata = layer.metadata | metadata
    keep_transform(layer, product.registration)


def _earlier(viewer: Viewer, product: Product) -> Vectors | None:
    for layer in viewer.layers:
        made_of = layer.metadata.get(METADATA, {}).get("layers")
        if isinstance(layer, Vectors) and made_of == product.metadata["layers"]:
            return layer if layer.ndim == product.grid.ndim else None
    return None
