"""Bring two images to the same axes: independent ones index by index, space in one unit."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import dask.array as da
import numpy as np

from napari_local_ncc.geometry.grid import is_unknown
from napari_local_ncc.geometry.units import PIXEL
from napari_local_ncc.parameters import check_choice
from napari_local_ncc.progress import Note

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

    Axes are matched by label, in upper or lower case; those of which one image does not say
    what they are (pages), by position among the rest. An image that lacks an independent axis,
    or has one frame along it, is compared with every frame of the other.

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
    fixed, moving = _pages_as_space(fixed, moving), _pages_as_space(moving, fixed)
    if fixed.grid.spatial_ndim != moving.grid.spatial_ndim:
        raise ValueError(
            f"fixed ({fixed.name}) has {fixed.grid.spatial_ndim} spatial axes {_axes(fixed)} but "
            f"moving ({moving.name}) has {moving.grid.spatial_ndim} {_axes(moving)}; "
            f"{_one_plane(fixed, moving)}, or compare plane by plane (--ndim 2, "
            "with_spatial_ndim(2))"
        )
    moving = _in_spatial_order_of(fixed, _named_as(fixed, moving))
    fixed, moving = _in_common_units(fixed, moving, unitless)
    series = _common_series(fixed, moving)
    return Pair(_on_series(fixed, series), _on_series(moving, series))


def _pages_as_space(image: SpatialImage, other: SpatialImage) -> SpatialImage:
    """Take pages of which nobody knows what they are as the spatial axes that other has."""
    lacking = other.grid.spatial_ndim - image.grid.spatial_ndim
    pages = _series_labels(image.grid)[-lacking:] if lacking > 0 else ()
    counts = image.grid.series_shape[-lacking:] if lacking > 0 else ()
    wanted = other.grid.space().shape[:lacking]
    if len(pages) < lacking or counts != wanted or not all(map(is_unknown, pages)):
        return image
    return image.with_spatial_ndim(other.grid.spatial_ndim) if lacking > 0 else image


def _one_plane(fixed: SpatialImage, moving: SpatialImage) -> str:
    """Say how to take one plane of the image that has more axes."""
    is_fixed = fixed.grid.spatial_ndim > moving.grid.spatial_ndim
    more, fewer = (fixed, moving) if is_fixed else (moving, fixed)
    extra = more.grid.space().axis_labels[: more.grid.spatial_ndim - fewer.grid.spatial_ndim]
    return f"take one plane of {more.name} ({_selection(more, fixed, extra)})"


def _selection(image: SpatialImage, fixed: SpatialImage, labels: Sequence[str]) -> str:
    """Write how to select index 0 of some axes, on the command line and in Python."""
    role = "fixed" if image is fixed else "moving"
    option = ",".join(f"{label}=0" for label in labels)
    return f"--select-{role}={option}, select={dict.fromkeys(labels, 0)}"


def _in_spatial_order_of(fixed: SpatialImage, moving: SpatialImage) -> SpatialImage:
    """Transpose moving where its spatial axes have fixed's names in another order."""
    wanted, found = (
        [label.lower() for label in image.grid.space().axis_labels] for image in (fixed, moving)
    )
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
        sizes = f"{'x'.join(f'{step:g}' for step in space.spacing)} {space.units[-1]}"
        raise ValueError(
            f"{other.name} has pixels of {sizes} but "
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


def stage_advice(fixed: SpatialImage, moving: SpatialImage) -> str:
    """Say what lays images otherwise that lie where their stages stood, else nothing."""
    stages = {
        f"{role} ({image.name}) at {image.source.stage}"
        for role, image in (("fixed", fixed), ("moving", moving))
        if image.source is not None and image.source.stage
    }
    if not stages:
        return ""
    return (
        f"; they lie where the stage stood: {', '.join(sorted(stages))} (--ignore-positions, "
        "positions=False, lays them at 0)"
    )


def channel_advice(fixed: SpatialImage, moving: SpatialImage) -> str:
    """Say that files hold the channels that are compared in different orders, else nothing."""
    named = [
        image.source.channels
        for image in (fixed, moving)
        if image.source is not None and "c" in map(str.lower, _series_labels(image.grid))
    ]
    if len(named) < 2 or named[0] == named[1] or sorted(named[0]) != sorted(named[1]):
        return ""
    orders = [f"{image.name}: {', '.join(image.source.channels)}" for image in (fixed, moving)
              if image.source is not None]  # fmt: skip
    return (
        f"channels are compared index by index, and the files have them in different orders "
        f"({'; '.join(orders)}); select one of each (--select-fixed c=0 --select-moving c=1, "
        "select={'c': 0})"
    )


def spacing_advice(fixed: SpatialImage, moving: SpatialImage) -> str:
    """Say that pixel sizes without a unit are compared, where only one has any, else nothing."""
    spaces = [image.grid.space() for image in (fixed, moving)]
    is_sized = [not np.allclose(space.spacing, 1) for space in spaces]
    if is_sized[0] == is_sized[1] or any(set(space.units) != {PIXEL} for space in spaces):
        return ""
    sized, other = (fixed, moving) if is_sized[0] else (moving, fixed)
    size = "x".join(f"{step:g}" for step in sized.grid.space().spacing)
    return (
        f"{sized.name} has pixels of {size} without a unit, {other.name} has pixels of 1; they lie "
        "by these numbers: where a size is not told, give both one, or neither"
    )


def warn_of_spacing(fixed: SpatialImage, moving: SpatialImage) -> None:
    """Warn of what `spacing_advice` says of two images, if that is anything."""
    if advice := spacing_advice(fixed, moving):
        warnings.warn(advice, Note, stacklevel=3)


def check_place(marks: SpatialImage, image: SpatialImage, name: str) -> Unitless:
    """Return what the coordinates of a mask or labels mean where only one of both has units.

    Of one size they lie pixel on pixel. Else a layer of a viewer lies where it is seen, by its
    numbers.

    Raises
    ------
    ValueError
        If they are of another size and say nothing of their place: they have neither a pixel
        size nor a position, or one in a unit that the image does not share.
    """
    ours, theirs = image.grid.space(), _in_spatial_order_of(image, marks).grid.space()
    ndim = min(ours.ndim, theirs.ndim)
    has_unit = [PIXEL not in grid.units for grid in (ours, theirs)]
    is_placed = has_unit[0] == has_unit[1] and (
        has_unit[1] or not np.array_equal(theirs.pixel_to_world, np.eye(theirs.ndim + 1))
    )
    is_seen = marks.source is not None and bool(marks.source.expression)
    if theirs.shape[-ndim:] == ours.shape[-ndim:]:
        return "pixels"
    if is_placed or is_seen:
        return "numbers"
    sizes = ["x".join(map(str, grid.shape[-ndim:])) for grid in (theirs, ours)]
    raise ValueError(
        f"{name} ({marks.name}) has {sizes[0]} pixels, {image.name} has {sizes[1]}, and the file "
        f"does not say where they lie; give one of {sizes[1]}, or lay it over the whole of "
        f"{image.name} (--stretch, stretch_over(grid))"
    )


def _axes(image: SpatialImage) -> str:
    return str(image.grid.space().axis_labels)


def _series_labels(grid: Grid) -> tuple[str, ...]:
    return grid.axis_labels[: len(grid.series_shape)]


def _common_series(fixed: SpatialImage, moving: SpatialImage) -> Grid | None:
    """Return the independent axes of the result, or None where there are none."""
    ours, theirs = _series_labels(fixed.grid), _series_labels(moving.grid)
    longer, shorter = (fixed, moving) if len(ours) >= len(theirs) else (moving, fixed)
    if not set(_series_labels(shorter.grid)) <= set(_series_labels(longer.grid)):
        lacking = [(fixed, [a for a in ours if a not in theirs])]
        lacking.append((moving, [a for a in theirs if a not in ours]))
        advice = " and ".join(
            f"one of {image.name} ({_selection(image, fixed, labels)})"
            for image, labels in lacking
            if labels
        )
        raise ValueError(
            f"the independent axes do not match: fixed has {ours}, moving has {theirs}; "
            f"take {advice}"
        )
    axes = [_longer_axis(label, longer, shorter) for label in _series_labels(longer.grid)]
    if not axes:
        return None
    series = axes[-1]
    for axis in reversed(axes[:-1]):
        series = series.prepend(axis)
    return series


def _named_as(fixed: SpatialImage, moving: SpatialImage) -> SpatialImage:
    """Call moving's independent axes what fixed calls them."""
    ours, theirs = _series_labels(fixed.grid), _series_labels(moving.grid)
    labels = _partners(ours, theirs) + moving.grid.space().axis_labels
    return moving.replace(grid=moving.grid.replace(axis_labels=labels))


def _partners(ours: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[str, ...]:
    """Return theirs by the names of ours: what is known by name, the rest by place.

    Unchanged where some of the rest are known in both, and not the same.
    """
    names, others = ({label.lower(): label for label in labels} for labels in (ours, theirs))
    by_name = tuple(names.get(label.lower(), label) for label in theirs)
    if len(ours) != len(theirs) or set(names) == set(others):
        return by_name
    known = {name for name in set(names) & set(others) if not is_unknown(name)}
    rest = iter([label for label in ours if label.lower() not in known])
    found = tuple(
        names[label.lower()] if label.lower() in known else next(rest) for label in theirs
    )
    unlike = [pair for pair in zip(theirs, found, strict=True) if pair[0].lower() not in known]
    return found if all(any(map(is_unknown, pair)) for pair in unlike) else by_name


def _longer_axis(label: str, image: SpatialImage, other: SpatialImage) -> Grid:
    axis = image.grid.take([image.grid.axis_labels.index(label)])
    if label not in _series_labels(other.grid):
        return axis
    partner = other.grid.take([other.grid.axis_labels.index(label)])
    lengths = {axis.shape[0], partner.shape[0]}
    if len(lengths) == 2 and 1 not in lengths:
        raise ValueError(
            f"{image.name} has {axis.shape[0]} samples along {label!r} but {other.name} has "
            f"{partner.shape[0]}; give both as many, or take one of either to compare with all of "
            f"the other's (select={{{label!r}: 0}}, --select-fixed={label}=0 or "
            f"--select-moving={label}=0)"
        )
    return axis if axis.shape[0] >= partner.shape[0] else partner


def _on_series(image: SpatialImage, series: Grid | None) -> SpatialImage:
    if series is None:
        return image
    own = _series_labels(image.grid)
    order = [own.index(label) for label in series.axis_labels if label in own]
    # as a tuple: what is in this order already stays as it is, and is read at once
    data = image.data.transpose((*order, *range(len(own), image.data.ndim)))
    missing = tuple(np.newaxis if label not in own else slice(None) for label in series.axis_labels)
    space = image.grid.space()
    grid = space.prepend(series)
    data = da.broadcast_to(data[missing], grid.shape)
    return image.replace(data=data, grid=grid)
