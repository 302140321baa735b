"""The verdict on a pair: good, failed, or to be checked; from evidence of shifts that are left."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

# Chosen on the tuning seeds of benchmarks/verdicts.py, whose other seeds give docs/verdicts.md.
WITHIN = 1.0  # px that a pair may be off and be right
SHARE = 0.9  # of what can be told apart, that must be right
LEAST = 3.5  # standard deviations of chance at one shift, below which nothing is believed
OVER_SEARCH = 1.25  # times the best of unrelated structure, where any shift was searched
OVER_CHANCE = 1.5  # times the best of unrelated structure near no shift, where none was searched
SURE = 1.64  # standard errors of a distance: right in 95 of 100 cases
MARGIN = 1.0  # standard deviations by which a block fits better elsewhere than here
ABSENT = 0.35  # share of the evidence that noise would leave, below which structure is not there
ABSENT_IN_BLOCK = 0.4  # the same, for blocks
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

    def right_share(self) -> float:
        """Return the share of the blocks that tell which fit where they lie; NaN if none tells."""
        counts = Counter(_told(block) for block in self.blocks)
        decided = len(self.blocks) - counts["nothing"]
        return counts["here"] / decided if decided else np.nan


def _told(block: ShiftEvidence) -> str:
    """Say where the structure of a block is: here, elsewhere, absent, or that it does not tell."""
    if block.best >= max(LEAST, OVER_CHANCE * block.chance):
        if block.distance_px <= WITHIN or block.here >= block.best:
            return "here"
        away = block.distance_px - SURE * block.error_px > WITHIN
        return "elsewhere" if away and block.best >= block.here + MARGIN else "nothing"
    return "absent" if _is_absent(block, ABSENT_IN_BLOCK) else "nothing"


def _is_absent(evidence: ShiftEvidence, share: float) -> bool:
    """Say whether structure that noise would not hide is not found where it should be."""
    least = min(share * evidence.expected, OVER_CHANCE * evidence.chance_here)
    return evidence.expected >= VISIBLE and evidence.here < least


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a pair is, and why.

    Parameters
    ----------
    judgement : Judgement
        Good: shown to be right within 1 px over 90 % of what tells. Failed: shown to be wrong.
        Check: neither.
    reason : str
        Why, in one line.
    distance_px, error_px : float
        What is left of a shift, of the whole image, and its standard error; NaN where no shift
        is more than chance.
    right_share : float
        Share of the blocks that tell, in which nothing is left; NaN where none tells.
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
    whole, share = evidence.whole, evidence.right_share()
    if not whole.stands(anywhere=searched):
        return _judge_absence(whole, share, same_contrast)
    left = whole.distance_px, whole.error_px, share
    if whole.distance_px - SURE * whole.error_px > WITHIN:
        reason = f"the images fit {whole.distance_px:.1f} px from where they lie"
        return Verdict(Judgement.FAILED, reason, *left)
    if whole.distance_px + SURE * whole.error_px > WITHIN:
        reason = f"right to {whole.distance_px:.1f} px, with an error of {whole.error_px:.1f} px"
        return Verdict(Judgement.CHECK, reason, *left)
    if share < SHARE:
        return Verdict(Judgement.CHECK, f"{1 - share:.0%} of what tells lies elsewhere", *left)
    if doubt:
        return Verdict(Judgement.CHECK, doubt, *left)
    return Verdict(Judgement.GOOD, f"right within {WITHIN:g} px", *left)


def _judge_absence(whole: ShiftEvidence, share: float, same_contrast: bool) -> Verdict:
    """Judge images that fit nowhere better than unrelated structure does."""
    if np.isnan(whole.best):
        return Verdict(Judgement.CHECK, "no structure in what both images show", right_share=share)
    if same_contrast and _is_absent(whole, ABSENT):
        reason = "structure that noise would not hide is not found again"
        return Verdict(Judgement.FAILED, reason, right_share=share)
    return Verdict(Judgement.CHECK, "no shift fits better than chance", right_share=share)


def judge_series(verdicts: Sequence[Verdict]) -> Verdict:
    """Judge a series by its frames: good or failed if all of them are, else to be checked.

    Parameters
    ----------
    verdicts : sequence of Verdict
        One for each frame; at least one.
    """
    if len(verdicts) == 1:
        return verdicts[0]
    counts = Counter(verdict.judgement for verdict in verdicts)
    (judgement, number), *others = counts.most_common()
    if others:
        said = ", ".join(f"{counts[each]} {each}" for each in Judgement if counts[each])
        reason, judgement = f"{said} of {len(verdicts)} frames", Judgement.CHECK
    else:
        reason = f"all {number} frames: {verdicts[0].reason}"
    farthest = max(verdicts, key=lambda each: np.nan_to_num(each.distance_px, nan=-1))
    shares = [verdict.right_share for verdict in verdicts if not np.isnan(verdict.right_share)]
    return Verdict(
        judgement,
        reason,
        farthest.distance_px,
        farthest.error_px,
        min(shares) if shares else np.nan,
    )
