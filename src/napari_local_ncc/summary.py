"""A map in a few numbers, gathered tile by tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.geometry import axis_name, unit_symbol

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.registration import Registration

BINS = 20_000


@dataclass(frozen=True, slots=True)
class Summary:
    """The distribution of a map's values.

    Parameters
    ----------
    lower, median, upper : float
        Quartiles over the defined pixels, to 1e-4; NaN where there are none.
    defined : float
        Share of pixels that are defined.
    """

    lower: float
    median: float
    upper: float
    defined: float

    def __str__(self) -> str:
        """Say it in one line."""
        return (
            f"median {self.median:.3f}, quartiles {self.lower:.3f} to {self.upper:.3f}, "
            f"{self.defined:.1%} of pixels defined"
        )


class Tally:
    """Counts NCC values tile by tile; the memory needed does not grow with the map."""

    def __init__(self) -> None:
        self._counts = np.zeros(BINS, np.int64)
        self._pixels = 0

    def add(self, values: NDArray[Any]) -> None:
        """Count an array of values in [-1, 1]; NaN counts as undefined."""
        self._counts += np.histogram(values, BINS, (-1.0, 1.0))[0]
        self._pixels += values.size

    @property
    def summary(self) -> Summary:
        """The distribution of all values so far."""
        defined = int(self._counts.sum())
        if not defined:
            return Summary(np.nan, np.nan, np.nan, 0.0)
        ranks = np.searchsorted(np.cumsum(self._counts), np.array([0.25, 0.5, 0.75]) * defined)
        lower, median, upper = (float(rank + 0.5) * 2 / BINS - 1 for rank in ranks)
        return Summary(lower, median, upper, defined / self._pixels)


def describe_registration(registration: Registration) -> str:
    """Say in one line what a registration found.

    Returns
    -------
    str
        The shift of the moving image's content relative to the fixed image, per axis in
        world units (its range, for a series), and the global NCC before and after.
    """
    grid = registration.grid.space()
    shifts = registration.translation.reshape(-1, grid.ndim)
    parts = []
    for label, unit, axis in zip(grid.axis_labels, grid.units, shifts.T, strict=True):
        low, high = axis.min(), axis.max()
        span = f"{low:.3f}" if len(shifts) == 1 else f"{low:.3f} to {high:.3f}"
        parts.append(f"{axis_name(label)} {span} {unit_symbol(unit)}")
    before, after = (float(np.mean(v)) for v in (registration.ncc_before, registration.ncc_after))
    return f"shift {', '.join(parts)}; global NCC {before:.3f} before, {after:.3f} after"
