"""The sub-pixel shift: where the NCC of smoothed windows is highest, close to a known shift.

Interpolating a noisy image smooths its noise, most of all half-way between the samples, and so
pulls a fit towards half a pixel. Both images are therefore smoothed by the same Gaussian
first, whatever the shift: moving at p + d is the sum of its samples weighted by a Gaussian
about p + d, and that is smooth in d. About every whole pixel it is a Taylor series whose terms
are images: derivatives of a Gaussian times the samples. Sums over the windows of fixed times
each term then are the terms of the covariance, for all windows at once, and the maximum of
the NCC follows by Newton's method without another look at the samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import scipy.ndimage

from napari_local_ncc.ncc.kernels.tiles import (
    clip,
    lengths_of,
    read_tile,
    relative,
    scale_and_centre,
    window_axis,
)
from napari_local_ncc.shift.maximum_kernel import correlate, find_maxima, square_series
from napari_local_ncc.shift.smoothing import (
    FILL_REACH,
    FILL_SIGMA,
    MARGIN,
    REACH,
    SMOOTHING,
    derivative_taps,
)
from napari_local_ncc.shift.window_sums_kernel import sum_products, sum_products_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.rows import Triple, Validity
    from napari_local_ncc.ncc.kernels.tiles import Pieces, Slices

    Values = NDArray[np.float32]
    Numbers = NDArray[np.float64]
    Integers = NDArray[np.intp]

DEGREE = {1: 6, 2: 6, 3: 5}  # of the Taylor series: its error at half a pixel is below 0.002 px
CELL = 0.6  # px from a whole pixel beyond which the series about the next one is used
ROUNDS = 3  # of changing to the next one
MOST = 1.0  # px from the best whole-pixel shift
TRUST = 8  # power of the valid share of what a sample is smoothed from that it counts with
DENSE = 16  # samples of a window that one sum takes as long as, if all windows are summed
BRIGHTEST = 1e15  # on the scale of the other samples; the square still is a float32


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """The terms of a Taylor series in z, y, x up to a degree, and how they combine."""

    exponents: Integers  # shape (terms, 3), by degree
    powers: Integers  # as `find_maxima` takes them
    products: Integers
    steps: Integers

    @classmethod
    @cache
    def of(cls, sides: tuple[bool, ...], searched: tuple[bool, ...]) -> Self:
        """Return the series along the axes with windows, to be climbed along those searched."""
        degree = DEGREE[sum(sides)]
        ranges = (range(degree + 1) if used else range(1) for used in sides)
        exponents = sorted((e for e in product(*ranges) if sum(e) <= degree), key=sum)
        place = {e: k for k, e in enumerate(exponents)}
        powers = [(0, 0)]
        for e in exponents[1:]:
            axis = next(a for a in range(3) if e[a])
            powers.append((place[_lower(e, axis)], axis))
        products = [
            (i, j, place[both])
            for (i, a), (j, b) in product(enumerate(exponents), repeat=2)
            if i <= j and (both := tuple(map(sum, zip(a, b, strict=True)))) in place
        ]
        steps = []
        axes = [axis for axis in range(3) if searched[axis]]
        for e, k in place.items():
            for axis in axes:
                if not e[axis]:
                    continue
                once = _lower(e, axis)
                steps.append((axis, k, place[once], e[axis]))
                for other in axes:
                    if other <= axis and once[other]:
                        twice = _lower(once, other)
                        times = e[axis] * once[other]
                        steps.append((3 + axis * (axis + 1) // 2 + other, k, place[twice], times))
        return cls(*(np.array(a, np.intp) for a in (exponents, powers, products, steps)))


def _lower(exponents: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(e - (a == axis) for a, e in enumerate(exponents))


@dataclass(frozen=True, slots=True, eq=False)
class SmoothWindow:
    """What the tiles have in common."""

    radius: tuple[int, ...]
    search: tuple[int, ...]
    taps: tuple[Numbers, ...]
    box: bool
    series: Series
    windowed: int

    @classmethod
    def of(
        cls, radius: tuple[int, ...], search: tuple[int, ...], weights: str, windowed: int
    ) -> Self:
        """Return the windows of a radius and a search along z, y, x."""
        taps = tuple(window_axis(2 * r + 1, r, weights).taps for r in radius)
        series = Series.of(tuple(r > 0 for r in radius), tuple(s > 0 for s in search))
        return cls(radius, search, taps, weights == "box", series, windowed)


@dataclass(frozen=True, slots=True, eq=False)
class SmoothPair:
    """A tile of the smoothed fixed image, and the Taylor images of moving around it."""

    window: SmoothWindow
    fixed: Values  # shape (z, y, x); the tile and its windows
    terms: Values  # shape (terms, z, y, x); as much more on each side as `reach`
    squares: Values
    fixed_square: Values
    known: tuple[Values, Values]  # what samples of fixed and moving count, 0 to 1
    reach: tuple[int, ...]
    is_clean: bool
    samples: Values  # of fixed, not smoothed, with `MARGIN` more on each side
    scale: float  # of the samples of fixed, to what they were

    @classmethod
    def read(
        cls,
        images: Sequence[Pieces],
        tile: Slices,
        shape: tuple[int, ...],
        window: SmoothWindow,
        reach: Sequence[int],
    ) -> Self:
        """Read and smooth what a tile needs, with shifts up to `reach` along z, y, x."""
        limits = tuple(min(n, s) for n, s in zip(reach, window.search, strict=True))
        exponents = window.series.exponents
        samples, in_fixed, scale = _samples(images[0], images[2], tile, window, (0, 0, 0), shape)
        fixed = taylor_images(_without(samples, FILL_REACH), exponents[:1])[0]
        moving, in_moving, _ = _samples(images[1], images[2], tile, window, limits, shape)
        terms = taylor_images(_without(moving, FILL_REACH), exponents)
        squares = np.empty_like(terms)
        flat = terms.reshape(len(terms), -1), squares.reshape(len(terms), -1)
        square_series(flat[0], window.series.products, flat[1])
        square = fixed**2
        clean = bool((in_fixed == 1).all() and (in_moving == 1).all())
        if not clean:
            fixed *= in_fixed
            square *= in_fixed
            terms *= in_moving
            squares *= in_moving
        known = in_fixed, in_moving
        return cls(window, fixed, terms, squares, square, known, limits, clean, samples, scale)

    def climb(self, start: Numbers, best: Numbers, known: Validity) -> tuple[Numbers, Numbers]:
        """Return the shifts, shape (3, pixels), of the maxima next to some; and what is there.

        Parameters
        ----------
        start, best : array, shape (3, pixels)
            Where to begin, and the best whole-pixel shift, of the pixels that are `known`.
        known : array of bool, shape of the tile
        """
        pixels = np.array(np.nonzero(known))
        whole = np.rint(start).astype(np.intp)
        offset = start - whole
        left = np.arange(pixels.shape[1])
        sums = WindowSums(self, known.shape, whole)
        limits = np.array(self.reach)[:, np.newaxis]
        at_top = np.empty((9, len(left)))
        for _ in range(ROUNDS):
            offset[:, left], at_top[:, left] = sums.climb(
                pixels[:, left], whole[:, left], offset[:, left]
            )
            step = np.rint(offset)
            far = np.any(np.abs(offset) > CELL, axis=0)
            far &= np.all(np.abs(whole + np.nan_to_num(step)) <= limits, axis=0)
            left = left[far[left]]
            if not left.size:
                break
            whole[:, left] += step[:, left].astype(np.intp)
            offset[:, left] -= step[:, left]
        shift = whole + offset
        furthest = np.array(self.window.search)[:, np.newaxis]
        lost = (np.abs(shift - best) > MOST) | (np.abs(shift) > furthest) | (np.abs(offset) > MOST)
        shift[:, lost.any(axis=0)] = np.nan
        return shift, at_top


class WindowSums:
    """The sums over the windows of a tile that the series of covariance and variance are of.

    Many pixels with one whole-pixel shift are treated together, by sums over all windows of
    the tile; the others one by one.
    """

    def __init__(self, pair: SmoothPair, tile: tuple[int, ...], whole: Integers) -> None:
        self.pair, self.tile = pair, tile
        self.in_moving = pair.known[1][np.newaxis]
        self.together: dict[int, Values] = {}  # terms of a sample beside each other, as sums take
        self.sides = prod(taps.size for taps in pair.window.taps)
        self.lowest = np.zeros(3, np.intp)
        self.lengths: tuple[int, ...] = tile
        if pair.is_clean:
            # What the windows hold of moving is the same whatever the fixed image has there.
            reach = np.array(pair.reach)
            self.lowest = np.maximum(whole.min(axis=1) - 1, -reach)
            highest = np.minimum(whole.max(axis=1) + 1, reach)
            self.lengths = tuple((np.array(tile) + highest - self.lowest).tolist())
            at = tuple((self.lowest + reach).tolist())
            self.means = self._dense(pair.known[1], at, pair.terms, at, self.lengths)
            self.squares = self._dense(pair.known[1], at, pair.squares, at, self.lengths)
            # No sample is missing: what windows weigh, and hold of fixed, is so at all shifts.
            ones = np.ones((1, *pair.fixed.shape), np.float32)
            start = (0, 0, 0)
            self.mean = self._dense(pair.fixed, start, ones, start, tile)[0]
            self.square = self._dense(pair.fixed_square, start, ones, start, tile)[0]
            self.weight = np.full(prod(tile), prod(taps.sum() for taps in pair.window.taps))

    def climb(self, pixels: Integers, whole: Integers, offset: Numbers) -> tuple[Numbers, Numbers]:
        """Climb from offsets, shape (3, pixels), to whole-pixel shifts.

        Returns the maxima, and what `find_maxima` tells about them.
        """
        found, at_top = np.empty_like(offset), np.empty((9, offset.shape[1]))
        span = tuple(2 * r + 1 for r in self.pair.reach)
        reach = np.array(self.pair.reach)[:, np.newaxis]
        codes = np.ravel_multi_index(tuple(whole + reach), span)
        _, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
        many = counts * self.sides >= DENSE * prod(self.tile)
        for kind in np.flatnonzero(many):
            group = np.flatnonzero(inverse == kind)
            found[:, group], at_top[:, group] = self._climb_together(
                pixels[:, group], whole[:, group[0]], offset[:, group]
            )
        rest = np.flatnonzero(~many[inverse])
        if rest.size:
            found[:, rest], at_top[:, rest] = self._climb_apart(
                pixels[:, rest], whole[:, rest], offset[:, rest]
            )
        return found, at_top

    def _climb_together(
        self, pixels: Integers, whole: Integers, offset: Numbers
    ) -> tuple[Numbers, Numbers]:
        pair, tile, start = self.pair, self.tile, (0, 0, 0)
        at = tuple((whole + np.array(pair.reach)).tolist())
        here = np.ravel_multi_index(tuple(pixels), tile)
        cross = self._dense(pair.fixed, start, pair.terms, at, tile)
        if pair.is_clean:
            there = np.ravel_multi_index(
                tuple(pixels + (whole - self.lowest)[:, np.newaxis]), self.lengths
            )
            of_moving = self.means, self.squares, self.weight, self.mean, self.square
        else:
            in_fixed, in_moving = pair.known[0], pair.known[1][np.newaxis]
            there = here
            of_moving = (
                self._dense(in_fixed, start, pair.terms, at, tile),
                self._dense(in_fixed, start, pair.squares, at, tile),
                self._dense(in_fixed, start, in_moving, at, tile)[0],
                self._dense(pair.fixed, start, in_moving, at, tile)[0],
                self._dense(pair.fixed_square, start, in_moving, at, tile)[0],
            )
        return self._maxima(cross, of_moving, here, there, offset)

    def _climb_apart(
        self, pixels: Integers, whole: Integers, offset: Numbers
    ) -> tuple[Numbers, Numbers]:
        pair = self.pair
        here = np.arange(pixels.shape[1])
        at = pixels + whole + np.array(pair.reach)[:, np.newaxis]
        starts = np.ascontiguousarray(pixels.T), np.ascontiguousarray(at.T)
        cross = self._sparse(pair.fixed, pair.terms, *starts)
        if pair.is_clean:
            place = np.ravel_multi_index(tuple(pixels), self.tile)
            there = np.ravel_multi_index(
                tuple(pixels + whole - self.lowest[:, np.newaxis]), self.lengths
            )
            own = (self.weight[place], self.mean[place], self.square[place])
            of_moving = (self.means, self.squares, *own)
        else:
            in_fixed, in_moving = pair.known[0], self.in_moving
            there = here
            of_moving = (
                self._sparse(in_fixed, pair.terms, *starts),
                self._sparse(in_fixed, pair.squares, *starts),
                self._sparse(in_fixed, in_moving, *starts)[0],
                self._sparse(pair.fixed, in_moving, *starts)[0],
                self._sparse(pair.fixed_square, in_moving, *starts)[0],
            )
        return self._maxima(cross, of_moving, here, there, offset)

    def _maxima(
        self,
        cross: Numbers,
        of_moving: tuple[Numbers, Numbers, Numbers, Numbers, Numbers],
        here: Integers,
        there: Integers,
        offset: Numbers,
    ) -> tuple[Numbers, Numbers]:
        series = self.pair.window.series
        found = np.ascontiguousarray(offset)
        at_top = np.empty((9, len(here)))
        places = np.stack([here, there], axis=1)
        find_maxima(
            cross, *of_moving, places, series.powers, series.products, series.steps, found, at_top
        )
        return found, at_top

    def _dense(
        self, factor: Values, at: Triple, terms: Values, there: Triple, lengths: tuple[int, ...]
    ) -> Numbers:
        window = self.pair.window
        out = np.empty((len(terms), *lengths))
        sum_products(factor, at, terms, there, lengths, window.taps, window.box, out)
        return out.reshape(len(terms), -1)

    def _sparse(self, factor: Values, terms: Values, at: Integers, there: Integers) -> Numbers:
        key = id(terms)  # of arrays that the pair holds
        if key not in self.together:
            self.together[key] = np.ascontiguousarray(np.moveaxis(terms, 0, -1))
        together = self.together[key]
        out = np.empty((len(terms), len(at)))
        sum_products_at(factor, at, together, there, self.pair.window.taps, out)
        return out


def taylor_images(samples: Values, exponents: Integers) -> Values:
    """Return the terms of the Taylor series of a smoothed image about each of its samples.

    Parameters
    ----------
    samples : array of float32, shape (z, y, x)
        The image.
    exponents : array of int, shape (terms, 3)
        Powers of the offset along z, y, x.

    Returns
    -------
    array of float32, shape (terms, z', y', x')
        Without the `REACH` samples at either end of each axis longer than 1 sample.
    """
    inner = tuple(slice(REACH, n - REACH) if n > 1 else slice(None) for n in samples.shape)
    terms = np.empty((len(exponents), *samples[inner].shape), np.float32)
    room = np.zeros((3, samples.size), np.float32)
    before: tuple[int, ...] = ()
    order = np.lexsort(exponents.T[::-1])  # so that what terms have in common is done once
    for k in order.tolist():
        e = tuple(exponents[k].tolist())
        source = samples.reshape(-1)
        for axis in range(3):
            if samples.shape[axis] == 1:
                continue
            if e[: axis + 1] != before[: axis + 1]:
                stride = prod(samples.shape[axis + 1 :])
                correlate(source, room[axis], stride, derivative_taps(e[axis]))
            source = room[axis]
        terms[k] = source.reshape(samples.shape)[inner]
        before = e
    return terms


def _samples(
    pieces: Pieces,
    mask: Pieces,
    tile: Slices,
    window: SmoothWindow,
    beyond: Sequence[int],
    shape: tuple[int, ...],
) -> tuple[Values, Values, float]:
    """Read the windows of a tile and what their smoothing takes; return what samples count, too."""
    unused = 3 - window.windowed
    grow = [r + b + MARGIN if r else 0 for r, b in zip(window.radius, beyond, strict=True)]
    grow = [0] * (len(tile) - window.windowed) + grow[unused:]
    box = tuple(slice(p.start - g, p.stop + g) for p, g in zip(tile, grow, strict=True))
    samples, valid, scale = _read(pieces, mask, box, shape)
    lengths = (*(1,) * unused, *lengths_of(box)[-window.windowed :])
    samples, valid = samples.reshape(lengths), valid.reshape(lengths)
    weight = valid.astype(np.float32)
    if not valid.all():
        samples = _fill(samples, valid)
        sigma = [SMOOTHING if n > 1 else 0 for n in lengths]
        share = scipy.ndimage.gaussian_filter(weight, sigma, mode="constant", radius=REACH)
        weight *= share**TRUST
    return samples, _without(weight, MARGIN), scale


def _without(samples: Values, margin: int) -> Values:
    """Return an image without a margin along each axis longer than 1 sample."""
    inner = tuple(slice(margin, n - margin) if n > 1 else slice(None) for n in samples.shape)
    return np.ascontiguousarray(samples[inner])


def _read(
    pieces: Pieces, mask: Pieces, box: Slices, shape: tuple[int, ...]
) -> tuple[Values, Validity, float]:
    """Read samples of a box, which may exceed the image, where they are valid, and their scale.

    They are scaled to a span of about 1 and centred, which no NCC depends on.
    """
    lengths = lengths_of(box)
    inside = relative(clip(box, [(0, n) for n in shape]), box)
    valid = np.zeros(lengths, np.bool_)
    valid[inside] = True
    if mask:
        valid &= _read_box(mask, box, np.dtype(np.bool_))
    samples = _read_box(pieces, box, np.dtype(np.float64))
    valid &= np.isfinite(samples)
    scale, centre = scale_and_centre(samples.ravel(), valid.ravel())
    with np.errstate(over="ignore", invalid="ignore"):
        small = ((samples - centre) * scale).astype(np.float32)
    # What is beyond float32 on the scale of the others is left out.
    valid &= np.abs(small) < BRIGHTEST
    small[~valid] = 0
    return small, valid, scale


def _read_box(pieces: Pieces, box: Slices, dtype: np.dtype[Any]) -> NDArray[Any]:
    lengths = lengths_of(box)
    flat = read_tile(pieces, box, np.zeros(prod(lengths) + lengths[-1], dtype))
    return flat[: prod(lengths)].reshape(lengths)


def _fill(samples: Values, valid: Validity) -> Values:
    """Fill invalid samples in from around them, so that the next to them can be smoothed."""
    filled = samples
    for _ in range(2):  # the second time next to what was filled in the first time
        sigma = [FILL_SIGMA if n > 1 else 0 for n in samples.shape]
        options: dict[str, Any] = {"mode": "constant", "radius": FILL_REACH}
        weight = scipy.ndimage.gaussian_filter(valid.astype(np.float32), sigma, **options)
        total = scipy.ndimage.gaussian_filter(np.where(valid, filled, 0), sigma, **options)
        around = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        filled, valid = np.where(valid, filled, around), valid | (weight > 0)
    return filled
