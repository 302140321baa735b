"""Vectors that do not fit in with their neighbours: the universal test for outliers."""

from __future__ import annotations

import warnings
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

NOISE = 0.1  # px: fluctuations that a measurement may have anyway
LIMIT = 2.0  # fluctuations of its neighbours by which a vector may differ from them


def neighbour_residual(vectors: ArrayLike, *, noise: float = NOISE) -> NDArray[np.float64]:
    """Return how far each vector is from its neighbours, in units of how these differ.

    Parameters
    ----------
    vectors : array_like, shape (n, ...)
        Components in px, on a lattice; NaN where there is none.
    noise : float, default 0.1
        Fluctuation in px that is always granted.

    Returns
    -------
    array of float64, shape (...)
        The normalised median residual; above 2, an outlier. NaN where the vector, or all of
        its neighbours, are undefined.

    Notes
    -----
    Westerweel and Scarano, Exp. Fluids 39, 1096 (2005), doi:10.1007/s00348-005-0016-6.
    """
    values = np.asarray(vectors, np.float64)
    shape = values.shape[1:]
    framed = np.pad(values, [(0, 0), *[(1, 1)] * len(shape)], constant_values=np.nan)
    around = np.stack(
        [
            framed[(slice(None), *(slice(s, s + n) for s, n in zip(step, shape, strict=True)))]
            for step in product(range(3), repeat=len(shape))
            if any(s != 1 for s in step)
        ]
    )
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # neighbours all undefined: NaN, as said
        middle = np.nanmedian(around, axis=0)
        fluctuation = np.nanmedian(np.abs(around - middle), axis=0)
        residual = np.abs(values - middle) / (fluctuation + noise)
    return np.sqrt((residual**2).sum(axis=0))
