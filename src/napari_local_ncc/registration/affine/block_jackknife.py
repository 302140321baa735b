"""The covariance of a fit from parts of the field that are left out in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Stack = NDArray[np.float64]

FAINTEST = 0.01  # of the plain curvature: a direction that tells less is as good as unknown
HEAVIEST = 0.9  # of what tells a direction, that one block is taken to hold at most


def block_jackknife(scores: Stack, curvatures: Stack, plain: Stack) -> tuple[Stack, float]:
    """Return the covariance of parameters, and from how many equal blocks it would be as sure.

    Parameters
    ----------
    scores : ndarray, shape (blocks, k)
        Sums of residual times what it changes by, in blocks that are independent; together 0.
    curvatures : ndarray, shape (blocks, k, k)
        How fast the scores fall, symmetric; noise may have made some of them negative.
    plain : ndarray, shape (k, k)
        Of the whole, positive: what noise adds to is in it.

    Returns
    -------
    covariance : ndarray, shape (k, k)
    blocks : float
        Kish's number of blocks of equal leverage.

    Notes
    -----
    A fit follows the noise of blocks that hold much of the structure, so that their residuals,
    and the scores, are too small: each is divided by what the other blocks leave of the
    curvature, as if the fit had been made without it (CR3 [1]_, the jackknife [2]_ but for
    terms of higher order).

    References
    ----------
    .. [1] Bell & McCaffrey, Survey Methodology 28, 169 (2002)
    .. [2] MacKinnon, Nielsen & Webb, J. Appl. Econometrics 38, 671 (2023), doi:10.1002/jae.2969
    """
    values, vectors = linalg.eigh(curvatures.sum(axis=0), plain)
    whiten = vectors / np.sqrt(np.maximum(values, FAINTEST))
    shares, axes = np.linalg.eigh(whiten.T @ curvatures @ whiten)
    shares = np.clip(shares, 0, HEAVIEST)
    along = np.einsum("bji,bj->bi", axes, scores @ whiten) / (1 - shares)
    changes = np.einsum("bij,bj->bi", axes, along) @ whiten.T
    count = len(scores)
    leverage = shares.sum(axis=1)
    covariance = changes.T @ changes * (count - 1) / count
    return covariance, float(leverage.sum() ** 2 / np.sum(leverage**2))
