"""Counts of values in groups: their quantiles and shares, gathered tile by tile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid

STEP = 1e-4  # to which values are counted
DROPPED = 10  # bits of a float32 that are not counted, where values may be of any magnitude
LARGEST = int(np.finfo(np.float32).max.view(np.int32)) >> DROPPED
HALF = 2**31
SPAN = 2**32  # of the counted values of one group


class GroupTally:
    """Counts values group by group; memory grows with the groups, not with the pixels.

    Parameters
    ----------
    relative : bool, default False
        Whether values are of any magnitude, and counted to 1e-4 of themselves; else they are
        counted to 1e-4, and of magnitude below 2e5.
    """

    def __init__(self, *, relative: bool = False) -> None:
        self._relative = relative
        self._pixels = _Counts()
        self._values = _Counts()

    def add(self, groups: NDArray[Any], values: NDArray[Any]) -> None:
        """Count values of any shape; NaN counts as undefined.

        Parameters
        ----------
        groups : ndarray of int
            The group of each value.
        values : ndarray of float
            The values.

        Raises
        ------
        ValueError
            If a group's number does not fit 32 bits.
        """
        groups = np.broadcast_to(groups, values.shape).astype(np.int64).ravel()
        if groups.size and max(groups.max(), -groups.min()) >= HALF:
            raise ValueError(f"labels must lie below {HALF}, got {groups.max()}; relabel them")
        values = values.ravel()
        self._pixels.add(groups)
        known = np.isfinite(values)
        self._values.add(groups[known] * SPAN + self._steps(values[known]) + HALF)

    def merge(self, other: GroupTally) -> None:
        """Count what another tally has counted."""
        self._pixels.merge(other._pixels.keys, other._pixels.counts)
        self._values.merge(other._values.keys, other._values.counts)

    def add_frames(self, location: tuple[slice, ...], values: NDArray[Any], grid: Grid) -> None:
        """Count a tile of one band frame by frame.

        Parameters
        ----------
        location : tuple of slice
            Where the tile lies on `grid`.
        values : ndarray
            Its values.
        grid : Grid
            The map's grid; the groups are its frames, in the order of its axes.
        """
        frames = np.arange(math.prod(grid.series_shape)).reshape(grid.series_shape)
        groups = frames[location[: frames.ndim]]
        self.add(groups.reshape(groups.shape + (1,) * grid.spatial_ndim), values)

    @property
    def groups(self) -> NDArray[np.int64]:
        """The groups met so far, in rising order."""
        return self._pixels.keys

    @property
    def pixels(self) -> NDArray[np.int64]:
        """Number of pixels of each group."""
        return self._pixels.counts

    @property
    def defined(self) -> NDArray[np.float64]:
        """Share of each group's pixels that are defined."""
        first, last = self._bounds()
        total = np.concatenate([[0], np.cumsum(self._values.counts)])
        return np.asarray((total[last] - total[first]) / self.pixels, np.float64)

    def quantile(self, share: float) -> NDArray[np.float64]:
        """Return a quantile of each group's defined values, as counted; NaN where none is."""
        first, last = self._bounds()
        total = np.concatenate([[0], np.cumsum(self._values.counts)])
        wanted = total[first] + share * (total[last] - total[first])
        place = np.searchsorted(total[1:], wanted, side="left")
        some = last > first
        result = np.full(len(first), np.nan)
        result[some] = self._value_at(place[some])
        return result

    def share_above(self, threshold: float) -> NDArray[np.float64]:
        """Return the share of each group's defined values that reach a threshold; or NaN."""
        first, last = self._bounds()
        total = np.concatenate([[0], np.cumsum(self._values.counts)])
        limit = self.groups * SPAN + self._steps(np.array([threshold])) + HALF
        reached = total[last] - total[np.searchsorted(self._values.keys, limit)]
        known = total[last] - total[first]
        shares = np.full(len(known), np.nan)
        np.divide(reached, known, where=known > 0, out=shares)
        return shares

    def together(self) -> GroupTally:
        """Return the tally of all groups as one, numbered 0."""
        all_in_one = GroupTally(relative=self._relative)
        all_in_one._pixels.merge(np.zeros(1, np.int64), self._pixels.counts.sum(keepdims=True))
        keys, place = np.unique(self._values.keys % SPAN, return_inverse=True)
        counts = np.bincount(place, self._values.counts, len(keys)).astype(np.int64)
        all_in_one._values.merge(keys, counts)
        return all_in_one

    def histogram(self, edges: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how many values of all groups lie between neighbouring `edges`."""
        values = self._value_at(slice(None))
        counts, _ = np.histogram(values, edges, weights=self._values.counts)
        return np.asarray(counts, np.float64)

    def _bounds(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return where the counted values of each group begin and end."""
        keys, starts = self._values.keys, self.groups * SPAN
        return np.searchsorted(keys, starts), np.searchsorted(keys, starts + SPAN)

    def _value_at(self, place: NDArray[np.intp] | slice) -> NDArray[np.float64]:
        steps = self._values.keys[place] % SPAN - HALF
        if not self._relative:
            return np.asarray(steps * STEP, np.float64)
        sizes = (np.abs(steps) << DROPPED).astype(np.int32).view(np.float32)
        return np.asarray(np.sign(steps) * sizes.astype(np.float64), np.float64)

    def _steps(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Return the numbers by which values are counted, which rise with them."""
        if not self._relative:
            return np.asarray(np.rint(values.astype(np.float64) / STEP), np.int64)
        # the bits of a float that is not negative rise with it, by an octave for each exponent
        bits = np.abs(values.astype(np.float32)).view(np.int32).astype(np.int64)
        sizes = np.minimum((bits + 2 ** (DROPPED - 1)) >> DROPPED, LARGEST)
        return np.asarray(np.where(values < 0, -sizes, sizes), np.int64)


class _Counts:
    """How often each of some whole numbers was met."""

    def __init__(self) -> None:
        self._keys = np.empty(0, np.int64)
        self._counts = np.empty(0, np.int64)
        self._waiting: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    def add(self, numbers: NDArray[np.int64]) -> None:
        self.merge(*_count(numbers))

    def merge(self, keys: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        self._waiting.append((keys, counts))
        # Merged only when they are as many as what is there: many frames cost no more each.
        if sum(len(keys) for keys, _ in self._waiting) > len(self._keys):
            self._settle()

    @property
    def keys(self) -> NDArray[np.int64]:
        """The numbers met so far, in rising order."""
        self._settle()
        return self._keys

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often each was met."""
        self._settle()
        return self._counts

    def _settle(self) -> None:
        if not self._waiting:
            return
        keys, counts = zip((self._keys, self._counts), *self._waiting, strict=True)
        self._waiting = []
        self._keys, place = np.unique(np.concatenate(keys), return_inverse=True)
        weights = np.concatenate(counts)
        self._counts = np.bincount(place, weights, len(self._keys)).astype(np.int64)


def _count(numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers that occur, in rising order, and how often; without sorting if close."""
    low = int(numbers.min(initial=0))
    span = int(numbers.max(initial=0)) - low
    if span > numbers.size + 10 / STEP:
        return np.unique(numbers, return_counts=True)
    counts = np.bincount(numbers - low)
    keys = np.flatnonzero(counts)
    return keys + low, counts[keys]
