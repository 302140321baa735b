"""The layers of a map: what each shows, how it comes of the bands of a tile, and its looks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.array.core import slices_from_chunks
from napari.utils.colormaps import DirectLabelColormap

from napari_local_ncc._napari.layers.convert import colors_between, ncc_colors
from napari_local_ncc._napari.results.allocate import blank_levels
from napari_local_ncc._napari.results.result_spec import Product
from napari_local_ncc.geometry.units import unit_symbol
from napari_local_ncc.image.pyramid import update_pyramid
from napari_local_ncc.maps.bands import bands_on, shift_components, shift_errors, shift_steps
from napari_local_ncc.maps.class_summary import (
    DIFFERS,
    UNSURE,
    classes_by_threshold,
    samples_of_window,
)
from napari_local_ncc.reports import colormap
from napari_local_ncc.reports.describe import pixel_decimals, pixel_sides
from napari_local_ncc.shift.arrows import ArrowTally
from napari_local_ncc.shift.interpret import (
    CLASSES,
    is_believable,
    length_error,
    shift_length,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_local_ncc._napari.results.result_spec import Output
    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.maps.bands import Band
    from napari_local_ncc.maps.map_summary import MapTally
    from napari_local_ncc.maps.pipeline import ConfidenceMap

    Bands = Mapping[str, NDArray[np.float32]]

FIRST = ("ncc", "gain", "ncc_best")  # at the bottom; then the shift, and confidence above it


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A layer of a map.

    Parameters
    ----------
    product : Product
        Where its values go.
    of : callable
        Gives the values of a tile, from its bands by name.
    """

    product: Product
    of: Callable[[Bands], NDArray[Any]]


def layers_of(result: ConfidenceMap, output: Output, fixed: Grid, names: str) -> list[Drawn]:
    """Make room for all layers of a map, in their order from below.

    Parameters
    ----------
    result : ConfidenceMap
        The map.
    output : Output
        Where layers go.
    fixed : Grid
        Where the fixed image lies.
    names : str
        Which images are compared, for the layers' names.

    Returns
    -------
    list of Drawn
        The bands; with a residual shift also its length and the classes.
    """
    bands = {band.name: band for band in bands_on(result.parameters, result.grid)}
    order = [name for name in FIRST if name in bands]
    order += sorted(bands.keys() - {*FIRST, "confidence", "classes"}, key=list(bands).index)
    found: list[tuple[str, str, dict[str, Any], Callable[[Bands], NDArray[Any]]]] = [
        (name, *_band(bands[name]), itemgetter(name)) for name in order
    ]
    if "gain" in bands:
        steps = shift_steps(result.parameters, result.grid)
        lengths = partial(_length_of, pixel_to_world=steps)
        found.append(("shift_length", *_length(result), lengths))
    if "confidence" in bands:
        found.append(("confidence", *_band(bands["confidence"]), itemgetter("confidence")))
    if "gain" in bands or "classes" in bands:
        found.append(("classes", *_classes(), _class_codes(result)))
    share = output.budget / max(len(found), 1)
    drawn = []
    for kind, title, style, of in found:
        kind_of_number = np.uint8 if kind == "classes" else np.float32
        levels = blank_levels(
            result.grid, kind_of_number, multiscale=output.multiscale, budget=share
        )
        product = product_of(result, kind, title, levels, style, output, fixed, names)
        drawn.append(Drawn(product, of))
    return drawn


def product_of(
    result: ConfidenceMap,
    kind: str,
    name: str,
    levels: list[Any],
    style: dict[str, Any],
    output: Output,
    fixed: Grid,
    pair: str = "",
) -> Product:
    """Return a result of a map's run, with the map's provenance."""
    return Product(
        kind,
        name,
        levels,
        result.grid,
        output.place_on(result.grid, fixed),
        style,
        result.provenance | {"layers": {"kind": kind, **output.layers}},
        result.registration,
        pair,
    )


class Arrows:
    """Gathers the arrows of a map's shift where it can be believed.

    Parameters
    ----------
    result : ConfidenceMap
        A map with a residual shift.
    """

    def __init__(self, result: ConfidenceMap) -> None:
        grid, parameters = result.grid, result.parameters
        self._tally = ArrowTally(grid.shape, parameters.radius_on(grid))
        apart = min(step for step in self._tally.strides if step > 1)
        self._times = max(apart // max(parameters.search_on(grid)), 1)
        self._codes = _class_codes(result)

    def add(self, bands: Bands, location: tuple[slice, ...]) -> None:
        """Take those of a tile."""
        labels = self._codes(bands)
        keep = is_believable(labels, bands.get("confidence"))
        errors = list(shift_errors(bands).values()) or None
        self._tally.add(_components(bands), labels, keep, location, errors)

    def product(self, result: ConfidenceMap, output: Output, fixed: Grid, names: str) -> Product:
        """Return the layer of all arrows, in the colours of the classes."""
        labels = self._tally.labels
        style = {
            "features": {
                "class": np.array(CLASSES)[labels],
                "length_px": shift_length(np.moveaxis(self._tally.ends[:, 1], -1, 0)),
                **self._errors(result),
            },
            "edge_color": np.array([_COLORS[label] for label in CLASSES])[labels],
            "length": self._times,
            "edge_width": min(step for step in self._tally.strides if step > 1) / 10,
            "vector_style": "arrow",
            "opacity": 1.0,
        }
        title = "shift arrows" + (f" ({self._times}x longer)" if self._times > 1 else "")
        ends = [self._tally.ends]
        return product_of(result, "arrows", title, ends, style, output, fixed, names)

    def _errors(self, result: ConfidenceMap) -> dict[str, Any]:
        """Return the errors of the shift along each axis, in px, and in words and the world."""
        bands = list(shift_errors({name: name for name in result.band_names}))
        if not bands:
            return {}
        steps, errors = self._tally.components.T, self._tally.errors.T
        sides, unit = pixel_sides(result.grid)
        windowed = np.array(result.parameters.radius_on(result.grid)[-len(sides) :]) > 0
        side = sides[windowed][:, np.newaxis]
        lengths = shift_length(steps, shift_steps(result.parameters, result.grid))
        digits = pixel_decimals(side.min())
        pairs = zip(lengths, length_error(steps * side, errors * side), strict=True)
        words = [f"{length:.{digits}f} ± {sd:.{digits}f} {unit}" for length, sd in pairs]
        return dict(zip(bands, errors, strict=True)) | {"shift": np.array(words, object)}


_COLORS = {"undefined": "#00000000"} | colormap.CLASSES


def _look(name: str, limits: tuple[float, float], stops: Any) -> dict[str, Any]:
    return colors_between(limits, stops, name)


def _band(band: Band) -> tuple[str, dict[str, Any]]:
    """Return a band's title and looks."""
    if band.palette == "ncc":
        return band.title, ncc_colors()
    return band.title, _look(band.palette, band.limits, colormap.PALETTES[band.palette])


def _length(result: ConfidenceMap) -> tuple[str, dict[str, Any]]:
    """Return title and looks of the shift's length in the world."""
    search = result.parameters.search_on(result.grid)
    radius = result.parameters.radius_on(result.grid)
    reach = [float(s) for s, r in zip(search, radius, strict=True) if r]
    longest = float(shift_length(reach, shift_steps(result.parameters, result.grid)))
    unit = unit_symbol(result.grid.units[-1])
    return f"|shift| ({unit})", _look("length", (0.0, longest), colormap.LENGTH)


def _length_of(bands: Bands, pixel_to_world: NDArray[np.float64]) -> NDArray[np.float32]:
    return shift_length(_components(bands), pixel_to_world)


def _components(bands: Bands) -> list[NDArray[np.float32]]:
    return shift_components(bands)


def _classes() -> tuple[str, dict[str, Any]]:
    """Return title and looks of the classes."""
    colors = {number: _COLORS[name] for number, name in enumerate(CLASSES)}
    return "classes", {
        "colormap": DirectLabelColormap(color_dict=colors | {None: "#00000000"}),
        "features": {"index": list(range(len(CLASSES))), "class": list(CLASSES)},
        "opacity": 1.0,
    }


def _class_codes(result: ConfidenceMap) -> Callable[[Bands], NDArray[np.uint8]]:
    """Return what gives the classes of a tile of a map; see `settle_differences`."""
    if "classes" in result.band_names:
        return lambda bands: np.nan_to_num(bands["classes"]).astype(np.uint8)

    def by_threshold(bands: Bands) -> NDArray[np.uint8]:
        codes = _by_threshold(bands, result)
        return np.where(codes == DIFFERS, np.uint8(UNSURE), codes)

    return by_threshold


def _by_threshold(bands: Bands, result: ConfidenceMap) -> NDArray[np.uint8]:
    samples = samples_of_window(result.parameters, result.grid)
    return classes_by_threshold(bands, is_signed=_is_signed(result), samples=samples)


def _is_signed(result: ConfidenceMap) -> bool:
    return result.parameters.alternative == "greater"


def settle_differences(
    drawn: Sequence[Drawn], result: ConfidenceMap, tally: MapTally
) -> Iterator[tuple[Product, tuple[slice, ...]]]:
    """Let what is not alike differ, once the whole map says that noise is not why.

    By thresholds alone a tile cannot tell: until all of them are counted nobody can. Yields what
    changes, part by part.
    """
    if "classes" in result.band_names or not tally.tells_differences:
        return
    products = {layer.product.kind: layer.product for layer in drawn}
    for location in slices_from_chunks(result.bands.chunks[1:]):
        bands = {name: products[name].levels[0][location] for name in ("ncc", "ncc_best", "gain")}
        codes = _by_threshold(bands, result)
        if (codes == DIFFERS).any():
            put(products["classes"], location, codes)
            yield products["classes"], location


def put(product: Product, location: tuple[slice, ...], values: NDArray[Any]) -> None:
    """Put the values of a tile into a product, at all of its resolutions."""
    product.levels[0][location] = values
    update_pyramid(product.levels, location)
