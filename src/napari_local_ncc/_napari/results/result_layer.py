"""A layer that a running computation fills, tile by tile."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels, Vectors

from napari_local_ncc._napari.layers.convert import METADATA, placement, set_changed
from napari_local_ncc._napari.layers.kept_transforms import keep_transform, transform_of
from napari_local_ncc._napari.layers.map_layers import kind, run_in, run_of
from napari_local_ncc._napari.results.arrow_thumbnail import keep_thumbnail
from napari_local_ncc._napari.results.result_spec import LABELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_local_ncc._napari.results.result_spec import Product
    from napari_local_ncc.transforms.registration import Registration

PARTIAL = " (partial)"
REST = 0.2  # s between two drawings of new tiles
PATIENCE = 5  # a drawing that took long is not repeated before this many times as long


@dataclass(frozen=True, slots=True, eq=False)
class _Before:
    """What a layer was before a run took it over."""

    data: Any
    metadata: dict[str, Any]
    name: str
    placement: dict[str, Any]
    transform: Registration | None

    @classmethod
    def of(cls, layer: Image | Labels) -> _Before:
        metadata = dict(layer.metadata)  # napari empties and fills the very dict that it gives
        values = _data(layer), metadata, layer.name, placement(layer)
        return cls(*values, transform_of(layer))


class LayerError(RuntimeError):
    """napari, or another plugin that hears of new layers, could not cope with a result."""


class ResultLayer:
    """Shows a product while it is computed; until it is complete its name says so.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the layer goes.
    product : Product
        What is computed.
    keep_earlier : bool
        Whether to add a new layer even where an earlier run of the same pair left one.

    Raises
    ------
    LayerError
        If it cannot be shown; then all is as it was.
    """

    def __init__(self, viewer: Viewer, product: Product, *, keep_earlier: bool) -> None:
        self.product = product
        self.has_tiles = False
        self._viewer = viewer
        self._is_outdated = False
        self._next_drawing = 0.0
        earlier = None if keep_earlier else earlier_layer(viewer, product, partial(_fits, product))
        self._before = None if earlier is None else _Before.of(earlier)
        self.layer: Any = earlier
        if earlier is None:
            self.layer = new_layer(product, free_name(viewer, product))
        with whole_or_not(product.name, self.undo):
            self._begin()

    def _begin(self) -> None:
        """Show the product in its layer, empty as it is."""
        viewer, product = self._viewer, self.product
        keep_transform(self.layer, product.registration)
        if self._before is None:
            self.layer.metadata = self._metadata(complete=False)
            with selection_kept(viewer, when=not self.layer.visible):
                viewer.add_layer(self.layer)
        else:
            self._show(_levels(product, self.layer), self._metadata(complete=False), None)
            set_changed(self.layer, product.placement)
        self.layer.name = self.layer.name.removesuffix(PARTIAL) + PARTIAL

    @property
    def is_there(self) -> bool:
        """Whether the user has left it in the viewer."""
        return self.layer in self._viewer.layers

    def tile_landed(self, location: tuple[slice, ...]) -> None:
        """Remember to draw, if the tile lies in what is displayed."""
        self.has_tiles = True
        hidden = self._viewer.dims.not_displayed
        behind = self._viewer.dims.ndim - len(location)
        position = self.layer.world_to_data(self._viewer.dims.point)
        self._is_outdated |= all(
            location[axis - behind].start - 0.5
            <= position[axis - behind]
            < location[axis - behind].stop - 0.5
            for axis in hidden
            if axis >= behind
        )

    def draw(self) -> None:
        """Draw the tiles that have landed, not too often."""
        now = monotonic()
        if self._is_outdated and now >= self._next_drawing and self.is_there:
            self._is_outdated = False
            self.layer.refresh(extent=False, thumbnail=False, highlight=False)
            self._next_drawing = monotonic() + max(REST, PATIENCE * (monotonic() - now))

    def complete(self) -> None:
        """Show that all of it is there."""
        self._show(None, self._metadata(complete=True), self.layer.name.removesuffix(PARTIAL))

    def leave(self) -> None:
        """Leave what is finished, as a part; if nothing is, leave no trace."""
        if self.has_tiles:
            self.layer.refresh(extent=False)
        else:
            self.undo()

    def undo(self) -> None:
        """Remove the layer, or put an earlier run's result back."""
        if not self.is_there:
            return
        if self._before is None:
            self._viewer.layers.remove(self.layer)
        else:
            before = self._before
            self._show(before.data, before.metadata, before.name)
            set_changed(self.layer, before.placement)
            keep_transform(self.layer, before.transform)

    def _show(self, data: Any, metadata: dict[str, Any], name: str | None) -> None:
        self.layer.metadata = metadata
        if name is not None:
            self.layer.name = name
        if data is None:
            self.layer.refresh(extent=False)
        else:
            self.layer.data = data  # draws too

    def _metadata(self, *, complete: bool) -> dict[str, Any]:
        return self.layer.metadata | {METADATA: self.product.metadata | {"complete": complete}}


@contextmanager
def selection_kept(viewer: Viewer, *, when: bool) -> Iterator[None]:
    """Leave the selection as it is, where napari would select a new layer."""
    selected = set(viewer.layers.selection)
    yield
    if when and selected:
        viewer.layers.selection = selected


@contextmanager
def whole_or_not(name: str, undo: Callable[[], None]) -> Iterator[None]:
    """Undo what was begun with a layer where anything fails, and say so in one error."""
    try:
        yield
    except Exception as error:
        try:
            undo()
        finally:  # what half a layer may raise when it goes is not what went wrong
            raise LayerError(
                f"napari could not show the layer {name}, and it is taken back "
                f"({type(error).__name__}: {error})"
            ) from error


def free_name(viewer: Viewer, product: Product) -> str:
    """Return a short name for a new layer; with that of the pair where the short one is taken."""
    taken = {layer.name.removesuffix(PARTIAL) for layer in viewer.layers}
    return f"{product.name}: {product.pair}" if product.name in taken else product.name


def new_layer(product: Product, name: str) -> Layer:
    """Return a layer that no viewer has yet."""
    multiscale = len(product.levels) > 1
    arguments = {"name": name} | product.placement
    data = product.levels if multiscale else product.levels[0]
    if product.kind == "arrows":
        arrows = Vectors(data, **arguments, **product.style)
        keep_thumbnail(arrows)
        return arrows
    arguments["multiscale"] = multiscale
    if product.kind in LABELS:
        return Labels(data, **arguments, **product.style)
    # the blending that `viewer.add_image` gives, and an image by itself does not
    return Image(data, **arguments | {"blending": "translucent_no_depth"} | product.style)


def has_earlier(viewer: Viewer, product: Product) -> bool:
    """Say whether an earlier run of the same pair left a layer that a result fits."""
    return earlier_layer(viewer, product, partial(_fits, product)) is not None


def earlier_layer(
    viewer: Viewer, product: Product, fits: Callable[[Layer], bool]
) -> Any:  # the kind of layer that `fits` asks for
    """Return the first layer that an earlier run of the same pair left, if the result fits it."""
    for layer in viewer.layers:
        made_of = layer.metadata.get(METADATA, {}).get("layers")
        if made_of == product.metadata["layers"] and fits(layer):
            return layer
    return None


def _fits(product: Product, layer: Layer) -> bool:
    same_levels = layer.multiscale == (len(product.levels) > 1)
    return same_levels and tuple(layer.data.shape) == product.grid.shape


def remove_leftovers(viewer: Viewer, products: Iterable[Product]) -> None:
    """Remove what earlier runs of the same pair left of a map that is there no more.

    A map that was brought up to date in place may have had bands which the new run did not
    ask for: beside the new map they would contradict it.
    """
    for product in products:
        if product.kind != "ncc":
            continue
        alive = [run_of(layer) for layer in viewer.layers if kind(layer) == "ncc"]
        alive.append(run_in(product.metadata))
        for layer in list(viewer.layers):
            made_of = layer.metadata.get(METADATA, {}).get("layers", {})
            if made_of.get("kind") == "registered" or run_of(layer) in alive:
                continue
            if made_of | {"kind": "ncc"} == product.metadata["layers"]:
                viewer.layers.remove(layer)


def _levels(product: Product, layer: Image | Labels) -> Any:
    return product.levels if layer.multiscale else product.levels[0]


def _data(layer: Image | Labels) -> Any:
    return list(layer.data) if layer.multiscale else layer.data
