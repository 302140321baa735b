"""Classes by evidence: what the noise and the texture of two images let one say of a window."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from napari_local_ncc.shift.interpret import CLASSES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Reals = NDArray[np.floating]

UNDEFINED, AGREES, DISPLACED, DIFFERS, BEYOND, UNSURE = range(len(CLASSES))
LEVEL = 0.95  # of confidence, from which on an NCC is beyond chance
FAR = 0.98  # the same, all shifts that were tried counted, of what lies at the search's border
EVEN = 0.5  # the same, where common structure is also clearly likelier than none
REJECTED = 0.01  # probability at which noise alone would explain a difference no more
MOVED = 1e-4  # the same of a shift, over all shifts that are searched, or of common structure
SUSPECT = 0.05  # probability of a difference by noise from which on a shift is thought of
# Structure counts as the same down to this correlation without noise, after resampling or by
# another point spread; times what the rest of the shift, below a pixel, leaves.
SAME, LEAST_SAME = 0.98, 0.6
NOISE_ERROR = 0.05  # of a noise variance, relative
UNTOLD = 0.3  # of the noise's variance: structure that its error may hide
LOST = 2.0  # times weaker than the typical contrast of its image, structure counts as lost


@dataclass(frozen=True, eq=False)  # no slots: eigenvalues are kept
class Looks:
    """What is known of a window pair at one shift; arrays of one shape.

    Parameters
    ----------
    ncc : array of float
        The NCC; |NCC| where contrast may be inverted. NaN where undefined.
    confidence : array of float
        That of this NCC, were it the only one looked at.
    fixed, moving : array of float
        Variance in the window over the variance of the noise, of either image.
    kept : array of float
        Correlation without noise that is left by what of the shift is below a pixel.
    """

    ncc: Reals
    confidence: Reals
    fixed: Reals
    moving: Reals
    kept: Reals

    def residual(self) -> Values:
        """Return the variance that no gain explains, 1 on average where that is noise.

        The smallest eigenvalue of both windows' covariance in units of the noise; a gain
        below 0 explains nothing.
        """
        return self._eigenvalues[0]

    def likelihood(self, samples: Reals) -> Values:
        """Return twice the log likelihood of common structure in noise, over that of none.

        Of normal structure of any strength in either image; its two parameters are fitted.
        """
        least, largest = self._eigenvalues
        powers = np.maximum(self.fixed * self.moving, 1e-6)
        return samples * (np.log(powers / np.maximum(largest, 1e-6)) + 1.0 - least)

    @cached_property
    def _eigenvalues(self) -> tuple[Values, Values]:
        return _eigenvalues(self.fixed, self.moving, np.maximum(self.ncc, 0.0))

    def limit(self, samples: Reals) -> Values:
        """Return the residual beyond which the same structure and noise explain it no more."""
        signal = [np.maximum(power - 1.0, 0.0) for power in (self.fixed, self.moving)]
        same = np.maximum(SAME * self.kept, LEAST_SAME)
        powers = [s + 1.0 for s in signal]
        ncc = same * np.sqrt(signal[0] * signal[1] / (powers[0] * powers[1]))
        return smallest_eigenvalue(powers[0], powers[1], ncc) * _chi_square(samples)


def smallest_eigenvalue(fixed: Reals, moving: Reals, ncc: Reals) -> Values:
    """Return the variance of two windows in the one mixture of both that has the least.

    Where both show the same, up to gain, offset and noise, that is the noise's alone.

    Parameters
    ----------
    fixed, moving : array of float
        Variance in the window over the variance of the noise, of either image.
    ncc : array of float
        Their correlation.
    """
    return _eigenvalues(fixed, moving, ncc)[0]


def _eigenvalues(a: Reals, b: Reals, correlation: Reals) -> tuple[Values, Values]:
    mean, half = (a + b) / 2, (a - b) / 2
    spread = np.sqrt(half**2 + correlation**2 * a * b)
    return np.asarray(mean - spread, np.float64), np.asarray(mean + spread, np.float64)


def _chi_square(samples: Reals, probability: float = REJECTED) -> Values:
    """Return what noise exceeds with a probability, on average being 1.

    By Wilson and Hilferty's cube (PNAS 17, 684, 1931).
    """
    spread = 2.0 / (9.0 * np.maximum(samples - 2.0, 1.0)) + (NOISE_ERROR / 3.0) ** 2
    return (1.0 - spread - ndtri(probability) * np.sqrt(spread)) ** 3


def classes_of_windows(
    here: Looks,
    best: Looks,
    *,
    step: Reals,
    is_at_border: NDArray[np.bool_],
    looks: float | Reals,
    tried: int,
    samples: Reals,
    gain: float = np.nan,
    elsewhere: Looks | None = None,
    around: Reals | None = None,
) -> NDArray[np.uint8]:
    """Class windows by what the noise and the texture let one say.

    Parameters
    ----------
    here, best : Looks
        At no shift, and at the best whole-pixel shift of the search.
    step : array of float, shape (...)
        Length of that shift in pixels.
    is_at_border : array of bool, shape (...)
        Whether it lies at the border of the search.
    looks : float or array of float
        How many independent shifts the search is worth.
    tried : int
        How many whole-pixel shifts it tried.
    samples : array of float, shape (...)
        How many independent samples of noise a window holds.
    gain : float
        Typical standard deviation of structure in moving over that in fixed, both in units of
        their noise; NaN where unknown.
    elsewhere : Looks, optional
        At a shift that was not searched.
    around : array of float, shape (...), optional
        Twice the log likelihood of that shift over no shift, in a wider window.

    Returns
    -------
    array of uint8, shape (...)
        Indices into `CLASSES`; 0 undefined where the NCC at no shift is.

        4 beyond the search: common structure is clearly more likely at the shift that was not
        searched, or beyond chance there and more likely than at those that were (but for a best
        one at the border), or clearly more likely around, where the window itself says nothing
        against it; or clearly more likely at a best shift that lies at the border of the
        search, leaves a difference that noise explains, and is beyond chance by `FAR`, all shifts
        that were tried counted. 2 displaced: noise hardly explains the
        difference at no shift, common structure is clearly more likely at the best shift, its NCC
        is beyond chance, the number of shifts included, and noise explains what is left. 1 agrees:
        else, where noise explains the difference at no shift, and the NCC is beyond chance, or
        likely not chance while common structure is clearly more likely than none. 3 differs: no
        shift that was searched leaves a difference that noise explains, or the best one brings
        what has no structure to explain it with; or the structure of one
        image is lost in the other, where the typical contrast would show it. 5 cannot tell: all
        others. What noise explains includes what is below a pixel of the shift, and 4 % of the
        structure's variance.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        likelihood, best_likelihood = here.likelihood(samples), best.likelihood(samples)
        is_different = here.residual() > here.limit(samples)
        is_different_best = best.residual() > best.limit(samples)
        best_by_chance = ndtri(MOVED / np.maximum(looks, 1.0)) ** 2
        is_moved = best_likelihood - likelihood > best_by_chance
        is_moved &= (step > 0) & (here.residual() > _chi_square(samples, SUSPECT))
        is_found = best.confidence ** np.maximum(looks, 1.0) >= LEVEL
        # Of what has nothing in common a best one at the border says that something moved: there
        # it counts as much as it can, how many shifts were tried.
        is_far = best.confidence**tried >= FAR
        is_alike = _is_alike(here, likelihood, samples)
        anywhere = np.fmax(here.moving, best.moving), here.moving
        is_lost = _is_lost(here.fixed, anywhere, gain, samples) & ~(here.confidence >= LEVEL)
        # A window without structure leaves nothing to explain, but explains nothing either.
        is_empty = _is_lost(here.fixed, (best.moving, best.moving), gain, samples) & ~is_found
        is_elsewhere = np.zeros(here.ncc.shape, bool)
        if elsewhere is not None:
            explained = elsewhere.residual() <= elsewhere.limit(samples)
            there = elsewhere.likelihood(samples)
            gained = there - np.fmax(likelihood, best_likelihood)
            is_elsewhere = (gained > ndtri(MOVED) ** 2) & (elsewhere.confidence >= LEVEL)
            is_elsewhere |= is_different & is_different_best & explained
            # The images as a whole moved so: it is likelier than shifts that were only tried. The
            # best of them, at the border, may lie beside it.
            follows = (there > likelihood) & ((gained > 0) | is_at_border)
            is_elsewhere |= follows & explained & _is_alike(elsewhere, there, samples)
            if around is not None:
                # What a window in noise cannot tell by itself, but does not deny either.
                silent = explained & ~is_lost & (likelihood - there < ndtri(SUSPECT) ** 2)
                silent &= (best_likelihood - there < best_by_chance) | is_at_border
                is_elsewhere |= silent & (around > ndtri(MOVED) ** 2)
        conditions = [
            (np.isnan(here.ncc), UNDEFINED),
            (is_elsewhere, BEYOND),
            (is_moved & is_found & ~is_different_best & ~is_at_border, DISPLACED),
            (is_alike & ~is_different, AGREES),
            (is_different & (is_different_best | is_empty), DIFFERS),
            (is_moved & is_far & is_at_border, BEYOND),
            (is_lost, DIFFERS),
        ]
    where, labels = zip(*conditions, strict=True)
    return np.select(where, labels, UNSURE).astype(np.uint8)


def _is_alike(looks: Looks, likelihood: Reals, samples: Reals) -> NDArray[np.bool_]:
    """Say where an NCC is beyond chance, or likely so, and common structure clearly likelier."""
    is_common = likelihood > ndtri(MOVED) ** 2
    is_common &= (looks.confidence >= EVEN) & (looks.residual() <= _chi_square(samples))
    return np.asarray((looks.confidence >= LEVEL) | is_common)


def _is_lost(
    fixed: Reals, moving: tuple[Reals, Reals], gain: float, samples: Reals
) -> NDArray[np.bool_]:
    """Say where one image has structure, and the other clearly less than is typical of it.

    `moving` is the power that moving has where it may be lost, and where fixed may lack it.
    """
    in_moving = _lacks(moving[0], fixed, gain / LOST, samples)
    return in_moving | _lacks(fixed, moving[1], 1.0 / (gain * LOST), samples)


def _lacks(power: Reals, other: Reals, ratio: float, samples: Reals) -> NDArray[np.bool_]:
    """Say where there would be more by the structure of the other image, times a ratio."""
    n = np.maximum(samples - 1.0, 1.0)
    certain = -ndtri(REJECTED)
    # What structure there is at least, for all that noise adds by chance.
    spread = np.sqrt((4.0 * np.maximum(other, 1.0) - 2.0) / n)
    expected = np.maximum(other - 1.0 - certain * spread, 0.0) * ratio**2
    weak = 1.0 + expected - UNTOLD
    # Where no structure is expected, none is lost, however quiet the window.
    is_below = (expected > UNTOLD) & (power < weak * (1.0 - certain * np.sqrt(2.0 / n)))
    return np.asarray(is_below)
