"""Bring two images to the same axes: independent ones index by index, space in one unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import dask.array as da
import numpy as np

from napari_local_ncc.geometry.units import PIXEL
from napari_local_ncc.parameters import check_choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.spatial_image import SpatialImage


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two images with the same independent axes, each with its own spatial grid.

    Parameters
    ----------
    fixed, moving : SpatialImage
        Of the same independent axes and number of spatial axes; the world coordinates
        of `moving` are in the units of `fixed`.
    """

    fixed: SpatialImage
    moving: SpatialImage


Unitless = Literal["numbers", "pixels"]


def pair_images(
    fixed: SpatialImage, moving: SpatialImage, *, unitless: Unitless | None = None
) -> Pair:
    """Pair two images so that every frame of one has a partner in the other.

    Axes are matched by label where both images use the same labels, else by position. An
    image that lacks an independent axis, or has one frame along it, is compared with every
    frame of the other.

    Parameters
    ----------
    fixed, moving : SpatialImage
        The images.
    unitless : {"numbers", "pixels"}, optional
        What to do where one image has physical units and the other has none: read its
        numbers in the other's units ("numbers", what napari shows), or lay its pixels on
        the other's pixels ("pixels"). Default: refuse to guess.

    Returns
    -------
    Pair
        The images on common axes.

    Raises
    ------
    ValueError
        If the numbers of spatial axes differ, the independent axes do not match, their
        units measure different things, or only one has physical units and `unitless`
        does not say what that means.
    """
    if unitless is not None:
        check_choice("unitless", unitless, get_args(Unitless))
    if fixed.grid.spatial_ndim != moving.grid.spatial_ndim:
        raise ValueError(
            f"fixed ({fixed.name}) has {fixed.grid.spatial_ndim} spatial axes {_axes(fixed)} but "
            f"moving ({moving.name}) has {moving.grid.spatial_ndim} {_axes(moving)}; choose images "
            "of equal dimension, one plane, or 2-D windows to compare plane by plane"
        )
    moving = _in_spatial_order_of(fixed, moving)
    fixed, moving = _in_common_units(fixed, moving, unitless)
    series = _common_series(fixed, moving)
    return Pair(_on_series(fixed, series), _on_series(moving, series))


def _in_spatial_order_of(fixed: SpatialImage, moving: SpatialImage) -> SpatialImage:
    """Transpose moving where its spatial axes have fixed's names in another order."""
    wanted, found = fixed.grid.space().axis_labels, moving.grid.space().axis_labels
    if wanted == found or set(wanted) != set(found):
        return moving
    first = len(moving.grid.series_shape)
    order = [*range(first), *(first + found.index(label) for label in wanted)]
    return moving.replace(data=moving.data.transpose(order), grid=moving.grid.take(order))


def _in_common_units(
    fixed: SpatialImage, moving: SpatialImage, unitless: Unitless | None
) -> tuple[SpatialImage, SpatialImage]:
    """Give both images the same spatial units: fixed's, or moving's where fixed has none."""
    bare = [image for image in (fixed, moving) if PIXEL in image.grid.space().units]
    if len(bare) == 1:
        other = moving if bare[0] is fixed else fixed
        read = _unitless_in(bare[0], other, unitless)
        fixed, moving = (read, moving) if bare[0] is fixed else (fixed, read)
    units = moving.grid.units[: len(moving.grid.series_shape)] + fixed.grid.space().units
    return fixed, moving.replace(grid=moving.grid.in_units(units))


def _unitless_in(
    image: SpatialImage, other: SpatialImage, unitless: Unitless | None
) -> SpatialImage:
    """Place an image without physical units in the world of one that has them."""
    grid, space = image.grid, other.grid.space()
    first = len(grid.series_shape)
    as_numbers = grid.replace(units=grid.units[:first] + space.units)
    on_pixels = _with_space(as_numbers, space.pixel_to_world)
    if np.allclose(as_numbers.pixel_to_world, on_pixels.pixel_to_world, rtol=1e-9, atol=0):
        return image.replace(grid=as_numbers)
    if unitless is None:
        raise ValueError(
            f"{other.name} has pixels of {space.spacing.tolist()} {space.units[-1]} but "
            f"{image.name} has no physical units; say what they mean: unitless='pixels' "
            f"(--unitless pixels: its pixels are those of {other.name}) or unitless='numbers' "
            f"(--unitless numbers: they are in {space.units[-1]})"
        )
    return image.replace(grid=as_numbers if unitless == "numbers" else on_pixels)


def _with_space(grid: Grid, space_to_world: NDArray[np.float64]) -> Grid:
    first = len(grid.series_shape)
    matrix = grid.pixel_to_world.copy()
    matrix[first:, first:] = space_to_world
    return grid.replace(pixel_to_world=matrix)


def _axes(image: SpatialImage) -> str:
    return str(image.grid.space().axis_labels)


def _series_labels(grid: Grid) -> tuple[str, ...]:
    return grid.axis_labels[: len(grid.series_shape)]


def _common_series(fixed: SpatialImage, moving: SpatialImage) -> Grid | None:
    """Return the independent axes of the result, or None where there are none."""
    ours, theirs = _series_labels(fixed.grid), _series_labels(moving.grid)
    if len(ours) == len(theirs) and _are_positional(ours, theirs):
        moving = moving.replace(grid=_relabel(moving.grid, ours))
        theirs = ours
    longer, shorter = (fixed, moving) if len(ours) >= len(theirs) else (moving, fixed)
    if not set(_series_labels(shorter.grid)) <= set(_series_labels(longer.grid)):
        raise ValueError(
            f"the independent axes do not match: fixed has {ours}, moving has {theirs}; "
            "select one index of the axes that the other image lacks"
        )
    axes = [_longer_axis(label, longer, shorter) for label in _series_labels(longer.grid)]
    if not axes:
        return None
    series = axes[-1]
    for axis in reversed(axes[:-1]):
        series = series.prepend(axis)
    return series


def _are_positional(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Say whether labels carry no meaning of their own, as napari's "-3"."""
    return any(label.lstrip("-").isdigit() for label in (*ours, *theirs))


def _relabel(grid: Grid, labels: Sequence[str]) -> Grid:
    return grid.replace(axis_labels=tuple(labels) + grid.space().axis_labels)


def _longer_axis(label: str, image: SpatialImage, other: SpatialImage) -> Grid:
    axis = image.grid.take([image.grid.axis_labels.index(label)])
    if label not in _series_labels(other.grid):
        return axis
    partner = other.grid.take([other.grid.axis_labels.index(label)])
    lengths = {axis.shape[0], partner.shape[0]}
    if len(lengths) == 2 and 1 not in lengths:
        raise ValueError(
            f"{image.name} has {axis.shape[0]} samples along {label!r} but {other.name} has "
            f"{partner.shape[0]}; give both the same number, or one of them a single one"
        )
    return axis if axis.shape[0] >= partner.shape[0] else partner


def _on_series(image: SpatialImage, series: Grid | None) -> SpatialImage:
    if series is None:
        return image
    own = _series_labels(image.grid)
    if len(own) == series.ndim and _are_positional(own, series.axis_labels):
        own = series.axis_labels
    order = [own.index(label) for label in series.axis_labels if label in own]
    data = da.transpose(image.data, [*order, *range(len(own), image.data.ndim)])
    missing = tuple(np.newaxis if label not in own else slice(None) for label in series.axis_labels)
    space = image.grid.space()
    grid = space.prepend(series)
    data = da.broadcast_to(data[missing], grid.shape)
    return image.replace(data=data, grid=grid)
