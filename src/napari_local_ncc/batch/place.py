"""Whether two images on one grid show the same place, and where not, by how much they miss it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np

from napari_local_ncc.batch.shift_evidence import REACH, best_of_any_shift, best_shift, look_at
from napari_local_ncc.evidence.noise import NoiseModel, noise_model
from napari_local_ncc.image.pyramid import reduce_by
from napari_local_ncc.registration.evidence.judge import reduction
from napari_local_ncc.reports.verdict import TELLS, PlaceEvidence, ShiftEvidence

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Image = NDArray[np.floating]
    Box = tuple[slice, ...]
    Noise = tuple[NoiseModel, NoiseModel]  # of fixed and moved

SIDES = {1: 256, 2: 48, 3: 24}  # px by axes, of a block in which images are looked at alone
MOST_BLOCKS = 36  # that are looked at, spread over the image
MARGIN = 24  # px around a block that are made even with it
LEAST_VALID = 0.5  # share of a block that must be valid
FEWEST = 3  # blocks that tell, which place an image of reduced resolution
NOISE_SIDE = 512  # px of every axis, in the middle of an image, whose noise is measured
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

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc.batch import place_evidence
    >>> scene = np.random.default_rng(0).normal(size=(110, 110))
    >>> found = place_evidence(scene[4:104, 4:104], scene[9:109, 1:101])
    >>> round(found.whole.distance_px, 1), len(found.blocks)
    (5.8, 4)
    """
    noise = noise_of(fixed), _known_noise(moving_noise) or noise_of(moved)
    looks = (_look_at_block(fixed, moved, noise, box) for box in boxes(fixed.shape))
    blocks = tuple(look for look in looks if look is not None)
    factor = reduction(fixed.shape)
    if max(factor) == 1:
        return PlaceEvidence(_look_at_all(np.asarray(fixed), np.asarray(moved), noise), blocks)
    left = None if moving_noise is None else moving_noise / float(np.sqrt(np.prod(factor)))
    one, two = (_reduced(each, factor) for each in (fixed, moved))
    noise = noise_of(one), _known_noise(left) or noise_of(two)
    return PlaceEvidence(_placed_by(blocks, _look_at_all(one, two, noise, factor)), blocks)


def noise_of(image: Image | da.Array) -> NoiseModel:
    """Return the noise of the middle of an image."""
    middle = tuple(slice(max(0, (n - NOISE_SIDE) // 2), (n + NOISE_SIDE) // 2) for n in image.shape)
    return noise_model(np.asarray(image[middle]))


def _known_noise(sd: float | None) -> NoiseModel | None:
    return None if sd is None else NoiseModel(sd, sd**2, 0.0)


def _look_at_all(
    fixed: Image, moved: Image, noise: Noise, factor: Sequence[int] = (1,)
) -> ShiftEvidence:
    everything = tuple(slice(0, n) for n in fixed.shape)
    return best_of_any_shift(*look_at(fixed, moved, noise, everything, fixed.shape), factor)


def _look_at_block(
    fixed: Image | da.Array, moved: Image | da.Array, noise: Noise, box: Box
) -> ShiftEvidence | None:
    """Return the evidence of a block; None if too little of it is valid.

    Its spectrum is made even together with what lies around it: the border of a block that is
    made even alone leaves the same mark in both images, which speaks for no shift. Moved is
    followed into what lies around.
    """
    around = _widened(box, MARGIN, fixed.shape)
    pair = [np.asarray(each[around]) for each in (fixed, moved)]
    inner = _within(box, around)
    if np.mean(np.isfinite(pair[0][inner]) & np.isfinite(pair[1][inner])) < LEAST_VALID:
        return None
    one, two = look_at(pair[0], pair[1], noise, around, fixed.shape)
    reached = _widened(box, REACH, fixed.shape)
    begins = tuple(a.start - b.start for a, b in zip(box, reached, strict=True))
    return best_shift(one.part(inner), two.part(_within(reached, around)), begins)


def _widened(box: Box, by: int, shape: tuple[int, ...]) -> Box:
    """Return a box with what lies around it of an image."""
    pairs = zip(box, shape, strict=True)
    return tuple(slice(max(0, s.start - by), min(n, s.stop + by)) for s, n in pairs)


def _within(box: Box, around: Box) -> Box:
    """Return a box as the indices of what was cut out around it."""
    pairs = zip(box, around, strict=True)
    return tuple(slice(s.start - a.start, s.stop - a.start) for s, a in pairs)


def _placed_by(blocks: Sequence[ShiftEvidence], whole: ShiftEvidence) -> ShiftEvidence:
    """Say how far the whole is shifted by what blocks say, whose resolution is not reduced.

    The median of those that tell, if they can reach that far, and its error.
    """
    told = [block for block in blocks if block.best >= TELLS]
    if len(told) < FEWEST or not whole.distance_px <= REACH:
        return whole
    distance = float(np.median([block.distance_px for block in told]))
    error = float(np.median([block.error_px for block in told]))
    return replace(whole, distance_px=distance, error_px=error)


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
