"""Small pictures of a comparison for a page: PNG in base64, with a scale bar to draw beside."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.geometry.grid import Grid, axis_name
from napari_local_ncc.geometry.units import unit_symbol
from napari_local_ncc.geometry.view import View
from napari_local_ncc.image.spatial_image import SpatialImage
from napari_local_ncc.reports import colormap
from napari_local_ncc.shift.interpret import CLASSES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.maps.comparison import Comparison
    from napari_local_ncc.maps.pipeline import ConfidenceMap

    Plane = NDArray[Any]
    Picture = dict[str, Any]

SIDE = 320  # px, that a picture has at most
RANGE = (0.5, 99.5)  # percentiles that are black and white
BAR = 0.25  # of the width, that a scale bar has at most
SHOWN = ("ncc", "confidence", "classes")


def pictures_of(comparison: Comparison, result: ConfidenceMap) -> dict[str, Any]:
    """Return pictures of the middle plane of what was compared, and of its map, as napari shows it.

    Returns
    -------
    dict
        "fixed", "moving" (on fixed's pixels), "overlay" (fixed green, moving magenta: where they
        agree, grey) and the bands "ncc", "confidence" and "classes" that there are; each with
        "png" (base64), "scale" (the length of a bar as a share of the width, and in words) and
        "plane" (which one it is, in words; empty where there is one alone).
    """
    grid = comparison.grid
    fixed, plane = middle_plane(comparison.pair.fixed, SIDE)
    moving, _ = middle_plane(SpatialImage(comparison.moving_on_grid(), grid, "moving"), SIDE)
    scale = scale_bar(plane)
    found = {
        "fixed": _grey(fixed),
        "moving": _grey(moving),
        "overlay": np.stack([_bright(moving), _bright(fixed), _bright(moving)], axis=-1),
    }
    for band in SHOWN:
        if band in result.band_names:
            values, _ = middle_plane(result.image(band), SIDE)
            found[band] = _classes(values) if band == "classes" else _colour(values, band)
    shown = {"scale": scale, "plane": plane_text(grid)}
    return {name: {"png": _png(pixels)} | shown for name, pixels in found.items()}


def plane_text(grid: Grid) -> str:
    """Say by its indices which plane of a volume or a series `middle_plane` takes."""
    axes = zip(grid.axis_labels[:-2], grid.shape[:-2], strict=True)
    return ", ".join(f"{axis_name(label)}={n // 2}" for label, n in axes if n > 1)


def middle_plane(image: SpatialImage, most: int) -> tuple[Plane, Grid]:
    """Return the middle plane of an image's last two axes as it is seen, and its grid.

    Planes of more than `most` pixels a side are thinned, so that a picture of a large image
    reads only what it can show; the grid says so.
    """
    grid = image.grid
    view = View.of(grid)
    step = max(1, -(-max(grid.shape[-2:]) // most))
    middle = tuple(n // 2 for n in grid.shape[:-2])
    thin = (slice(None, None, step),) * min(grid.ndim, 2)
    data = view.upright(np.atleast_2d(np.asarray(image.data[middle][thin])))
    turned = slice(None, None, -1 if view.is_swapped else 1)
    sides = np.resize(grid.pixel_lengths()[-2:], 2)[turned] * step
    units = (grid.units[-1],) * 2
    return data, Grid.from_spacing(data.shape, sides, units=units, spatial=(True, True))


def scale_bar(grid: Grid) -> Picture:
    """Return a bar of a round length: its share of the width, and its length in words."""
    width = grid.shape[-1] * grid.spacing[-1]
    length = round_length(BAR * width)
    return {"share": length / width, "text": f"{length:g} {unit_symbol(grid.units[-1])}"}


def round_length(length: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not above `length`."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(power * max(step for step in (1, 2, 5) if step * power <= length * (1 + 1e-9)))


def _bright(plane: Plane) -> NDArray[np.uint8]:
    """Stretch a plane to 0 to 255; what is undefined is 0."""
    known = plane[np.isfinite(plane)]
    low, high = np.percentile(known, RANGE) if known.size else (0.0, 1.0)
    span = float(high) - float(low) or 1.0
    shares = np.clip((np.nan_to_num(plane, nan=float(low)) - float(low)) / span, 0, 1)
    return np.asarray(255 * shares, np.uint8)


def _grey(plane: Plane) -> NDArray[np.uint8]:
    return np.repeat(_bright(plane)[..., np.newaxis], 3, axis=-1)


def _colour(plane: Plane, band: str) -> NDArray[np.uint8]:
    """Colour a band as napari and figures do."""
    stops = colormap.PALETTES[band]
    values = [value for value, _ in stops]
    colours = np.array([_rgb(colour) for _, colour in stops])
    known = np.isfinite(plane)
    filled = np.where(known, plane, 0)
    pixels = np.stack([np.interp(filled, values, channel) for channel in colours.T], axis=-1)
    pixels[~known] = _rgb(colormap.UNDEFINED)
    return np.asarray(np.rint(pixels), np.uint8)


def _classes(plane: Plane) -> NDArray[np.uint8]:
    colours = [_rgb(colormap.CLASSES.get(name, colormap.UNDEFINED)) for name in CLASSES]
    codes = np.nan_to_num(plane).astype(np.intp)
    return np.array(colours, np.uint8)[codes]


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def _png(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
