"""Whether two images on one grid show the same place, and where not, by how much they miss it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_local_ncc.evidence.noise import noise_sd
from napari_local_ncc.evidence.samples import samples_per_independent_one
from napari_local_ncc.evidence.usable import usable_samples
from napari_local_ncc.evidence.whitening import whitened_noise, without_background
from napari_local_ncc.image.pyramid import reduce_by
from napari_local_ncc.registration.evidence.judge import reduction
from napari_local_ncc.registration.evidence.surfaces import (
    CEILING,
    detail_of,
    evidence_surfaces,
    near,
)
from napari_local_ncc.reports.verdict import NEAR, PlaceEvidence, ShiftEvidence

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.registration.evidence.surfaces import Detail

    Image = NDArray[np.floating]
    Flags = NDArray[np.bool_]
    Box = tuple[slice, ...]

SIDES = {1: 256, 2: 48, 3: 24}  # px by axes, of a block in which images are looked at alone
MOST_BLOCKS = 36  # that are looked at, spread over the image
REACH = int(NEAR)  # px, how far a block is followed
NARROWEST = 0.1  # share of the smaller image that an overlap must have
LEAST_VALID = 0.5  # share of a block that must be valid
FEWEST = 3  # blocks that tell, which place an image of reduced resolution
HERE = 1  # px at the judged resolution that count as no shift
FLATTEST = 0.02  # of a peak's height, that it falls from one px to the next at least
CHUNK = 1024  # px, of images that are reduced lazily


def place_evidence(
    fixed: Image | da.Array, moved: Image | da.Array, *, moving_noise: float | None = None
) -> PlaceEvidence:
    """Look for shifts that are left: of the whole, and block by block.

    Parameters
    ----------
    fixed, moved : ndarray or dask array of float, shape (...)
        Images on one grid; NaN where there is no sample.
    moving_noise : float, optional
        The noise of moving before it was interpolated, which hides noise: its standard
        deviation. Default: that of `moved`.

    Returns
    -------
    PlaceEvidence
        Of the whole at a reduced resolution if the images are large, of blocks at full.
    """
    factor = reduction(fixed.shape)
    coarse = [_reduced(each, factor) for each in (fixed, moved)]
    left = None if moving_noise is None else moving_noise / float(np.sqrt(np.prod(factor)))
    whole = shift_evidence(coarse[0], coarse[1], factor=factor, moving_noise=left)
    pairs = ([np.asarray(each[box]) for each in (fixed, moved)] for box in boxes(fixed.shape))
    blocks = [
        shift_evidence(one, two, reach=REACH, moving_noise=moving_noise)
        for one, two in pairs
        if np.mean(np.isfinite(one) & np.isfinite(two)) >= LEAST_VALID
    ]
    if max(factor) > 1:
        whole = _placed_by_blocks(whole, blocks)
    return PlaceEvidence(whole, tuple(blocks))


def _placed_by_blocks(whole: ShiftEvidence, blocks: list[ShiftEvidence]) -> ShiftEvidence:
    """Say how far the whole is shifted by what blocks say, whose resolution is not reduced.

    The median of those that tell, if they can reach that far, and its error.
    """
    told = [block for block in blocks if block.stands(anywhere=True)]
    if len(told) < FEWEST or not whole.distance_px <= REACH:
        return whole
    distance = float(np.median([block.distance_px for block in told]))
    return replace(
        whole,
        distance_px=distance,
        error_px=float(np.median([block.error_px for block in told])),
    )


def _reduced(image: Image | da.Array, factor: Sequence[int]) -> Image:
    if max(factor) == 1:
        return np.asarray(image)
    if not isinstance(image, da.Array):
        return reduce_by(image, factor)
    chunks = tuple(k * max(1, CHUNK // k) for k in factor)
    large = image.astype(np.float32).rechunk(chunks)
    smaller = tuple(
        tuple(-(-n // k) for n in sizes) for sizes, k in zip(large.chunks, factor, strict=True)
    )
    return np.asarray(large.map_blocks(reduce_by, factor, dtype=np.float32, chunks=smaller))


def boxes(shape: tuple[int, ...]) -> Iterator[Box]:
    """Yield blocks that lie evenly over an image, `MOST_BLOCKS` at most, of about `SIDES` px."""
    wanted = SIDES[min(len(shape), max(SIDES))]
    counts = np.array([max(1, n // wanted) for n in shape])
    while counts.prod() > MOST_BLOCKS:
        counts[counts.argmax()] -= 1
    along = []
    for n, count in zip(shape, counts, strict=True):
        side = n // max(1, n // wanted)
        starts = np.linspace(0, n - side, count).astype(int)
        along.append([slice(int(start), int(start) + side) for start in starts])
    yield from product(*along)


def shift_evidence(
    fixed: Image,
    moved: Image,
    *,
    reach: int | None = None,
    factor: Sequence[int] = (1,),
    moving_noise: float | None = None,
) -> ShiftEvidence:
    """Say which shift of two images is best, and what speaks for it.

    Parameters
    ----------
    fixed, moved : ndarray of float, shape (...)
        Images on one grid; NaN where there is no sample.
    reach : int, optional
        How many px along each axis the best shift may be. Default: any shift.
    factor : sequence of int
        By which the images are reduced, per axis.
    moving_noise : float, optional
        As for `place_evidence`, of the reduced image.
    """
    fixed, moved, valid = _usable(fixed, moved)
    marks = None if valid.all() else valid
    one, two = detail_of(fixed, marks), detail_of(moved, marks)
    if not (one.values.any() and two.values.any()):
        return ShiftEvidence()
    zero, furthest = np.zeros(fixed.ndim), max(fixed.shape) if reach is None else reach
    surfaces = evidence_surfaces(one, two, NARROWEST * one.count)
    own = near(next(surfaces), zero, furthest)
    nulls = [near(surface, zero, furthest) for surface in surfaces]
    place, width = _peak(own)
    best = float(own.max())
    return ShiftEvidence(
        distance_px=_length(place * factor),
        error_px=_length(width * factor) / best if best > 0 else np.nan,
        best=best,
        here=_highest(own, HERE),
        chance=max(float(null.max()) for null in nulls),
        chance_here=max(_highest(null, REACH) for null in nulls),
        expected=_expected(
            _structure(fixed, marks) * _structure(moved, marks, moving_noise), one, two
        ),
    )


def _usable(fixed: Image, moved: Image) -> tuple[Image, Image, Flags]:
    """Return images without bad pixels, 0 where one does not count, and where both count."""
    known = np.isfinite(fixed) & np.isfinite(moved)
    pair = [usable_samples(image, known) for image in (fixed, moved)]
    for each in pair:
        known = known if each.valid is None else known & each.valid
    one, two = (np.where(known, each.values, 0).astype(np.float32) for each in pair)
    return one, two, known


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


def _structure(image: Image, valid: Flags | None, noise: float | None = None) -> float:
    """Return the share of an image's whitened detail that is not noise; NaN where unknown."""
    noise = noise_sd(image, valid) if noise is None else noise
    return 1 - whitened_noise(without_background(image, valid), noise)
