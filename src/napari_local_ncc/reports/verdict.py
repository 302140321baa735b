"""The verdict on a pair: good, failed, or to be checked; from evidence of shifts that are left."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.units import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

RULES = 2  # number of the rules below; raise it whenever a verdict may become another one
# Chosen on the tuning seeds of benchmarks/verdicts.py, whose other seeds give docs/verdicts.md.
WITHIN = 1.0  # px that a pair may be off and be right
SHARE = 0.9  # of the blocks with structure, that must be shown to lie right
LEAST = 3.5  # standard deviations of chance at one shift, below which nothing is believed
OVER_SEARCH = 1.25  # times the best of unrelated structure, where any shift was searched
OVER_CHANCE = 1.5  # times the best of unrelated structure near no shift, where none was searched
SURE = 1.64  # standard errors of a distance: right in 95 of 100 cases
TELLS = 5.0  # standard deviations of chance, from which on a block tells where it fits
STRUCTURED = 8.0  # that noise would leave in a block, from which on it has structure
LOST = 0.4  # share of the evidence that noise would leave, below which a block's is lost
AS_WELL = 0.5  # standard deviations less than elsewhere, with which a block fits here as well
ABSENT = 0.35  # share of the evidence that noise would leave, below which structure is not there
VISIBLE = 12.0  # standard deviations that noise must leave before its absence says something
NEAR = 12.0  # px within which the evidence near no shift was taken


class Judgement(StrEnum):
    """What a pair is, in one word."""

    GOOD = "good"
    FAILED = "failed"
    CHECK = "check"


@dataclass(frozen=True, slots=True)
class ShiftEvidence:
    """What speaks for the best shift of two images on one grid.

    Parameters
    ----------
    distance_px, error_px : float
        How far it is from no shift, and its standard error.
    best, here : float
        The evidence for it, and for no shift (to 1 px), in standard deviations of chance.
    chance, chance_here : float
        The most in unrelated structure of the same texture: at any shift that was searched,
        and near no shift.
    expected : float
        The evidence that noise would leave if the structure of both were the same.
    """

    distance_px: float = np.nan
    error_px: float = np.nan
    best: float = np.nan
    here: float = np.nan
    chance: float = np.nan
    chance_here: float = np.nan
    expected: float = np.nan

    def stands(self, *, anywhere: bool) -> bool:
        """Say whether the best shift is more than chance, whatever was searched or near."""
        if not self.best >= LEAST:
            return False
        if anywhere or self.distance_px > NEAR:
            return self.best >= OVER_SEARCH * self.chance
        return self.best >= OVER_CHANCE * self.chance_here


@dataclass(frozen=True, slots=True)
class PlaceEvidence:
    """The same for a whole image, and for blocks of it.

    Parameters
    ----------
    whole : ShiftEvidence
        Of all of the image.
    blocks : tuple of ShiftEvidence
        Of its parts, whose shifts were followed over a few px only.
    """

    whole: ShiftEvidence
    blocks: tuple[ShiftEvidence, ...] = ()

    def right_share(self, *, same_contrast: bool = True) -> float:
        """Return the share of the blocks with structure that are shown to lie right.

        Parameters
        ----------
        same_contrast : bool, default True
            Whether structure has to be found again. If not, a block in which none is found
            does not count.

        Returns
        -------
        float
            NaN where no block has structure.
        """
        blocks = [block for block in self.blocks if _speaks(block, same_contrast)]
        return sum(map(_lies_right, blocks)) / len(blocks) if blocks else np.nan


def _speaks(block: ShiftEvidence, same_contrast: bool) -> bool:
    """Say whether a block tells where it fits, or should tell and does not.

    One with weak evidence that fits here as well as anywhere near says nothing.
    """
    if block.best >= TELLS:
        return True
    is_lost = block.here < max(block.best - AS_WELL, LOST * block.expected)
    return same_contrast and block.expected >= STRUCTURED and is_lost


def _lies_right(block: ShiftEvidence) -> bool:
    """Say whether a block fits where it lies as well as anywhere near."""
    fits = block.distance_px <= WITHIN or block.here >= block.best - AS_WELL
    return block.best >= TELLS and fits


def _is_absent(evidence: ShiftEvidence) -> bool:
    """Say whether structure that noise would not hide is not found where it should be."""
    least = min(ABSENT * evidence.expected, OVER_CHANCE * evidence.chance_here)
    return evidence.expected >= VISIBLE and evidence.here < least


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a pair is, and why.

    Parameters
    ----------
    judgement : Judgement
        Good: shown to be right within 1 px over 90 % of what has structure. Failed: shown to
        be wrong. Check: neither.
    reason : str
        Why, in one line.
    distance_px, error_px : float
        What is left of a shift, of the whole image, and its standard error; NaN where no shift
        is more than chance.
    right_share : float
        Share of the blocks with structure that are shown to lie right; NaN where none has any.
    """

    judgement: Judgement
    reason: str
    distance_px: float = np.nan
    error_px: float = np.nan
    right_share: float = np.nan


def judge_place(
    evidence: PlaceEvidence,
    *,
    searched: bool = False,
    same_contrast: bool = True,
    doubt: str = "",
) -> Verdict:
    """Judge whether two images on one grid show the same place.

    Parameters
    ----------
    evidence : PlaceEvidence
        Of the images as they are compared.
    searched : bool, default False
        Whether the transform was found by searching these very images: then the best of all
        shifts is no surprise, and more is asked.
    same_contrast : bool, default True
        Whether what is bright in one is bright in the other. If not, structure that is not
        found again says nothing.
    doubt : str
        What there is to say against the registration; such a pair is not good.

    Returns
    -------
    Verdict
        Check wherever neither right nor wrong is shown.
    """
    whole, share = evidence.whole, evidence.right_share(same_contrast=same_contrast)
    if not whole.stands(anywhere=searched):
        return _judge_absence(whole, share, same_contrast)
    left = whole.distance_px, whole.error_px, share
    if whole.distance_px - SURE * whole.error_px > WITHIN:
        reason = f"the images fit {whole.distance_px:.1f} px from where they lie"
        return Verdict(Judgement.FAILED, reason, *left)
    if whole.distance_px + SURE * whole.error_px > WITHIN:
        left_px, error_px = (f"{length:.1f} px" for length in (whole.distance_px, whole.error_px))
        reason = f"right to {left_px}, with a standard error of {error_px}"
        return Verdict(Judgement.CHECK, reason, *left)
    if np.isnan(share):
        return Verdict(Judgement.CHECK, "no part shows by itself where it lies", *left)
    if share < SHARE:
        reason = f"{percent(1 - share)} of what has structure is not shown to lie right"
        return Verdict(Judgement.CHECK, reason, *left)
    if doubt:
        return Verdict(Judgement.CHECK, doubt, *left)
    return Verdict(Judgement.GOOD, f"right within {WITHIN:g} px", *left)


def _judge_absence(whole: ShiftEvidence, share: float, same_contrast: bool) -> Verdict:
    """Judge images that fit nowhere better than unrelated structure does."""
    if np.isnan(whole.best):
        return Verdict(Judgement.CHECK, "no structure in what both images show", right_share=share)
    if same_contrast and _is_absent(whole):
        reason = "structure that noise would not hide is not found again"
        return Verdict(Judgement.FAILED, reason, right_share=share)
    other = "" if same_contrast else "; inverted contrast is not looked for"
    reason = f"no shift fits better than chance{other}"
    return Verdict(Judgement.CHECK, reason, right_share=share)


def judge_series(verdicts: Sequence[Verdict]) -> Verdict:
    """Judge a series by its frames: good or failed if all of them are, else to be checked.

    Parameters
    ----------
    verdicts : sequence of Verdict
        One for each frame; at least one.
    """
    if len(verdicts) == 1:
        return verdicts[0]
    farthest = max(verdicts, key=lambda each: np.nan_to_num(each.distance_px, nan=-1))
    counts = Counter(verdict.judgement for verdict in verdicts)
    (judgement, number), *others = counts.most_common()
    if others:
        said = ", ".join(f"{counts[each]} {each}" for each in Judgement if counts[each])
        reason, judgement = f"{said} of {len(verdicts)} frames", Judgement.CHECK
    else:
        reason = f"all {number} frames{_reason_of(verdicts, farthest)}"
    shares = [verdict.right_share for verdict in verdicts if not np.isnan(verdict.right_share)]
    return Verdict(
        judgement,
        reason,
        farthest.distance_px,
        farthest.error_px,
        min(shares) if shares else np.nan,
    )


def _reason_of(verdicts: Sequence[Verdict], farthest: Verdict) -> str:
    """Tell the reason of frames that are judged alike: theirs, or that of the farthest, by name."""
    if len({verdict.reason for verdict in verdicts}) == 1:
        return f": {farthest.reason}"
    number = next(k for k, verdict in enumerate(verdicts) if verdict is farthest)
    return f"; of frame {number} (from 0): {farthest.reason}"
