"""The classes of a map in a line of text, gathered tile by tile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.units import percent
from napari_local_ncc.ncc.moments import window_worth
from napari_local_ncc.shift.interpret import ALIKE, CLASSES, MAP, SAMPLES, classify, shares_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.parameters import NCCParameters

EVIDENCE = (
    "by the noise and the texture: agrees from confidence 0.95 on, unless noise cannot explain "
    "the difference"
)
DIFFERS, UNSURE = (CLASSES.index(name) for name in ("differs", "cannot tell"))
CRITERIA = (
    f"alike from ncc {ALIKE:g} on; a shift counts where it leaves clearly less that is not in "
    "common, and more than noise makes of the best of many"
)


def samples_of_window(parameters: NCCParameters, grid: Grid) -> float:
    """Return how many samples a window of a map is worth: fewer than it holds where weighted."""
    return window_worth(parameters.radius_on(grid), parameters.weights)


def classes_by_threshold(
    bands: Mapping[str, NDArray[np.float32]], *, is_signed: bool = True, samples: float = SAMPLES
) -> NDArray[np.uint8]:
    """Return the classes of a tile by thresholds of its NCC and shift; `samples`: of a window.

    What is not alike is said to differ: whether noise would let it be alike is asked of the whole
    map, once all of it is counted; see `ClassSummary.tells_differences`.
    """
    ncc = bands["ncc"] if is_signed else np.abs(bands["ncc"])
    return classify(ncc, bands["ncc_best"], bands["gain"], ceiling=ALIKE, samples=samples)


class ClassSummary:
    """Counts the classes of a map tile by tile: of its band "classes", else by thresholds.

    Parameters
    ----------
    by_evidence : bool
        Whether the map has that band; else it has NCC and shift.
    is_signed : bool
        Whether what is alike has a high NCC, or else a high |NCC|.
    samples : float
        What a window is worth, see `samples_of_window`.
    """

    def __init__(
        self, *, by_evidence: bool, is_signed: bool = True, samples: float = SAMPLES
    ) -> None:
        self._by_evidence, self._is_signed, self._samples = by_evidence, is_signed, samples
        self._counts = np.zeros(len(CLASSES), np.int64)

    def add(self, bands: Mapping[str, NDArray[np.float32]]) -> NDArray[np.uint8]:
        """Count a tile, its bands by name, and return its classes; NaN counts as undefined."""
        if self._by_evidence:
            labels = np.nan_to_num(bands["classes"]).astype(np.uint8)
        else:
            labels = classes_by_threshold(bands, is_signed=self._is_signed, samples=self._samples)
        self._counts += np.bincount(labels.ravel(), minlength=len(CLASSES))
        return labels

    def shares(self, lower_ncc: float) -> dict[str, float]:
        """Return the share of the pixels in each class, none of no pixels.

        `lower_ncc` is the lower quartile of the map's NCC, or of its magnitude.
        """
        counts = self._counts.copy()
        if not counts.any():
            return {}
        if not self.tells_differences(lower_ncc):
            counts[UNSURE] += counts[DIFFERS]
            counts[DIFFERS] = 0
        return shares_of(counts)

    def tells_differences(self, lower_ncc: float) -> bool:
        """Say whether what is not alike differs; else noise may be why, and nobody can tell.

        Thresholds alone tell it only where most of a map reaches them; `lower_ncc` as for `shares`.
        """
        defined = self._counts.sum() - self._counts[CLASSES.index("undefined")]
        return self._by_evidence or defined < MAP or lower_ncc >= ALIKE

    def merge(self, other: ClassSummary) -> None:
        """Count what another has counted."""
        self._counts += other._counts

    def lines(self, lower_ncc: float) -> dict[str, str]:
        """Say how the pixels divide; `lower_ncc` as for `shares`."""
        shares = self.shares(lower_ncc)
        if not shares:
            return {}
        undefined = shares.pop("undefined")
        parts = ", ".join(f"{name} {percent(share, 1)}" for name, share in shares.items())
        told = EVIDENCE if self._by_evidence else CRITERIA
        return {"classes": f"{parts}, undefined {percent(undefined, 1)} of pixels ({told})"}
