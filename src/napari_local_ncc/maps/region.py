"""A region of a map, for looking at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_local_ncc.image.spatial_image import SpatialImage
from napari_local_ncc.ncc.dispatch import local_ncc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_local_ncc.maps.comparison import Comparison

    Box = tuple[slice, ...]


def region_of_map(comparison: Comparison, box: Sequence[slice]) -> SpatialImage:
    """Compare two images in a box only, with the windows that reach out of it.

    Parameters
    ----------
    comparison : Comparison
        What is compared.
    box : sequence of slice
        One slice per axis of its grid. A step k takes every k-th pixel; its window is the
        full one, of pixels.

    Returns
    -------
    SpatialImage
        Lazy NCC, float32, on the box's grid: what ``confidence_map(...)["ncc"][box]`` is, up
        to rounding; NaN where undefined. Only what the box needs is read.

    Raises
    ------
    ValueError
        If the images do not overlap anywhere, or a radius does not fit.
    """
    comparison.check_overlap()
    grid, parameters = comparison.grid, comparison.parameters
    reach, inner = _with_margin(box, comparison.radius, grid.shape)
    fixed, moving, *masks = comparison.images_in(reach)
    ncc = local_ncc(
        fixed,
        moving,
        radius=comparison.radius,
        weights=parameters.weights,
        mask=masks[0] if masks else None,
        min_std=parameters.min_std,
        min_valid=parameters.min_valid,
    )
    names = f"{comparison.fixed.name} vs {comparison.moving.name}"
    return SpatialImage(ncc[inner], grid.crop(box), f"NCC {names}")


def _with_margin(
    box: Sequence[slice], radius: Sequence[int], shape: Sequence[int]
) -> tuple[Box, Box]:
    """Return the pixels that the windows of a box need, and where the box lies in them."""
    reach, inner = [], []
    for part, r, n in zip(box, radius, shape, strict=True):
        start, stop, step = part.indices(n)
        low = max(start - r, 0)
        reach.append(slice(low, min(stop + r, n)))
        inner.append(slice(start - low, stop - low, step))
    return tuple(reach), tuple(inner)
