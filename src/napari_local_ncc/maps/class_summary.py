"""The classes of a map in a line of text, gathered tile by tile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.shift.interpret import ALIKE, CLASSES, MAP, MIN_GAIN, classify, shares_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

EVIDENCE = (
    "by the noise and the texture: agrees from confidence 0.95 on, unless noise cannot explain "
    "the difference"
)
CRITERIA = f"alike from ncc {ALIKE:g} on; a shift counts from a gain of {MIN_GAIN:g} on"


class ClassSummary:
    """Counts the classes of a map tile by tile: of its band "classes", else by thresholds.

    Parameters
    ----------
    by_evidence : bool
        Whether the map has that band; else it has NCC and shift.
    """

    def __init__(self, *, by_evidence: bool) -> None:
        self._by_evidence = by_evidence
        self._counts = np.zeros(len(CLASSES), np.int64)

    def add(self, bands: Mapping[str, NDArray[np.float32]]) -> NDArray[np.uint8]:
        """Count a tile, its bands by name, and return its classes; NaN counts as undefined."""
        if self._by_evidence:
            labels = np.nan_to_num(bands["classes"]).astype(np.uint8)
        else:
            # Whether noise allows more is asked of the whole map, at the end.
            labels = classify(bands["ncc"], bands["ncc_best"], bands["gain"], ceiling=1.0)
        self._counts += np.bincount(labels.ravel(), minlength=len(CLASSES))
        return labels

    def shares(self, lower_ncc: float) -> dict[str, float]:
        """Return the share of the pixels in each class, none of no pixels.

        `lower_ncc` is the lower quartile of the map's NCC.
        """
        counts = self._counts.copy()
        if not counts.any():
            return {}
        if not self._by_evidence and counts.sum() >= MAP and lower_ncc < ALIKE:
            differs, unsure = (CLASSES.index(name) for name in ("differs", "cannot tell"))
            counts[unsure] += counts[differs]
            counts[differs] = 0
        return shares_of(counts)

    def merge(self, other: ClassSummary) -> None:
        """Count what another has counted."""
        self._counts += other._counts

    def lines(self, lower_ncc: float) -> dict[str, str]:
        """Say how the pixels divide; `lower_ncc` as for `shares`."""
        shares = self.shares(lower_ncc)
        if not shares:
            return {}
        undefined = shares.pop("undefined")
        parts = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
        told = EVIDENCE if self._by_evidence else CRITERIA
        return {"classes": f"{parts}, undefined {undefined:.1%} of pixels ({told})"}
