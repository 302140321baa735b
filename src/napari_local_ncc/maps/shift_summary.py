"""The residual shift of a map in a few lines of text, gathered tile by tile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.maps.bands import shift_components
from napari_local_ncc.maps.grouped_histogram import GroupTally
from napari_local_ncc.shift.interpret import shift_length

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


class ShiftSummary:
    """Sums up length and gain of a shift tile by tile."""

    def __init__(self) -> None:
        self._length, self._gain = GroupTally(), GroupTally()

    def add(self, bands: Mapping[str, NDArray[np.float32]]) -> None:
        """Count a tile, its bands by name; NaN counts as undefined."""
        together = np.zeros(1, np.int64)
        self._length.add(together, shift_length(shift_components(bands)))
        self._gain.add(together, bands["gain"])

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

    def lines(self) -> dict[str, str]:
        """Say how long the shift is."""
        return {"shift": self._shifts()}

    def _shifts(self) -> str:
        length, gain = self._length, self._gain
        if not length.defined.any():
            return "defined nowhere: no best match lies within the search"
        return (
            f"median length {length.quantile(0.5)[0]:.2f} px, median gain "
            f"{gain.quantile(0.5)[0]:.3f}, defined in {length.defined[0]:.1%} of pixels"
        )
