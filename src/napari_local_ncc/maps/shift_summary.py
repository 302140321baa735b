"""The residual shift of a map in a few lines of text, gathered tile by tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.units import PIXEL, percent, unit_symbol
from napari_local_ncc.geometry.view import SIDES, View
from napari_local_ncc.maps.bands import shift_components, shift_steps
from napari_local_ncc.maps.grouped_histogram import GroupTally
from napari_local_ncc.shift.interpret import CLASSES, shift_length

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.parameters import NCCParameters

MOSTLY, EVENLY = 0.7, 0.6  # share of what is displaced in one half, and of all that is defined
COMMON = 0.8  # share of the mean square of shifts that their mean explains
FEW = 0.1  # share of the windows with a best shift; if fewer know it, they may by chance
REACH = 0.75  # of the search, from which on a shift is near its end


class ShiftSummary:
    """Sums up length and gain of a shift tile by tile.

    Parameters
    ----------
    grid : Grid, optional
        The map's: where it has units, the line says the length in them.
    parameters : NCCParameters, optional
        What the map was computed with; needed with a grid.
    """

    def __init__(self, grid: Grid | None = None, parameters: NCCParameters | None = None) -> None:
        self._length, self._gain = GroupTally(), GroupTally()
        self._world: _WorldLength | None = None
        self._has_error = False
        if grid is not None and parameters is not None and PIXEL not in grid.space().units:
            self._world = _WorldLength(grid, parameters)

    def add(self, bands: Mapping[str, NDArray[np.float32]]) -> None:
        """Count a tile, its bands by name; NaN counts as undefined."""
        together = np.zeros(1, np.int64)
        self._length.add(together, shift_length(shift_components(bands)))
        self._gain.add(together, bands["gain"])
        self._has_error |= "peak_ratio" in bands
        if self._world is not None:
            self._world.add(bands)

    def numbers(self) -> dict[str, float]:
        """Return the median length (px) and gain, and the share of pixels that have a shift."""
        return {
            "median_length_px": float(self._length.quantile(0.5)[0]),
            "median_gain": float(self._gain.quantile(0.5)[0]),
            "defined": float(self._length.defined[0]),
        }

    def merge(self, other: ShiftSummary) -> None:
        """Count what another has counted."""
        self._length.merge(other._length)
        self._gain.merge(other._gain)
        self._has_error |= other._has_error
        if self._world is not None and other._world is not None:
            self._world.merge(other._world)

    def lines(self) -> dict[str, str]:
        """Say how long the shift is."""
        return {"shift": self._shifts()}

    def _shifts(self) -> str:
        length, gain = self._length, self._gain
        if not length.defined.any():
            unknown = ", or none is known to half a pixel" if self._has_error else ""
            return (
                "defined nowhere: no window can be compared, or no best match is within the search"
                f"{unknown}"
            )
        few, share = "", percent(length.defined[0], 1)
        if self._has_error and length.defined[0] < FEW * gain.defined[0]:
            few = " (of so few windows, stated errors may be too small)"
        median = str(self._world or f"{length.quantile(0.5)[0]:.2f} px")
        return (
            f"median length {median}, median gain "
            f"{gain.quantile(0.5)[0]:.3f}, defined in {share} of pixels{few}"
        )


class _WorldLength:
    """Sums up the length of a shift in the world's unit, as `ShiftSummary` does in pixels."""

    def __init__(self, grid: Grid, parameters: NCCParameters) -> None:
        self._steps, self._step = shift_steps(parameters, grid), float(grid.spacing[-1])
        self._unit = unit_symbol(grid.units[-1])
        self._tally = GroupTally()

    def add(self, bands: Mapping[str, NDArray[np.float32]]) -> None:
        # in steps of a pixel, for which the tally's resolution is made
        lengths = shift_length(shift_components(bands), self._steps) / self._step
        self._tally.add(np.zeros(1, np.int64), lengths)

    def merge(self, other: _WorldLength) -> None:
        self._tally.merge(other._tally)

    def __str__(self) -> str:
        return f"{self._tally.quantile(0.5)[0] * self._step:.3g} {self._unit}"


@dataclass(frozen=True, slots=True)
class Displaced:
    """What is displaced in a map, in a few numbers.

    Parameters
    ----------
    length : float
        Median length of its shift, in units of the world.
    unit : str
        Their symbol.
    where : str
        In which part of the plane, as napari displays it, most of it lies ("lower left",
        "right"); empty if in none.
    is_common : bool
        Whether one shift explains most of all.
    at_end : float
        Share of it whose shift is near the end of the search.
    """

    length: float
    unit: str
    where: str
    is_common: bool
    at_end: float


class DisplacedSummary:
    """Sums up what is displaced tile by tile; memory grows with the sides of the map.

    Parameters
    ----------
    grid : Grid
        The map's.
    parameters : NCCParameters
        What it was computed with.
    """

    def __init__(self, grid: Grid, parameters: NCCParameters) -> None:
        self._steps = shift_steps(parameters, grid)
        self._grid, self._step = grid, float(grid.spacing[-1])
        searches = zip(parameters.search_on(grid), parameters.radius_on(grid), strict=True)
        # an axis that is not searched has no end that could be near
        self._search = np.array([float(s) or np.inf for s, r in searches if r])
        self._lengths = GroupTally()
        self._sum, self._squares = np.zeros(len(self._search)), 0.0
        self._count = self._at_end = 0
        self._sides = View.of(grid).sides()
        shown = grid.shape[-len(self._sides) :]
        self._profiles = [np.zeros((2, n), np.int64) for n in shown]

    def add(
        self,
        labels: NDArray[np.uint8],
        bands: Mapping[str, NDArray[np.float32]],
        location: tuple[slice, ...],
    ) -> None:
        """Count a tile by its classes, its bands, and where it lies on the grid."""
        displaced = labels == CLASSES.index("displaced")
        for row, found in enumerate((displaced, labels > 0)):
            for axis, profile in enumerate(self._profiles, labels.ndim - len(self._profiles)):
                others = tuple(k for k in range(labels.ndim) if k != axis)
                profile[row, location[axis]] += found.sum(axis=others)
        shift = np.stack(shift_components(bands))[:, displaced].astype(np.float64)
        shift = shift[:, np.isfinite(shift).all(axis=0)]
        if not shift.size:
            return
        lengths = shift_length(shift, self._steps) / self._step
        self._lengths.add(np.zeros(1, np.int64), lengths)
        self._sum += shift.sum(axis=1)
        self._squares += float(np.sum(shift**2))
        self._count += shift.shape[1]
        near = np.abs(shift) >= REACH * self._search[:, np.newaxis]
        self._at_end += int(near.any(axis=0).sum())

    def merge(self, other: DisplacedSummary) -> None:
        """Count what another has counted of the same map."""
        self._lengths.merge(other._lengths)
        self._sum += other._sum
        self._squares += other._squares
        self._count += other._count
        self._at_end += other._at_end
        for own, theirs in zip(self._profiles, other._profiles, strict=True):
            own += theirs

    def result(self) -> Displaced | None:
        """Return what is displaced; None where nothing is."""
        if not self._count or not self._lengths.defined.any():
            return None
        explained = float(np.sum(self._sum**2)) / self._count
        halves = {self._half(*each) for each in zip(self._profiles, self._sides, strict=True)}
        return Displaced(
            float(self._lengths.quantile(0.5)[0]) * self._step,
            unit_symbol(self._grid.units[-1]),
            " ".join(name for names in SIDES for name in names if name in halves),
            bool(explained >= COMMON * self._squares),
            self._at_end / self._count,
        )

    def _half(self, profile: NDArray[np.int64], names: tuple[str, str]) -> str:
        """Return the half of the plane along an axis in which most of it lies, if any."""
        halves = np.array([part.sum(axis=1) for part in np.array_split(profile, 2, axis=1)])
        displaced, defined = halves.T / np.maximum(halves.sum(axis=0), 1)[:, np.newaxis]
        for name, share, of_all in zip(names, displaced, defined, strict=True):
            if share >= MOSTLY and of_all <= EVENLY:
                return name
        return ""
