"""A map in tables: one row per frame of a series, or per label of a segmentation."""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TextIO

import dask.array as da
import numpy as np

from napari_local_ncc.chunked.tiles import compute_tiles
from napari_local_ncc.files.whole import whole_file
from napari_local_ncc.geometry.grid import axis_name
from napari_local_ncc.geometry.units import percent
from napari_local_ncc.image.spatial_image import map_chunks
from napari_local_ncc.io.points import cell_text
from napari_local_ncc.maps.bands import FIT, shift_components
from napari_local_ncc.maps.grouped_histogram import GroupTally
from napari_local_ncc.progress import Progress, Step, stepwise
from napari_local_ncc.reports.data_frame import data_frame
from napari_local_ncc.shift.interpret import CLASSES
from napari_local_ncc.transforms.resampling import labels_on

if TYPE_CHECKING:
    import os
    from collections.abc import Generator

    import pandas
    from numpy.typing import ArrayLike

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.maps.pipeline import ConfidenceMap
    from napari_local_ncc.reports.vectors import VectorTable

THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Distribution:
    """The NCC of some pixels in numbers.

    Parameters
    ----------
    median, lower, upper : float
        Quartiles over the defined pixels, to 1e-4; NaN where there are none.
    defined : float
        Share of the pixels that are defined.
    above : float
        Share of the defined pixels that reach the table's threshold; NaN where none is.
    """

    median: float
    lower: float
    upper: float
    defined: float
    above: float


@dataclass(frozen=True, slots=True)
class FrameRow:
    """A frame of a series.

    Parameters
    ----------
    frame : tuple of int
        Its index along the independent axes, from 0.
    ncc : Distribution
        Of its pixels.
    """

    frame: tuple[int, ...]
    ncc: Distribution


@dataclass(frozen=True, slots=True)
class LabelRow:
    """A region of a segmentation.

    Parameters
    ----------
    label : int
        Its number.
    pixels : int
        How many it has.
    ncc : Distribution
        Of its pixels.
    medians : dict of str to float
        Of the other bands, by name; NaN where nothing is defined.
    shares : dict of str to float
        Share of the pixels in each class, where the map has the band "classes".
    defined_shift : float
        Share of the pixels that have a shift, of which its medians are; NaN without one.
    """

    label: int
    pixels: int
    ncc: Distribution
    medians: dict[str, float]
    shares: dict[str, float] = field(default_factory=dict)
    defined_shift: float = np.nan


@dataclass(frozen=True, slots=True)
class FrameTable:
    """A map frame by frame: one row per frame, one in all for a single frame.

    Parameters
    ----------
    axes : tuple of str
        Names of the independent axes.
    rows : tuple of FrameRow
        In the order of the map's axes.
    threshold : float
        For `Distribution.above`.
    """

    axes: tuple[str, ...]
    rows: tuple[FrameRow, ...]
    threshold: float = THRESHOLD

    def columns(self) -> dict[str, list[Any]]:
        """Return the table by column, as a file or napari holds it.

        Returns
        -------
        dict of str to list
            One column per independent axis (indices, from 0), and `median_ncc`, `lower_ncc`,
            `upper_ncc` (quartiles), `defined` (share of the pixels) and `above_<threshold>`
            (share of the defined pixels).
        """
        frames = {axis: [row.frame[k] for row in self.rows] for k, axis in enumerate(self.axes)}
        return frames | _columns([row.ncc for row in self.rows], self.threshold)

    def to_pandas(self) -> pandas.DataFrame:
        """Return the table as pandas holds it; ImportError where pandas is not installed."""
        return data_frame(self.columns())

    def lines(self) -> list[str]:
        """Say what the table holds, a line for each frame."""
        lines = []
        for row in self.rows:
            places = zip(self.axes, row.frame, strict=True)
            frame = " ".join(f"{axis_name(axis)}={k}" for axis, k in places)
            lines.append(f"{frame} {_text(row.ncc, self.threshold)}".lstrip())
        return lines


@dataclass(frozen=True, slots=True)
class LabelTable:
    """A map region by region of a segmentation.

    Parameters
    ----------
    bands : tuple of str
        The other bands of the map.
    rows : tuple of LabelRow
        In the order of the labels.
    threshold : float
        For `Distribution.above`.
    """

    bands: tuple[str, ...]
    rows: tuple[LabelRow, ...]
    threshold: float = THRESHOLD

    def columns(self) -> dict[str, list[Any]]:
        """Return the table by column, as a file or napari's `features` hold it.

        Returns
        -------
        dict of str to list
            `index` (the label), `pixels`, `median_ncc`, `lower_ncc`, `upper_ncc`, `defined`
            (share of the pixels), `above_<threshold>` (share of the defined pixels),
            `defined_shift` (share of the pixels that have a shift) where the map has one,
            `median_<band>` for the other bands, and `share_<class>` for the classes.
        """
        first = {
            "index": [row.label for row in self.rows],
            "pixels": [row.pixels for row in self.rows],
        }
        medians = {
            f"median_{band}": [row.medians[band] for row in self.rows] for band in self.bands
        }
        names = self.rows[0].shares if self.rows else {}
        shares = {
            f"share_{name.replace(' ', '_')}": [row.shares[name] for row in self.rows]
            for name in names
        }
        defined = [row.defined_shift for row in self.rows]
        shift = (
            {"defined_shift": defined}
            if shift_components({name: name for name in self.bands})
            else {}
        )
        ncc = _columns([row.ncc for row in self.rows], self.threshold)
        return first | ncc | shift | medians | shares

    def to_pandas(self) -> pandas.DataFrame:
        """Return the table as pandas holds it; ImportError where pandas is not installed."""
        return data_frame(self.columns())


def _columns(distributions: list[Distribution], threshold: float) -> dict[str, list[float]]:
    return {
        "median_ncc": [each.median for each in distributions],
        "lower_ncc": [each.lower for each in distributions],
        "upper_ncc": [each.upper for each in distributions],
        "defined": [each.defined for each in distributions],
        f"above_{threshold:g}": [each.above for each in distributions],
    }


def _text(ncc: Distribution, threshold: float) -> str:
    if not ncc.defined:
        return "no pixel is defined"
    return (
        f"median {ncc.median:.3f}, quartiles {ncc.lower:.3f} to {ncc.upper:.3f}, "
        f"{percent(ncc.defined, 1)} of pixels defined, {percent(ncc.above, 1)} of these at or "
        f"above {threshold:g}"
    )


def frame_table(tally: GroupTally, grid: Grid, threshold: float = THRESHOLD) -> FrameTable:
    """Make the table of a series from its values.

    Parameters
    ----------
    tally : GroupTally
        The map's values by frame; see `GroupTally.add_frames`.
    grid : Grid
        The map's grid.
    threshold : float, default 0.5
        For the share of the defined pixels that reach it.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import Comparison, SpatialImage
    >>> from napari_local_ncc.maps import run_comparison
    >>> from napari_local_ncc.progress import finish
    >>> from napari_local_ncc.reports import frame_table
    >>> series = np.random.default_rng(0).normal(size=(2, 40, 50))
    >>> image = SpatialImage.from_array(series).with_spatial_ndim(2)
    >>> result = finish(run_comparison(Comparison(image, image), by_frame=True))
    >>> table = frame_table(result.frames, image.grid)
    >>> [(row.frame, round(row.ncc.median, 2)) for row in table.rows]
    [((0,), 1.0), ((1,), 1.0)]
    """
    series = grid.series_shape
    rows = [
        FrameRow(tuple(int(k) for k in np.unravel_index(group, series)) if series else (), ncc)
        for group, ncc in zip(tally.groups, _distributions(tally, threshold), strict=True)
    ]
    return FrameTable(grid.axis_labels[: len(series)], tuple(rows), threshold)


def _distributions(tally: GroupTally, threshold: float) -> list[Distribution]:
    columns = [tally.quantile(share) for share in (0.5, 0.25, 0.75)]
    columns += [tally.defined, tally.share_above(threshold)]
    return [Distribution(*map(float, row)) for row in zip(*columns, strict=True)]


@stepwise
def label_table(
    result: ConfidenceMap, labels: ArrayLike | SpatialImage, *, threshold: float = THRESHOLD
) -> Generator[Progress, None, LabelTable]:
    """Summarise a map in each region of a segmentation.

    `iter_label_table` does the same tile by tile: it yields `Progress`, and closing it cancels.

    Parameters
    ----------
    result : ConfidenceMap
        The map, with any bands.
    labels : array_like or SpatialImage
        Whole numbers, 0 for no region, on any grid that pairs with the map's; a label
        of several frames is one region.
    threshold : float, default 0.5
        For the share of the defined pixels whose ncc reaches it.

    Returns
    -------
    LabelTable
        A row per label.

    Raises
    ------
    TypeError
        If the labels are no whole numbers.
    ValueError
        If they cannot be brought onto the map's grid, or the map has no band "ncc".

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> from napari_local_ncc import SpatialImage, confidence_map, label_table
    >>> fixed = rng.normal(size=(40, 50))
    >>> labels = np.zeros((40, 50), int)
    >>> labels[:20] = 7
    >>> table = label_table(confidence_map(fixed, fixed), SpatialImage.from_array(labels))
    >>> [(row.label, row.pixels, round(row.ncc.median, 2)) for row in table.rows]
    [(7, 1000, 1.0)]
    """
    if "ncc" not in result.band_names:
        raise ValueError(f"a table needs the band ncc, but the map has {result.band_names}")
    chunks = map_chunks(result.grid)
    regions = labels_on(labels, result.grid).rechunk(chunks)
    # One array, so that all bands of a tile and its labels come together; float64 holds both.
    stack = da.concatenate([regions[np.newaxis].astype(np.float64), result.bands])
    tallies = {band: GroupTally(relative=band in FIT) for band in result.band_names}
    for tile in compute_tiles(stack.rechunk((len(stack), *chunks))):
        inside = tile.data[0] > 0
        for band, values in zip(result.band_names, tile.data[1:], strict=True):
            tallies[band].add(tile.data[0][inside], values[inside])
        yield Progress(Step.TABULATE, tile.done, tile.total)
    ncc = tallies.pop("ncc")
    classes = tallies.pop("classes", None)
    shares = [{}] * len(ncc.groups) if classes is None else _class_shares(classes)
    medians = [tally.quantile(0.5).tolist() for tally in tallies.values()]
    shift = [tally.defined for tally in shift_components(tallies)]
    defined = shift[0] if shift else np.full(len(ncc.groups), np.nan)
    spreads = _distributions(ncc, threshold)
    rows = zip(ncc.groups, ncc.pixels, spreads, shares, defined, *medians, strict=True)
    return LabelTable(
        tuple(tallies),
        tuple(
            LabelRow(
                int(label),
                int(pixels),
                spread,
                dict(zip(tallies, row, strict=True)),
                share,
                float(known),
            )
            for label, pixels, spread, share, known, *row in rows
        ),
        threshold,
    )


iter_label_table = label_table.steps


def _class_shares(tally: GroupTally) -> list[dict[str, float]]:
    """Return the share of every class in each group, its codes being counted as numbers."""
    above = [tally.share_above(code) for code in range(len(CLASSES))]
    shares = [low - high for low, high in pairwise([*above, np.zeros_like(above[0])])]
    return [dict(zip(CLASSES, map(float, row), strict=True)) for row in zip(*shares, strict=True)]


def write_csv(
    table: FrameTable | LabelTable | VectorTable,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = True,
) -> None:
    """Write a table as CSV: a row of column names, then the rows; undefined values are empty.

    A path of "-" is standard output. Without `overwrite`, FileExistsError is raised where there is
    such a file by then.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import SpatialImage, confidence_map, label_table
    >>> from napari_local_ncc.reports import write_csv
    >>> scene = np.random.default_rng(0).normal(size=(20, 30))
    >>> labels = SpatialImage.from_array(np.ones((20, 30), int))
    >>> write_csv(label_table(confidence_map(scene, scene), labels), "-")
    index,pixels,median_ncc,lower_ncc,upper_ncc,defined,above_0.5
    1,600,1,1,1,1,1
    """
    if str(path) == "-":
        _write_rows(table.columns(), sys.stdout)
        return
    with (
        whole_file(path, overwrite=overwrite) as partial,
        open(partial, "w", newline="", encoding="utf-8") as file,
    ):
        _write_rows(table.columns(), file)


def _write_rows(columns: dict[str, list[Any]], file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n" if file is sys.stdout else "\r\n")
    writer.writerow([cell_text(name) for name in columns])
    for row in zip(*columns.values(), strict=True):
        writer.writerow(["" if value != value else _number(value) for value in row])


def _number(value: Any) -> Any:
    """Return a number as it is written: to a millionth, below the counting step."""
    return f"{value:.6g}" if isinstance(value, float) else value
