"""What is known of a registration: how much better it is, how sure, and whether it was applied."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from napari_local_ncc.transforms.displacement_field import Jacobian

AGREEMENT_RADIUS = 4  # px, of the window of a map by default
PATTERN = "a pattern stays with the camera while the scene moves"  # a remark
MIXED = (  # another
    "not everything moved alike: a pattern of the camera, a background or an object moved otherwise"
)
NUMBER = (int, float)
KINDS: dict[str, type | tuple[type, ...]] = {
    "metric": str,
    "score": NUMBER,
    "iterations": int,
    "converged": bool,
    "significance": NUMBER,
    "gain": NUMBER,
    "error_px": NUMBER,
    "error95_px": NUMBER,
    "applied": bool,
    "note": str,
    "remark": str,
}


@dataclass(frozen=True, slots=True)
class Agreement:
    """The local NCC of two images (window radius 4), from up to 2**18 px of a frame.

    Parameters
    ----------
    median : float
        Over the defined pixels, in [-1, 1]; NaN where there are none.
    detected : float
        Share of the defined pixels above the detection threshold, in [0, 1].
    """

    median: float = np.nan
    detected: float = np.nan


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """How far pixels end from where they began, by the transform and the reverse one.

    Parameters
    ----------
    median_px, p95_px : float
        Median and 95th percentile over fixed's pixels that have a partner, in its pixels.
    median, p95 : float
        The same in fixed's world units (those of its last axis).
    """

    median_px: float
    p95_px: float
    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class FrameReport:
    """What is known of the registration of one frame.

    Parameters
    ----------
    metric : str
        What was maximised: ``"ncc"``, ``"mutual information"`` or ``"correlation"``; for a
        flow what it is judged by, ``"mean squared local ncc"``.
    score : float
        Its value at the transform found, whether or not that was applied.
    iterations : int
        Of the optimiser, over all resolutions and starts; 0 where there is none.
    converged : bool
        Whether it ended at an optimum.
    significance : float
        How many times the evidence for the transform found is the most that the same search
        finds in unrelated structure of the same kind.
    applied : bool
        Whether the registration holds what was found, or else its start: that is doubtful,
        or (a flow, without a note) gains nothing.
    note : str
        What there is to say of it: doubts, and the remark; empty if nothing.
    before, after : Agreement
        Local NCC without and with the transform that the registration holds.
    round_trip : RoundTrip or None
        Forward-backward consistency, if it was asked for.
    volumes : Jacobian or None
        How a flow changes volumes, and its folds; None for other models.
    gain : float
        Of a flow: by how many standard errors pixels agree better that it was found without;
        see `FlowEvidence`. NaN for other models.
    error_px, error95_px : float
        The expected error, from noise and structure: the distance, in fixed's px as a mean over
        the overlap, within which the truth lies in 68 and 95 of 100 cases. NaN where unknown.
    remark : str
        What of the note is no doubt: samples left out, a pattern that stays with the camera.
    """

    metric: str
    score: float = np.nan
    iterations: int = 0
    converged: bool = True
    significance: float = np.nan
    applied: bool = True
    note: str = ""
    before: Agreement = field(default_factory=Agreement)
    after: Agreement = field(default_factory=Agreement)
    round_trip: RoundTrip | None = None
    volumes: Jacobian | None = None
    gain: float = np.nan
    remark: str = ""
    error_px: float = np.nan
    error95_px: float = np.nan

    @property
    def doubt(self) -> str:
        """What there is to say against the transform; empty if nothing."""
        if not self.remark:
            return self.note
        parts = self.note.replace(self.remark, "").split("; ")
        return "; ".join(part for part in parts if part)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values (NaN as null)."""
        return _without_nan(asdict(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild a report from `to_dict`.

        Raises
        ------
        TypeError
            If a value has another type.
        """
        known: dict[str, Any] = {k: np.nan if v is None else v for k, v in values.items()}
        for name in ("before", "after"):
            numbers = {k: np.nan if v is None else v for k, v in values[name].items()}
            known[name] = Agreement(**numbers)
        trip = values["round_trip"]
        known["round_trip"] = None if trip is None else RoundTrip(**trip)
        volumes = values.get("volumes")
        known["volumes"] = None if volumes is None else Jacobian(**volumes)
        report = cls(**known)
        for name, kinds in KINDS.items():
            if not isinstance(getattr(report, name), kinds):
                raise TypeError(f"{name} of a report is {getattr(report, name)!r}")
        return report


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    plain = {k: _without_nan(v) if isinstance(v, dict) else v for k, v in values.items()}
    return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in plain.items()}
