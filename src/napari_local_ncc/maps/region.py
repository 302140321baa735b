"""A part of a map, for looking at: the values that the whole map has there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_local_ncc.image.pairing import pair_images
from napari_local_ncc.image.spatial_image import SpatialImage
from napari_local_ncc.maps.pipeline import check_overlap, moving_in
from napari_local_ncc.ncc.dispatch import local_ncc
from napari_local_ncc.transforms.resampling import mask_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_local_ncc.image.pairing import Unitless
    from napari_local_ncc.parameters import NCCParameters
    from napari_local_ncc.transforms.registration import Registration

    Box = tuple[slice, ...]


def part_of_map(
    fixed: SpatialImage,
    moving: SpatialImage,
    box: Sequence[slice],
    *,
    parameters: NCCParameters,
    registration: Registration | None = None,
    mask: SpatialImage | None = None,
    unitless: Unitless | None = None,
) -> SpatialImage:
    """Compare two images in a box only, with the windows that reach out of it.

    Parameters
    ----------
    fixed, moving : SpatialImage
        The images.
    box : sequence of slice
        One slice per axis of the map's grid: the fixed image's, or where that has fewer
        independent axes, the one `napari_local_ncc.image.pairing.pair_images` gives. A step k
        takes every k-th pixel; its window is the full one, of pixels.
    parameters : NCCParameters
        Window and limits.
    registration : Registration, optional
        Transform to apply to `moving`.
    mask : SpatialImage, optional
        Non-zero where samples may be used.
    unitless : {"numbers", "pixels"}, optional
        See `napari_local_ncc.image.pairing.pair_images`.

    Returns
    -------
    SpatialImage
        Lazy NCC, float32, on the box's grid: what ``confidence_map(...)["ncc"][box]`` is, up
        to rounding; NaN where undefined. Only what the box needs is read.

    Raises
    ------
    ValueError
        If the images cannot be paired or do not overlap anywhere, or a radius does not fit.
    """
    pair = pair_images(fixed, moving, unitless=unitless)
    grid = pair.fixed.grid
    check_overlap(pair, registration)
    radius = parameters.radius_on(grid)
    reach, inner = _with_margin(box, radius, grid.shape)
    frames = reach[: len(grid.series_shape)]
    near = pair.fixed.crop(reach)
    registered = moving_in(reach, pair, registration, parameters.interpolation)
    ncc = local_ncc(
        near.data.rechunk(registered.data.chunks),
        registered.data,
        radius=radius,
        weights=parameters.weights,
        mask=None if mask is None else mask_on(_mask_at(mask, pair.fixed, frames), near),
        min_std=parameters.min_std,
        min_valid=parameters.min_valid,
    )
    return SpatialImage(ncc[inner], grid.crop(box), f"NCC {fixed.name} vs {moving.name}")


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


def _mask_at(mask: SpatialImage, fixed: SpatialImage, frames: Box) -> SpatialImage:
    pair = pair_images(fixed, mask, unitless="pixels")
    if pair.fixed.grid.shape != fixed.grid.shape:
        return mask  # `mask_on` says what is wrong
    return pair.moving.crop((*frames, *(slice(None),) * pair.moving.grid.spatial_ndim))
