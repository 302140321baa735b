"""What a map can hold: its bands, by name, with the range of their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.grid import axis_name
from napari_local_ncc.geometry.units import unit_factor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.parameters import NCCParameters

SHIFT = "shift_"


@dataclass(frozen=True, slots=True)
class Band:
    """One quantity per pixel.

    Parameters
    ----------
    name : str
        What it is called in maps and files.
    limits : tuple of float
        Least and largest value, to display it by.
    meaning : str
        One line for people.
    """

    name: str
    limits: tuple[float, float]
    meaning: str


SINGLE = {
    "ncc": Band("ncc", (-1.0, 1.0), "similarity in a window around the pixel"),
    "confidence": Band(
        "confidence", (0.0, 1.0), "1 - probability that unrelated structure looks as similar"
    ),
}


def bands_on(parameters: NCCParameters, grid: Grid) -> tuple[Band, ...]:
    """Return the bands of a map in their order.

    Parameters
    ----------
    parameters : NCCParameters
        What is to be computed.
    grid : Grid
        The fixed image's grid; a shift has one band for each axis along which windows extend.

    Returns
    -------
    tuple of Band
        "ncc", "confidence", "ncc_best", "gain", "shift_y", "shift_x" and the like.
    """
    found = []
    for name in parameters.bands:
        found += _shift_bands(parameters, grid) if name == "shift" else [SINGLE[name]]
    return tuple(found)


def _shift_bands(parameters: NCCParameters, grid: Grid) -> list[Band]:
    radii, reaches = parameters.radius_on(grid), parameters.search_on(grid)
    ranges = zip(grid.axis_labels, radii, reaches, strict=True)
    return [
        Band("ncc_best", (-1.0, 1.0), "similarity at the best shift within the search"),
        Band("gain", (0.0, 1.0), "how much more similar than without that shift"),
        *(
            Band(
                f"{SHIFT}{axis_name(label)}",
                (-max(reach, 1.0), max(reach, 1.0)),
                f"how far along {axis_name(label)} the best match lies, in pixels of fixed",
            )
            for label, radius, reach in ranges
            if radius
        ),
    ]


def shift_steps(parameters: NCCParameters, grid: Grid) -> NDArray[np.float64]:
    """Return what a shift by one pixel along each windowed axis is in the world.

    Parameters
    ----------
    parameters : NCCParameters
        What says which axes have windows.
    grid : Grid
        The fixed image's grid.

    Returns
    -------
    ndarray, shape (spatial axes, windowed axes)
        In the unit of the last axis.
    """
    space = grid.space()
    in_one_unit = [unit_factor(unit, grid.units[-1]) for unit in space.units]
    radius = parameters.radius_on(grid)[-space.ndim :]
    windowed = [axis for axis, r in enumerate(radius) if r]
    return space.pixel_to_world[:-1, windowed] * np.array(in_one_unit)[:, np.newaxis]
