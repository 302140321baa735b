"""What a run found, for as long as its NCC layer lives: also what no layer shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import dask.array as da
import numpy as np
from napari.layers import Image, Labels

from napari_local_ncc._napari.layers.map_layers import (
    IMAGES,
    fellows,
    is_map,
    run_in,
    run_of,
    values_of,
)
from napari_local_ncc.chunked.windows import as_lazy
from napari_local_ncc.image.spatial_image import map_chunks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_local_ncc._napari.results.result_spec import Product
    from napari_local_ncc.maps.pipeline import ConfidenceMap
    from napari_local_ncc.reports.headline import Headline

NO_BANDS = ("arrows", *IMAGES)


@dataclass(frozen=True, slots=True, eq=False)
class KeptResult:
    """A map with all of its bands, whether or not a layer shows them.

    Parameters
    ----------
    products : mapping of str to Product
        The bands by kind, and what is drawn of them.
    map : ConfidenceMap
        What it was made of; its bands are lazy, `computed` gives those that are there.
    headline : Headline
        What it says in short.
    shares : dict of str to float
        The share of all pixels in each class.
    details : tuple of str
        All that is known of it, a line each.
    """

    products: Mapping[str, Product]
    map: ConfidenceMap
    headline: Headline
    shares: dict[str, float]
    details: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether all of it was computed."""
        return bool(self.details)

    @property
    def run(self) -> dict[str, Any]:
        """What all layers of it have in common in their records."""
        return run_in(self.products["ncc"].metadata)

    def computed(self, notes: Mapping[str, Any]) -> ConfidenceMap:
        """Return the map with the values that were computed, and notes in its provenance."""
        chunks = map_chunks(self.map.grid)
        bands = [
            as_lazy(self.products[name].levels[0], chunks).astype(np.float32)
            for name in self.map.band_names
        ]
        provenance = self.map.provenance | dict(notes)
        return replace(self.map, bands=da.stack(bands), provenance=provenance)


_KEPT: WeakKeyDictionary[Layer, KeptResult] = WeakKeyDictionary()


def keep_result(layer: Layer, result: KeptResult) -> None:
    """Keep what a run found for as long as one of its layers lives."""
    _KEPT[getattr(layer, "__wrapped__", layer)] = result


def every_kept() -> list[KeptResult]:
    """Return all results that are kept, each once."""
    return list({id(each): each for each in _KEPT.values()}.values())


def result_of(layer: Layer | None) -> KeptResult | None:
    """Return what was found with a layer's run; None where it shows something else by now."""
    if layer is None:
        return None
    kept = _KEPT.get(getattr(layer, "__wrapped__", layer))
    if kept is None or kept.run != run_of(layer):
        return None
    return kept


def map_layer_of(viewer: Viewer, layer: Layer | None) -> Image | None:
    """Return the NCC layer of the run that any of its layers belongs to; None of others."""
    maps = [each for each in viewer.layers if is_map(each)]
    if layer is None or run_of(layer) is None:
        return None
    return next((each for each in maps if is_same_run(each, layer)), None)


def is_same_run(one: Layer, other: Layer) -> bool:
    """Say whether two layers are of one run; two runs of one pair may have one record."""
    kept = result_of(one), result_of(other)
    if None not in kept:
        return kept[0] is kept[1]
    own = run_of(one)
    return own is not None and own == run_of(other)


def bands_beside(viewer: Viewer, layer: Image) -> dict[str, Any]:
    """Return the other bands of a map by kind, at full resolution, shown or not.

    With the length of its shift and its classes, if it has them.
    """
    kept = result_of(layer)
    found = {} if kept is None else dict(kept.products)
    bands = {kind: each.levels[0] for kind, each in found.items() if kind not in NO_BANDS}
    bands |= {
        kind: values_of(each)
        for kind, each in fellows(viewer, layer, (Image, Labels)).items()
        if kind not in NO_BANDS and is_same_run(each, layer)
    }
    bands.pop("ncc", None)
    return bands
