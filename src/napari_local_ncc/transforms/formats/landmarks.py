"""Landmark tables of BigWarp (Fiji): pairs of points that a person placed."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.transforms.formats.frame_by_points import frame_by_points

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.transforms.frame_transform import FrameTransform

    Points = NDArray[np.float64]


def read_landmark_fit(path: Path, space: Grid, model: str) -> FrameTransform:
    """Read a table, and return the transform of a model that fits its pairs; see `fit_points`."""
    fixed, moving = read_landmarks(path)
    return frame_by_points(fixed, moving, space, model)[0]


def read_landmarks(path: str | PathLike[str]) -> tuple[Points, Points]:
    """Read the active pairs of a landmark table of BigWarp (Fiji).

    Parameters
    ----------
    path : path_like
        A .csv file without a header; each row is a name, true or false (active), the point's
        x, y (and z) in moving, and in fixed ("target").

    Returns
    -------
    fixed, moving : ndarray of float64, shape (points, ndim)
        In NumPy's axis order, z before y before x.

    Raises
    ------
    ValueError
        If a row is not of that form.
    """
    text = Path(path).read_text(encoding="utf-8-sig")
    rows = [row for row in csv.reader(text.splitlines()) if row]
    if not is_landmarks(text):
        raise ValueError(
            f"{path} is no landmark table of BigWarp: its rows are a name, true or false, and the "
            "coordinates x, y (, z) in moving and in fixed"
        )
    pairs = [[float(cell) for cell in row[2:]] for row in rows if row[1].strip().lower() == "true"]
    ndim = (len(rows[0]) - 2) // 2
    values = np.array(pairs, np.float64).reshape(-1, 2, ndim)[..., ::-1]
    return values[:, 1], values[:, 0]


def is_landmarks(text: str) -> bool:
    """Return whether a text is a landmark table of BigWarp."""
    try:
        rows = [row for row in csv.reader(text.splitlines()) if row]
    except csv.Error:  # a cell as long as a file of other numbers
        return False
    if {len(row) for row in rows} not in ({6}, {8}):
        return False
    marked = all(row[1].strip().lower() in ("true", "false") for row in rows)
    return marked and all(_is_number(cell) for row in rows for cell in row[2:])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
