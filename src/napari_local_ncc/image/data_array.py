"""A map as an array of xarray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.geometry.grid import axis_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dask.array as da
    import xarray

    from napari_local_ncc.geometry.grid import Grid


def as_data_array(
    bands: da.Array, band_names: Sequence[str], grid: Grid, **attributes: Any
) -> xarray.DataArray:
    """Return the bands of a map with their names, axes, coordinates and units."""
    try:
        import xarray
    except ImportError as error:
        raise ImportError("to_xarray needs xarray: pip install xarray") from error
    labels = [axis_name(label) for label in grid.axis_labels]
    coordinates: dict[str, Any] = {"band": list(band_names)}
    if grid.is_axis_parallel:
        steps = np.diagonal(grid.pixel_to_world)[:-1]
        for k, label in enumerate(labels):
            places = grid.origin[k] + steps[k] * np.arange(grid.shape[k])
            coordinates[label] = (label, places, {"units": grid.units[k]})
    else:
        attributes |= {"pixel_to_world": grid.pixel_to_world.tolist(), "units": list(grid.units)}
    return xarray.DataArray(
        bands, coordinates, ("band", *labels), name="local NCC", attrs=attributes
    )
