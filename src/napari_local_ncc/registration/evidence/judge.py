"""Whether a transform is more than the best that the same search finds in unrelated structure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_local_ncc.evidence.blocks import block_means
from napari_local_ncc.registration.evidence.surfaces import (
    Detail,
    agreeing_places,
    detail_of,
    evidence_surfaces,
    near,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.registration.evidence.surfaces import Surface

    Image = NDArray[np.floating]
    Vector = NDArray[np.floating]

NEEDED = 1.25  # times the best of unrelated structure; docs/registration-evidence.md
LEAST = 3.5  # standard deviations of chance at one shift, below which nothing is believed
FEWEST_PLACES = 3.0  # in which the images agree: one cell on another is a match of nothing
PADDED = 360_000  # samples of a surface, which bounds the cost: one of 2-D images of 300 px
SYMMETRIC = 2.0  # times the typical chance, from which an image resembles its mirror image
BESIDE = 1  # px of the judged resolution that a transform may be off
PEAK = 4  # px around the best shift that belong to its peak
EDGE = 1.0  # px of the judged resolution: sd of the Gaussian that slopes are taken with
NARROWEST = 0.1  # share of the smaller image that an overlap must have


@dataclass(frozen=True, slots=True)
class Verdict:
    """What speaks for a transform.

    Attributes
    ----------
    evidence : float
        For the transform, in standard deviations of chance at one shift.
    by_chance : float
        The most that the same search finds in unrelated structure of the same kind.
    places : float
        In how many places the images agree, see `agreeing_places`.
    needed : float
        How many times the most by chance the evidence has to be.
    """

    evidence: float
    by_chance: float
    places: float
    needed: float = NEEDED

    @property
    def significance(self) -> float:
        """How many times the best of unrelated structure the evidence is; NaN where undefined."""
        return self.evidence / self.by_chance if self.by_chance > 0 else np.nan

    @property
    def is_significant(self) -> bool:
        """Whether that is enough to apply the transform."""
        return self.evidence >= LEAST and self.significance >= self.needed and self._in_places

    @property
    def _in_places(self) -> bool:
        return self.places >= FEWEST_PLACES

    def describe(self) -> str:
        """Say how much of what is needed there is."""
        if np.isnan(self.significance):
            return "too few samples to tell"
        if self.significance >= self.needed and not self._in_places:
            return "a few objects that fit one another are all that agrees"
        return (
            f"{self.significance:.2f} times the best of unrelated structure, {self.needed:g} needed"
        )


def judge(
    fixed: Image,
    moved: Image,
    unrelated: Iterable[Image] = (),
    *,
    valid: NDArray[np.bool_] | None = None,
    by_edges: bool = False,
) -> Verdict:
    """Judge a transform by the two images that it makes of one.

    Parameters
    ----------
    fixed : ndarray of float, shape (...)
        NaN where there is no sample.
    moved : ndarray of float, shape (...)
        Moving on fixed's grid by the transform found; NaN where there is none.
    unrelated : iterable of ndarray, each shape (...)
        What the same search makes of images that cannot match: of moving mirrored, say. The
        more freedom a search has, the more it finds there.
    valid : ndarray of bool, shape (...), optional
        True where samples of fixed count; default: where finite.
    by_edges : bool, default False
        Whether to compare how steep the images are instead of their samples, as for images
        of different or inverted contrast.

    Returns
    -------
    Verdict
        Of the evidence at no further shift (to `BESIDE` px), against the most at any shift of
        `moved` mirrored and turned, elsewhere than at the peak, and at none of `unrelated`.

    Notes
    -----
    At most 16 correlation surfaces of `PADDED` samples, at a reduced resolution if the images
    are larger: 0.2 to 0.4 s of processor time.
    """
    factor = reduction(fixed.shape)
    one = reduced_detail(fixed, factor, valid, by_edges=by_edges)
    two = reduced_detail(moved, factor, by_edges=by_edges)
    least = NARROWEST * min(one.count, two.count)
    if min(one.count, two.count) == 0:
        return Verdict(np.nan, np.nan, np.nan)
    middle = np.zeros(fixed.ndim)
    own, chance = weigh_nulls(one, two, least)
    chance = max(chance, float(without(own, middle, PEAK).max()))
    for image in unrelated:
        other = reduced_detail(image, factor, by_edges=by_edges)
        if other.count >= least:
            surface = next(evidence_surfaces(one, other, least))
            chance = max(chance, float(near(surface, middle, BESIDE).max()))
    beside = near(own, middle, BESIDE)
    at = np.subtract(
        np.unravel_index(int(beside.argmax()), beside.shape), np.array(beside.shape) // 2
    )
    return Verdict(float(beside.max()), chance, agreeing_places(one, two, at))


def weigh_nulls(
    fixed: Detail, moving: Detail, least: float, check: Callable[[], None] = lambda: None
) -> tuple[Surface, float]:
    """Return the evidence for every shift, and the most for any shift of unrelated structure.

    Of moving mirrored and turned; but for a mirror image that moving itself resembles, as a
    brain does, more than it resembles fixed: that is not unrelated.

    Parameters
    ----------
    fixed, moving, least
        As for `evidence_surfaces`.
    check : callable, optional
        Called between surfaces; may raise to stop.
    """
    surfaces = evidence_surfaces(fixed, moving, least)
    own, chance = next(surfaces), []
    for surface in surfaces:
        check()
        chance.append(float(surface.max()))
    if own.max() >= NEEDED * max(chance):
        return own, max(chance)
    alike = SYMMETRIC * float(np.median(chance))
    of_itself = islice(evidence_surfaces(moving, moving, least), 1, None)
    kept = []
    for found, surface in zip(chance, of_itself, strict=True):
        check()
        if found > alike / SYMMETRIC and float(surface.max()) >= max(alike, found):
            continue
        kept.append(found)
    return own, max(kept or chance)


def reduction(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the factor per axis by which images are reduced before they are judged."""
    factor = np.ones(len(shape), int)
    while np.prod(2.0 * np.array(shape) / factor) > PADDED:
        large = np.array(shape) / factor >= 32
        if not large.any():
            break
        # the longest axes first, so that thin stacks keep their planes
        longest = np.array(shape) / factor >= np.max(np.array(shape) / factor) / 2
        factor = np.where(large & longest, factor * 2, factor)
    return tuple(int(k) for k in factor)


def reduced_detail(
    image: Image,
    factor: Sequence[int],
    valid: NDArray[np.bool_] | None = None,
    *,
    by_edges: bool = False,
) -> Detail:
    """Return the detail of an image at a reduced resolution; NaN is not valid.

    `by_edges` of how steep it is, in whichever direction.
    """
    known = np.isfinite(image) if valid is None else np.isfinite(image) & valid
    samples = image.astype(np.float32, copy=False)
    small, usable = block_means(samples, factor, None if known.all() else known)
    if by_edges:
        if usable is not None:
            small = np.where(usable, small, small[usable].mean() if usable.any() else 0)
            usable = ndi.binary_erosion(usable, iterations=int(np.ceil(3 * EDGE)), border_value=1)
        small = ndi.gaussian_gradient_magnitude(small, EDGE)
    return detail_of(small, usable)
