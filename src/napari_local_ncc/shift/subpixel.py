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
from itertools import pairwise, product
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
from napari_local_ncc.shift.smoothing import (
    FILL_REACH,
    FILL_SIGMA,
    MARGIN,
    REACH,
    derivative_taps,
)
from napari_local_ncc.shift.taylor_kernel import (
    correlate,
    find_maxima,
    square_series,
    sum_products,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.rows import Triple, Validity
    from napari_local_ncc.ncc.kernels.tiles import Pieces, Slices

    Values = NDArray[np.float32]
    Numbers = NDArray[np.float64]
    Integers = NDArray[np.intp]

DEGREE = {1: 6, 2: 6, 3: 5}  # of the Taylor series: its error at half a pixel is below 0.002 px
TILES = {1: (8192,), 2: (128, 128), 3: (24, 32, 64)}  # pixels along the windowed axes
CELL = 0.6  # px from a whole pixel beyond which the series about the next one is used
ROUNDS = 3  # of changing to the next one
MOST = 1.0  # px from the best whole-pixel shift
MOST_SEARCH = 10**5  # px; beyond the memory of any search
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


def refine_shift(
    images: Sequence[Pieces],
    region: Slices,
    start: Values,
    best: Values,
    *,
    radius: tuple[int, ...],
    search: tuple[int, ...],
    weights: str,
) -> None:
    """Move a shift, in place, to where the smoothed windows fit best.

    Parameters
    ----------
    images : sequence of pieces
        Fixed, moving and, optionally, the mask. Independent axes come first.
    region : tuple of slice
        Where the shift is wanted.
    start : array of float32, shape (windowed axes, *region)
        Near where to look, in px; NaN where there is nothing to refine. Receives the shift, NaN
        where the NCC has no maximum within 1 px of `best`.
    best : array of float32, shape (windowed axes, *region)
        The best whole-pixel shift.
    radius, search : tuple of int
        Window radius and largest shift per axis.
    weights : {"box", "gaussian"}
        Window weights.
    """
    windowed = len(start)
    shape = tuple(max(where[axis].stop for where, _ in images[0]) for axis in range(len(region)))
    unused = (0,) * (3 - windowed)
    window = SmoothWindow.of(
        (*unused, *radius[-windowed:]), (*unused, *search[-windowed:]), weights, windowed
    )
    for tile in _tiles(region, windowed):
        here = (slice(None), *relative(tile, region))
        sides = (*(1,) * (3 - windowed), *lengths_of(tile)[-windowed:])
        found = np.zeros((2, 3, *sides))
        for array, given in zip(found, (start[here], best[here]), strict=True):
            array[3 - windowed :] = given.reshape(windowed, *sides)
        known = np.isfinite(found).all(axis=(0, 1))
        if known.any():
            reach = [int(v) + 2 for v in np.abs(found[0][:, known]).max(axis=1)]
            pair = SmoothPair.read(images, tile, shape, window, reach)
            found[0][:, known] = pair.climb(*found[:, :, known], np.argwhere(known))
        start[here] = found[0][3 - windowed :].reshape(start[here].shape)


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
    known: tuple[Values, Values]  # 1 where fixed and moving are valid, else 0
    reach: tuple[int, ...]
    is_clean: bool

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
        fixed, in_fixed = _smooth(images[0], images[2], tile, window, (0, 0, 0), shape, exponents[:1])
        terms, in_moving = _smooth(images[1], images[2], tile, window, limits, shape, exponents)
        squares = np.empty_like(terms)
        square_series(
            terms.reshape(len(terms), -1),
            window.series.products,
            squares.reshape(len(terms), -1),
        )
        clean = bool(in_fixed.all() and in_moving.all())
        return cls(window, fixed[0], terms, squares, (in_fixed, in_moving), limits, clean)

    def climb(self, start: Numbers, best: Numbers, pixels: Integers) -> Numbers:
        """Return the shifts, shape (3, pixels), of the maxima next to some."""
        centre = np.rint(start)
        offset = start - centre
        left = np.arange(len(pixels))
        shared = self._moments_of_moving(centre) if self.is_clean else None
        for _ in range(ROUNDS):
            for whole, group in _groups(centre[:, left]):
                chosen = left[group]
                offset[:, chosen] = self._climb_about(
                    whole, pixels[chosen], offset[:, chosen], shared
                )
            step = np.rint(offset)
            limits = np.array(self.reach)[:, np.newaxis]
            far = (np.abs(offset) > CELL).any(axis=0) & (np.abs(centre + step) <= limits).all(axis=0)
            left = left[far[left]]
            if not left.size:
                break
            centre[:, left] += step[:, left]
            offset[:, left] -= step[:, left]
        shift = centre + offset
        furthest = np.array(self.window.search)[:, np.newaxis]
        lost = (np.abs(shift - best) > MOST).any(axis=0) | (np.abs(shift) > furthest).any(axis=0)
        shift[:, lost | (np.abs(offset) > MOST).any(axis=0)] = np.nan
        return shift

    def _climb_about(
        self, whole: Triple, pixels: Integers, offset: Numbers, shared: _Moments | None
    ) -> Numbers:
        """Climb from offsets to a whole-pixel shift."""
        first = pixels.min(axis=0)
        lengths = tuple((pixels.max(axis=0) - first + 1).tolist())
        at_fixed = tuple(first.tolist())
        at_moving = tuple(f + k + r for f, k, r in zip(at_fixed, whole, self.reach, strict=True))
        in_fixed, in_moving = self.known
        window = self.window

        def sums(factor: Values, terms: Values) -> Numbers:
            out = np.empty((len(terms), *lengths))
            sum_products(
                factor, at_fixed, terms, at_moving, lengths, window.taps, window.box, out
            )
            return out.reshape(len(terms), -1)

        cross = sums(self.fixed, self.terms)
        mean, weight = sums(self.fixed, in_moving[np.newaxis]), sums(in_fixed, in_moving[np.newaxis])
        here = np.ravel_multi_index(tuple((pixels - first).T), lengths)
        if shared is None:
            means, squares = sums(in_fixed, self.terms), sums(in_fixed, self.squares)
            there = here
        else:
            means, squares = shared.means, shared.squares
            there = shared.place(pixels + np.array(whole))
        places = np.stack([here, there], axis=1)
        series = window.series
        at_top = np.empty((8, len(pixels)))
        found = np.ascontiguousarray(offset)
        find_maxima(
            cross, means, squares, weight[0], mean[0], places,
            series.powers, series.products, series.steps, found, at_top,
        )  # fmt: skip
        return found

    def _moments_of_moving(self, centre: Numbers) -> _Moments:
        """Return the window sums of moving alone, wherever the shifts bring a window."""
        lowest, highest = (edge(axis=1).astype(int) for edge in (centre.min, centre.max))
        tile = [n - 2 * r for n, r in zip(self.fixed.shape, self.window.radius, strict=True)]
        lengths = tuple((np.array(tile) + highest - lowest).tolist())
        at = tuple((lowest + np.array(self.reach)).tolist())
        in_moving = self.known[1]
        sums = []
        for terms in (self.terms, self.squares):
            out = np.empty((len(terms), *lengths))
            sum_products(
                in_moving, at, terms, at, lengths, self.window.taps, self.window.box, out
            )
            sums.append(out.reshape(len(terms), -1))
        return _Moments(lowest, lengths, *sums)


@dataclass(frozen=True, slots=True, eq=False)
class _Moments:
    """Window sums of the Taylor images of moving and of its square."""

    first: Integers  # the pixel they begin at
    lengths: tuple[int, ...]
    means: Numbers
    squares: Numbers

    def place(self, pixels: Integers) -> Integers:
        """Return where pixels are."""
        return np.ravel_multi_index(tuple((pixels - self.first).T), self.lengths)


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
    done: dict[tuple[int, ...], Values] = {(): np.ascontiguousarray(samples, np.float32)}
    for axis in range(3):
        stride = prod(samples.shape[axis + 1 :])
        wanted = sorted({tuple(e[: axis + 1]) for e in exponents.tolist()})
        if samples.shape[axis] == 1:
            done = {e: done[e[:-1]] for e in wanted}
            continue
        before, done = done, {}
        for e in wanted:
            done[e] = np.zeros_like(samples, np.float32)
            source = before[e[:-1]].reshape(-1)
            correlate(source, done[e].reshape(-1), stride, derivative_taps(e[-1]))
    inner = tuple(slice(REACH, n - REACH) if n > 1 else slice(None) for n in samples.shape)
    return np.stack([done[tuple(e)][inner] for e in exponents.tolist()])


def _smooth(
    pieces: Pieces,
    mask: Pieces,
    tile: Slices,
    window: SmoothWindow,
    beyond: Sequence[int],
    shape: tuple[int, ...],
    exponents: Integers,
) -> tuple[Values, Values]:
    """Read the windows of a tile; return Taylor images, 0 where invalid, and where valid, 1."""
    unused = 3 - window.windowed
    grow = [r + b + MARGIN if r else 0 for r, b in zip(window.radius, beyond, strict=True)]
    grow = [0] * (len(tile) - window.windowed) + grow[unused:]
    box = tuple(slice(p.start - g, p.stop + g) for p, g in zip(tile, grow, strict=True))
    samples, valid = _read(pieces, mask, box, shape)
    lengths = (*(1,) * unused, *lengths_of(box)[-window.windowed :])
    samples, valid = samples.reshape(lengths), valid.reshape(lengths)
    if not valid.all():
        samples = _fill(samples, valid)
    inner = tuple(slice(FILL_REACH, n - FILL_REACH) if n > 1 else slice(None) for n in lengths)
    terms = taylor_images(samples[inner], exponents)
    kept = tuple(slice(MARGIN, n - MARGIN) if n > 1 else slice(None) for n in lengths)
    known = np.ascontiguousarray(valid[kept], np.float32)
    if not known.all():
        terms *= known
    return terms, known


def _read(
    pieces: Pieces, mask: Pieces, box: Slices, shape: tuple[int, ...]
) -> tuple[Values, Validity]:
    """Read samples of a box, which may exceed the image, and where they are valid.

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
    return small, valid


def _read_box(pieces: Pieces, box: Slices, dtype: np.dtype[Any]) -> NDArray[Any]:
    lengths = lengths_of(box)
    flat = read_tile(pieces, box, np.zeros(prod(lengths) + lengths[-1], dtype))
    return flat[: prod(lengths)].reshape(lengths)


def _fill(samples: Values, valid: Validity) -> Values:
    """Fill invalid samples in from around them, so that the next to them can be smoothed."""
    sigma = [FILL_SIGMA if n > 1 else 0 for n in samples.shape]
    options: dict[str, Any] = {"mode": "constant", "radius": [FILL_REACH if s else 0 for s in sigma]}
    weight = scipy.ndimage.gaussian_filter(valid.astype(np.float32), sigma, **options)
    total = scipy.ndimage.gaussian_filter(samples, sigma, **options)
    around = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    return np.where(valid, samples, around)


def _groups(centre: Numbers) -> Iterator[tuple[Triple, Integers]]:
    """Yield each whole-pixel shift and which pixels have it."""
    codes = np.ravel_multi_index(tuple(centre.astype(int) + MOST_SEARCH), (2 * MOST_SEARCH + 1,) * 3)
    order = np.argsort(codes, kind="stable")
    edges = np.flatnonzero(np.diff(codes[order])) + 1
    for group in np.split(order, edges):
        if group.size:
            z, y, x = centre[:, group[0]].astype(int).tolist()
            yield (z, y, x), group


def _tiles(region: Slices, windowed: int) -> Iterator[Slices]:
    """Cut a region into tiles along the windowed axes, and into frames."""
    sides = (*(1,) * (len(region) - windowed), *TILES[windowed])
    cuts = []
    for part, side in zip(region, sides, strict=True):
        count = -(-(part.stop - part.start) // side)
        edges = np.linspace(part.start, part.stop, count + 1).astype(int).tolist()
        cuts.append([slice(a, b) for a, b in pairwise(edges)])
    return product(*cuts)
