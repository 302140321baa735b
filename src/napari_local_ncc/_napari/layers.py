"""Between napari layers and images that know where they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from napari.layers import Image, Labels, Shapes
from napari.utils.colormaps import Colormap

from napari_local_ncc import colormap
from napari_local_ncc.geometry import PIXEL, Grid, is_spatial, unit_name
from napari_local_ncc.image import SpatialImage, map_chunks
from napari_local_ncc.luminance import luminance
from napari_local_ncc.parameters import check_real

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_local_ncc._napari.job import Outcome

METADATA = "napari-local-ncc"


def layer_grid(layer: Image | Labels, level: int = 0) -> Grid:
    """Return where a layer's pixels lie, in the units of its world.

    Parameters
    ----------
    layer : napari.layers.Image or napari.layers.Labels
        The layer.
    level : int, default 0
        Which resolution of a multiscale layer; 0 is the finest.

    Returns
    -------
    Grid
        The grid. A coarse pixel's centre is the middle of the fine ones it stands for.
    """
    shape = _level_data(layer, level).shape[: layer.ndim]
    factors = np.divide(_level_data(layer, 0).shape[: layer.ndim], shape)
    matrix = _pixel_to_world(layer)
    matrix[:-1, -1] += matrix[:-1, :-1] @ ((factors - 1) / 2)
    matrix[:-1, :-1] *= factors
    return Grid(
        tuple(shape), matrix, tuple(str(unit) for unit in layer.units), tuple(layer.axis_labels)
    )


def spatial_image(
    layer: Image | Labels,
    spatial_ndim: int | None = None,
    *,
    chosen: Mapping[str, int] | None = None,
    level: int = 0,
) -> SpatialImage:
    """Take a layer's pixels, lazily, and where they lie.

    Parameters
    ----------
    layer : napari.layers.Image or napari.layers.Labels
        The layer; of an RGB(A) one the luminance, unless `chosen` names a sample "c".
    spatial_ndim : int, optional
        Number of last axes to take as space; default: what labels and units say.
    chosen : mapping of str to int, optional
        Index by label of axes of which only one position is wanted.
    level : int, default 0
        Which resolution of a multiscale layer; 0 is the finest, more than there are is
        the coarsest.

    Returns
    -------
    SpatialImage
        The layer's samples.

    Raises
    ------
    TypeError
        If the samples are not real numbers.
    ValueError
        If the layer is empty, has too few spatial axes, or not what is chosen.
    """
    level = min(level, len(layer.data) - 1) if layer.multiscale else 0
    data = _level_data(layer, level)
    check_real(data.dtype, layer.name)
    grid = layer_grid(layer, level)
    chosen = chosen or {}
    rgb = getattr(layer, "rgb", False)
    if not isinstance(data, da.Array):
        chunks = (*map_chunks(grid), data.shape[-1]) if rgb else map_chunks(grid)
        data = da.from_array(data, chunks=chunks, name=False)
    if rgb and "c" in chosen:
        grid = grid.prepend(Grid(data.shape[-1:], axis_labels=("c",)))
        data = da.moveaxis(data, -1, 0)
    elif rgb:
        data = luminance(data, data.ndim - 1)
    return SpatialImage(data, grid, layer.name).select(chosen).with_spatial_ndim(spatial_ndim)


def mask_image(mask: Layer, fixed: Image, spatial_ndim: int | None = None) -> SpatialImage:
    """Take a layer as a mask: what is not zero, or lies inside a shape, may be used.

    Parameters
    ----------
    mask : napari.layers.Labels, napari.layers.Image or napari.layers.Shapes
        The layer, on a grid of its own. Shapes are drawn on the plane of `fixed` and hold
        for all of its planes and frames.
    fixed : napari.layers.Image
        The layer that it masks.
    spatial_ndim : int, optional
        As for `spatial_image`.

    Returns
    -------
    SpatialImage
        Non-zero where samples may be used.

    Raises
    ------
    TypeError
        If the layer is of another kind.
    ValueError
        If a Shapes layer is empty.
    """
    if isinstance(mask, Image | Labels):
        return spatial_image(mask, spatial_ndim)
    if not isinstance(mask, Shapes):
        raise TypeError(
            f"{mask.name} cannot be a mask: choose a Labels, a Shapes or an Image layer"
        )
    if not mask.data:
        raise ValueError(f"the mask {mask.name} holds no shapes; draw some or choose no mask")
    grid = layer_grid(fixed)
    plane = grid.take(range(grid.ndim - 2, grid.ndim))
    outlines = [
        [fixed.world_to_data(mask.data_to_world(vertex))[-2:] for vertex in shape]
        for shape in mask.data
    ]
    drawn = Shapes(outlines, shape_type=mask.shape_type).to_labels(plane.shape)
    planes = drawn.reshape((1,) * (grid.ndim - 2) + plane.shape)
    return SpatialImage(
        da.broadcast_to(da.from_array(planes, name=False), grid.shape), grid, mask.name
    ).with_spatial_ndim(spatial_ndim)


def _level_data(layer: Image | Labels, level: int) -> Any:
    return layer.data[level] if layer.multiscale else layer.data


def has_units(layer: Image | Labels) -> bool:
    """Say whether a layer's plane has physical units."""
    return PIXEL not in map(unit_name, layer.units[-2:])


def placement(layer: Layer) -> dict[str, Any]:
    """Return the arguments that put another layer exactly where this one lies."""
    return {
        "scale": layer.scale,
        "translate": layer.translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine.affine_matrix,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }


def placement_on(grid: Grid) -> dict[str, Any]:
    """Return the arguments that put a layer on a grid that no layer lies on."""
    where: dict[str, Any] = {"units": grid.units, "axis_labels": grid.axis_labels}
    if grid.is_axis_parallel and (np.diagonal(grid.pixel_to_world) > 0).all():
        return where | {"scale": grid.spacing, "translate": grid.origin}
    return where | {"affine": grid.pixel_to_world}


def default_window_ndim(fixed: Layer, moving: Layer) -> int:
    """Return 3 where a third axis is known to be space, by name or unit; else 2."""

    def has_depth(layer: Layer) -> bool:
        if layer.ndim < 3:
            return False
        label, unit = layer.axis_labels[-3], unit_name(layer.units[-3])
        known = not label.lstrip("-").isdigit() or unit != PIXEL
        return known and is_spatial(label, unit)

    return 3 if has_depth(fixed) and has_depth(moving) else 2


def add_ncc_layer(viewer: Viewer, outcome: Outcome) -> None:
    """Add an outcome's NCC as a layer on the fixed layer, with its colour bar."""
    low, high = colormap.LIMITS
    controls, colors = zip(*colormap.STOPS, strict=True)
    colors_of_ncc = Colormap(
        colors,
        name=colormap.NAME,
        display_name="NCC",
        controls=[(value - low) / (high - low) for value in controls],
        nan_color=colormap.UNDEFINED,
    )
    layer = viewer.add_image(
        outcome.levels if outcome.job.multiscale else outcome.levels[0],
        multiscale=outcome.job.multiscale,
        name=f"NCC {outcome.job.fixed.name} vs {outcome.job.moving.name}",
        colormap=colors_of_ncc,
        contrast_limits=colormap.LIMITS,
        metadata={METADATA: outcome.map.provenance},
        **_place(outcome),
    )
    layer.colorbar.visible = True


def add_registered_layer(viewer: Viewer, outcome: Outcome) -> None:
    """Add the moving image as it was compared, on the fixed layer."""
    viewer.add_image(
        outcome.registered,
        name=f"{outcome.job.moving.name} on {outcome.job.fixed.name}",
        colormap="magenta",
        blending="additive",
        **_place(outcome),
    )


def _place(outcome: Outcome) -> dict[str, Any]:
    same_axes = outcome.grid.ndim == outcome.job.fixed.grid.ndim
    return outcome.job.placement if same_axes else placement_on(outcome.grid)


def _pixel_to_world(layer: Layer) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the homogeneous matrix of `layer.data_to_world`, from where it puts a basis."""
    ndim = layer.ndim
    origin = np.array(layer.data_to_world(np.zeros(ndim)))
    matrix = np.eye(ndim + 1)
    matrix[:-1, -1] = origin
    for axis, unit in enumerate(np.eye(ndim)):
        matrix[:-1, axis] = np.array(layer.data_to_world(unit)) - origin
    return matrix
