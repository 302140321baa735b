"""Which shift of two images is best, and what speaks for it, against what speaks for none."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi

from napari_local_ncc.evidence.samples import samples_per_independent_one
from napari_local_ncc.evidence.usable import usable_samples
from napari_local_ncc.evidence.whitening import (
    unit_scale,
    whiten,
    whitened_noise,
    without_background,
)
from napari_local_ncc.registration.evidence.surfaces import (
    CEILING,
    Detail,
    evidence_surfaces,
    near,
)
from napari_local_ncc.reports.verdict import NEAR, ShiftEvidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.evidence.noise import NoiseModel

    Image = NDArray[np.floating]
    Flags = NDArray[np.bool_]
    Box = tuple[slice, ...]
    Noise = tuple[NoiseModel, NoiseModel]  # of fixed and moved

REACH = int(NEAR)  # px, how far a block is followed
RIM = 6  # px along a border of the image, where making even leaves the border's mark in both
NARROW = 8  # times the rim, below which an axis has less of one
NARROWEST = 0.1  # share of the smaller image that an overlap must have
HERE = 1  # px at the judged resolution that count as no shift
FLATTEST = 0.02  # of a peak's height, that it falls from one px to the next at least


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """The detail of an image, its spectrum made even.

    Attributes
    ----------
    detail : Detail
        Of root mean square 1.
    noise : float
        The share of noise in its power; NaN where unknown.
    """

    detail: Detail
    noise: float

    def part(self, box: Box) -> Look:
        """Return the same of a part, whose power may be less, and so more of it noise."""
        values = self.detail.values[box]
        valid = None if self.detail.valid is None else self.detail.valid[box]
        known = values if valid is None else values[valid]
        power = float(np.mean(np.square(known))) if known.size else 0.0
        noise = float(np.minimum(self.noise / power, 1)) if power > 0 else np.nan
        return Look(Detail(unit_scale(values, valid), valid), noise)


def look_at(
    fixed: Image, moved: Image, noise: Noise, box: Box, shape: tuple[int, ...]
) -> tuple[Look, Look]:
    """Make the spectra of two images even.

    Parameters
    ----------
    fixed, moved : ndarray of float, shape (...)
        What a box holds of two images on one grid; NaN where there is no sample.
    noise : tuple of NoiseModel
        Of both.
    box : tuple of slice
        Where in the images that is.
    shape : tuple of int
        Of the images, whose rim is left out: a border, and an edge of what is known, leave the
        same mark in both, which would speak for no shift.
    """
    known = np.isfinite(fixed) & np.isfinite(moved)
    kept = _without_rim(known, box, shape)
    pair = [usable_samples(image, known) for image in (fixed, moved)]
    for each in pair:
        known = known if each.valid is None else known & each.valid
    marks, kept = None if known.all() else known, known & kept
    looks = []
    for each, model in zip(pair, noise, strict=True):
        image = np.where(known, each.values, 0).astype(np.float32)
        level = float(image[kept].mean()) if kept.any() else np.nan
        rest = without_background(image, marks)
        share = whitened_noise(rest, float(model.sd_at(level)))
        values = np.where(kept, whiten(rest, marks), np.float32(0))
        looks.append(Look(Detail(values, None if kept.all() else kept), share))
    return looks[0], looks[1]


def _without_rim(known: Flags, box: Box, shape: tuple[int, ...]) -> Flags:
    """Leave out what lies `RIM` px or less from the border of the image, or of what is known."""
    rims = [min(RIM, n // NARROW) for n in shape]
    kept = known
    if not known.all():
        kept = ndi.minimum_filter(known, [2 * rim + 1 for rim in rims], mode="nearest")
    inside = np.zeros(known.shape, bool)
    middle = tuple(
        slice(max(0, rim - s.start), min(s.stop, n - rim) - s.start)
        for s, n, rim in zip(box, shape, rims, strict=True)
    )
    inside[middle] = True
    return kept & inside


def best_shift(fixed: Look, moved: Look, begins: tuple[int, ...]) -> ShiftEvidence:
    """Say which shift, `REACH` px at most, is best of a part of an image.

    Parameters
    ----------
    fixed, moved : Look
        Of the same place.
    begins : tuple of int
        How many px before fixed moved begins, along each axis.

    Returns
    -------
    ShiftEvidence
        Without what unrelated structure would have.
    """
    one, two = fixed.detail, moved.detail
    if not (one.values.any() and two.values.any()):
        return ShiftEvidence()
    own = next(evidence_surfaces(one, two, NARROWEST * one.count))
    return _evidence_of(fixed, moved, near(own, np.array(begins), REACH))


def best_of_any_shift(fixed: Look, moved: Look, factor: Sequence[int]) -> ShiftEvidence:
    """Say which of all shifts is best of two images, and what unrelated structure would have.

    Parameters
    ----------
    fixed, moved : Look
        Of images on one grid.
    factor : sequence of int
        By which they are reduced, per axis.
    """
    one, two = fixed.detail, moved.detail
    if not (one.values.any() and two.values.any()):
        return ShiftEvidence()
    shape = one.values.shape
    surfaces = evidence_surfaces(one, two, NARROWEST * one.count)
    own = near(next(surfaces), np.zeros(len(shape)), max(shape))
    # moved is mirrored about its first sample: where it lies on fixed, no shift is
    middles = [np.array(at) for at in product(*((0, 1 - n) for n in shape))]
    chance, chance_here = 0.0, 0.0
    for null in surfaces:
        chance = max(chance, float(null.max()))
        here = max(float(near(null, middle, REACH).max()) for middle in middles)
        chance_here = max(chance_here, here)
    return _evidence_of(fixed, moved, own, factor, chance, chance_here)


def _evidence_of(
    fixed: Look,
    moved: Look,
    surface: Image,
    factor: Sequence[int] = (1,),
    chance: float = np.nan,
    chance_here: float = np.nan,
) -> ShiftEvidence:
    """Read the evidence for every shift, of which none is in the middle."""
    place, width = _peak(surface)
    best = float(surface.max())
    return ShiftEvidence(
        distance_px=_length(place * factor),
        error_px=_length(width * factor) / best if best > 0 else np.nan,
        best=best,
        here=_highest(surface, HERE),
        chance=chance,
        chance_here=chance_here,
        expected=_expected((1 - fixed.noise) * (1 - moved.noise), fixed.detail, moved.detail),
    )


def _length(vector: Any) -> float:
    return float(np.sqrt(np.sum(np.square(vector))))


def _highest(surface: Image, reach: int) -> float:
    """Return the most of a surface within `reach` px of its middle, no shift."""
    around = tuple(slice(max(0, n // 2 - reach), n // 2 + reach + 1) for n in surface.shape)
    return float(surface[around].max())


def _peak(surface: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where a surface is highest, from its middle, and its peak's width per axis, in px.

    By parabolas through three samples. A peak of evidence e (standard deviations of chance) and
    of that width is placed to width / e (Cramer and Rao).
    """
    at = np.unravel_index(int(surface.argmax()), surface.shape)
    place, width = np.zeros(surface.ndim), np.zeros(surface.ndim)
    top = float(surface[at])
    for axis, (n, k) in enumerate(zip(surface.shape, at, strict=True)):
        place[axis] = k - n // 2
        if n == 1:
            continue
        low, high = (
            float(surface[(*at[:axis], j, *at[axis + 1 :])]) if 0 <= j < n else 0.0
            for j in (k - 1, k + 1)
        )
        fall = max(2 * top - low - high, 2 * FLATTEST * top, float(np.finfo(np.float32).tiny))
        place[axis] += np.clip((high - low) / (2 * fall), -0.5, 0.5)
        width[axis] = np.sqrt(top / fall)
    return place, width


def _expected(structure: float, one: Detail, two: Detail) -> float:
    """Return the evidence that noise would leave, were the structure of both the same.

    As of `evidence_surfaces`, at the correlation that noise allows; `structure` is its square.
    """
    alike = min(float(np.sqrt(structure)), CEILING)
    count = min(one.count, two.count)
    independent = count / samples_per_independent_one(one.values, two.values)
    fisher = np.arctanh(alike) * np.sqrt(max(independent - 3, 0))
    return float(np.sqrt(fisher * alike * np.sqrt(count / (1 + 2 * alike**2))))
