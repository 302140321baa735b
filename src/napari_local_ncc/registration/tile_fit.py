"""The motion of a whole field, from the shifts of tiles of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg
from scipy.special import stdtrit

from napari_local_ncc.geometry.affine import apply_affine
from napari_local_ncc.registration.affine.least_squares import generators
from napari_local_ncc.registration.evidence.stated_error import FINEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.geometry.kind import Kind

    Matrix = NDArray[np.float64]
    Vector = NDArray[np.float64]

FEWEST = 6  # tiles that must agree
ROUNDS = 20  # of reweighting, until most tiles have decided
TWO_SIDED = 0.975  # quantile, within which 95 of 100 errors lie on both sides
OUTLYING = 4.0  # times what is typical, from which a tile does not fit


@dataclass(frozen=True, slots=True, eq=False)
class TileShift:
    """By how much a tile of fixed is to be moved, before the transform that it was tried with.

    Attributes
    ----------
    centre : ndarray, shape (ndim,)
        Of the tile, in px of the whole of fixed.
    shift : ndarray, shape (ndim,)
        In px of fixed.
    covariance : ndarray, shape (ndim, ndim)
        Of the shift, px squared; finite.
    """

    centre: Vector
    shift: Vector
    covariance: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class TileFit:
    """What most tiles have in common.

    Attributes
    ----------
    step : ndarray, shape (ndim + 1, ndim + 1)
        The motion, in the frame that it was sought in.
    spread : ndarray, shape (k, k)
        The mean square of its error along the `generators` of its kind.
    agreeing : int
        How many of the tiles it fits.
    """

    step: Matrix
    spread: NDArray[np.float64]
    agreeing: int


def fit_tiles(tiles: Sequence[TileShift], to_frame: Matrix, kind: Kind) -> TileFit | None:
    """Find the motion of a kind that fits most tiles best.

    Parameters
    ----------
    tiles : sequence of TileShift
        Small shifts: to first order in them, motions add.
    to_frame : ndarray, shape (ndim + 1, ndim + 1)
        From px of fixed to a frame of one unit along all axes, in which the motion is sought.
    kind : Kind
        What it may do.

    Returns
    -------
    TileFit or None
        None where fewer than `FEWEST`, or no more than half of the tiles, agree.

    Notes
    -----
    Weighted least squares; the weights are the inverse covariances of the tiles. It begins with
    least absolute deviations, which a minority of wrong tiles hardly draws away. Where tiles
    differ by more than their errors, as where the motion is of no such kind, the error stated
    grows by as much, and by Student's t as there are few of them.
    """
    if len(tiles) < FEWEST:
        return None
    linear = to_frame[:-1, :-1]
    floor = FINEST**2 * np.eye(len(linear))
    weights = np.stack(
        [np.linalg.inv(linear @ (tile.covariance + floor) @ linear.T) for tile in tiles]
    )
    shifts = np.stack([linear @ tile.shift for tile in tiles])
    at = np.column_stack(
        [apply_affine(to_frame, [tile.centre for tile in tiles]), np.ones(len(tiles))]
    )
    base = generators(kind, len(linear))
    moves = np.einsum("kij,nj->nik", base[:, :-1], at)
    share = np.ones(len(tiles))
    for _ in range(ROUNDS):
        motion, _ = _solve(moves, shifts, weights * share[:, None, None])
        apart = _apart(moves, shifts, weights, motion)
        share = 1 / np.maximum(apart, np.finfo(float).eps + 1e-3 * float(np.median(apart)))
    kept = apart <= OUTLYING * max(float(np.median(apart)), 1.0)
    agreeing = int(np.count_nonzero(kept))
    free = agreeing * len(linear) - len(base)
    if agreeing < FEWEST or 2 * agreeing <= len(tiles) or free < 1:
        return None
    motion, covariance = _solve(moves[kept], shifts[kept], weights[kept])
    rest = _apart(moves[kept], shifts[kept], weights[kept], motion)
    excess = max(1.0, float(np.sum(np.square(rest))) * len(linear) / free)
    few = float(stdtrit(free, TWO_SIDED) / stdtrit(np.inf, TWO_SIDED)) ** 2
    step = linalg.expm(np.tensordot(motion, base, 1))
    return TileFit(step, covariance * excess * few, agreeing)


def _solve(
    moves: NDArray[np.float64], shifts: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[Vector, NDArray[np.float64]]:
    """Return the parameters of weighted least squares, and their covariance."""
    covariance = np.linalg.pinv(np.einsum("nik,nij,njl->kl", moves, weights, moves), hermitian=True)
    return covariance @ np.einsum("nik,nij,nj->k", moves, weights, shifts), covariance


def _apart(
    moves: NDArray[np.float64],
    shifts: NDArray[np.float64],
    weights: NDArray[np.float64],
    motion: Vector,
) -> NDArray[np.float64]:
    """Return how far each tile is from a motion, in its standard deviations (rms over axes)."""
    rest = shifts - moves @ motion
    square = np.einsum("ni,nij,nj->n", rest, weights, rest) / shifts.shape[1]
    return np.asarray(np.sqrt(np.maximum(square, 0)))
