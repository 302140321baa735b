"""File > Open: a map as the layer that a run would have left, with all that belongs to it."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any

from napari_local_ncc._napari.compare.preferences import memory_budget
from napari_local_ncc._napari.layers.convert import METADATA
from napari_local_ncc._napari.layers.kept_transforms import keep_transform
from napari_local_ncc._napari.results.kept_results import keep_result
from napari_local_ncc._napari.results.load import map_path, run_load
from napari_local_ncc._napari.results.result_layer import new_layer
from napari_local_ncc.io.writing import is_map
from napari_local_ncc.progress import finish, translate

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer


def get_reader(path: str | list[str]) -> Callable[[str], list[Layer]] | None:
    """Return what opens a map, or None where a path is none: others may read it then."""
    if isinstance(path, list) or not is_map(map_path(path)):
        return None
    return open_map


def open_map(path: str) -> list[Layer]:
    """Return the NCC layer of a map; the switch and the inspector show its other bands.

    Parameters
    ----------
    path : str
        The file, or the ``zarr.json`` of a map in a folder.
    """
    outcome: Any = finish(translate(run_load(map_path(path), memory_budget(), Event()), _nothing))
    product = outcome.kept.products["ncc"]
    layer = new_layer(product, product.name)
    layer.metadata = {METADATA: product.metadata | {"complete": True}}
    keep_transform(layer, product.registration)
    keep_result(layer, outcome.kept)
    return [layer]


def _nothing(_: object) -> tuple[()]:
    return ()
