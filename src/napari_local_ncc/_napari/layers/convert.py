"""Between napari layers and images that know where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from napari.layers import Image, Labels, Shapes
from napari.utils.colormaps import Colormap

from napari_local_ncc._napari.layers.shapes_mask import drawn_on, shape_outlines
from napari_local_ncc.chunked.windows import as_lazy
from napari_local_ncc.geometry.grid import Grid, is_spatial
from napari_local_ncc.geometry.units import PIXEL, unit_factor, unit_name
from napari_local_ncc.image.luminance import luminance, one_sample
from napari_local_ncc.image.source import Source
from napari_local_ncc.image.spatial_image import SpatialImage, map_chunks
from napari_local_ncc.parameters import check_real
from napari_local_ncc.reports import colormap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.layers import Layer
    from napari.viewer import Viewer
    from numpy.typing import NDArray

METADATA = "napari-local-ncc"
PREVIEW = "napari-local-ncc preview"  # marks the layer that comes and goes with the view


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
        data = as_lazy(data, chunks)
    if rgb and "c" in chosen:
        samples = range(data.shape[-1])
        grid = grid.prepend(Grid(data.shape[-1:], axis_labels=("c",)))
        data = da.stack([one_sample(data, k) for k in samples])
    elif rgb:
        data = luminance(data, data.ndim - 1)
    image = SpatialImage(data, grid, layer.name).select(chosen)
    how = f"spatial_image(viewer.layers[{layer.name!r}], chosen={dict(chosen)}, level={level})"
    in_memory = isinstance(_level_data(layer, level), np.ndarray)
    source = Source(_file(layer), dict(chosen), level, expression=how, in_memory=in_memory)
    return image.replace(source=source).with_spatial_ndim(spatial_ndim)


def _file(layer: Layer) -> str | None:
    """Return the absolute path of the file that a layer was opened from, if it was."""
    path = layer.source.path
    return str(Path(path).absolute()) if path and "://" not in str(path) else None


def mask_image(
    mask: Layer, fixed: SpatialImage, chosen: Mapping[str, int] | None = None
) -> SpatialImage:
    """Take a layer as a mask: what is above 0, or lies inside a shape, may be used.

    Parameters
    ----------
    mask : napari.layers.Labels, napari.layers.Image or napari.layers.Shapes
        The layer, on a grid of its own. Shapes lie on the last two axes of the world and
        hold for all planes and frames.
    fixed : SpatialImage
        The image that it masks.
    chosen : mapping of str to int, optional
        What was chosen of the fixed layer; it is chosen of the mask too, if it has it.

    Returns
    -------
    SpatialImage
        Above 0 where samples may be used, lazily.

    Raises
    ------
    TypeError
        If the layer is of another kind.
    ValueError
        If a Shapes layer holds no area, or has more spatial axes than its plane.
    """
    if isinstance(mask, Image | Labels):
        image = spatial_image(mask).select_known(chosen or {})
        return image.with_spatial_ndim(min(fixed.grid.spatial_ndim, image.grid.ndim))
    if not isinstance(mask, Shapes):
        raise TypeError(
            f"{mask.name} cannot be a mask: choose a Labels, a Shapes or an Image layer"
        )
    outlines = shape_outlines(mask)
    if not outlines:
        raise ValueError(
            f"the mask {mask.name} holds no area; draw polygons, rectangles or ellipses"
        )
    source = None
    if fixed.source is not None:
        drawn = f"mask_image(viewer.layers[{mask.name!r}], {fixed.source.expression})"
        source = Source(expression=drawn)
    return SpatialImage(drawn_on(fixed.grid, outlines), fixed.grid, mask.name, source)


def _level_data(layer: Image | Labels, level: int) -> Any:
    return layer.data[level] if layer.multiscale else layer.data


def has_units(layer: Image | Labels) -> bool:
    """Say whether a layer's plane has physical units."""
    return PIXEL not in map(unit_name, layer.units[-2:])


def world_units(viewer: Viewer) -> tuple[str, ...]:
    """Return the unit of each axis of the viewer: the smallest that any layer has there."""
    units = tuple(map(unit_name, viewer.dims.units or ()))
    return ((PIXEL,) * viewer.dims.ndim + units)[-viewer.dims.ndim :]


def viewer_to_layer_units(viewer: Viewer, layer: Layer) -> NDArray[np.float64]:
    """Return by what positions in the viewer are multiplied to be in a layer's own units.

    `layer.world_to_data` and `layer.data_to_world` know no others. One factor for each axis
    of the layer.
    """
    shown = world_units(viewer)[-layer.ndim :]
    own = map(unit_name, layer.units)
    return np.array([unit_factor(old, new) for old, new in zip(shown, own, strict=True)])


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


def set_changed(layer: Layer, values: Mapping[str, Any]) -> None:
    """Set attributes of a layer, but none to what it is: each would draw everything anew."""
    for name, value in values.items():
        if not np.array_equal(getattr(layer, name), value):
            setattr(layer, name, value)


def default_window_ndim(fixed: Layer, moving: Layer) -> int:
    """Return 3 where a third axis is known to be space, by name or unit; else 2."""

    def has_depth(layer: Layer) -> bool:
        if layer.ndim < 3:
            return False
        label, unit = layer.axis_labels[-3], unit_name(layer.units[-3])
        known = not label.lstrip("-").isdigit() or unit != PIXEL
        return known and is_spatial(label, unit)

    return 3 if has_depth(fixed) and has_depth(moving) else 2


def colors_between(
    limits: tuple[float, float], stops: Sequence[tuple[float, str]], name: str
) -> dict[str, Any]:
    """Return the arguments that give a layer colours, and the undefined its grey.

    Parameters
    ----------
    limits : tuple of float
        The values that have the first and the last colour.
    stops : sequence of (float, str)
        Colours from the first to the last, at rising positions on any scale.
    name : str
        What to call them.
    """
    positions, colors = zip(*stops, strict=True)
    low, high = positions[0], positions[-1]
    made = Colormap(
        colors,
        name=name,
        display_name=name.upper() if len(name) < 4 else name,
        controls=[(value - low) / (high - low) for value in positions],
        nan_color=colormap.UNDEFINED,
    )
    return {"colormap": made, "contrast_limits": limits}


def ncc_colors() -> dict[str, Any]:
    """Return the arguments that give a layer the colours of NCC."""
    return colors_between(colormap.LIMITS, colormap.STOPS, colormap.NAME)


def image_layers(viewer: Viewer) -> list[Image]:
    """Return the layers that can be compared: all images but a preview."""
    return [
        layer
        for layer in viewer.layers
        if isinstance(layer, Image) and PREVIEW not in layer.metadata
    ]


def mask_layers(viewer: Viewer) -> list[Layer]:
    """Return the layers that can be a mask: no points, and nothing of ours."""
    return [
        layer
        for layer in viewer.layers
        if isinstance(layer, Labels | Shapes | Image)
        and not {METADATA, PREVIEW} & set(layer.metadata)
    ]


def _pixel_to_world(layer: Layer) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the homogeneous matrix of `layer.data_to_world`, from where it puts a basis."""
    ndim = layer.ndim
    origin = np.array(layer.data_to_world(np.zeros(ndim)))
    matrix = np.eye(ndim + 1)
    matrix[:-1, -1] = origin
    for axis, unit in enumerate(np.eye(ndim)):
        matrix[:-1, axis] = np.array(layer.data_to_world(unit)) - origin
    return matrix
