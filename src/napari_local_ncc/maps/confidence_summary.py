"""The confidence of a map in a few lines of text, gathered tile by tile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.confidence.false_discovery import ConfidenceTally
from napari_local_ncc.geometry.units import percent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.confidence.calibration import Calibration

LEVEL = 0.95  # of confidence


class ConfidenceSummary:
    """Sums up the confidence of a map tile by tile.

    Parameters
    ----------
    calibration : Calibration, optional
        What turned NCC into confidence.
    """

    def __init__(self, calibration: Calibration | None) -> None:
        self._calibration = calibration
        self._tally = ConfidenceTally()

    def add(self, confidence: NDArray[np.float32]) -> None:
        """Count a tile; NaN counts as undefined."""
        self._tally.add(confidence)

    def numbers(self, rate: float) -> dict[str, float]:
        """Return the share that is confident, and what to accept at a false discovery rate.

        Shares of the defined pixels. `threshold` is NaN where no pixel can be accepted.
        """
        limit = self._tally.false_discovery_threshold(rate)
        none = limit > 1
        share = self._tally.share(LEVEL)
        return {
            "level": LEVEL,
            "share": share,
            "false_discovery_rate": rate,
            "threshold": np.nan if none else limit,
            "accepted": 0.0 * share if none else self._tally.share(limit),
        }

    def merge(self, other: ConfidenceSummary) -> None:
        """Count what another has counted."""
        self._tally.merge(other._tally)

    def share(self) -> float:
        """Return the share of the defined pixels that are confident; NaN where none is defined."""
        return float(self._tally.share(LEVEL))

    def lines(self, rate: float) -> dict[str, str]:
        """Say what is confident at a false discovery rate, and what the calibration detects."""
        found = {"confidence": _discoveries(self._tally, rate)}
        if self._calibration is not None:
            if not np.isnan(self._tally.share(LEVEL)):
                found["detects"] = _detection(self._calibration)
            if self._calibration.fallback:
                found["fallback"] = self._calibration.fallback
            if self._calibration.notes:
                found["pattern"] = "; ".join(self._calibration.notes)
        return found


def _discoveries(tally: ConfidenceTally, rate: float) -> str:
    """Say how many pixels are confident, and which to accept."""
    share, limit = tally.share(LEVEL), tally.false_discovery_threshold(rate)
    if np.isnan(share):
        return "defined nowhere"
    accepted = (
        "no pixel can be accepted"
        if limit > 1
        else f"accept {percent(tally.share(limit), 1)}, from {_confidence(limit)} on"
    )
    return (
        f"{percent(share, 1)} of defined pixels reach {LEVEL:g}; "
        f"at a false discovery rate of {100 * rate:g}% (Benjamini-Hochberg) {accepted}"
    )


def _confidence(value: float) -> str:
    """Write a confidence with as many digits as tell it from 1."""
    doubt = max(1 - value, 1e-7)
    return f"{value:.{max(3, 1 - int(np.floor(np.log10(doubt))))}f}"


def _detection(calibration: Calibration) -> str:
    """Say which ncc reaches the confidence, over all texture classes and frames."""
    found = np.array(
        [
            [each.effective_samples, each.ncc]
            for frame in range(len(calibration.nulls))
            for each in calibration.thresholds(LEVEL, frame=frame)
        ]
    )
    coarse, fine = found[found[:, 0].argmin()], found[found[:, 0].argmax()]
    text = f"confidence {LEVEL:g} needs ncc {fine[1]:.2f} in the finest texture"
    if fine[0] == coarse[0]:
        return f"confidence {LEVEL:g} needs ncc {fine[1]:.2f}"
    return f"{text}, {coarse[1]:.2f} in the coarsest"
