"""Points as CSV: a column for every axis, other columns kept as they are."""

from __future__ import annotations

import csv
import io
import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from napari_local_ncc.files.whole import write_text
from napari_local_ncc.image.read_guard import ReadError, check_file, guard_reading

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray


FORMULA = ("=", "+", "-", "@")
UNSEEN = "CMZ"  # categories of Unicode: controls and formats, marks, spaces


@dataclass(frozen=True, slots=True, eq=False)
class PointTable:
    """A table with the coordinates of a point in every row.

    Parameters
    ----------
    header : list of str
        Names of the columns.
    rows : list of list of str
        All cells as text.
    columns : tuple of int
        The column of every axis.
    """

    header: list[str]
    rows: list[list[str]]
    columns: tuple[int, ...]

    @property
    def coordinates(self) -> NDArray[np.float64]:
        """The points, shape (rows, axes)."""
        values = [[float(row[k]) for k in self.columns] for row in self.rows]
        return np.array(values, np.float64).reshape(-1, len(self.columns))

    def with_coordinates(self, points: ArrayLike) -> Self:
        """Return the same table with other points."""
        rows = [list(row) for row in self.rows]
        for row, point in zip(rows, np.asarray(points, np.float64).tolist(), strict=True):
            for k, value in zip(self.columns, point, strict=True):
                row[k] = repr(value)
        return replace(self, rows=rows)


def read_points(path: str | PathLike[str], axis_labels: Sequence[str]) -> PointTable:
    """Read points from a CSV file.

    Parameters
    ----------
    path : path_like
        The file. Its first row names the columns: the axes by their labels ("y", "x"), or
        "axis-0", "axis-1", ... as napari's; others are kept as they are.
    axis_labels : sequence of str
        Of the axes that a point has, in order.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a column is missing, or a cell is no number.
    """
    with guard_reading(path), check_file(path).open(newline="", encoding="utf-8-sig") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    names = [name.strip().lower() for name in header]
    wanted = (
        [label.lower() for label in axis_labels],
        [f"axis-{k}" for k in range(len(axis_labels))],
    )
    known = [choice for choice in wanted if set(choice) <= set(names)]
    if not known:
        raise ReadError(
            f"{path} has the columns {', '.join(header) or 'none'}, but a point needs "
            f"{', '.join(wanted[0])} or {', '.join(wanted[1])}; name them in the first row"
        )
    if f"axis-{len(axis_labels)}" in names:
        raise ReadError(
            f"{path} holds points of more axes than {', '.join(axis_labels)}; take out the "
            "columns that are none of these, and number the rest axis-0, axis-1"
        )
    table = PointTable(
        header, [row for row in rows if row], tuple(names.index(name) for name in known[0])
    )
    try:
        finite = np.isfinite(table.coordinates).all()
    except (ValueError, IndexError) as error:
        raise ReadError(f"{path}: a coordinate is no number ({error})") from error
    if not finite:
        raise ReadError(f"{path}: a coordinate is not finite")
    return table


def cell_text(cell: str) -> str:
    """Return the text of a cell such that a spreadsheet does not take it for a formula.

    A text that is no number gets an apostrophe where the first character that is seen is ``=``,
    ``+``, ``-`` or ``@``, of full width too (owasp.org/www-community/attacks/CSV_Injection).
    """
    seen = (
        c for c in unicodedata.normalize("NFKC", cell) if unicodedata.category(c)[0] not in UNSEEN
    )
    if next(seen, "") not in FORMULA:
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def write_points(table: PointTable, path: str | PathLike[str], *, overwrite: bool = True) -> None:
    """Write points to a CSV file, complete or not at all; `overwrite` as of `write_csv`."""
    text = io.StringIO(newline="")
    rows = [table.header, *table.rows]
    csv.writer(text).writerows([cell_text(cell) for cell in row] for row in rows)
    write_text(path, text.getvalue(), newline="", overwrite=overwrite)
