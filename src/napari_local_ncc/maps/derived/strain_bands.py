"""Strain and rotation of a map's shift as bands, tile by tile."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.chunked.blocks import blocks_of
from napari_local_ncc.geometry.grid import axis_name
from napari_local_ncc.image.spatial_image import map_chunks
from napari_local_ncc.maps.bands import Band, shift_components, shift_steps
from napari_local_ncc.maps.class_summary import classes_by_threshold, samples_of_window
from napari_local_ncc.shift.interpret import is_believable
from napari_local_ncc.shift.strain import strain_and_rotation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.parameters import NCCParameters
    from napari_local_ncc.shift.strain import Strain

    Box = tuple[slice, ...]

LIMIT = 5.0  # % and degrees, to display by


def strain_bands(parameters: NCCParameters, grid: Grid) -> tuple[Band, ...]:
    """Return the bands that a map's shift allows: none where it has no shift.

    Parameters
    ----------
    parameters : NCCParameters
        What the map was computed with.
    grid : Grid
        Where it lies.

    Returns
    -------
    tuple of Band
        "stretch_y", "stretch_x", "shear_yx", "rotation_yx" and the like: along the axes that
        windows extend along. A rotation is of two axes, the first towards the second.
    """
    return tuple(
        Band(name, (-LIMIT, LIMIT), meaning, title, "shift")
        for name, (_, meaning, title) in _quantities(parameters, grid).items()
    )


def iter_strain_band(
    name: str, bands: Mapping[str, Any], parameters: NCCParameters, grid: Grid
) -> Iterator[tuple[Box, NDArray[np.float32]]]:
    """Compute one of `strain_bands` tile by tile.

    Parameters
    ----------
    name : str
        Which.
    bands : mapping of str to array, shape grid.shape
        The map's: "ncc", "ncc_best", "gain" and the shift; "classes" and "confidence" where
        there are some.
    parameters, grid
        As for `strain_bands`.

    Yields
    ------
    box : tuple of slice
        Where the tile lies.
    values : ndarray of float32
        In percent or degrees, by planes fitted to the shift in one window around the pixel;
        see `shift.displacement_gradient`. NaN where fewer than half of the pixels there have a
        shift that can be believed, see `shift.is_believable`.

    Raises
    ------
    ValueError
        If the map has no such band.
    """
    quantities = _quantities(parameters, grid)
    if name not in quantities:
        raise ValueError(
            f"the map has no {name}; of its shift come {', '.join(quantities) or 'none'}"
        )
    take, _, _ = quantities[name]
    windowed = _windowed(parameters, grid)
    radius = max(parameters.radius_on(grid))
    for box in blocks_of(grid.shape, map_chunks(grid)):
        near = tuple(
            slice(max(part.start - radius, 0), min(part.stop + radius, n))
            if k in windowed
            else part
            for k, (part, n) in enumerate(zip(box, grid.shape, strict=True))
        )
        inner = tuple(
            slice(part.start - far.start, part.stop - far.start)
            for part, far in zip(box, near, strict=True)
        )
        samples = {key: np.asarray(band[near]) for key, band in bands.items()}
        shift = _believed_shift(samples, parameters, grid)
        spacing = np.linalg.norm(shift_steps(parameters, grid), axis=0).tolist()
        yield box, _on_planes(shift, windowed, partial(_quantity, take, radius, spacing))[inner]


def _quantities(
    parameters: NCCParameters, grid: Grid
) -> dict[str, tuple[Callable[[Strain], NDArray[np.float64]], str, str]]:
    """Return how each band is taken of a strain, what it means, and its title, by its name."""
    if "shift" not in parameters.bands:
        return {}
    names = [axis_name(grid.axis_labels[axis]) for axis in _windowed(parameters, grid)]
    found: dict[str, tuple[Callable[[Strain], NDArray[np.float64]], str, str]] = {
        f"stretch_{name}": (
            partial(_stretch, k),
            f"by how much moving is longer than fixed along {name}",
            f"stretch {name} (%)",
        )
        for k, name in enumerate(names)
    }
    for (i, a), (j, b) in combinations(enumerate(names), 2):
        found[f"shear_{a}{b}"] = (
            partial(_shear, i, j),
            f"half the change of the angle between {a} and {b}",
            f"shear {a}{b} (%)",
        )
        found[f"rotation_{a}{b}"] = (
            partial(_rotation, i, j),
            f"by how much moving is turned from {a} to {b}",
            f"rotation {a} to {b} (°)",
        )
    return found


def _stretch(axis: int, found: Strain) -> NDArray[np.float64]:
    return 100 * found.strain[axis, axis]


def _shear(i: int, j: int, found: Strain) -> NDArray[np.float64]:
    return 100 * found.strain[i, j]


def _rotation(i: int, j: int, found: Strain) -> NDArray[np.float64]:
    return np.degrees(found.rotation[j, i])


def _quantity(
    take: Callable[[Strain], NDArray[np.float64]],
    radius: int,
    spacing: list[float],
    shift: NDArray[np.float64],
) -> NDArray[np.float64]:
    return take(strain_and_rotation(shift, radius=radius, spacing=spacing))


def _windowed(parameters: NCCParameters, grid: Grid) -> list[int]:
    return [axis for axis, r in enumerate(parameters.radius_on(grid)) if r]


def _believed_shift(
    bands: Mapping[str, NDArray[Any]], parameters: NCCParameters, grid: Grid
) -> NDArray[np.float64]:
    """Return the components of the shift, NaN where it rests on nothing."""
    if "classes" in bands:
        labels = np.nan_to_num(bands["classes"]).astype(np.uint8)
    else:
        is_signed = parameters.alternative == "greater"
        samples = samples_of_window(parameters, grid)
        labels = classes_by_threshold(bands, is_signed=is_signed, samples=samples)
    believed = is_believable(labels, bands.get("confidence"))
    return np.where(believed, np.stack(shift_components(bands)), np.nan)


def _on_planes(
    shift: NDArray[np.float64],
    windowed: list[int],
    of: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float32]:
    """Apply a function to a shift along the windowed axes, at each position along the others."""
    ndim, count = shift.ndim - 1, len(windowed)
    last = range(ndim - count, ndim)
    planes = np.moveaxis(shift, [1 + axis for axis in windowed], [1 + axis for axis in last])
    out = np.empty(planes.shape[1:], np.float32)
    for index in np.ndindex(out.shape[: ndim - count]):
        out[index] = of(planes[(slice(None), *index)])
    return np.moveaxis(out, last, windowed)
