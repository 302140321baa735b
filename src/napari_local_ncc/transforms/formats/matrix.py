"""Matrices of transforms in files of numbers: .npy, and text with commas or blanks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.affine import check_affine
from napari_local_ncc.parameters import check_choice
from napari_local_ncc.transforms.frame_transform import FrameTransform

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.geometry.grid import Grid

ORDERS = ("zyx", "xyz", "yx", "xy")  # of 3 axes or 2: it is the first that counts


def matrix_in_order(values: ArrayLike, ndim: int, order: str = "zyx") -> NDArray[np.float64]:
    """Return a homogeneous matrix in NumPy's axis order.

    Parameters
    ----------
    values : array_like, shape (ndim + 1, ndim + 1) or (ndim, ndim + 1)
        The matrix, with or without its last row.
    ndim : int
        Number of spatial axes that it is for.
    order : {"zyx", "xyz"}, default "zyx"
        The order of the axes in it: NumPy's, slowest first, or x first (ITK, scikit-image,
        Fiji).

    Raises
    ------
    ValueError
        If it has another shape, or is no invertible affine.
    """
    check_choice("order", order, ORDERS)
    matrix = np.asarray(values, np.float64)
    if matrix.shape == (ndim, ndim + 1):
        matrix = np.vstack([matrix, np.eye(ndim + 1)[-1]])
    if matrix.shape != (ndim + 1, ndim + 1):
        raise ValueError(
            f"the matrix has shape {matrix.shape}, but {ndim} spatial axes need "
            f"{(ndim + 1, ndim + 1)} (or {(ndim, ndim + 1)}, without the last row)"
        )
    return check_affine(matrix if not order.startswith("x") else reverse_axes(matrix), ndim)


def reverse_axes(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a homogeneous matrix for the axes in the opposite order."""
    turn = np.eye(len(matrix))
    turn[:-1] = turn[-2::-1]
    return turn @ matrix @ turn


def read_matrix(path: Path, space: Grid, order: str) -> FrameTransform:
    """Read a matrix from a .npy file, or from a text with a row a line; see `matrix_in_order`."""
    return FrameTransform(matrix_in_order(_numbers(path), space.ndim, order), space)


def is_matrix(text: str) -> bool:
    """Return whether a text is rows of numbers, as many in each."""
    rows = _rows(text)
    try:
        return len(rows) > 1 and bool(np.isfinite(np.array(rows, np.float64)).all())
    except ValueError:
        return False


def _numbers(path: Path) -> NDArray[np.float64]:
    if path.read_bytes()[:6] == b"\x93NUMPY":
        return np.asarray(np.load(path, allow_pickle=False), np.float64)
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    try:
        return np.array(_rows(text), np.float64)
    except ValueError:
        raise ValueError("it does not hold rows of numbers, as many in each") from None


def _rows(text: str) -> list[list[str]]:
    rows = [line.replace(",", " ").replace(";", " ").split() for line in text.splitlines()]
    return [row for row in rows if row]


def write_matrix(found: FrameTransform, path: Path, order: str) -> None:
    """Write a homogeneous matrix as .npy or as text, its axes in the order asked for."""
    check_choice("order", order, ORDERS)
    values = found.matrix if not order.startswith("x") else reverse_axes(found.matrix)
    if path.suffix.lower() == ".npy":
        np.save(path, values)
    else:
        lines = [",".join(map(repr, row)) for row in values.tolist()]
        path.write_text("\n".join([*lines, ""]), encoding="utf-8")
