"""Put what the switch asks for into the viewer: a layer a turn, when it is asked for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari.layers import Image, Labels, Vectors
from qtpy.QtCore import QTimer

from napari_local_ncc._napari.layers.convert import METADATA
from napari_local_ncc._napari.layers.kept_transforms import keep_transform, transform_of
from napari_local_ncc._napari.layers.map_layers import IMAGES, kind
from napari_local_ncc._napari.results.kept_results import is_same_run, keep_result, result_of
from napari_local_ncc._napari.results.result_layer import (
    PARTIAL,
    free_name,
    new_layer,
    whole_or_not,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_local_ncc._napari.answer.views import View
    from napari_local_ncc._napari.results.result_spec import Product

BANDS = (Image, Labels, Vectors)


def layers_of_run(viewer: Viewer, layer: Image) -> dict[str, Layer]:
    """Return the layers of a map's run by kind, but the registered image."""
    return {
        str(kind(each)): each
        for each in viewer.layers
        if isinstance(each, BANDS)
        and kind(each) not in (None, *IMAGES)
        and is_same_run(each, layer)
    }


def show_view(viewer: Viewer, layer: Image, view: View) -> None:
    """Show one map of a run and hide its others; layers that are missing come turn by turn.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where.
    layer : napari.layers.Image
        The run's NCC layer.
    view : View
        What to show.
    """
    there, kept = layers_of_run(viewer, layer), result_of(layer)
    for name, each in there.items():
        if each.visible != (name in view.kinds):
            each.visible = name in view.kinds
    products = {} if kept is None else kept.products
    missing = [products[name] for name in view.kinds if name in products and name not in there]
    _add_in_turns(viewer, layer, [each for each in missing if len(each.levels[0])])


def show_band(viewer: Viewer, layer: Image, name: str) -> None:
    """Show one band of a run above its others, for who looks at it closely."""
    there, kept = layers_of_run(viewer, layer), result_of(layer)
    if name in there:
        there[name].visible = True
    elif kept is not None:
        _add_in_turns(viewer, layer, [kept.products[name]])


def show_product(viewer: Viewer, layer: Image, product: Product, *, scale: bool = False) -> None:
    """Show what was made of a run on request above its others, perhaps with a scale of colours."""
    _add_in_turns(viewer, layer, [product], scale=scale)


def _add_in_turns(
    viewer: Viewer, layer: Image, products: Sequence[Product], *, scale: bool = False
) -> None:
    """Add a layer at every turn of the event loop: napari takes long for each."""

    def add() -> None:
        if layer in viewer.layers and products[0].kind not in layers_of_run(viewer, layer):
            _add(viewer, layer, products[0], scale=scale)
        _add_in_turns(viewer, layer, products[1:], scale=scale)

    if products:
        QTimer.singleShot(0, add)


def _add(viewer: Viewer, layer: Image, product: Product, *, scale: bool) -> None:
    """Add a finished product above the other layers of its run."""
    is_part = layer.name.endswith(PARTIAL)
    new = new_layer(product, free_name(viewer, product) + PARTIAL * is_part)
    new.metadata = {METADATA: product.metadata | {"complete": not is_part}}
    keep_transform(new, transform_of(layer))
    kept = result_of(layer)
    if kept is not None:
        keep_result(new, kept)
    selected = set(viewer.layers.selection)
    above = max(viewer.layers.index(each) for each in layers_of_run(viewer, layer).values()) + 1
    with whole_or_not(product.name, partial(_remove, viewer, new)):
        viewer.layers.insert(above, new)
        viewer.layers.selection = selected
        if scale:
            _hide_scaled(layers_of_run(viewer, layer).values(), but=new)
            new.colorbar.visible = True


def _hide_scaled(layers: Iterable[Layer], but: Layer) -> None:
    """Hide layers with a scale of colours: of two scales nobody could tell which is whose."""
    for each in layers:
        if each is not but and isinstance(each, Image) and each.colorbar.visible:
            each.visible = False


def _remove(viewer: Viewer, layer: Layer) -> None:
    if layer in viewer.layers:
        viewer.layers.remove(layer)
