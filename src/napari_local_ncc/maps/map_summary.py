"""A map of several bands in a few lines of text, gathered tile by tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.confidence.false_discovery import ConfidenceTally
from napari_local_ncc.maps.bands import shift_components
from napari_local_ncc.maps.grouped_histogram import GroupTally
from napari_local_ncc.shift.interpret import ALIKE, CLASSES, MIN_GAIN, classify, shift_length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.confidence.calibration import Calibration

BINS = 20_000

LEVEL = 0.95  # of confidence
OWN = ("ncc", "confidence", "ncc_best", "gain")  # the bands that have lines of their own
RATE = 0.05  # of false discoveries
CRITERIA = f"alike from ncc {ALIKE:g} on; a shift counts from a gain of {MIN_GAIN:g} on"


class MapTally:
    """Sums up all bands of a map tile by tile; the memory needed does not grow with the map.

    Parameters
    ----------
    band_names : sequence of str
        The bands in their order, as `ConfidenceMap.band_names`.
    calibration : Calibration, optional
        What turned NCC into confidence.
    """

    def __init__(self, band_names: Sequence[str], calibration: Calibration | None = None) -> None:
        self._names = tuple(band_names)
        self._calibration = calibration
        self._ncc = Tally()
        self._confidence = ConfidenceTally()
        self._shift = {"length": GroupTally(), "gain": GroupTally()}
        self._classes = np.zeros(len(CLASSES), np.int64)
        shifts = shift_components({name: name for name in self._names})
        self._others = {name: GroupTally() for name in self._names if name not in (*OWN, *shifts)}

    def add(self, bands: NDArray[Any]) -> None:
        """Count a tile, shape (bands, ...); NaN counts as undefined."""
        found = dict(zip(self._names, bands, strict=True))
        if "ncc" in found:
            self._ncc.add(found["ncc"])
        if "confidence" in found:
            self._confidence.add(found["confidence"])
        if "gain" in found:
            components = shift_components(found)
            together = np.zeros(1, np.int64)
            self._shift["length"].add(together, shift_length(components))
            self._shift["gain"].add(together, found["gain"])
        if {"ncc", "gain"} <= set(found):
            labels = classify(found["ncc"], found["ncc_best"], found["gain"])
            self._classes += np.bincount(labels.ravel(), minlength=len(CLASSES))

        for name, tally in self._others.items():
            tally.add(np.zeros(1, np.int64), found[name])

    @property
    def summary(self) -> Summary:
        """The distribution of the NCC."""
        return self._ncc.summary

    def lines(self, rate: float = RATE) -> dict[str, str]:
        """Say what the map holds, a line for each title.

        Parameters
        ----------
        rate : float, default 0.05
            The false discovery rate to accept pixels at, in (0, 1).

        Returns
        -------
        dict of str to str
            "ncc"; "confidence", "detects" and, where no null could be measured, "fallback";
            "shift" and "classes": those of the bands that are there; any other band by name.
        """
        found = {"ncc": str(self.summary)} if "ncc" in self._names else {}
        if "confidence" in self._names:
            found["confidence"] = _discoveries(self._confidence, rate)
        if self._calibration is not None:
            if not np.isnan(self._confidence.share(LEVEL)):
                found["detects"] = _detection(self._calibration)
            if self._calibration.fallback:
                found["fallback"] = self._calibration.fallback
        if "gain" in self._names:
            found["shift"] = self._shifts()
        if self._classes.any():
            found["classes"] = _shares(self._classes)
        return found | {name: _distribution(tally) for name, tally in self._others.items()}

    def _shifts(self) -> str:
        length, gain = self._shift["length"], self._shift["gain"]
        if not length.defined.any():
            return "defined nowhere: no best match lies within the search"
        return (
            f"median length {length.quantile(0.5)[0]:.2f} px, median gain "
            f"{gain.quantile(0.5)[0]:.3f}, defined in {length.defined[0]:.1%} of pixels"
        )


def _distribution(tally: GroupTally) -> str:
    """Say how the values of a band are distributed."""
    if not tally.defined.any():
        return "defined nowhere"
    median, lower, upper = (tally.quantile(share)[0] for share in (0.5, 0.25, 0.75))
    return (
        f"median {median:.3f}, quartiles {lower:.3f} to {upper:.3f}, "
        f"{tally.defined[0]:.1%} of pixels defined"
    )


def _discoveries(tally: ConfidenceTally, rate: float) -> str:
    """Say how many pixels are confident, and which to accept."""
    share, limit = tally.share(LEVEL), tally.false_discovery_threshold(rate)
    if np.isnan(share):
        return "defined nowhere"
    accepted = (
        "no pixel can be accepted"
        if limit > 1
        else f"accept {tally.share(limit):.1%}, from {_confidence(limit)} on"
    )
    return (
        f"{share:.1%} of defined pixels reach {LEVEL:g}; "
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


def _shares(counts: NDArray[np.int64]) -> str:
    """Say how many of the pixels are of each class, and how these are told apart."""
    shares = dict(zip(CLASSES, counts / counts.sum(), strict=True))
    undefined = shares.pop("undefined")
    parts = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    return f"{parts}, undefined {undefined:.1%} of pixels ({CRITERIA})"


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
        if not self.defined:
            return "no pixel is defined: every window is flat, masked, or outside one image"
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
