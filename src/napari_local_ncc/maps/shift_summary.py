"""The residual shift of a map in a few lines of text, gathered tile by tile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.maps.bands import shift_components
from napari_local_ncc.maps.grouped_histogram import GroupTally
from napari_local_ncc.shift.interpret import ALIKE, CLASSES, MIN_GAIN, classify, shift_length

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

CRITERIA = f"alike from ncc {ALIKE:g} on; a shift counts from a gain of {MIN_GAIN:g} on"


class ShiftSummary:
    """Sums up length, gain and classes of a shift tile by tile."""

    def __init__(self) -> None:
        self._length, self._gain = GroupTally(), GroupTally()
        self._classes = np.zeros(len(CLASSES), np.int64)

    def add(self, bands: Mapping[str, NDArray[np.float32]]) -> None:
        """Count a tile, its bands by name; NaN counts as undefined."""
        together = np.zeros(1, np.int64)
        self._length.add(together, shift_length(shift_components(bands)))
        self._gain.add(together, bands["gain"])
        if "ncc" in bands:
            labels = classify(bands["ncc"], bands["ncc_best"], bands["gain"])
            self._classes += np.bincount(labels.ravel(), minlength=len(CLASSES))

    def lines(self) -> dict[str, str]:
        """Say how long the shift is, and how the pixels divide."""
        found = {"shift": self._shifts()}
        return found | ({"classes": _shares(self._classes)} if self._classes.any() else {})

    def _shifts(self) -> str:
        length, gain = self._length, self._gain
        if not length.defined.any():
            return "defined nowhere: no best match lies within the search"
        return (
            f"median length {length.quantile(0.5)[0]:.2f} px, median gain "
            f"{gain.quantile(0.5)[0]:.3f}, defined in {length.defined[0]:.1%} of pixels"
        )


def _shares(counts: NDArray[np.int64]) -> str:
    """Say how many of the pixels are of each class, and how these are told apart."""
    shares = dict(zip(CLASSES, counts / counts.sum(), strict=True))
    undefined = shares.pop("undefined")
    parts = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    return f"{parts}, undefined {undefined:.1%} of pixels ({CRITERIA})"
