"""Put what the switch asks for into the viewer: a layer a turn, when it is asked for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

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
    selection_kept,
    whole_or_not,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_local_ncc._napari.answer.views import View
    from napari_local_ncc._napari.results.result_spec import Product

BANDS = (Image, Labels, Vectors)
_asked: WeakKeyDictionary[Layer, View] = WeakKeyDictionary()  # of a map's NCC layer, the last one


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
    _asked[getattr(layer, "__wrapped__", layer)] = view
    there, kept = layers_of_run(viewer, layer), result_of(layer)
    for name, each in there.items():
        if each.visible != (name in view.kinds):
            each.visible = name in view.kinds
    products = {} if kept is None else kept.products
    missing = [products[name] for name in view.kinds if name in products and name not in there]
    drawn = [each for each in missing if len(each.levels[0])]
    _add_in_turns(viewer, layer, drawn, after=layer, is_wanted=_unless_asked(layer))


def select_view(viewer: Viewer, layer: Image, view: View) -> None:
    """Select a map where another layer of its run is: the status bar tells the values of that one.

    Not to be called while napari tells that the selection has changed.
    """
    there, map_kind = layers_of_run(viewer, layer), view.kinds[0]
    if map_kind in there and viewer.layers.selection.active in there.values():
        viewer.layers.selection.active = there[map_kind]


def show_band(viewer: Viewer, layer: Image, name: str) -> None:
    """Show one band of a run above its others, for who looks at it closely."""
    there, kept = layers_of_run(viewer, layer), result_of(layer)
    if name in there:
        there[name].visible = True
    elif kept is not None:
        product = kept.products[name]
        _add_in_turns(viewer, layer, [product], after=layer, is_wanted=_unless_asked(layer))


def show_product(viewer: Viewer, layer: Image, product: Product, *, scale: bool = False) -> None:
    """Show what was made of a run on request above its others, perhaps with a scale of colours."""
    is_wanted = _unless_asked(layer)
    _add_in_turns(viewer, layer, [product], after=layer, scale=scale, is_wanted=is_wanted)


def _unless_asked(layer: Image) -> Callable[[], bool]:
    """Return what says whether no other map of the run has been asked for since."""
    key = getattr(layer, "__wrapped__", layer)
    before = _asked.get(key)
    return lambda: _asked.get(key) is before


def _add_in_turns(
    viewer: Viewer,
    layer: Image,
    products: Sequence[Product],
    *,
    after: Layer,
    scale: bool = False,
    is_wanted: Callable[[], bool],
) -> None:
    """Add a layer at a turn of the event loop, and draw it at the next: napari takes long for each.

    Nothing comes any more once it is not wanted, or the layer that it is to come after has gone:
    at first the run's NCC layer, then the one added before. So no map is left by half where the
    user removes the NCC meanwhile.
    """
    if not products:
        return
    product, *others = products

    def add() -> None:
        if not is_wanted() or after not in viewer.layers:
            return
        new = layers_of_run(viewer, layer).get(product.kind)
        if new is None:
            new = _add(viewer, layer, product, scale=scale)
            QTimer.singleShot(0, partial(show, new))
        _add_in_turns(viewer, layer, others, after=new, scale=scale, is_wanted=is_wanted)

    def show(new: Layer) -> None:
        if is_wanted() and new in viewer.layers:
            with whole_or_not(product.name, partial(_remove, viewer, new)):
                new.visible = True

    QTimer.singleShot(0, add)


def _add(viewer: Viewer, layer: Image, product: Product, *, scale: bool) -> Layer:
    """Add a finished product, hidden, above the other layers of its run; return its layer."""
    is_part = layer.name.endswith(PARTIAL)
    new = new_layer(product, free_name(viewer, product) + PARTIAL * is_part)
    new.metadata = {METADATA: product.metadata | {"complete": not is_part}}
    new.visible = False
    keep_transform(new, transform_of(layer))
    kept = result_of(layer)
    if kept is not None:
        keep_result(new, kept)
    there = layers_of_run(viewer, layer).values()
    is_followed = viewer.layers.selection.active in there and product.kind != "arrows"
    with (
        whole_or_not(product.name, partial(_remove, viewer, new)),
        selection_kept(viewer, when=not is_followed),
    ):
        viewer.layers.insert(max(map(viewer.layers.index, there)) + 1, new)
        if scale:
            _hide_scaled(there, but=new)
            new.colorbar.visible = True
    return new


def _hide_scaled(layers: Iterable[Layer], but: Layer) -> None:
    """Hide layers with a scale of colours: of two scales nobody could tell which is whose."""
    for each in layers:
        if each is not but and isinstance(each, Image) and each.colorbar.visible:
            each.visible = False


def _remove(viewer: Viewer, layer: Layer) -> None:
    if layer in viewer.layers:
        viewer.layers.remove(layer)
