"""A map in tables: one row per frame of a series, or per label of a segmentation."""

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_local_ncc.chunked.tiles import compute_tiles
from napari_local_ncc.geometry.grid import axis_name
from napari_local_ncc.image.spatial_image import map_chunks
from napari_local_ncc.io.writing import check_free
from napari_local_ncc.progress import Progress, Step, stepwise
from napari_local_ncc.reports.grouped_histogram import GroupTally
from napari_local_ncc.transforms.resampling import labels_on

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.maps.pipeline import ConfidenceMap

Table = dict[str, list[Any]]

THRESHOLD = 0.5
DISTRIBUTION = ("median_ncc", "lower_ncc", "upper_ncc", "defined", "above")


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


@stepwise
def label_table(
    result: ConfidenceMap, labels: SpatialImage, *, threshold: float = THRESHOLD
) -> Generator[Progress, None, Table]:
    """Summarise a map in each region of a segmentation.

    `iter_label_table` does the same tile by tile: it yields `Progress`, and closing it cancels.

    Parameters
    ----------
    result : ConfidenceMap
        The map, with any bands.
    labels : SpatialImage
        Whole numbers, 0 for no region, on any grid that pairs with the map's; a label
        of several frames is one region.
    threshold : float, default 0.5
        For the share of the defined pixels whose ncc reaches it.

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
        If they cannot be brought onto the map's grid, or the map has no band "ncc".
    """
    if "ncc" not in result.band_names:
        raise ValueError(f"a table needs the band ncc, but the map has {result.band_names}")
    chunks = map_chunks(result.grid)
    regions = labels_on(labels, result.grid).rechunk(chunks)
    # One array, so that all bands of a tile and its labels come together; float64 holds both.
    stack = da.concatenate([regions[np.newaxis].astype(np.float64), result.bands])
    tallies = {band: GroupTally() for band in result.band_names}
    for tile in compute_tiles(stack.rechunk((len(stack), *chunks))):
        inside = tile.data[0] > 0
        for band, values in zip(result.band_names, tile.data[1:], strict=True):
            tallies[band].add(tile.data[0][inside], values[inside])
        yield Progress(Step.TABULATE, tile.done, tile.total)
    ncc = tallies.pop("ncc")
    table: Table = {"index": ncc.groups.tolist(), "pixels": ncc.pixels.tolist()}
    table |= _distribution(ncc, threshold)
    medians = {f"median_{band}": tally.quantile(0.5).tolist() for band, tally in tallies.items()}
    return table | medians


iter_label_table = label_table.steps


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
