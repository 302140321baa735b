"""The few linear equations of every pixel, solved for all pixels at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.float32]


def solve_everywhere(tensor: Pixels, right: Pixels, singular: float = 0.0) -> Pixels:
    """Solve ``tensor @ x = right`` at every pixel, by elimination.

    Parameters
    ----------
    tensor : ndarray of float32, shape (n, n, ...)
        Symmetric, not negative: no pivot needs to be sought.
    right : ndarray of float32, shape (n, ...)
    singular : float, default 0
        Determinant up to which a pixel's equations tell nothing; its solution is 0.

    Returns
    -------
    ndarray of float32, shape (n, ...)
    """
    rows, found = tensor.copy(), right.copy()
    number = len(found)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for k in range(number):
            for i in range(k + 1, number):
                factor = rows[i, k] / rows[k, k]
                for j in range(k + 1, number):
                    rows[i, j] -= factor * rows[k, j]
                found[i] -= factor * found[k]
        pivots = [rows[k, k] for k in range(number)]
        for k in reversed(range(number)):
            for j in range(k + 1, number):
                found[k] -= rows[k, j] * found[j]
            found[k] /= pivots[k]
        determinant = np.prod(pivots, axis=0)
    found[:, ~(np.abs(determinant) > singular)] = 0
    return found
