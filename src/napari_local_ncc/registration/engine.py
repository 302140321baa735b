"""What an engine of registration is: how the transforms of a model are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.transforms.report import PATTERN

if TYPE_CHECKING:
    from napari_local_ncc.image.pairing import Pair
    from napari_local_ncc.registration.engine_thread import Watch
    from napari_local_ncc.registration.settings import Settings
    from napari_local_ncc.transforms.registration import Registration
    from napari_local_ncc.transforms.report import FrameReport

Estimate = Callable[["Pair", "Settings", "Registration | None", "Watch"], "Registration"]

WORSE = 0.02  # of the median local NCC: more than its own error


def fall_of_agreement(report: FrameReport) -> str:
    """Say that windows agree worse; nothing if they do not.

    The images as a whole may yet agree better: where it is shades that were fitted, or one
    period for another.
    """
    before, after = report.before.median, report.after.median
    # a pattern that stays agrees where nothing is moved
    if PATTERN in report.remark or not after < before - WORSE:
        return ""
    return f"windows agree worse: median local NCC {after:.3f} after {before:.3f}"


def fall_of_likeness(report: FrameReport) -> str:
    """Say that windows are less alike, whatever the sign: contrasts may be inverted."""
    before, after = abs(report.before.median), abs(report.after.median)
    if PATTERN in report.remark or not after < before - WORSE:
        return ""
    return f"windows are less alike: median local NCC {after:.3f} after {before:.3f}, but for signs"


def no_doubt(report: FrameReport) -> str:
    """Say nothing: the engine has said what there is to say."""
    return ""


@dataclass(frozen=True, slots=True)
class Engine:
    """What finds the transforms of a model.

    Parameters
    ----------
    estimate : callable
        ``estimate(pair, settings, start, watch)`` returns the `Registration` of two frames
        (`pair.fixed` and `pair.moving`, images of spatial axes alone in the same units), from
        fixed world to moving world. It may begin at `start`, a `Registration` or None; look at
        `settings` (see `register`); and call ``watch.check()`` now and then, which raises
        CancelledError when nobody waits any more. What it leaves out is filled in: the NCC
        before and after, the overlap, a report.
    kind : Kind or str
        What its transforms may do: "translation", "rigid", "similarity", "affine" or "flow".
    summary : str
        What it is for, in a few words.
    needs : str
        The module that must be there, beside what this package needs anyway.
    install : str
        What pip installs it by.
    axes : tuple of int
        Numbers of spatial axes that it can do; empty: any.
    doubt : callable
        Of the `FrameReport`, which knows how windows agree before and after: what there is to
        say against the transform found, or nothing ("").

    Examples
    --------
    >>> from napari_local_ncc.registration import ENGINES
    >>> engine = ENGINES["flow"]
    >>> engine.kind, engine.axes, engine.missing
    (<Kind.FLOW: 'flow'>, (2, 3), '')
    """

    estimate: Estimate
    kind: Kind
    summary: str = ""
    needs: str = ""
    install: str = ""
    axes: tuple[int, ...] = ()
    doubt: Callable[[FrameReport], str] = fall_of_agreement

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", Kind(self.kind))

    @property
    def missing(self) -> str:
        """How to install what the engine needs; empty where it is there."""
        if not self.needs or find_spec(self.needs) is not None:
            return ""
        return f"pip install '{self.install or self.needs}'"
