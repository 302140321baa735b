"""A map as an array of xarray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.geometry.grid import axis_name

if TYPE_CHECKING:
    import xarray

    from napari_local_ncc.maps.pipeline import ConfidenceMap


def as_data_array(result: ConfidenceMap) -> xarray.DataArray:
    """Return the bands of a map with their names, axes, coordinates and units."""
    try:
        import xarray
    except ImportError as error:
        raise ImportError("to_xarray needs xarray: pip install xarray") from error
    grid = result.grid
    labels = [axis_name(label) for label in grid.axis_labels]
    coordinates: dict[str, Any] = {"band": list(result.band_names)}
    attributes: dict[str, Any] = {"software": result.provenance.get("software", "")}
    if grid.is_axis_parallel:
        steps = np.diagonal(grid.pixel_to_world)[:-1]
        for k, label in enumerate(labels):
            places = grid.origin[k] + steps[k] * np.arange(grid.shape[k])
            coordinates[label] = (label, places, {"units": grid.units[k]})
    else:
        attributes |= {"pixel_to_world": grid.pixel_to_world.tolist(), "units": list(grid.units)}
    return xarray.DataArray(
        result.bands, coordinates, ("band", *labels), name="local NCC", attrs=attributes
    )
