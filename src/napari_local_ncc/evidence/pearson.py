"""Pearson's r."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLAT = 1e-9  # of the mean square: variance that is rounding


def pearson(fixed: NDArray[np.floating], moving: NDArray[np.floating], least: int = 3) -> float:
    """Return Pearson's correlation of paired samples, in [-1, 1].

    Parameters
    ----------
    fixed, moving : ndarray of float, of one shape
        Finite samples.
    least : int, default 3
        Samples below which nothing is said.

    Returns
    -------
    float
        NaN for fewer samples, or where either is constant but for rounding.
    """
    if fixed.size < least:
        return np.nan
    a, b = (x.ravel().astype(np.float64) for x in (fixed, moving))
    floors = [FLAT * float(np.sum(x * x)) for x in (a, b)]
    a, b = a - a.mean(), b - b.mean()
    # plain sums: BLAS would wake a thread pool for a few thousand numbers
    aa, ab, bb = (float(np.sum(x * y)) for x, y in ((a, a), (a, b), (b, b)))
    if aa <= floors[0] or bb <= floors[1]:
        return np.nan
    return float(np.clip(ab / np.sqrt(aa) / np.sqrt(bb), -1, 1))
