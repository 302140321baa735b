"""What a comparison found, in one sentence that a person can act on, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.affine import apply_affine
from napari_local_ncc.geometry.grid import axis_name
from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.geometry.units import percent, unit_symbol
from napari_local_ncc.reports.describe import (
    describe_doubt,
    linear_parts,
    pixel_sides,
    world_steps,
)
from napari_local_ncc.shift.interpret import ALIKE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.maps.map_summary import MapTally
    from napari_local_ncc.maps.shift_summary import Displaced
    from napari_local_ncc.reports.describe import LinearPart
    from napari_local_ncc.transforms.registration import Registration

LEAST = 0.005  # share of what is defined, below which a class is not worth a word
TOLD = 0.05  # share of what is defined, from which on it is worth a next step
ENDS = 0.25  # share of what is displaced, near the end of the search
STILL = 0.005  # px, or degrees: less is written as no move
DIRECTIONS = (("up", "down"), ("left", "right"))  # of the last two axes, as they are displayed


class NextStep(StrEnum):
    """What is best done next, where that is known.

    Attributes
    ----------
    text : str
        What a button says.
    reason : str
        Why.
    advice : str
        The same for the command line.

    Examples
    --------
    >>> from napari_local_ncc.reports import NextStep
    >>> NextStep("search").advice
    'search wider, by a larger --search'
    """

    REGISTER = (
        "register",
        "Register first",
        "Moving lies elsewhere: one shift makes the images alike. Registers by translation, "
        "and compares again.",
        "register first, by --register translation",
    )
    SEARCH = (
        "search",
        "Search wider",
        "Much has moved as far as was looked for, or beyond. Looks farther for the shift.",
        "search wider, by a larger --search",
    )
    FLOW = (
        "flow",
        "Use flow",
        "Parts are displaced, each by another shift, which one move cannot mend. A flow moves "
        "every pixel by itself; it can make images more alike than they are.",
        "register by --register flow, which can make images more alike than they are",
    )

    text: str
    reason: str
    advice: str

    def __new__(cls, name: str, text: str, reason: str, advice: str) -> NextStep:
        """Make a step of its name and what to say of it."""
        step = str.__new__(cls, name)
        step._value_, step.text, step.reason = name, text, reason
        step.advice = advice
        return step


@dataclass(frozen=True, slots=True)
class Headline:
    """A comparison in short.

    Parameters
    ----------
    registration : str
        How moving was brought onto fixed, in a sentence; empty if it was not.
    agreement : str
        Where the images agree, and what of the rest, in a sentence; empty without a map.
    next_step : NextStep or None
        What is best done next, where that is known.

    Examples
    --------
    >>> from napari_local_ncc.reports import Headline, NextStep
    >>> found = Headline("Registered: moved 3 px up.", "92% of the area agrees.", NextStep.SEARCH)
    >>> print(found)
    Registered: moved 3 px up. 92% of the area agrees.
    """

    registration: str
    agreement: str
    next_step: NextStep | None = None

    def __str__(self) -> str:
        """Say it in one line."""
        return " ".join(filter(None, (self.registration, self.agreement)))


def headline(
    registration: Registration | None,
    tally: MapTally | None = None,
    *,
    found: Registration | None = None,
) -> Headline:
    """Say in short what a comparison found.

    Parameters
    ----------
    registration : Registration or None
        The transform that was applied; None where the images were taken as they lie.
    tally : MapTally, optional
        The map in numbers; without one only the transform is told.
    found : Registration, optional
        A transform that was looked for after a comparison without one, and not applied.

    Returns
    -------
    Headline
        The sentence, and the next step. Shares are of the pixels that are defined.
    """
    moved = "" if registration is None else _registration_sentence(registration)
    if tally is None:
        return Headline(moved, "")
    agreement = _agreement(tally)
    agreement = agreement.replace("the area", f"the {tally.extent}")
    return Headline(moved, agreement, _next_step(registration, tally, found))


def _registration_sentence(registration: Registration) -> str:
    doubt = describe_doubt(registration, figures=False).removesuffix("; not applied")
    reports = registration.reports
    parts = [*_move(registration), *_bend(registration)]
    if doubt and reports and not any(report.applied for report in reports):
        if parts and not any(report.doubt for report in reports):
            return f"Registered: {', '.join(parts)}; {doubt}."  # a flow that is not needed
        begun = f" As it began: {', '.join(parts)}." if parts else ""
        return f"Not registered: {doubt}.{begun}"
    done = sum(report.applied or not report.doubt for report in reports)
    which = f" {done} of {len(reports)} frames" if done < len(reports) else ""
    text = f"Registered{which}: {', '.join(parts) if parts else 'no move is needed'}."
    return f"{text} Doubtful: {doubt}." if doubt else text


def _move(registration: Registration) -> list[str]:
    """Say how the moving image was moved at fixed's centre, turned and scaled; none if not."""
    grid = registration.grid.space()
    matrices = registration.matrix.reshape(-1, grid.ndim + 1, grid.ndim + 1)
    corners, pixel = grid.corners(), world_steps(grid)
    # the transform leads from fixed to moving: moving's structures are carried the other way
    carried = np.stack([corners - apply_affine(matrix, corners) for matrix in matrices])
    steps = carried.mean(axis=1)
    tell = _step if len(steps) == 1 else _steps
    parts = [*tell(grid, steps, STILL * pixel), *_turn(linear_parts(matrices, grid.units), grid)]
    farthest = float(np.abs(carried / pixel).max())
    if parts or farthest < STILL:
        return parts
    return [f"moved by up to {farthest:.2g} px at the corners"]


def _step(grid: Grid, steps: NDArray[np.float64], least: NDArray[np.float64]) -> list[str]:
    """Say how far and in which directions one image was moved; not what is less than `least`."""
    names = [(f"back along {axis_name(a)}", f"along {axis_name(a)}") for a in grid.axis_labels]
    names[-2:] = DIRECTIONS[-grid.ndim :]
    moves = [
        f"{abs(step):.3g} {unit_symbol(unit)} {backward if step < 0 else forward}"
        for step, unit, (backward, forward), limit in zip(
            steps[0], grid.units, names, least, strict=True
        )
        if abs(step) >= limit
    ]
    return [f"moved {', '.join(moves)}"] if moves else []


def _steps(grid: Grid, steps: NDArray[np.float64], least: NDArray[np.float64]) -> list[str]:
    """Say how far the frames of a series were moved, at most."""
    moves = [
        f"{step:.3g} {unit_symbol(unit)} along {axis_name(label)}"
        for label, step, unit, limit in zip(
            grid.axis_labels, np.abs(steps).max(axis=0), grid.units, least, strict=True
        )
        if step >= limit
    ]
    return [f"moved by up to {', '.join(moves)}"] if moves else []


def _turn(parts: list[LinearPart], grid: Grid) -> list[str]:
    """Say how an image, or the frames of a series, were mirrored, turned, scaled and stretched."""
    axes = dict.fromkeys(part.mirrored for part in parts if part.mirrored is not None)
    texts = [f"mirrored along {axis_name(grid.axis_labels[axis])}" for axis in axes]
    angle = max(abs(part.angle) for part in parts)
    if angle >= STILL:
        texts.append(f"turned {'' if len(parts) == 1 else 'by up to '}{angle:.3g}°")
    # carried the other way, too
    lengths = [1 / length for part in parts for length in (part.longest, part.shortest)]
    low, high = (f"{length:.3f}" for length in (min(lengths), max(lengths)))
    is_stretched = any(part.longest / part.shortest - 1 >= STILL / 10 for part in parts)
    if max(np.abs(np.log(lengths))) >= STILL / 10:
        word = "stretched" if is_stretched else "scaled"
        texts.append(f"{word} by {' to '.join(dict.fromkeys((low, high)))}")
    return texts


def _bend(registration: Registration) -> list[str]:
    if registration.model != Kind.FLOW:
        return []
    if max(registration.reach) < STILL:
        return []
    sides, unit = pixel_sides(registration.grid)
    return [f"bent by up to {max(registration.reach * sides):.3g} {unit}"]


def _agreement(tally: MapTally) -> str:
    summary, shares = tally.similarity, dict(tally.shares)
    name = "NCC" if tally.is_signed else "|NCC|"
    if not summary.defined:
        return "Nothing can be compared: every window is flat, masked, or outside one image."
    left_out = 1 - summary.defined
    why = "is masked, or cannot be compared" if tally.is_masked else "cannot be compared"
    rest = f" {share_text(left_out)} of the image {why}." if left_out >= TOLD else ""
    if tally.is_signed and summary.median <= -ALIKE:
        number = f": the median NCC is {summary.median:.2f}" if shares else ""
        rest += f" Contrast is inverted{number}."
    if shares:
        return _by_class(shares, tally.displaced) + rest
    quartiles = f"half of the area from {summary.lower:.2f} to {summary.upper:.2f}"
    text = f"The median {name} is {summary.median:.2f}, {quartiles}."
    if not np.isnan(tally.confident):
        text = (
            f"The images are more alike than chance in {share_text(tally.confident)} of the area "
            "(confidence from 0.95 on, as 5 % of unrelated ones are); the median "
            f"{name} is {summary.median:.2f}."
        )
    return text + rest


def _by_class(shares: dict[str, float], displaced: Displaced | None) -> str:
    """Say how the defined pixels divide."""
    known = 1 - shares.pop("undefined", 0.0)
    of_known = {name: share / known for name, share in shares.items()}
    parts = [f"The images agree in {share_text(of_known.pop('agrees', 0.0))} of the area"]
    texts = {
        "displaced": f"are displaced{_displacement(displaced)}",
        "beyond the search": "moved farther than was looked for",
        "differs": "really differ",
        "cannot tell": "cannot be told",
    }
    parts += [
        f"{share_text(of_known[name])} {text}"
        for name, text in texts.items()
        if of_known.get(name, 0.0) >= LEAST
    ]
    return "; ".join(parts) + "."


def _displacement(displaced: Displaced | None) -> str:
    if displaced is None:
        return ""
    where = f", mostly {displaced.where}" if displaced.where else ""
    return f" (median {displaced.length:.2g} {displaced.unit}{where})"


def share_text(share: float) -> str:
    """Write a share in whole percent, never as all or nothing where it is not."""
    return percent(share, sign=" %")


def _next_step(
    registration: Registration | None, tally: MapTally, found: Registration | None
) -> NextStep | None:
    if found is not None and not describe_doubt(found):
        return NextStep.REGISTER
    shares, displaced = dict(tally.shares), tally.displaced
    known = 1 - shares.get("undefined", 0.0)
    if not shares or not known:
        return None
    agrees, moved, beyond, differs = (
        shares.get(name, 0.0) / known
        for name in ("agrees", "displaced", "beyond the search", "differs")
    )
    if displaced is not None and displaced.is_common and moved > agrees and registration is None:
        return NextStep.REGISTER
    if max(moved, beyond) < TOLD or moved + beyond < differs:
        return None
    if beyond >= TOLD or (displaced is not None and displaced.at_end >= ENDS):
        return NextStep.SEARCH
    bends = registration is not None and registration.model == Kind.FLOW
    return None if bends or tally.extent == "line" else NextStep.FLOW
