"""The maxima of the NCC of the smoothed windows of a tile, from sums over the windows."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.shift.subpixel.maximum_kernel import find_maxima
from napari_local_ncc.shift.subpixel.series import USED
from napari_local_ncc.shift.subpixel.series_kernel import interleave
from napari_local_ncc.shift.window_sums_kernel import sum_products, sum_products_at, sums_room

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.rows import Triple
    from napari_local_ncc.shift.subpixel.room import Room
    from napari_local_ncc.shift.subpixel.smooth_pair import SmoothPair

    Values = NDArray[np.float32]
    Numbers = NDArray[np.float64]
    Integers = NDArray[np.intp]
    Sums = tuple[Numbers, Numbers, Numbers, Numbers, Numbers, Numbers]  # see `find_maxima`
    Places = tuple[Integers, Integers, Integers]

CELL = USED  # px from a whole pixel beyond which the series about the next one is used
ROUNDS = 3  # of changing to the next one
MOST = 1.0  # px from the best whole-pixel shift
DENSE = 4  # samples of a window that one sum takes as long as, where all windows are summed
LINE = 8  # numbers that are multiplied at once


def climb(
    pair: SmoothPair,
    room: Room,
    tile: tuple[int, ...],
    pixels: Integers,
    start: Numbers,
    best: Numbers,
    *,
    with_top: bool,
) -> tuple[Numbers, Numbers]:
    """Return the shifts, shape (3, pixels), of the maxima next to some; and what is there.

    Parameters
    ----------
    pair : SmoothPair
        The smoothed images.
    room : Room
        Where sums are held.
    tile : tuple of int
        Lengths along z, y, x.
    pixels : array of int, shape (pixels,)
        Which of the tile, counted in C order.
    start, best : array of float64, shape (3, pixels)
        Where to begin, and the best whole-pixel shift.
    with_top : bool
        Whether it is wanted what is there.

    Returns
    -------
    shift : array of float64, shape (3, pixels)
        NaN where there is no maximum nearby.
    at_top : array of float64, shape (9, pixels), or (9, 0)
        See `find_maxima`.
    """
    whole = np.rint(start).astype(np.intp)
    offset = start - whole
    at_top = np.empty((9, pixels.size * with_top))
    sums = WindowSums(pair, room, tile, whole)
    left = np.arange(pixels.size)
    for _ in range(ROUNDS):
        sums.climb(pixels, whole, left, offset, at_top)
        # Few are: the others are not looked at again.
        left = left[np.any(np.abs(offset[:, left]) > CELL, axis=0)]
        step = np.rint(offset[:, left]).astype(np.intp)
        held = sums.hold(whole[:, left] + step)
        left, step = left[held], step[:, held]
        if not left.size:
            break
        whole[:, left] += step
        offset[:, left] -= step
    shift = whole + offset
    furthest = np.array(pair.window.search)[:, np.newaxis]
    lost = (np.abs(shift - best) > MOST) | (np.abs(shift) > furthest) | (np.abs(offset) > MOST)
    shift[:, lost.any(axis=0)] = np.nan
    return shift, at_top


class WindowSums:
    """The sums over the windows of a tile that the series of covariance and variance are of.

    Many pixels with one whole-pixel shift are treated together, by sums over all windows of
    the rows where they are; the others one by one.
    """

    def __init__(
        self, pair: SmoothPair, room: Room, tile: tuple[int, ...], whole: Integers
    ) -> None:
        self.pair, self.room, self.tile = pair, room, tile
        self.together: dict[int, Values] = {}  # terms of a sample beside each other
        reach = np.array(pair.reach)
        self.lowest, self.highest = -reach, reach  # whole-pixel shifts that sums are held of
        if not pair.is_clean:
            return
        # What the windows hold of moving is the same whatever the fixed image has there.
        self.lowest = np.maximum(whole.min(axis=1) - 1, -reach)
        self.highest = np.minimum(whole.max(axis=1) + 1, reach)
        self.lengths: tuple[int, ...] = tuple(
            (np.array(tile) + self.highest - self.lowest).tolist()
        )
        at = tuple((self.lowest + reach).tolist())
        # No sample is missing: what windows weigh, and hold of fixed, is so at all shifts.
        ones = np.ones((1, *map(max, pair.fixed.shape, pair.terms.shape[1:])), np.float32)
        start = (0, 0, 0)
        self.means = self._dense("means", ones[0], at, pair.terms, at, self.lengths)
        self.squares = self._dense("squares", ones[0], at, pair.squares, at, self.lengths)
        self.mean = self._dense("mean", pair.fixed, start, ones, start, tile)[0]
        self.square = self._dense("square", pair.fixed_square, start, ones, start, tile)[0]
        self.weight = np.full(prod(tile), prod(taps.sum() for taps in pair.window.taps))

    def hold(self, whole: Integers) -> NDArray[np.bool_]:
        """Whether there are sums of whole-pixel shifts, shape (3, pixels)."""
        lowest, highest = self.lowest[:, np.newaxis], self.highest[:, np.newaxis]
        return np.all((lowest <= whole) & (whole <= highest), axis=0)

    def climb(
        self, pixels: Integers, whole: Integers, left: Integers, offset: Numbers, at_top: Numbers
    ) -> None:
        """Climb, in place, from offsets to whole-pixel shifts, those of the pixels left."""
        reach = np.array(self.pair.reach)[:, np.newaxis]
        span = tuple((2 * reach[:, 0] + 1).tolist())
        codes = np.ravel_multi_index(tuple(whole[:, left] + reach), span)
        small = codes.astype(np.min_scalar_type(prod(span)))  # is sorted faster
        order, counts = left[np.argsort(small, kind="stable")], np.bincount(codes)
        ends = np.cumsum(counts)
        first = self._first_axis()
        row = prod(self.tile[first + 1 :])
        apart = []
        for kind in np.flatnonzero(counts).tolist():
            group = order[ends[kind] - counts[kind] : ends[kind]]
            # The pixels of a group are in order.
            low, high = pixels[group[0]] // row, pixels[group[-1]] // row + 1
            if group.size * self.pair.window.samples < DENSE * (high - low) * row:
                apart.append(group)
                continue
            start, lengths = [0, 0, 0], list(self.tile)
            start[first], lengths[first] = int(low), int(high - low)
            box = (start[0], start[1], start[2]), (lengths[0], lengths[1], lengths[2])
            sums, places = self._sums_together(pixels[group], whole[:, group[0]], *box)
            self._find(sums, places, group, offset, at_top)
        if apart:
            rest = np.concatenate(apart)
            sums, places = self._sums_apart(pixels[rest], whole[:, rest])
            self._find(sums, places, rest, offset, at_top)

    def _first_axis(self) -> int:
        return next((axis for axis in range(3) if self.tile[axis] > 1), 2)

    def _find(
        self, sums: Sums, places: Places, group: Integers, offset: Numbers, at_top: Numbers
    ) -> None:
        series = self.pair.window.series
        tables = series.powers, series.crossed, series.steps
        find_maxima(*sums, np.stack([*places, group]), *tables, offset, at_top)

    def _places(self, at: Integers, pixels: Integers, whole: Integers) -> Places:
        """Return where pixels of a clean tile are in cross, in fixed's sums and in moving's."""
        moved = np.unravel_index(pixels, self.tile) + whole - self.lowest[:, np.newaxis]
        return at, pixels, np.ravel_multi_index(tuple(moved), self.lengths)

    def _sums_together(
        self, pixels: Integers, whole: Integers, low: Triple, lengths: Triple
    ) -> tuple[Sums, Places]:
        pair = self.pair
        there = tuple((whole + np.array(pair.reach) + low).tolist())
        at = pixels - np.ravel_multi_index(low, self.tile)
        cross = self._dense("cross", pair.fixed, low, pair.terms, there, lengths)
        if pair.is_clean:
            sums = (cross, self.means, self.squares, self.weight, self.mean, self.square)
            return sums, self._places(at, pixels, whole[:, np.newaxis])
        in_fixed, in_moving = pair.known[0], pair.known[1][np.newaxis]
        sums = (
            cross,
            self._dense("means", in_fixed, low, pair.terms, there, lengths),
            self._dense("squares", in_fixed, low, pair.squares, there, lengths),
            self._dense("weight", in_fixed, low, in_moving, there, lengths)[0],
            self._dense("mean", pair.fixed, low, in_moving, there, lengths)[0],
            self._dense("square", pair.fixed_square, low, in_moving, there, lengths)[0],
        )
        return sums, (at, at, at)

    def _sums_apart(self, pixels: Integers, whole: Integers) -> tuple[Sums, Places]:
        pair = self.pair
        at = np.arange(pixels.size)
        start = np.array(np.unravel_index(pixels, self.tile))
        moved = start + whole + np.array(pair.reach)[:, np.newaxis]
        starts = np.ascontiguousarray(start.T), np.ascontiguousarray(moved.T)
        cross = self._sparse(pair.fixed, pair.terms, *starts)
        if pair.is_clean:
            sums = (cross, self.means, self.squares, self.weight, self.mean, self.square)
            return sums, self._places(at, pixels, whole)
        in_fixed, in_moving = pair.known
        sums = (
            cross,
            self._sparse(in_fixed, pair.terms, *starts),
            self._sparse(in_fixed, pair.squares, *starts),
            self._sparse(in_fixed, in_moving, *starts)[0],
            self._sparse(pair.fixed, in_moving, *starts)[0],
            self._sparse(pair.fixed_square, in_moving, *starts)[0],
        )
        return sums, (at, at, at)

    def _dense(
        self,
        name: str,
        factor: Values,
        at: Triple,
        terms: Values,
        there: Triple,
        lengths: tuple[int, ...],
    ) -> Numbers:
        window = self.pair.window
        out = self.room.take(name, (len(terms), *lengths))
        work = self.room.take("work", (sums_room(lengths, window.taps),))
        sum_products(factor, at, terms, there, lengths, window.taps, window.box, work, out)
        return out.reshape(len(terms), -1)

    def _sparse(self, factor: Values, terms: Values, at: Integers, there: Integers) -> Numbers:
        flat = terms.reshape(-1, prod(terms.shape[-3:]))
        key = id(terms)  # of arrays that the pair holds
        if key not in self.together:
            beside = np.zeros((flat.shape[1], -(-len(flat) // LINE) * LINE), np.float32)
            interleave(flat, beside)
            self.together[key] = beside.reshape(*terms.shape[-3:], -1)
        out = np.empty((len(flat), len(at)))
        sum_products_at(factor, at, self.together[key], there, self.pair.window.taps, out)
        return out
