"""A map of several bands in a few lines of text, gathered tile by tile."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.geometry.units import percent
from napari_local_ncc.maps.bands import FIT, shift_components

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.confidence.calibration import Calibration
    from napari_local_ncc.maps.class_summary import ClassSummary
    from napari_local_ncc.maps.confidence_summary import ConfidenceSummary
    from napari_local_ncc.maps.grouped_histogram import GroupTally
    from napari_local_ncc.maps.pipeline import ConfidenceMap
    from napari_local_ncc.maps.shift_summary import Displaced, DisplacedSummary, ShiftSummary

BINS = 20_000
BARS = 80  # of a histogram that is shown
OWN = ("ncc", "confidence", "ncc_best", "gain", "classes")  # the bands that have lines of their own
UNTOLD = ("intercept",)  # in units of the images: its median says nothing
EXTENTS = ("line", "area", "volume")
RATE = 0.05  # of false discoveries


class MapTally:
    """Sums up all bands of a map tile by tile; the memory needed does not grow with the map.

    Parameters
    ----------
    band_names : sequence of str
        The bands in their order, as `ConfidenceMap.band_names`.
    calibration : Calibration, optional
        What turned NCC into confidence.
    displaced : DisplacedSummary, optional
        What sums up where pixels are displaced; `add` then needs to know where a tile lies.
    alternative : {"greater", "two-sided"}
        Whether what is related has a high NCC, or a high |NCC|.

    Attributes
    ----------
    extent : {"line", "area", "volume"}
        What the map has shares of, by its axes of space.
    is_signed : bool
        Whether what is related has a high NCC, or else a high |NCC|.
    pattern : str
        What registration saw of the instrument in both images; empty if nothing.
    is_masked : bool
        Whether a mask leaves out pixels.
    """

    def __init__(
        self,
        band_names: Sequence[str],
        calibration: Calibration | None = None,
        displaced: DisplacedSummary | None = None,
        alternative: str = "greater",
    ) -> None:
        self.extent = "area"
        self.pattern = ""
        self.is_masked = False
        self._names = tuple(band_names)
        self._displaced = displaced
        self.is_signed = alternative == "greater"
        self._ncc = Tally()
        self._confidence = _confidence_summary(calibration) if "confidence" in band_names else None
        self._shift = _shift_summary() if "gain" in band_names else None
        by_evidence = "classes" in band_names
        has_classes = by_evidence or {"ncc", "gain"} <= set(band_names)
        self._classes = _class_summary(by_evidence, self.is_signed) if has_classes else None
        shifts = shift_components({name: name for name in self._names})
        others = [name for name in self._names if name not in (*OWN, *UNTOLD, *shifts)]
        self._others = _group_tallies(others) if others else {}

    @classmethod
    def of(cls, result: ConfidenceMap) -> MapTally:
        """Return an empty tally for a map, which counts where pixels are displaced, too."""
        is_shifted = {"ncc", "gain"} <= set(result.band_names)
        displaced = _displaced_summary(result) if is_shifted else None
        alternative = result.parameters.alternative
        tally = cls(result.band_names, result.calibration, displaced, alternative)
        if tally._shift is not None:
            tally._shift = _shift_summary(result)
        if tally._classes is not None:
            by_evidence = "classes" in result.band_names
            tally._classes = _class_summary(by_evidence, tally.is_signed, result)
        tally.extent = EXTENTS[min(result.grid.spatial_ndim, len(EXTENTS)) - 1]
        tally.pattern = _pattern_of(result)
        tally.is_masked = result.provenance.get("mask") is not None
        return tally

    def add(self, bands: NDArray[Any], location: tuple[slice, ...] = ()) -> None:
        """Count a tile, shape (bands, ...), at a place of the map; NaN counts as undefined."""
        found = dict(zip(self._names, bands, strict=True))
        if "ncc" in found:
            self._ncc.add(found["ncc"])
        if self._confidence is not None:
            self._confidence.add(found["confidence"])
        if self._shift is not None:
            self._shift.add(found)
        labels = None if self._classes is None else self._classes.add(found)
        if labels is not None and self._displaced is not None:
            self._displaced.add(labels, found, location)
        for name, tally in self._others.items():
            tally.add(np.zeros(1, np.int64), found[name])

    def merge(self, other: MapTally) -> None:
        """Count what another tally of the same bands has counted."""
        self._ncc.merge(other._ncc)
        if self._confidence is not None and other._confidence is not None:
            self._confidence.merge(other._confidence)
        if self._shift is not None and other._shift is not None:
            self._shift.merge(other._shift)
        if self._classes is not None and other._classes is not None:
            self._classes.merge(other._classes)
        if self._displaced is not None and other._displaced is not None:
            self._displaced.merge(other._displaced)
        for name, tally in self._others.items():
            tally.merge(other._others[name])

    @property
    def summary(self) -> Summary:
        """The distribution of the NCC."""
        return self._ncc.summary

    @property
    def similarity(self) -> Summary:
        """The distribution of what counts as similarity: the NCC, or two-sided its magnitude."""
        return self._ncc.summary if self.is_signed else self._ncc.magnitude

    @property
    def tells_differences(self) -> bool:
        """Whether what is not alike differs, by the classes; else noise may be why."""
        return self._classes is not None and self._classes.tells_differences(self.similarity.lower)

    def histogram(self) -> dict[str, list[float]]:
        """Return how many pixels have which NCC: "counts" between neighbouring "edges"."""
        return self._ncc.histogram()

    @property
    def shares(self) -> dict[str, float]:
        """The share of all pixels in each class, by name; none without classes."""
        return {} if self._classes is None else self._classes.shares(self.similarity.lower)

    @property
    def confident(self) -> float:
        """The share of the defined pixels from confidence 0.95 on; NaN without confidence."""
        return np.nan if self._confidence is None else self._confidence.share()

    @property
    def displaced(self) -> Displaced | None:
        """What is displaced, where that was counted and something is."""
        return None if self._displaced is None else self._displaced.result()

    def lines(self, rate: float = RATE) -> dict[str, str]:
        """Say what the map holds, a line for each title.

        Parameters
        ----------
        rate : float, default 0.05
            The false discovery rate to accept pixels at, in (0, 1).

        Returns
        -------
        dict of str to str
            "ncc"; "confidence", "detects" and, where no null could be measured, "fallback",
            "shift" and "classes": those of the bands that are there; "pattern" where the
            instrument left one in both images; any other band by name.
        """
        found = {"ncc": str(self.summary)} if "ncc" in self._names else {}
        if self._confidence is not None:
            found |= self._confidence.lines(rate)
        if self._shift is not None:
            found |= self._shift.lines()
        if self._classes is not None:
            found |= self._classes.lines(self.similarity.lower)
        if self.pattern:
            found["pattern"] = "; ".join(filter(None, (found.get("pattern"), self.pattern)))
        return found | {name: _distribution(name, tally) for name, tally in self._others.items()}

    def numbers(self, rate: float = RATE) -> dict[str, Any]:
        """Return what `lines` says as numbers; NaN where something is undefined.

        Parameters
        ----------
        rate : float, default 0.05
            The false discovery rate to accept pixels at, in (0, 1).

        Returns
        -------
        dict
            "ncc": lower, median and upper quartile and the share of defined pixels;
            "confidence", "shift" and "classes" (shares by name) where the map has those bands;
            "bands": the distribution of any other band by name.
        """
        found: dict[str, Any] = {"ncc": asdict(self.summary)} if "ncc" in self._names else {}
        if self._confidence is not None:
            found["confidence"] = self._confidence.numbers(rate)
        if self._shift is not None:
            found["shift"] = self._shift.numbers()
        if self._classes is not None:
            found["classes"] = self._classes.shares(self.similarity.lower)
        others = {name: asdict(_quartiles(tally)) for name, tally in self._others.items()}
        return found | ({"bands": others} if others else {})


# Only what is summed up is imported: a map of NCC alone needs neither statistics nor shifts.
def _confidence_summary(calibration: Calibration | None) -> ConfidenceSummary:
    from napari_local_ncc.maps.confidence_summary import ConfidenceSummary

    return ConfidenceSummary(calibration)


def _shift_summary(result: ConfidenceMap | None = None) -> ShiftSummary:
    from napari_local_ncc.maps.shift_summary import ShiftSummary

    return ShiftSummary() if result is None else ShiftSummary(result.grid, result.parameters)


def _displaced_summary(result: ConfidenceMap) -> DisplacedSummary:
    from napari_local_ncc.maps.shift_summary import DisplacedSummary

    return DisplacedSummary(result.grid, result.parameters)


def _class_summary(
    by_evidence: bool, is_signed: bool, result: ConfidenceMap | None = None
) -> ClassSummary:
    from napari_local_ncc.maps.class_summary import ClassSummary, samples_of_window

    if result is None:
        return ClassSummary(by_evidence=by_evidence, is_signed=is_signed)
    samples = samples_of_window(result.parameters, result.grid)
    return ClassSummary(by_evidence=by_evidence, is_signed=is_signed, samples=samples)


def _pattern_of(result: ConfidenceMap) -> str:
    """Say that a pattern stayed where the scene moved, if registration saw one in any frame."""
    if result.registration is None:
        return ""
    from napari_local_ncc.transforms.report import PATTERN

    reports = result.registration.reports
    count = sum(PATTERN in report.remark for report in reports)
    if not count:
        return ""
    frames = f", in {count} of {len(reports)} frames" if len(reports) > 1 else ""
    return (
        f"{PATTERN}{frames}: windows may be alike by it where the scene is taken to stand still, "
        "and less alike where moving is brought back"
    )


def _group_tallies(names: list[str]) -> dict[str, GroupTally]:
    from napari_local_ncc.maps.grouped_histogram import GroupTally

    return {name: GroupTally(relative=name in FIT) for name in names}


def _distribution(name: str, tally: GroupTally) -> str:
    """Say how the values of a band are distributed."""
    if not tally.defined.any():
        return "defined nowhere"
    return _quartiles(tally).text("#.4g" if name in FIT else ".3f")


def _quartiles(tally: GroupTally) -> Summary:
    lower, median, upper = (float(tally.quantile(share)[0]) for share in (0.25, 0.5, 0.75))
    return Summary(lower, median, upper, float(tally.defined[0]))


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
        return self.text()

    def text(self, number: str = ".3f") -> str:
        """Say it in one line, values in a format."""
        if not self.defined:
            return "no pixel is defined: every window is flat, masked, or outside one image"
        lower, median, upper = (f"{x:{number}}" for x in (self.lower, self.median, self.upper))
        return (
            f"median {median}, quartiles {lower} to {upper}, "
            f"{percent(self.defined, 1)} of pixels defined"
        )


class Tally:
    """Counts NCC values tile by tile; the memory needed does not grow with the map."""

    def __init__(self) -> None:
        self._counts = np.zeros(BINS, np.int64)
        self._pixels = 0

    def add(self, values: NDArray[Any]) -> None:
        """Count an array of values in [-1, 1]; NaN counts as undefined."""
        from napari_local_ncc.ncc.kernels.reduce import count_values

        count_values(np.ascontiguousarray(values).reshape(-1), -1.0, 1.0, self._counts)
        self._pixels += values.size

    def histogram(self) -> dict[str, list[float]]:
        """Return "counts" between neighbouring "edges", in bars of equal width."""
        counts = self._counts.reshape(BARS, -1).sum(axis=1)
        return {"edges": np.linspace(-1, 1, BARS + 1).tolist(), "counts": counts.tolist()}

    def merge(self, other: Tally) -> None:
        """Count what another tally has counted."""
        self._counts += other._counts
        self._pixels += other._pixels

    @property
    def summary(self) -> Summary:
        """The distribution of all values so far."""
        return self._quartiles(self._counts, lowest=-1.0)

    @property
    def magnitude(self) -> Summary:
        """The distribution of their magnitudes."""
        below, above = np.split(self._counts, 2)
        return self._quartiles(above + below[::-1], lowest=0.0)

    def _quartiles(self, counts: NDArray[np.int64], lowest: float) -> Summary:
        """Return the quartiles of values counted in steps from the lowest one on."""
        defined = int(counts.sum())
        if not defined:
            return Summary(np.nan, np.nan, np.nan, 0.0)
        ranks = np.searchsorted(np.cumsum(counts), np.array([0.25, 0.5, 0.75]) * defined)
        lower, median, upper = (float(rank + 0.5) * 2 / BINS + lowest for rank in ranks)
        return Summary(lower, median, upper, defined / self._pixels)
