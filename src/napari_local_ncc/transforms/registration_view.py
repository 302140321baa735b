"""How a registration shows itself: one line of text, or a small table in a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Protocol

import dask.array as da
import numpy as np

from napari_local_ncc.geometry.affine import apply_affine
from napari_local_ncc.geometry.grid import axis_name
from napari_local_ncc.geometry.units import unit_symbol
from napari_local_ncc.image.thumbnail import describe_grid, html_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.transforms.report import FrameReport

MOST_ROWS = 12  # frames that are shown


class Shown(Protocol):
    """What of a `Registration` is shown."""

    @property
    def model(self) -> str:
        """What found it."""
        ...

    @property
    def grid(self) -> Grid:
        """The fixed image's grid."""
        ...

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Of every frame."""
        ...

    @property
    def ncc_before(self) -> NDArray[np.float64]:
        """Of every frame."""
        ...

    @property
    def ncc_after(self) -> NDArray[np.float64]:
        """Of every frame."""
        ...

    @property
    def overlap(self) -> NDArray[np.float64]:
        """Of every frame."""
        ...

    @property
    def displacement(self) -> NDArray[np.float32] | None:
        """Of a flow."""
        ...

    @property
    def reports(self) -> tuple[FrameReport, ...]:
        """Of every frame, or none."""
        ...


def describe_in_line(registration: Shown) -> str:
    """Say in one line what a registration is: its model, its grid, what it gained."""
    before, after = (
        float(np.mean(values)) for values in (registration.ncc_before, registration.ncc_after)
    )
    gained = f"; global NCC {before:.3f} before, {after:.3f} after" if np.isfinite(after) else ""
    return f"Registration({registration.model!r}: {describe_grid(registration.grid)}{gained})"


def table_of(registration: Shown) -> dict[str, list[str]]:
    """Return what is known of every frame, by column, as texts; "-" where nothing is."""
    rows = list(_rows(registration))
    return {name: [row[name] for row in rows] for name in rows[0]}


def _rows(registration: Shown) -> Iterator[dict[str, str]]:
    grid = registration.grid.space()
    centre = grid.corners().mean(axis=0)
    series = registration.grid.series_shape
    for number, index in enumerate(np.ndindex(series)):
        shift = apply_affine(registration.matrix[index], centre) - centre
        row = {"frame": " ".join(map(str, index))} if series else {}
        for label, unit, length in zip(grid.axis_labels, grid.units, shift, strict=True):
            row[f"shift {axis_name(label)} ({unit_symbol(unit)})"] = f"{length:.4g}"
        row["NCC before"] = _number(registration.ncc_before[index])
        row["NCC after"] = _number(registration.ncc_after[index])
        row["overlap"] = _number(registration.overlap[index])
        if registration.reports:
            report = registration.reports[number]
            row["significance"] = _number(report.significance)
            row["error, 68 % (px)"] = _number(report.error_px)
            row["applied"] = "yes" if report.applied else "no"
            row["note"] = report.note or "-"
        yield row


def _number(value: Any) -> str:
    return f"{float(value):.3g}" if np.isfinite(value) else "-"


def html_of_registration(registration: Shown) -> str:
    """Return the line, a table of the frames, and for a flow how far it moves pixels."""
    columns = table_of(registration)
    count = len(next(iter(columns.values())))
    lines = ["<tr>" + "".join(f"<th>{escape(name)}</th>" for name in columns) + "</tr>"]
    lines += [
        "<tr>" + "".join(f"<td>{escape(cells[k])}</td>" for cells in columns.values()) + "</tr>"
        for k in range(min(count, MOST_ROWS))
    ]
    more = f"<br>and {count - MOST_ROWS} more frames" if count > MOST_ROWS else ""
    table = f"<table>{''.join(lines)}</table>{more}"
    if registration.displacement is None:
        return f"<div>{escape(describe_in_line(registration))}</div>{table}"
    text = f"{describe_in_line(registration)}; how far it moves pixels"
    return html_of(text, _lengths(registration.displacement, registration.grid)) + table


def _lengths(displacement: NDArray[np.float32], grid: Grid) -> da.Array:
    """Return how far each pixel of the middle frame moves, in world units."""
    field = displacement[tuple(n // 2 for n in grid.series_shape)]
    return da.sqrt((da.from_array(field, name=False) ** 2).sum(axis=0))
