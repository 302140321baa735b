"""What a map can hold: the kinds of band that can be asked for, and the bands of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from napari_local_ncc.geometry.grid import axis_name
from napari_local_ncc.geometry.units import unit_factor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.parameters import NCCParameters

FIT = ("slope", "intercept")  # in units of the images: of any magnitude
SHIFT, SHIFT_ERROR = "shift_", "shift_sd_"
V = TypeVar("V")

# Blue, yellow and purple, which differ in brightness too; what is displaced is the brightest.
# What moved too far is dark yellow, and where nobody can tell is a pale grey: see reports.colormap.
CLASS_COLORS = {
    "agrees": "#3f9be8",
    "displaced": "#ffe14d",
    "differs": "#8a1a5e",
    "beyond the search": "#a98400",
    "cannot tell": "#d6d6dc",
}


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
    title : str
        What to call it in a list, with its unit if it has one.
    palette : str
        The colours to show it in, of `reports.colormap.PALETTES`.
    """

    name: str
    limits: tuple[float, float]
    meaning: str
    title: str
    palette: str


@dataclass(frozen=True, slots=True)
class BandKind:
    """Something that can be computed beside the NCC: one of `NCCParameters.bands`.

    Parameters
    ----------
    label : str
        What a check box says.
    hint : str
        What it is good for and what it costs, in a few sentences.
    bands : callable
        Parameters and grid to the bands that it gives.
    plan : callable
        Parameters and grid to what to say of it before it is computed.
    """

    label: str
    hint: str
    bands: Callable[[NCCParameters, Grid], tuple[Band, ...]]
    plan: Callable[[NCCParameters, Grid], str]


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
    return tuple(band for name in parameters.bands for band in KINDS[name].bands(parameters, grid))


def _ncc(parameters: NCCParameters, grid: Grid) -> tuple[Band, ...]:
    return (Band("ncc", (-1.0, 1.0), "similarity in a window around the pixel", "NCC", "ncc"),)


def _confidence(parameters: NCCParameters, grid: Grid) -> tuple[Band, ...]:
    meaning = "1 - probability that unrelated structure looks as similar"
    return (Band("confidence", (0.0, 1.0), meaning, "confidence", "confidence"),)


def _shift(parameters: NCCParameters, grid: Grid) -> tuple[Band, ...]:
    radii, reaches = parameters.radius_on(grid), parameters.search_on(grid)
    best = f"best NCC within {max(reaches)} px"
    return (
        Band(
            "ncc_best", (-1.0, 1.0), "similarity at the best shift within the search", best, "ncc"
        ),
        Band(
            "gain",
            (0.0, 1.0),
            "how much more similar than without that shift",
            "gain by the shift",
            "gain",
        ),
        *(
            Band(
                f"{SHIFT}{axis_name(label)}",
                (-max(reach, 1.0), max(reach, 1.0)),
                f"how far along {axis_name(label)} the best match lies, in pixels of fixed",
                f"shift {axis_name(label)} (px)",
                "shift",
            )
            for label, radius, reach in zip(grid.axis_labels, radii, reaches, strict=True)
            if radius
        ),
    )


def _shift_error(parameters: NCCParameters, grid: Grid) -> tuple[Band, ...]:
    names = [
        axis_name(label)
        for label, radius in zip(grid.axis_labels, parameters.radius_on(grid), strict=True)
        if radius
    ]
    return (
        *(
            Band(
                f"{SHIFT_ERROR}{name}",
                (0.0, 0.5),
                f"standard deviation of the shift along {name}, in pixels of fixed",
                f"shift {name} ± (px)",
                "gain",
            )
            for name in names
        ),
        Band(
            "peak_ratio",
            (0.0, 1.0),
            "NCC at the second best match over that at the best: near 1, the window cannot decide",
            "second peak to first",
            "gain",
        ),
    )


def _classes(parameters: NCCParameters, grid: Grid) -> tuple[Band, ...]:
    meaning = "0 undefined, 1 agrees, 2 displaced, 3 differs, 4 beyond the search, 5 cannot tell"
    return (Band("classes", (0.0, 5.0), meaning, "classes", "classes"),)


def _ceiling(parameters: NCCParameters, grid: Grid) -> tuple[Band, ...]:
    meaning = "NCC that identical structure would reach in this noise"
    return (Band("ceiling", (-1.0, 1.0), meaning, "NCC that the noise allows", "ncc"),)


def _fit(parameters: NCCParameters, grid: Grid) -> tuple[Band, ...]:
    line = "of moving on fixed in the window, by least squares"
    return (
        Band("slope", (-2.0, 2.0), f"slope {line}", "slope", "shift"),
        Band("intercept", (-256.0, 256.0), f"intercept {line}", "intercept", "shift"),
    )


def _shift_plan(parameters: NCCParameters, grid: Grid) -> str:
    reach = sorted(set(parameters.search_on(grid)) - {0})
    return f"residual shift within {' x '.join(map(str, reach))} px"


KINDS = {
    "ncc": BandKind("NCC", "How alike the images are in a window.", _ncc, lambda *_: ""),
    "confidence": BandKind(
        "confidence",
        "1 - the probability that unrelated structure of the texture here looks as similar; "
        "calibrated on these images. Tells a high NCC in fine texture from one in a blur. Costs "
        "about as much as the NCC.",
        _confidence,
        lambda *_: "confidence",
    ),
    "shift": BandKind(
        "residual shift",
        "Where windows disagree: are they displaced, and by how much (to 0.01 to 0.1 px), or "
        "really different? Costs as much as an NCC for every displacement searched.",
        _shift,
        _shift_plan,
    ),
    "shift_error": BandKind(
        "shift error",
        "How sure the shift is: its standard deviation along each axis, and the second best "
        "match against the best. Where a window cannot decide between matches, or the error "
        "exceeds 0.5 px, no shift is given.",
        _shift_error,
        lambda *_: "its error",
    ),
    "classes": BandKind(
        "classes",
        "What can be said of each window: it agrees, is displaced (up to the search), differs, has "
        "moved beyond the search, or the noise and the texture here let nobody tell. Costs as much "
        "as the shift and the confidence together; beside these, little.",
        _classes,
        lambda *_: "classes",
    ),
    "ceiling": BandKind(
        "NCC ceiling",
        "The NCC that identical structure would reach at this exposure, by the noise of both "
        "images: is 0.6 all that can be, or really less?",
        _ceiling,
        lambda *_: "the NCC that the noise allows",
    ),
    "fit": BandKind(
        "brightness fit",
        "How moving's brightness follows fixed's in each window: moving = slope x fixed + "
        "intercept. Says little where the NCC is low.",
        _fit,
        lambda *_: "slope and intercept",
    ),
}


def shift_components(bands: Mapping[str, V]) -> list[V]:
    """Return, of some bands by name, those that are components of the shift."""
    return [
        band
        for name, band in bands.items()
        if name.startswith(SHIFT) and not name.startswith(SHIFT_ERROR)
    ]


def shift_errors(bands: Mapping[str, V]) -> dict[str, V]:
    """Return, of some bands by name, the standard deviations of the shift's components."""
    return {name: band for name, band in bands.items() if name.startswith(SHIFT_ERROR)}


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
