"""Images of other libraries, with their geometry: xarray, SimpleITK, nibabel.

None of them is imported here: an object of a library is only there when that is loaded.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_local_ncc.chunked.windows import as_lazy
from napari_local_ncc.geometry.grid import Grid, is_spatial
from napari_local_ncc.geometry.units import PIXEL, unit_name
from napari_local_ncc.image.fill_value import hide_fill_values
from napari_local_ncc.parameters import check_array

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Parts = tuple[Any, Grid]  # array-like and grid

EVENNESS = 1e-3  # of a step, by which coordinates of a regular axis may be off
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # nibabel's right, anterior to ITK's left, posterior


def parts_of(image: Any, name: str) -> Parts | None:
    """Return the samples of another library's image, and where they lie.

    Parameters
    ----------
    image : object
        An ``xarray.DataArray`` (dimensions, coordinates and their units; NaN where the samples
        are what its attribute ``_FillValue`` or ``missing_value`` calls none), a
        ``SimpleITK.Image`` (spacing, origin, direction; no unit) or an image of nibabel
        (affine, mm). World axes are z, y, x of ITK's left, posterior, superior.
    name : str
        What to call it in messages.

    Returns
    -------
    (array_like, Grid) or None
        Independent axes first; None where the object is none of these.

    Raises
    ------
    TypeError
        If it is a layer of napari, or a collection of images.
    ValueError
        If a spatial coordinate is not evenly spaced.
    """
    if _is_a(image, "napari.layers", "Layer"):
        raise TypeError(
            f"{name} is a layer of napari ({type(image).__name__} {image.name!r}); "
            "napari_local_ncc.layers.spatial_image(layer) takes it"
        )
    if _is_a(image, "xarray", "Dataset"):
        variables = ", ".join(map(str, image.data_vars))
        raise TypeError(f"{name} is a Dataset of xarray; give one of its variables: {variables}")
    for module, kind, convert in KINDS:
        if _is_a(image, module, kind):
            return convert(image, name)
    check_array(image, name)
    return None


def has_place(image: Any) -> bool:
    """Return whether an object is another library's image, which says where it lies."""
    return any(_is_a(image, module, kind) for module, kind, _ in KINDS)


def _is_a(image: Any, module: str, kind: str) -> bool:
    loaded = sys.modules.get(module)
    known = None if loaded is None else getattr(loaded, kind, None)
    return isinstance(known, type) and isinstance(image, known)


def _of_xarray(image: Any, name: str) -> Parts:
    labels = [str(dim) for dim in image.dims]
    placed = [_coordinate(image, dim, name) for dim in image.dims]
    spatial = [is_spatial(label, unit) for label, (_, _, unit) in zip(labels, placed, strict=True)]
    order = sorted(range(len(labels)), key=lambda k: spatial[k])
    spacing, origin, units = zip(*(placed[k] for k in order), strict=True)
    data = image.data if isinstance(image.data, da.Array) else np.asarray(image.data)
    data = hide_fill_values(data.transpose(order), image.attrs)
    grid = Grid.from_spacing(
        data.shape,
        spacing,
        origin,
        units=units,
        axis_labels=tuple(labels[k] for k in order),
        spatial=tuple(spatial[k] for k in order),
    )
    return data, grid


def _coordinate(image: Any, dim: Any, name: str) -> tuple[float, float, str]:
    """Return spacing, origin and unit of a dimension; pixels where it has no numbers."""
    if dim not in image.coords:
        return 1.0, 0.0, PIXEL
    coordinate = image.coords[dim]
    values, unit = np.asarray(coordinate.values), _unit(coordinate.attrs)
    if values.dtype.kind in "mM":
        elapsed = values - values[0] if values.dtype.kind == "M" else values
        values, unit = elapsed / np.timedelta64(1, "s"), "second"
    if values.dtype.kind not in "iuf":
        return 1.0, 0.0, PIXEL
    start = float(values[0])
    step = (float(values[-1]) - start) / (len(values) - 1) if len(values) > 1 else 1.0
    regular = start + step * np.arange(len(values))
    if step and np.abs(values - regular).max() <= EVENNESS * abs(step):
        return step, start, unit
    if is_spatial(str(dim), unit):
        raise ValueError(
            f"the coordinate {dim!r} of {name} is not evenly spaced; interpolate it onto a "
            "regular one, or drop it to compare pixel by pixel"
        )
    return 1.0, 0.0, PIXEL


def _unit(attributes: dict[str, Any]) -> str:
    try:
        return unit_name(attributes.get("units", attributes.get("unit", PIXEL)))
    except ValueError:  # degrees_east, and other conventions
        return PIXEL


def _of_simpleitk(image: Any, name: str) -> Parts:
    import SimpleITK as sitk  # it is loaded: the image is one of its objects

    ndim = image.GetDimension()
    direction = np.reshape(image.GetDirection(), (ndim, ndim))
    matrix = np.eye(ndim + 1)
    matrix[:-1, :-1] = direction * np.array(image.GetSpacing())
    matrix[:-1, -1] = image.GetOrigin()
    samples = sitk.GetArrayFromImage(image)  # a view does not outlive the image
    vector = image.GetNumberOfComponentsPerPixel() > 1
    return _reversed_parts(samples, matrix, [PIXEL] * ndim, ndim, vector)


def _of_nibabel(image: Any, name: str) -> Parts:
    proxy = image.dataobj
    shape = tuple(image.shape)
    ndim = max(len(shape), 3)
    matrix = np.eye(ndim + 1)
    affine = LPS @ np.asarray(image.affine, float)
    matrix[:3, :3], matrix[:3, -1] = affine[:3, :3], affine[:3, 3]
    units = ["millimeter"] * 3
    known = getattr(image.header, "get_xyzt_units", None)
    if known is not None:
        space, _ = known()
        units = [unit_name({"meter": "m", "micron": "um"}.get(space, "mm"))] * 3
    samples = np.asanyarray(proxy).reshape(shape + (1,) * (ndim - len(shape)))
    zooms = image.header.get_zooms()
    for k in range(3, ndim):
        matrix[k, k] = zooms[k] or 1.0 if k < len(zooms) else 1.0
    return _reversed_parts(samples.T, matrix, [*units, *[PIXEL] * (ndim - 3)], ndim, False)


def _reversed_parts(
    samples: NDArray[Any],
    matrix: NDArray[np.float64],
    units: Sequence[str],
    ndim: int,
    is_vector: bool,
) -> Parts:
    """Bring what has x first into the order of arrays, x last; vectors become channels."""
    order = [*range(ndim)][::-1]
    labels = ("x", "y", "z", "t", "c", "c2", "c3")[:ndim]
    grid = Grid(
        samples.shape[:ndim],
        matrix[np.ix_([*order, ndim], [*order, ndim])],
        tuple(units[k] for k in order),
        tuple(labels[k] for k in order),
        tuple(k < 3 for k in order),
    )
    if is_vector:
        samples = np.moveaxis(samples, -1, 0)
        grid = grid.prepend(Grid(samples.shape[:1], axis_labels=("c",), spatial=(False,)))
    return _without_single(samples, grid)


def _without_single(samples: NDArray[Any], grid: Grid) -> Parts:
    """Drop axes of length 1 before the last two, unless a rotation mixes them with others."""
    for axis in range(grid.ndim - 2):
        if grid.shape[axis] == 1:
            kept = [k for k in range(grid.ndim) if k != axis]
            try:
                smaller = grid.take(kept)
            except ValueError:
                continue
            return _without_single(samples.squeeze(axis), smaller)
    return samples, grid


KINDS: tuple[tuple[str, str, Callable[[Any, str], Parts]], ...] = (
    ("xarray", "DataArray", _of_xarray),
    ("SimpleITK", "Image", _of_simpleitk),
    ("nibabel.spatialimages", "SpatialImage", _of_nibabel),
)


def lazy_parts(image: Any, name: str, chunks: Callable[[Grid], tuple[int, ...]]) -> Parts | None:
    """Do the same as `parts_of`, with the samples as a dask array."""
    parts = parts_of(image, name)
    if parts is None or isinstance(parts[0], da.Array):
        return parts
    samples, grid = parts
    return as_lazy(samples, chunks(grid)), grid
