"""What was drawn into both of two images: scale bars, times and other labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi

from napari_local_ncc.evidence.blocks import block_means
from napari_local_ncc.evidence.noise import noise_sd

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Flags = NDArray[np.bool_]
    Values = NDArray[np.floating]

ROUND = 0.1  # of the difference's noise: as equal as what was drawn over it
STEP = 1.0  # robust sd of the difference, by which a drawing stands out
LEVELS = 8  # steps of whole numbers, that it does: of few photons many counts are equal
CONTRAST = 0.5  # of the image's sd, that it stands out by at least
BACKGROUND = 32  # px of the last two axes: side of the blocks whose mean is the background
NEAR = 3  # px around a sample, in which others are looked at; soft edges of a drawing
EQUAL = 0.35  # share of the samples at steep edges that are equal in a drawing, at least
BY_CHANCE = 3.0  # times the share that is equal elsewhere
CERTAIN = 0.9  # share of which nothing more is asked
SMALLEST = 16  # samples of a drawing
AS_STRONG = 0.5  # of the contrast of a drawing, that it has where it goes on
LESS_APART = 2.0  # standard errors, by which samples differ less where a drawing goes on
FAR = 3.0  # times the noise, as which larger differences count
GAP = 5  # px around what goes on: half of what may lie between two characters
FLAT = 0.2  # share of an image at one value from which that is its background
ABRUPT = 3.0  # times the noise, by which a drawing's edges step from one sample to the next
LARGEST = 0.15  # share of an image: more is no label
DRAWN = 99_999  # samples that medians and shares are taken of, about


def burnt_in(
    fixed: ArrayLike,
    moving: ArrayLike,
    fixed_valid: ArrayLike | None = None,
    moving_valid: ArrayLike | None = None,
) -> Flags | None:
    """Find what was drawn into both images at the same place, as exports of other programs have.

    Parameters
    ----------
    fixed, moving : array_like, shape (...)
        Real samples; NaN and infinite ones are invalid.
    fixed_valid, moving_valid : array_like of bool, shape (...), optional
        True where samples may be used. Default: everywhere.

    Returns
    -------
    ndarray of bool, shape (...), or None
        True where samples at steep edges, which stand out from what is around them, are equal in
        both images to a tenth of the noise of their difference, at least 16 of them and 35 % of
        those edges; more where values are often equal by chance, as of few photons. What stands
        out as much around, and differs less than elsewhere, belongs to it. None where nothing
        is so; in images of different shapes, of one axis, or of truth values; and where it is
        more than 15 % of the image or than what stands out elsewhere: content that did not move.
    """
    one, two = np.asarray(fixed), np.asarray(moving)
    kinds = {one.dtype.kind, two.dtype.kind}
    if one.ndim < 2 or one.shape != two.shape or not kinds <= set("iuf"):
        return None
    valid = np.isfinite(one) & np.isfinite(two)
    for each in (fixed_valid, moving_valid):
        if each is not None:
            valid &= np.asarray(each, bool)
    if np.count_nonzero(valid) < SMALLEST:
        return None
    scaled = _on_one_scale(one, two, valid)
    if scaled is None:
        return None
    a, b = scaled
    compared = valid & ~_background(a, valid) & ~_background(b, valid)
    apart = np.abs(a - b)
    sizes = apart[compared][:: max(1, np.count_nonzero(compared) // DRAWN)]
    if not sizes.size:
        return None
    spread = 1.4826 * float(np.median(sizes))
    # what is smooth passes through zero over many samples
    noise = float(np.nan_to_num(min(spread, noise_sd(a - b, compared))))
    quantum = float(np.min(sizes, where=sizes > 0, initial=1.0))
    least = max(STEP * spread, LEVELS * quantum)
    steps = [_steps(image, valid, least) for image in (a, b)]
    both = compared & (steps[0] * steps[1] > 0)
    # edges of what moved, however little, are not equal
    edges = both & (np.minimum(_slope(a), _slope(b)) >= ABRUPT * noise)
    by_chance = float(np.mean(sizes <= ROUND * noise))
    equal = _equal_together(edges, apart <= ROUND * noise, by_chance)
    if not equal.any():
        return None
    found = _wider(equal, NEAR)
    contrast = np.minimum(*(np.abs(step) for step in steps))
    strong = both & (contrast >= AS_STRONG * np.median(contrast[equal]))
    goes_on = strong & _is_less_apart(apart, both, np.minimum(sizes, FAR * noise))
    grown = np.asarray(ndi.binary_propagation(found, mask=found | _wider(goes_on, GAP)))
    found = grown if grown.mean() <= LARGEST else found
    elsewhere = np.count_nonzero(compared & (steps[0] != 0) & ~found)
    is_content = np.count_nonzero(equal) > elsewhere or found.mean() > LARGEST
    return None if is_content else found


def _equal_together(edges: Flags, are_equal: Flags, by_chance: float) -> Flags:
    """Return the equal samples of edges, where most of those around are, and so many are."""
    equal = edges & are_equal
    equal &= _around(equal, edges) >= max(EQUAL, min(CERTAIN, BY_CHANCE * by_chance))
    labels, number = ndi.label(_wider(equal, NEAR), np.ones((3,) * edges.ndim))
    counts = np.bincount(labels[equal], minlength=number + 1)
    return np.asarray(equal & (counts >= SMALLEST)[labels])


def _on_one_scale(one: Any, two: Any, valid: Flags) -> list[Values] | None:
    """Return both images from 0 to 1, 0 where invalid; None where they are constant."""
    known = [image[valid].astype(np.float64) for image in (one, two)]
    low, high = min(float(x.min()) for x in known), max(float(x.max()) for x in known)
    span = high - low
    if not 0 < span < np.inf:
        return None
    scaled = []
    for values in known:
        image = np.zeros(one.shape, np.float32)
        image[valid] = (values - low) / span
        scaled.append(image)
    return scaled


def _background(image: Values, valid: Flags) -> Flags:
    """Return where an image has the one value that much of it has; nowhere if none has."""
    drawn = image[valid][:: max(1, np.count_nonzero(valid) // DRAWN)]
    values, counts = np.unique(drawn, return_counts=True)
    most = int(np.argmax(counts))
    if counts[most] < FLAT * drawn.size:
        return np.zeros(image.shape, bool)
    return np.asarray(image == values[most])


def _steps(image: Values, valid: Flags, least: float) -> Values:
    """Return how far samples are above or below what is around them; 0 where that is not far."""
    blocks = [1] * (image.ndim - 2) + [BACKGROUND] * 2
    mean, _ = block_means(image, blocks, None if valid.all() else valid, 0.0, to_the_end=True)
    for axis in (-1, -2):
        mean = mean.repeat(BACKGROUND, axis)
    rest = image - mean[tuple(slice(n) for n in image.shape)]
    far = max(least, CONTRAST * float(np.std(image[valid], dtype=np.float64)))
    return np.where(np.abs(rest) > far, rest, rest.dtype.type(0))


def _slope(image: Values) -> Values:
    """Return the largest step to one of the four neighbours in a plane."""
    steepest = np.zeros_like(image)
    for axis in (-1, -2):
        step, along = np.abs(np.diff(image, axis=axis)), np.moveaxis(steepest, axis, 0)
        for half in (along[:-1], along[1:]):
            np.maximum(half, np.moveaxis(step, axis, 0), out=half)
    return steepest


def _around(values: NDArray[Any], among: Flags) -> NDArray[np.float32]:
    """Return the mean of values, 0 elsewhere, over some of the samples around each one."""
    size = [1] * (among.ndim - 2) + [2 * NEAR + 1] * 2
    total, count = (ndi.uniform_filter(x.astype(np.float32), size) for x in (values, among))
    return np.asarray(total / np.maximum(count, np.float32(1e-6)), np.float32)


def _is_less_apart(apart: Values, among: Flags, elsewhere: Values) -> Flags:
    """Return where images differ less than elsewhere, by all outstanding samples around."""
    size = [1] * (among.ndim - 2) + [2 * NEAR + 1] * 2
    mean, sd = float(np.mean(elsewhere)), float(np.std(elsewhere))
    less = np.where(among, mean - apart, 0).astype(np.float32)
    total, count = (
        np.prod(size) * ndi.uniform_filter(x.astype(np.float32), size) for x in (less, among)
    )
    return np.asarray(total > LESS_APART * sd * np.sqrt(np.maximum(count, 1)))


def _wider(flags: Flags, by: int) -> Flags:
    """Return flags with all in the plane of the last two axes within `by` px of one."""
    size = [1] * (flags.ndim - 2) + [2 * by + 1] * 2
    return np.asarray(ndi.maximum_filter(flags, size))
