"""A map in tables: one row per frame of a series, or per label of a segmentation."""

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_local_ncc.execution import compute_tiles
from napari_local_ncc.geometry import axis_name
from napari_local_ncc.image import map_chunks
from napari_local_ncc.io import check_free
from napari_local_ncc.resampling import labels_on

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_local_ncc.execution import Tile
    from napari_local_ncc.geometry import Grid
    from napari_local_ncc.image import SpatialImage
    from napari_local_ncc.pipeline import ConfidenceMap

Table = dict[str, list[Any]]

STEP = 1e-4  # to which values are counted
THRESHOLD = 0.5
DISTRIBUTION = ("median_ncc", "lower_ncc", "upper_ncc", "defined", "above")
_HALF = 2**31
_SPAN = 2**32  # of the counted values of one group


class GroupTally:
    """Counts values group by group; memory grows with the groups, not with the pixels."""

    def __init__(self) -> None:
        self._pixels = _Counts()
        self._values = _Counts()

    def add(self, groups: NDArray[Any], values: NDArray[Any]) -> None:
        """Count values of any shape; NaN counts as undefined.

        Parameters
        ----------
        groups : ndarray of int
            The group of each value.
        values : ndarray of float
            The values, of magnitude below 2e5.
        """
        groups = np.broadcast_to(groups, values.shape).astype(np.int64).ravel()
        values = values.ravel()
        self._pixels.add(groups)
        known = np.isfinite(values)
        steps = np.rint(values[known].astype(np.float64) / STEP).astype(np.int64)
        self._values.add(groups[known] * _SPAN + steps + _HALF)

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
        """Return a quantile of each group's defined values, to 1e-4; NaN where none is."""
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
        limit = self.groups * _SPAN + int(np.rint(threshold / STEP)) + _HALF
        reached = total[last] - total[np.searchsorted(self._values.keys, limit)]
        known = total[last] - total[first]
        shares = np.full(len(known), np.nan)
        np.divide(reached, known, where=known > 0, out=shares)
        return shares

    def together(self) -> GroupTally:
        """Return the tally of all groups as one, numbered 0."""
        all_in_one = GroupTally()
        all_in_one._pixels.merge(np.zeros(1, np.int64), self._pixels.counts.sum(keepdims=True))
        keys, place = np.unique(self._values.keys % _SPAN, return_inverse=True)
        counts = np.bincount(place, self._values.counts, len(keys)).astype(np.int64)
        all_in_one._values.merge(keys, counts)
        return all_in_one

    def histogram(self, edges: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how many values of all groups lie between neighbouring `edges`."""
        values = (self._values.keys % _SPAN - _HALF) * STEP
        counts, _ = np.histogram(values, edges, weights=self._values.counts)
        return np.asarray(counts, np.float64)

    def _bounds(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return where the counted values of each group begin and end."""
        keys, starts = self._values.keys, self.groups * _SPAN
        return np.searchsorted(keys, starts), np.searchsorted(keys, starts + _SPAN)

    def _value_at(self, place: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.asarray((self._values.keys[place] % _SPAN - _HALF) * STEP, np.float64)


class _Counts:
    """How often each of some whole numbers was met."""

    def __init__(self) -> None:
        self._keys = np.empty(0, np.int64)
        self._counts = np.empty(0, np.int64)
        self._waiting: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    def add(self, numbers: NDArray[np.int64]) -> None:
        self.merge(*_counted(numbers))

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


def _counted(numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers that occur, in rising order, and how often; without sorting if close."""
    low = int(numbers.min(initial=0))
    span = int(numbers.max(initial=0)) - low
    if span > numbers.size + 10 / STEP:
        return np.unique(numbers, return_counts=True)
    counts = np.bincount(numbers - low)
    keys = np.flatnonzero(counts)
    return keys + low, counts[keys]


def tally_frames(
    tally: GroupTally, location: tuple[slice, ...], values: NDArray[Any], grid: Grid
) -> None:
    """Count a tile of one band frame by frame.

    Parameters
    ----------
    tally : GroupTally
        Where to count; the groups are the frames, in the order of the map's axes.
    location : tuple of slice
        Where the tile lies on `grid`.
    values : ndarray
        Its values.
    grid : Grid
        The map's grid.
    """
    frames = np.arange(math.prod(grid.series_shape)).reshape(grid.series_shape)
    groups = frames[location[: frames.ndim]]
    tally.add(groups.reshape(groups.shape + (1,) * grid.spatial_ndim), values)


def frame_lines(table: Table) -> list[str]:
    """Say what `frame_table` found, a line for each frame."""
    labels = list(table)[: -len(DISTRIBUTION)]
    above = list(table)[-1]
    lines = []
    for row in range(len(table["median_ncc"])):
        frame = " ".join(f"{axis_name(label)}={table[label][row]}" for label in labels)
        if not table["defined"][row]:
            lines.append(f"{frame} no pixel is defined")
            continue
        lower, median, upper, share = (
            table[name][row] for name in ("lower_ncc", "median_ncc", "upper_ncc", above)
        )
        lines.append(
            f"{frame} median {median:.3f}, quartiles {lower:.3f} to {upper:.3f}, "
            f"{table['defined'][row]:.1%} of pixels defined, "
            f"{share:.1%} of these at or above {above.removeprefix('above_')}"
        )
    return lines


def frame_table(tally: GroupTally, grid: Grid, threshold: float = THRESHOLD) -> Table:
    """Make the table of a series: one row per frame, one row in all for a single frame.

    Parameters
    ----------
    tally : GroupTally
        The map's values by frame; see `tally_frames`.
    grid : Grid
        The map's grid.
    threshold : float, default 0.5
        For the share of the defined pixels that reach it.

    Returns
    -------
    dict of str to list
        One column per independent axis (indices, from 0), and `median_ncc`, `lower_ncc`,
        `upper_ncc` (quartiles), `defined` (share of the pixels) and `above_<threshold>`
        (share of the defined pixels).
    """
    series = len(grid.series_shape)
    index = np.unravel_index(tally.groups, grid.series_shape) if series else ()
    columns = {
        label: places.tolist() for label, places in zip(grid.axis_labels, index, strict=False)
    }
    return columns | _distribution(tally, threshold)


def _distribution(tally: GroupTally, threshold: float) -> Table:
    *names, above = DISTRIBUTION
    columns = [tally.quantile(0.5), tally.quantile(0.25), tally.quantile(0.75), tally.defined]
    columns.append(tally.share_above(threshold))
    names.append(f"{above}_{threshold:g}")
    return {name: column.tolist() for name, column in zip(names, columns, strict=True)}


def label_table(
    result: ConfidenceMap, labels: SpatialImage, *, threshold: float = THRESHOLD
) -> Table:
    """Summarise a map in each region of a segmentation; see `iter_label_table`."""
    steps = iter_label_table(result, labels, threshold=threshold)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            table: Table = end.value
            return table


def iter_label_table(
    result: ConfidenceMap, labels: SpatialImage, *, threshold: float = THRESHOLD
) -> Generator[Tile, None, Table]:
    """Summarise a map in each region of a segmentation, tile by tile.

    Parameters
    ----------
    result : ConfidenceMap
        The map, with any bands.
    labels : SpatialImage
        Whole numbers, 0 for no region, on any grid that pairs with the map's; a label
        of several frames is one region.
    threshold : float, default 0.5
        For the share of the defined pixels whose ncc reaches it.

    Yields
    ------
    Tile
        What is done. Closing the generator cancels.

    Returns
    -------
    dict of str to list
        One row per label: `index` (the label, as napari's `features` name it), `pixels`,
        `median_ncc`, `lower_ncc`, `upper_ncc`, `defined` (valid share), `above_<threshold>`
        and `median_<band>` for the other bands. NaN where nothing is defined.

    Raises
    ------
    TypeError
        If the labels are no whole numbers.
    ValueError
        If they cannot be brought onto the map's grid.
    """
    chunks = map_chunks(result.grid)
    regions = labels_on(labels, result.grid).rechunk(chunks)
    # One array, so that all bands of a tile and its labels come together; float64 holds both.
    stack = da.concatenate([regions[np.newaxis].astype(np.float64), result.bands])
    tallies = {band: GroupTally() for band in result.band_names}
    for tile in compute_tiles(stack.rechunk((len(stack), *chunks))):
        inside = tile.data[0] > 0
        for band, values in zip(result.band_names, tile.data[1:], strict=True):
            tallies[band].add(tile.data[0][inside], values[inside])
        yield tile
    ncc = tallies.pop("ncc")
    table: Table = {"index": ncc.groups.tolist(), "pixels": ncc.pixels.tolist()}
    table |= _distribution(ncc, threshold)
    medians = {f"median_{band}": tally.quantile(0.5).tolist() for band, tally in tallies.items()}
    return table | medians


def check_table(path: Path, overwrite: bool, inputs: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Fail before the work, not after it, where a table cannot be written.

    Raises
    ------
    ValueError
        If the name does not end in .csv, or the file is one of the `inputs`.
    OSError
        If the file exists and must not be replaced, or its folder does not.
    """
    if path.suffix.lower() != ".csv":
        raise ValueError(f"{path} must end in .csv")
    check_free(path, overwrite, inputs)


def write_csv(table: Mapping[str, list[Any]], path: str | os.PathLike[str]) -> None:
    """Write a table as CSV: a row of column names, then the rows; undefined values are empty."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        for row in zip(*table.values(), strict=True):
            writer.writerow(["" if value != value else _number(value) for value in row])


def _number(value: Any) -> Any:
    """Return a number as it is written: to a millionth, below the counting step."""
    return f"{value:.6g}" if isinstance(value, float) else value
