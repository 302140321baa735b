"""The two images as a map compared them, on its pixels: each alone, or both in one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc._napari.layers.convert import layer_grid
from napari_local_ncc._napari.layers.map_layers import LOOKED_AT, layer_of, record
from napari_local_ncc._napari.results.band_layers import put
from napari_local_ncc._napari.results.derived_bands import blank_beside
from napari_local_ncc.chunked.blocks import blocks_of
from napari_local_ncc.image.checkerboard import checkerboard
from napari_local_ncc.image.spatial_image import map_chunks
from napari_local_ncc.progress import Progress, Step

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Mapping, Sequence

    from napari.layers import Image
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_local_ncc._napari.results.kept_results import KeptResult
    from napari_local_ncc._napari.results.result_spec import Product
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.maps.comparison import Comparison

    Box = tuple[slice, ...]
    Limits = tuple[float, float]
    Made = Generator[Progress, None, list[Product]]
    Content = Callable[[Sequence[NDArray[Any]], Box], NDArray[Any]]  # of both images in a box

GREY = {"colormap": "gray", "blending": "translucent_no_depth"}
ROLES = ("fixed", "moving")


def compared_layers(viewer: Viewer, layer: Image) -> tuple[Image, Image]:
    """Return the fixed and the moving layer that a map compared.

    Raises
    ------
    ValueError
        If one is not in the viewer any more.
    """
    own = record(layer)
    found = []
    for role in ROLES:
        name = own[role]["name"]
        other: Any = layer_of(viewer, name, own["layers"].get(role))
        if other is None:
            raise ValueError(f"{name}, of which this map was made, is not in the viewer any more")
        found.append(other)
    return found[0], found[1]


def is_as_compared(layer: Image, image: SpatialImage) -> bool:
    """Say whether a layer shows an image that was compared, where it lay: all of it, in grey."""
    grid, here, source = image.grid, layer_grid(layer), image.source
    is_whole = not layer.rgb and source is not None and not (source.select or source.level)
    is_there = (grid.shape, grid.units) == (here.shape, here.units)
    return is_whole and is_there and np.array_equal(grid.pixel_to_world, here.pixel_to_world)


def limits_of(layer: Image) -> Limits:
    """Return between which values a layer is drawn from dark to bright."""
    low, high = layer.contrast_limits
    return float(low), float(high)


def make_looked_at(
    kept: KeptResult,
    comparison: Comparison,
    limits: Mapping[str, Limits],
    budget: float,
    cancelled: threading.Event,
) -> Made:
    """Make an image of each role that has limits, tile by tile."""
    products: list[Product] = []
    contents: list[Content] = []
    for role, between in limits.items():
        name = f"{getattr(comparison, role).name} by eye"
        product = blank_beside(kept, f"{LOOKED_AT}{role}", name, budget / len(limits))
        products.append(replace(product, style=GREY | {"contrast_limits": between}))
        contents.append(partial(_image, ROLES.index(role)))
    return (yield from _fill(products, contents, comparison))


def make_checkerboard(
    kept: KeptResult,
    comparison: Comparison,
    square: int,
    limits: tuple[Limits, Limits],
    budget: float,
    cancelled: threading.Event,
) -> Made:
    """Put both images into one, square by square."""
    blank = blank_beside(kept, "checkerboard", "checkerboard", budget)
    product = replace(blank, style=GREY | {"contrast_limits": (0.0, 1.0)})

    def board(images: Sequence[NDArray[Any]], box: Box) -> NDArray[Any]:
        origin = [part.start for part in box[-2:]]
        return checkerboard(*images, square=square, limits=limits, origin=origin)

    return (yield from _fill([product], [board], comparison))


def _image(index: int, images: Sequence[NDArray[Any]], box: Box) -> NDArray[Any]:
    return images[index]


def _fill(products: list[Product], contents: list[Content], comparison: Comparison) -> Made:
    """Fill products block by block with what is made of both images."""
    grid = products[0].grid
    boxes = blocks_of(grid.shape, map_chunks(grid))
    for done, box in enumerate(boxes):
        yield Progress(Step.RESAMPLE, done, len(boxes))
        fixed, moving, *_ = comparison.read(box)
        for product, content in zip(products, contents, strict=True):
            put(product, box, content((fixed, moving), box))
    return products
