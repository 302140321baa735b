"""Structure as it would be seen in even light: of the same contrast all over the image.

Uneven light multiplies structure as it does the background. Windows in its slope are ruled by
their bright side, in both images alike, and reach high NCC by chance more often.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.confidence.background import (
    background_radius,
    scaled_to_float32,
    without_smooth_background,
)
from napari_local_ncc.ncc.device import namespace_of, ndimage_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Numbers = NDArray[np.float64]

STEEPEST = 0.6  # of half a window, by which the centre of its power may lie beside its middle
BLOCKS = 4  # on either side of a point, whose power is that there: smooth, so that few do


def even_light_reach(radius: Sequence[int]) -> tuple[int, ...]:
    """Return how far around a sample `structure_in_even_light` reads, per axis in pixels."""
    sides, counts = _blocks(radius)
    return tuple(
        # What replaces invalid samples, the background, and the blocks of the farther corners.
        r and 2 * r + side * (count + 1)
        for r, side, count in zip(background_radius(radius), sides, counts, strict=True)
    )


def structure_in_even_light(
    image: ArrayLike,
    *,
    radius: Sequence[int],
    mask: ArrayLike | None = None,
    origin: Sequence[int] | None = None,
) -> NDArray[np.float32]:
    """Take a smooth background and a smooth contrast away, so that what is left can be judged.

    Parameters
    ----------
    image : array_like, shape (...)
        Of any real dtype; NaN and inf are invalid samples.
    radius : sequence of int
        Radius of the NCC's windows per axis; 0 = independent axis.
    mask : array_like of bool, shape (...), optional
        True where samples may be used.
    origin : sequence of int, optional
        Of a part of an image: where its first sample lies in the whole. All parts then give what
        the whole does, `even_light_reach` from their borders. Default: the image is whole.

    Returns
    -------
    array of float32, shape (...)
        The image less its background, over its `smooth_contrast`: NaN where a sample is invalid.

    See Also
    --------
    without_smooth_background : Takes the background away only.
    """
    samples = scaled_to_float32(image, mask)
    rest = without_smooth_background(samples, radius=radius, mask=mask)
    contrast = smooth_contrast(rest, radius=radius, origin=origin)
    contrast[~(contrast > 0)] = 1
    rest /= contrast
    return rest


def smooth_contrast(
    samples: NDArray[np.floating],
    *,
    radius: Sequence[int],
    origin: Sequence[int] | None = None,
) -> NDArray[np.float32]:
    """Return the root of the mean square around every sample, as a smooth fall-off of light has it.

    Parameters
    ----------
    samples : array of float, shape (...)
        About 0 on average; NaN where invalid.
    radius : sequence of int
        Radius of the NCC's windows per axis; 0 = independent axis.
    origin : sequence of int, optional
        As for `structure_in_even_light`.

    Returns
    -------
    array of float32, shape (...)
        0 where all is 0 around.

    Notes
    -----
    Within `background_radius` the mean square is taken for an exponential function of place along
    every axis. Its mean over a window alone would be that of the window's middle, which at the
    border of the image lies beside the sample, and the more above it the steeper it is. How
    steep it is tells its centre of gravity, by the inverse of Langevin's function in Cohen's
    form (Rheol. Acta 30, 270, 1991). It is found at the corners of blocks of samples, which are
    counted from the origin, and read between these linearly.
    """
    sides, counts = _blocks(radius)
    starts = [o % side for o, side in zip(origin or (0,) * samples.ndim, sides, strict=True)]
    xp = namespace_of(samples)
    valid = xp.isfinite(samples)
    is_whole = bool(valid.all())
    squares = xp.square(samples if is_whole else xp.where(valid, samples, 0), dtype=np.float64)
    lines = [np.ones(n) for n in valid.shape]
    number: Numbers = valid.astype(np.float64) if not is_whole else xp.ones(())
    for axis, (side, start, count) in enumerate(zip(sides, starts, counts, strict=True)):
        if count:
            squares = _sum_blocks(squares, side, start, axis)
            lines[axis] = _sum_blocks(lines[axis], side, start, 0)
            number = number if is_whole else _sum_blocks(number, side, start, axis)
    if is_whole:
        number = xp.asarray(reduce(np.multiply, np.ix_(*lines)))
    found = xp.sqrt(_power_at_corners(squares, number, sides, counts)).astype(np.float32)
    for axis, (side, start, count) in enumerate(zip(sides, starts, counts, strict=True)):
        if count:
            found = _between_corners(found, samples.shape[axis], side, start, axis)
    return found


def _blocks(radius: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the side of a block per axis, and how many are looked at on either side of a corner.

    1 and 0 along independent axes.
    """
    around = background_radius(radius)
    sides = tuple(max(r // BLOCKS, 1) for r in around)
    return sides, tuple(round(r / side) for r, side in zip(around, sides, strict=True))


def _sum_blocks(values: Numbers, side: int, start: int, axis: int) -> Numbers:
    """Sum blocks of neighbours along an axis; of the first, `start` lie before the array."""
    xp = namespace_of(values)
    lines = xp.moveaxis(values, axis, 0)
    n = len(lines)
    sums = xp.zeros((-(-(n + start) // side), *lines.shape[1:]))
    for k in range(side):
        first = int(k < start)
        part = lines[k - start + first * side :: side]
        sums[first : first + len(part)] += part
    found: Numbers = xp.moveaxis(sums, 0, axis)
    return found


def _power_at_corners(
    squares: Numbers, number: Numbers, sides: Sequence[int], counts: Sequence[int]
) -> Numbers:
    """Return the mean square at the corners of blocks from their sums of squares and samples."""
    xp = namespace_of(squares)
    for axis, count in enumerate(counts):
        after = [(0, int(k == axis and count > 0)) for k in range(squares.ndim)]
        squares, number = xp.pad(squares, after), xp.pad(number, after)
    total, weight = _sum_around(squares, counts), _sum_around(number, counts)
    is_known = (total > 0) & (weight > 0)
    total[~is_known] = weight[~is_known] = 1.0
    power: Numbers = xp.where(is_known, total / weight, 0.0)
    for axis, (side, count) in enumerate(zip(sides, counts, strict=True)):
        if not count:
            continue
        x = side * np.arange(
            0.5 - count, count, dtype=np.float64
        )  # of the middles of blocks, from the corner
        middle = _sum_around(number, counts, axis, x) / weight
        spread = _sum_around(number, counts, axis, x**2) / weight - middle**2
        within = (side**2 - 1) / 4  # three times the spread of a block's own samples
        half = xp.sqrt(xp.maximum(3 * spread + within, 1.0))
        aside = (_sum_around(squares, counts, axis, x) / total - middle) / half
        aside *= 1 + within / half**2  # power lies aside in every block as well
        slope = _slope(xp.where(is_known, aside, 0.0))
        power /= xp.exp(slope * middle / half) * _mean_of_exponential(slope)
    return power


def _sum_around(
    blocks: Numbers, counts: Sequence[int], axis: int = -1, factor: Numbers | None = None
) -> Numbers:
    """Sum the blocks around every corner, times a factor along one axis if there is one."""
    xp, ndimage = namespace_of(blocks), ndimage_of(blocks)
    for k, count in enumerate(counts):
        if count:
            taps = factor if k == axis and factor is not None else np.ones(2 * count)
            blocks = ndimage.correlate1d(blocks, xp.asarray(taps), k, mode="constant")
    return blocks


def _slope(aside: Numbers) -> Numbers:
    """Return the logarithmic slope, per half a window, of what has its centre so far aside."""
    xp = namespace_of(aside)
    y: Numbers = xp.clip(aside, -STEEPEST, STEEPEST)
    return y * (3 - y**2) / (1 - y**2)


def _mean_of_exponential(slope: Numbers) -> Numbers:
    """Return the mean over a window of what is 1 in its middle."""
    xp = namespace_of(slope)
    is_even = xp.abs(slope) < 1e-6
    steep = xp.where(is_even, 1.0, slope)
    mean: Numbers = xp.where(is_even, 1.0, xp.sinh(steep) / steep)
    return mean


def _between_corners(
    corners: NDArray[np.float32], n: int, side: int, start: int, axis: int
) -> NDArray[np.float32]:
    """Return at n samples along an axis what lies linearly between the corners of blocks."""
    block, within = np.divmod(np.arange(start, start + n), side)
    share = ((within + 0.5) / side).astype(np.float32)
    xp = namespace_of(corners)
    share = xp.asarray(share.reshape([-1 if k == axis else 1 for k in range(corners.ndim)]))
    block = xp.asarray(block)
    found: NDArray[np.float32] = xp.diff(corners, axis=axis).take(block, axis)
    found *= share
    found += corners.take(block, axis)
    return found
