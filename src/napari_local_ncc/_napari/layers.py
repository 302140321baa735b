"""Between napari layers and images that know where they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from napari.utils.colormaps import Colormap

from napari_local_ncc import colormap
from napari_local_ncc.geometry import PIXEL, Grid
from napari_local_ncc.image import SpatialImage, map_chunks
from napari_local_ncc.luminance import luminance
from napari_local_ncc.parameters import check_real

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer
    from napari.viewer import Viewer

    from napari_local_ncc._napari.job import Outcome

METADATA = "napari-local-ncc"


def layer_grid(layer: Image | Labels) -> Grid:
    """Return where a layer's full-resolution pixels lie, in the units of its world."""
    data = layer.data[0] if layer.multiscale else layer.data
    return Grid(
        tuple(data.shape[: layer.ndim]),
        _pixel_to_world(layer),
        tuple(str(unit) for unit in layer.units),
        tuple(layer.axis_labels),
    )


def spatial_image(layer: Image | Labels, spatial_ndim: int | None = None) -> SpatialImage:
    """Take a layer's pixels, lazily, and where they lie.

    Parameters
    ----------
    layer : napari.layers.Image or napari.layers.Labels
        The layer; of a multiscale one the full resolution, of an RGB(A) one the luminance.
    spatial_ndim : int, optional
        Number of last axes to take as space; default: what labels and units say.

    Returns
    -------
    SpatialImage
        The layer's samples.

    Raises
    ------
    TypeError
        If the samples are not real numbers.
    ValueError
        If the layer is empty or has too few spatial axes.
    """
    data = layer.data[0] if layer.multiscale else layer.data
    check_real(data.dtype, layer.name)
    grid = layer_grid(layer).with_spatial_ndim(spatial_ndim)
    rgb = getattr(layer, "rgb", False)
    if not isinstance(data, da.Array):
        chunks = (*map_chunks(grid), data.shape[-1]) if rgb else map_chunks(grid)
        data = da.from_array(data, chunks=chunks, name=False)
    if rgb:
        data = luminance(data, data.ndim - 1)
    return SpatialImage(data, grid, layer.name)


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
        grid = layer_grid(layer)
        named = not grid.axis_labels[-3:][0].lstrip("-").isdigit()
        return grid.spatial_ndim > 2 and (named or grid.units[-3] != PIXEL)

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
        outcome.ncc,
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
