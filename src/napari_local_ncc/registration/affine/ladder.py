"""The simplest motion that explains a pair, and how far off it may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg
from scipy.special import chdtri

from napari_local_ncc.geometry.affine import nearest_matrix
from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.registration.affine.least_squares import Fit, generators
from napari_local_ncc.registration.evidence.stated_error import stated_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.registration.affine.least_squares import SmoothPair
    from napari_local_ncc.registration.affine.sampled_image import Sampled

    Errors = NDArray[np.float64]

RUNGS = (Kind.TRANSLATION, Kind.RIGID, Kind.SIMILARITY, Kind.AFFINE)
EVIDENT = 0.999  # chance that a richer model's gain must exceed what noise gives it
DRAWN = 2000  # errors, whose quantiles are taken
POINTS = 8  # along every axis of the field; 5 make a turn seem smaller by 2 %


def simplest(pair: SmoothPair, fit: Fit, model: str) -> tuple[Kind, Fit, Errors]:
    """Return the simplest motion from which a fit differs by no more than noise explains.

    Parameters
    ----------
    pair : SmoothPair
        What was fitted.
    fit : Fit
        Of the model.
    model : {"rigid", "similarity", "affine"}
        The richest motion.

    Returns
    -------
    kind : Kind
        Of the motion; the model's own where it is better by evidence.
    fit : Fit
        Of that kind.
    errors : ndarray of float64, shape (n, k)
        Drawn from the distribution of its error, along the `generators` of the model.

    Notes
    -----
    Wald's test: the parameters that only the richer model has, in units of their covariance,
    given the best of the others, are chi-squared where they are not needed. That they are not
    evident does not make them 0. Either noise made what is left out, or the simpler motion is
    off by it, give or take the error of the richer one. How much of its square is more than
    noise gives (Stein's shrinkage) is taken for the odds: so many of the errors are of the
    second kind.
    """
    full = Kind(model)
    errors = draw_errors(fit.covariance, fit.blocks)
    if not np.isfinite(fit.covariance).all():
        return full, fit, errors
    weight = np.linalg.pinv(fit.covariance)
    base = generators(model, pair.fixed.ndim)
    flat = base.reshape(len(base), -1).T
    for kind in RUNGS[: RUNGS.index(full)]:
        simple = nearest_matrix(fit.matrix, kind)
        excess = np.linalg.lstsq(
            flat, linalg.logm(np.linalg.solve(simple, fit.matrix)).real.ravel()
        )[0]
        free = len(generators(kind, pair.fixed.ndim))
        part = weight[:free]
        best = np.linalg.solve(part[:, :free], part @ excess)
        rest = excess.copy()
        rest[:free] -= best
        spared = len(base) - free
        excess_square = float(rest @ weight @ rest)
        if excess_square > chdtri(spared, 1 - EVIDENT):
            continue
        start = simple @ linalg.expm(np.tensordot(best, base[:free], 1))
        kept = pair.fit(start, kind)
        if kept is None or not kept.converged:
            continue
        needed = max(0.0, 1 - spared / excess_square) if excess_square > 0 else 0.0
        errors += rest
        others = errors[round(needed * len(errors)) :]
        others[:] = 0
        others[:, :free] = draw_errors(kept.covariance, kept.blocks)[: len(others)]
        return kind, kept, errors
    return full, fit, errors


def draw_errors(covariance: NDArray[np.float64], blocks: float = np.inf) -> Errors:
    """Draw errors, shape (n, k), of a covariance that was found from so many blocks.

    Student's distribution, as a few blocks do not tell well how far they spread; NaN where the
    covariance is.
    """
    if not np.isfinite(covariance).all():
        return np.full((DRAWN, len(covariance)), np.nan)
    values, vectors = np.linalg.eigh(covariance)
    random = np.random.default_rng(0)
    drawn = random.normal(size=(DRAWN, len(values))) * np.sqrt(np.maximum(values, 0)) @ vectors.T
    if np.isfinite(blocks):
        drawn /= np.sqrt(random.chisquare(blocks, (DRAWN, 1)) / blocks)
    return np.asarray(drawn)


def error_quantiles(errors: Errors, model: str, fixed: Sampled) -> tuple[float, float]:
    """Return the distances within which the truth lies in 68 and in 95 of 100 cases.

    They are means over fixed's field, in its px; NaN where nothing can be said.

    Parameters
    ----------
    errors : ndarray of float64, shape (n, k)
        Drawn from their distribution, along the model's `generators`.
    model : {"translation", "rigid", "similarity", "affine"}
        Whose generators these are.
    fixed : Sampled
        The image whose field and px are meant.
    """
    if not np.isfinite(errors).all():
        return np.nan, np.nan
    lattice = np.stack(
        np.meshgrid(
            *[(np.arange(POINTS) + 0.5) / POINTS * n - 0.5 for n in fixed.values.shape],
            indexing="ij",
        )
    )
    at = fixed.place(lattice.reshape(fixed.ndim, -1).T)
    moves = generators(model, fixed.ndim)[:, :-1]
    change = moves[:, :, :-1] @ at.T + moves[:, :, -1:]
    length = np.linalg.norm(np.tensordot(errors, change, 1), axis=1).mean(axis=1)
    return stated_error(length / fixed.step)


def is_extreme(matrix: NDArray[np.float64], reach: float) -> str:
    """Say of a transform that it scales or shears as no image of one thing needs; or nothing."""
    stretch = np.linalg.svd(matrix[:-1, :-1], compute_uv=False)
    if stretch[-1] <= 0 or stretch[0] > 1.1 * reach or stretch[-1] < 1 / (1.1 * reach):
        return f"scales by {stretch[-1]:.2g} to {stretch[0]:.2g}, beyond what is searched"
    if stretch[0] > 2 * stretch[-1]:
        return f"stretches one direction {stretch[0] / stretch[-1]:.2g} times as much as another"
    return ""
