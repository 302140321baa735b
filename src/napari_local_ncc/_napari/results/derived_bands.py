"""Bands that are made of a finished map when they are asked for: strain and rotation."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc._napari.layers.convert import colors_between
from napari_local_ncc._napari.layers.map_layers import LAYERS, LOOKED_AT, kind
from napari_local_ncc._napari.results.allocate import blank_levels
from napari_local_ncc._napari.results.band_layers import put
from napari_local_ncc._napari.results.kept_results import map_layer_of
from napari_local_ncc.maps.derived.strain_bands import iter_strain_band, strain_bands
from napari_local_ncc.reports import colormap

if TYPE_CHECKING:
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_local_ncc._napari.results.kept_results import KeptResult
    from napari_local_ncc._napari.results.result_spec import Product
    from napari_local_ncc.maps.bands import Band

PREFIXES = ("stretch_", "shear_", "rotation_", "checkerboard", LOOKED_AT)
SHOWN = 0.98  # of the values lie within the limits of the colours
LEAST = 0.1  # % or degrees: what is less is not blown up


def derivable(kept: KeptResult) -> tuple[Band, ...]:
    """Return the bands that can be made of a result."""
    return strain_bands(kept.map.parameters, kept.map.grid)


def derive_band(kept: KeptResult, name: str, budget: float) -> Product:
    """Make one of them, tile by tile.

    Parameters
    ----------
    kept : KeptResult
        The result; its bands are there.
    name : str
        Which.
    budget : float
        Size in bytes up to which it is kept in memory.
    """
    band = next(each for each in derivable(kept) if each.name == name)
    grid = kept.map.grid
    product = blank_beside(kept, name, band.title, budget)
    there = {each: kept.products[each].levels[0] for each in kept.map.band_names}
    for box, values in iter_strain_band(name, there, kept.map.parameters, grid):
        put(product, box, values)
    reach = _reach(np.abs(np.asarray(product.levels[-1])))
    look = colors_between((-reach, reach), colormap.PALETTES[band.palette], band.palette)
    return replace(product, style=look)


def blank_beside(kept: KeptResult, kind: str, name: str, budget: float) -> Product:
    """Make room for another image on the grid of a map, of its run."""
    like = kept.products["ncc"]
    levels = blank_levels(kept.map.grid, np.float32, multiscale=len(like.levels) > 1, budget=budget)
    record = like.metadata | {LAYERS: like.metadata[LAYERS] | {"kind": kind}}
    return replace(like, kind=kind, name=name, levels=levels, metadata=record)


def _reach(lengths: NDArray[np.floating]) -> float:
    """Return a round number that nearly all lie below."""
    known = lengths[np.isfinite(lengths)]
    most = max(float(np.quantile(known, SHOWN)) if known.size else 0.0, LEAST)
    decade = 10.0 ** math.floor(math.log10(most))
    return next(step * decade for step in (1, 2, 5, 10) if step * decade >= most * (1 - 1e-9))


def remove_outdated(viewer: Viewer) -> None:
    """Remove what was made of a result that no layer shows any more."""
    for layer in list(viewer.layers):
        if (kind(layer) or "").startswith(PREFIXES) and map_layer_of(viewer, layer) is None:
            viewer.layers.remove(layer)
