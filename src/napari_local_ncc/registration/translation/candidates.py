"""Candidates for a translation: the evidence for every whole-pixel shift at a reduced level."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi
from skimage.feature import peak_local_max

from napari_local_ncc.evidence.whitening import unit_scale, without_background
from napari_local_ncc.registration.evidence.judge import (
    BESIDE,
    NEEDED,
    PADDED,
    PEAK,
    Verdict,
    weigh_nulls,
)
from napari_local_ncc.registration.evidence.surfaces import (
    Detail,
    agreeing_places,
    detail_of,
    evidence_surfaces,
    near,
    without,
)
from napari_local_ncc.registration.translation.array_pair import ArrayPair, reduce_image
from napari_local_ncc.registration.translation.subpixel import track

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_local_ncc.registration.engine_thread import Watch
    from napari_local_ncc.registration.evidence.surfaces import Surface
    from napari_local_ncc.registration.translation.array_pair import Standardised, Vector

TRACK_SAMPLES = 2**14  # enough to follow a shift from one level to the next
PEAKS = 12  # shifts that are candidates
EQUAL = 0.97  # share of the highest evidence from which on the shift nearest to the start wins
ROUNDED = 1.0  # px of the level, that the peak of whole-pixel evidence may be off
SMOOTHED = 1.5  # px: sd of a Gaussian that leaves little of a pattern finer than the optics
FINER = 0.6  # of its lead, that a peak made by such a pattern loses at least


@dataclass(frozen=True, slots=True)
class Level:
    """Two images at a reduced resolution, and the px of the full one per px, per axis."""

    pair: ArrayPair
    scale: NDArray[np.intp]


def pyramid(pair: ArrayPair, watch: Watch) -> list[Level]:
    """Halve the images until the evidence for all shifts is affordable; finest level first."""
    levels = [Level(pair, np.ones(pair.ndim, np.intp))]
    while True:
        watch.check()
        finer = levels[-1]
        sides = finer.pair.fixed.values.shape, finer.pair.moving.values.shape
        padded = np.sum(sides, axis=0)
        factor = np.where((np.min(sides, axis=0) >= 32) & (2 * padded >= padded.max()), 2, 1)
        if np.prod(padded, dtype=float) <= PADDED or factor.max() == 1:
            return levels
        fixed, moving = (
            reduce_image(image, factor.tolist()) for image in (finer.pair.fixed, finer.pair.moving)
        )
        levels.append(Level(ArrayPair(fixed, moving, pair.min_overlap), finer.scale * factor))


@dataclass(frozen=True, slots=False, eq=False)
class ShiftSearch:
    """The evidence for every shift of two images, and the most of unrelated structure.

    Attributes
    ----------
    levels : list of Level
        Finest first. The evidence is that of the last.
    details : tuple of Detail
        Fixed's and moving's, at that level.
    own : ndarray of float32
        See `evidence_surfaces`.
    by_chance : float
        The most evidence for any shift of moving mirrored and turned.
    """

    levels: list[Level]
    details: tuple[Detail, Detail]
    own: Surface
    by_chance: float

    @property
    def scale(self) -> NDArray[np.intp]:
        """Px of the full resolution per px of the evidence, per axis."""
        return self.levels[-1].scale

    def evidence(self, offset: Vector) -> float:
        """Return the evidence for an offset (px of the full resolution)."""
        return float(near(self.own, offset / self.scale, BESIDE).max())

    def verdict(self, offset: Vector) -> Verdict:
        """Weigh the evidence for an offset against all that is not it, and not the camera's.

        What stays with the camera is no rival of a scene that moves.
        """
        chance = max(self.by_chance, self._rest(offset))
        places = agreeing_places(*self.details, offset / self.scale)
        return Verdict(self.evidence(offset), chance, places)

    def disagreement(self, offset: Vector) -> float:
        """Return how far an offset is from the peak of the evidence (px of the full resolution).

        0 where rounding explains it. What is alike along lines, as a flicker, draws a fit of the
        samples away, but not the evidence of their detail.
        """
        place = offset / self.scale
        around = near(self.own, place, PEAK)
        at = np.unravel_index(int(around.argmax()), around.shape)
        peak = np.round(place) + np.subtract(at, np.array(around.shape) // 2)
        apart = peak - place
        return float(np.linalg.norm(apart * self.scale)) if np.abs(apart).max() > ROUNDED else 0.0

    def _rest(self, offset: Vector) -> float:
        """Return the most evidence elsewhere."""
        rest = without(self.own, offset / self.scale, PEAK)
        if self.has_pattern and np.abs(offset / self.scale).max() > PEAK:
            rest = without(rest, np.zeros(len(offset)), PEAK)
        return float(rest.max())

    @cached_property
    def peaks(self) -> list[Vector]:
        """The shifts of most evidence (px of the reduced level), highest first."""
        wrapped = np.pad(self.own, 1, mode="wrap")
        found = peak_local_max(wrapped, num_peaks=PEAKS, exclude_border=1, min_distance=2) - 1
        sides = self.details[1].values.shape
        return [np.where(at < sides, at, at - self.own.shape).astype(float) for at in found]

    @cached_property
    def has_pattern(self) -> bool:
        """Whether something stays with the camera while the scene moves.

        There is evidence for no shift and for another, each more than in unrelated structure;
        neither image repeats itself at that other shift; and it has more of the evidence, or
        would have, but for what is finer than the optics.
        """
        if self.details[0].values.shape != self.details[1].values.shape:
            return False
        still = np.zeros(self.own.ndim)
        moved = next((p for p in self.peaks if np.abs(p).max() > PEAK), None)
        if moved is None:
            return False
        rest = without(without(self.own, still, PEAK), moved, PEAK)
        enough = NEEDED * max(self.by_chance, float(rest.max()))
        zero, other = (float(near(self.own, at, BESIDE).max()) for at in (still, moved))
        if min(zero, other) < enough or self._repeats(moved, enough):
            return False
        return other >= zero or self._is_finer(still, moved, zero / other)

    def _repeats(self, shift: Vector, enough: float) -> bool:
        """Whether an image is like itself at a shift."""
        for image in self.details:
            own = next(evidence_surfaces(image, image, self.least))
            if max(float(near(own, at, BESIDE).max()) for at in (shift, -shift)) >= enough:
                return True
        return False

    def _is_finer(self, still: Vector, moved: Vector, lead: float) -> bool:
        """Whether what the images share without a shift is lost to a slight blur."""
        pair = self.levels[-1].pair
        blurred = [  # not whitened, which would undo the blur
            Detail(unit_scale(without_background(smooth, detail.valid), detail.valid), detail.valid)
            for smooth, detail in zip(
                (ndi.gaussian_filter(i.values, SMOOTHED) for i in (pair.fixed, pair.moving)),
                self.details,
                strict=True,
            )
        ]
        surface = next(evidence_surfaces(blurred[0], blurred[1], self.least))
        zero, other = (float(near(surface, at, BESIDE).max()) for at in (still, moved))
        return zero < FINER * lead * other

    @property
    def least(self) -> float:
        """Valid pairs that an overlap must have."""
        return self.levels[-1].pair.least

    def candidates(self, start: Vector, watch: Watch, *, only: bool = False) -> Iterator[Vector]:
        """Yield offsets good to a fraction of a pixel, of most evidence first.

        Of those with about equal evidence, as in periodic structure, the one nearest to
        `start` comes first, and a pattern of the camera last. Near `start` `only`, if so
        wished.
        """
        pair = self.levels[0].pair
        for place in [start / self.scale] if only else self._places(start / self.scale):
            offset = place * self.scale
            for level in reversed(self.levels):
                watch.check()
                offset = level.scale * track(level.pair, offset / level.scale, TRACK_SAMPLES)
            if pair.overlap(offset) >= 0.9 * pair.least:
                yield offset

    def _places(self, start: Vector) -> list[Vector]:
        """Sort the peaks, and the start unless it is on one (px of the reduced level)."""
        places = list(self.peaks)
        if all(np.abs(start - peak).max() > PEAK for peak in places):
            places.append(start)
        evidence = [self.evidence(place * self.scale) for place in places]

        def rank(k: int) -> tuple[bool, float, float]:
            is_camera = self.has_pattern and np.abs(places[k]).max() <= PEAK
            is_tied = evidence[k] >= EQUAL * max(evidence)
            distance = float(np.linalg.norm(places[k] - start))
            return is_camera, -np.inf if is_tied else -evidence[k], distance

        return [places[k] for k in sorted(range(len(places)), key=rank)]


def search_shifts(pair: ArrayPair, watch: Watch) -> ShiftSearch:
    """Compute the evidence for every shift, and the most in unrelated structure.

    Parameters
    ----------
    pair : ArrayPair
        Two images of one pixel size.
    watch : Watch
        Can stop it between surfaces.
    """
    levels = pyramid(pair, watch)
    coarse = levels[-1].pair
    fixed, moving = (_detail(image) for image in (coarse.fixed, coarse.moving))
    own, by_chance = weigh_nulls(fixed, moving, coarse.least, watch.check)
    return ShiftSearch(levels, (fixed, moving), own, by_chance)


def _detail(image: Standardised) -> Detail:
    return detail_of(image.values, None if image.weight is None else image.weight > 0)
