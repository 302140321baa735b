"""The two images as a map compared them: moving on fixed's pixels, or both in one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_local_ncc._napari.layers.map_layers import LOOKED_AT, MOVING, kind, layer_of, record
from napari_local_ncc._napari.results.band_layers import put
from napari_local_ncc._napari.results.derived_bands import blank_beside
from napari_local_ncc._napari.results.kept_results import is_same_run
from napari_local_ncc.chunked.blocks import blocks_of
from napari_local_ncc.image.checkerboard import checkerboard
from napari_local_ncc.image.spatial_image import map_chunks
from napari_local_ncc.progress import Progress, Step

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator

    from napari.layers import Image
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_local_ncc._napari.results.kept_results import KeptResult
    from napari_local_ncc._napari.results.result_spec import Product
    from napari_local_ncc.maps.comparison import Comparison

    Box = tuple[slice, ...]
    Limits = tuple[float, float]
    Making = Callable[[threading.Event], Generator[Progress, None, Product]]

GREY = {"colormap": "gray", "blending": "translucent_no_depth"}


def compared_layers(viewer: Viewer, layer: Image) -> tuple[Image, Image]:
    """Return the fixed and the moving layer that a map compared.

    Raises
    ------
    ValueError
        If one is not in the viewer any more.
    """
    own = record(layer)
    found = []
    for role in ("fixed", "moving"):
        name = own[role]["name"]
        other: Any = layer_of(viewer, name, own["layers"].get(role))
        if other is None:
            raise ValueError(f"{name}, of which this map was made, is not in the viewer any more")
        found.append(other)
    return found[0], found[1]


def limits_of(layer: Image) -> Limits:
    """Return between which values a layer is drawn from dark to bright."""
    low, high = layer.contrast_limits
    return float(low), float(high)


def registered_layer(viewer: Viewer, layer: Image) -> Image | None:
    """Return the layer that shows moving as a map compared it, if there is one."""
    for other in reversed(viewer.layers):
        if kind(other) in MOVING and is_same_run(other, layer):
            found: Image = other
            return found
    return None


def make_registered(
    kept: KeptResult, comparison: Comparison, limits: Limits, budget: float
) -> Making:
    """Return what resamples moving onto fixed's pixels, tile by tile."""
    name = f"{comparison.moving.name} on {comparison.fixed.name}"
    style = {"colormap": "magenta", "blending": "additive", "contrast_limits": limits}
    product = replace(blank_beside(kept, LOOKED_AT, name, budget), style=style)
    return partial(_fill, product, comparison, lambda fixed, moving, box: moving)


def make_checkerboard(
    kept: KeptResult,
    comparison: Comparison,
    square: int,
    limits: tuple[Limits, Limits],
    budget: float,
) -> Making:
    """Return what puts both images into one, square by square."""
    product = replace(
        blank_beside(kept, "checkerboard", "checkerboard", budget),
        style=GREY | {"contrast_limits": (0.0, 1.0)},
    )

    def board(fixed: NDArray[Any], moving: NDArray[Any], box: Box) -> NDArray[Any]:
        origin = [part.start for part in box[-2:]]
        return checkerboard(fixed, moving, square=square, limits=limits, origin=origin)

    return partial(_fill, product, comparison, board)


def _fill(
    product: Product,
    comparison: Comparison,
    of: Callable[[NDArray[Any], NDArray[Any], Box], NDArray[Any]],
    cancelled: threading.Event,
) -> Generator[Progress, None, Product]:
    """Fill a product block by block with what is made of both images."""
    boxes = blocks_of(product.grid.shape, map_chunks(product.grid))
    for done, box in enumerate(boxes):
        yield Progress(Step.RESAMPLE, done, len(boxes))
        fixed, moving, *_ = comparison.read(box)
        put(product, box, of(fixed, moving, box))
    return product
