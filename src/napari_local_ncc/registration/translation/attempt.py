"""One search for the shift of two images, and another without what holds them where they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.registration.evidence.held import enlarged, held_parts
from napari_local_ncc.registration.evidence.judge import PEAK
from napari_local_ncc.registration.translation.array_pair import ArrayPair, standardise
from napari_local_ncc.registration.translation.candidates import search_shifts
from napari_local_ncc.registration.translation.subpixel import (
    error_quantiles,
    polish,
    shift_covariance,
    snap,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.registration.engine_thread import Watch
    from napari_local_ncc.registration.evidence.judge import Verdict
    from napari_local_ncc.registration.translation.array_pair import Standardised, Vector
    from napari_local_ncc.registration.translation.candidates import ShiftSearch

NEARLY_PERFECT = 0.9  # NCC that a narrow overlap needs
UNTOLD = 0.1  # of the shortest side: an error as large says that the images do not tell the shift


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """What a search in two images finds.

    Attributes
    ----------
    search : ShiftSearch
    held : ndarray of float64, shape (ndim,)
        The offset (px) that holds where nothing is found.
    place : ndarray of float64, shape (ndim,)
        The best offset; `held` where there is no evidence for any.
    is_found : bool
        Whether there is.
    verdict : Verdict
    covariance : ndarray of float64, shape (ndim, ndim)
        Of `place`, px squared.
    untold : str
        That the images tell nothing of a shift along some direction; empty if they do.
    """

    search: ShiftSearch
    held: Vector
    place: Vector
    is_found: bool
    verdict: Verdict
    covariance: NDArray[np.float64]
    untold: str

    @property
    def pair(self) -> ArrayPair:
        """The images at full resolution."""
        return self.search.levels[0].pair

    @property
    def is_reliable(self) -> bool:
        """Whether what is found is to be believed."""
        return self.is_found and self.verdict.is_significant and not self.untold

    def offset(self, *, keep_doubtful: bool) -> Vector:
        """Return what is found, or else what holds."""
        return self.place if self.is_reliable or keep_doubtful else self.held

    def errors(self, offset: Vector) -> tuple[float, float]:
        """Return the errors (68 and 95 %, px) of an offset."""
        is_best = offset is self.place
        return error_quantiles(self.covariance if is_best else shift_covariance(self.pair, offset))


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """Where to look for a shift.

    Attributes
    ----------
    held : ndarray of float64, shape (ndim,)
        The offset (px) that holds where nothing is found.
    only : bool
        Whether to look near it only.
    min_overlap : float
        Least overlap of a candidate, as a share of the smaller image's valid samples.
    watch : Watch
        Can stop the search.
    """

    held: Vector
    only: bool
    min_overlap: float
    watch: Watch

    def run(self, pair: ArrayPair) -> tuple[Attempt, float, str]:
        """Search, and search again without what holds the images where they are.

        Returns
        -------
        tuple of (Attempt, float, str)
            The better search: the second where it finds another motion. How far (px) that may
            be off by what holds the images, and what to say of it.
        """
        first = self._attempt(pair)
        if self.only:
            return first, 0.0, ""
        search = first.search
        parts = held_parts(*search.details, search.own, search.by_chance)
        if parts is None:
            return first, 0.0, ""
        parts = enlarged(parts, search.scale.tolist(), pair.fixed.values.shape)
        try:
            fixed = _without(pair.fixed, parts, "fixed")
            moving = _without(pair.moving, parts, "moving")
        except ValueError:  # nothing is left that varies: the parts are all there is
            return first, 0.0, ""
        second = self._attempt(ArrayPair(fixed, moving, pair.min_overlap))
        share = f"{np.mean(parts):.1%}"
        if _is_another(first, second):
            return second, 0.0, f"{share} that stays where it is, as labels do, left out"
        apart = _apart(first, second)
        if first.is_reliable and _is_still(first) and (apart or not second.is_reliable):
            return first, apart, f"{share} alone holds them where they are: a label, or few objects"
        return first, apart, ""

    def _attempt(self, pair: ArrayPair) -> Attempt:
        search = search_shifts(pair, self.watch)
        found = self._best(search)
        self.watch.check()
        place = self.held if found is None else found
        covariance = shift_covariance(pair, place)
        is_found = found is not None
        untold = _untold(pair, covariance) if is_found else ""
        verdict = search.verdict(place)
        return Attempt(search, self.held, place, is_found, verdict, covariance, untold)

    def _best(self, search: ShiftSearch) -> Vector | None:
        """Return the best candidate, refined; None where there is no evidence for any.

        A narrow overlap counts only where it is nearly perfect.
        """
        pair = search.levels[0].pair
        for candidate in search.candidates(self.held, self.watch, only=self.only):
            self.watch.check()
            offset = snap(pair, polish(pair, candidate))
            is_wide = pair.overlap(offset) >= 0.95 * self.min_overlap * pair.smaller
            if search.evidence(offset) > 0 and (is_wide or pair.ncc(offset) >= NEARLY_PERFECT):
                return offset
        return None


def _is_another(first: Attempt, second: Attempt) -> bool:
    """Whether the second search finds a motion that the first was kept from.

    It is reliable, and no part of the peaks of what holds the images or of what the first found;
    and that was not reliable, did not move, or is less significant.
    """
    if not second.is_reliable or _is_still(second):
        return False
    if not first.is_reliable or _is_still(first):
        return True
    apart = np.abs((second.place - first.place) / first.search.scale).max()
    return bool(apart > PEAK and second.verdict.significance > first.verdict.significance)


def _apart(first: Attempt, second: Attempt) -> float:
    """Return how far the second search leads within the peak of what holds the images (px).

    0 where the errors (95 %) of both explain it. What moved by so little, what holds them outdoes.
    """
    if not (second.is_found and _is_still(first) and _is_still(second)):
        return 0.0
    apart = float(np.linalg.norm(second.place - first.place))
    known = sum(each.errors(each.place)[1] for each in (first, second))
    return apart if apart > known else 0.0


def _is_still(attempt: Attempt) -> bool:
    """Whether pixels stay where they are, as far as the evidence tells."""
    return bool(np.abs(attempt.place / attempt.search.scale).max() <= PEAK)


def _without(image: Standardised, parts: NDArray[np.bool_], name: str) -> Standardised:
    """Leave parts out."""
    valid = ~parts if image.weight is None else ~parts & (image.weight > 0)
    return standardise(image.values, valid, name)


def _untold(pair: ArrayPair, covariance: NDArray[np.float64]) -> str:
    """Say so where the images, as stripes, tell nothing of a shift along some direction.

    `covariance` is that of the shift, px squared.
    """
    if np.isinf(covariance).any():
        return "they tell nothing of a shift along one direction"
    error = error_quantiles(covariance)[1]
    sides = (n for image in (pair.fixed, pair.moving) for n in image.values.shape if n > 1)
    if not error > UNTOLD * min(sides):
        return ""
    return f"it may be off by {error:.0f} px: they hardly tell of a shift along one direction"
