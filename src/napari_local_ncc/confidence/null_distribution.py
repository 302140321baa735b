"""The distribution of ncc between unrelated structure, per texture class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr, ndtri

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

CLASSES = 24
LEAST_WINDOWS = 60  # pairs of windows that do not overlap, per class
STRATA, LEAST_CLASSES = 3, 4  # by contrast; classes that each must have
# Normal scores at which the distribution is kept: from p = 0.98 to 0.0013, then a line.
SCORES = tuple(np.arange(-2.0, 3.01, 0.5).tolist())
EXCEEDING = 5  # windows that must lie beyond the last score that is measured
# A class holds too few windows for its tail: classes share its shape, beyond this score.
TAIL, TAILS = 1.0, 6
LARGEST = 0.9999999  # of |ncc|, whose Fisher z is finite
STEPS = 16  # of the table, per octave of effective samples
COLUMNS = 1024  # of the table, over ncc
CUT_OFF = 3  # octaves below the lowest class: what the corner of a volume leaves of a window
RESOLVED = 1e-7  # confidence below which it is 0, as it is 1 as close to 1


@dataclass(frozen=True, slots=True)
class Null:
    """Quantiles of Fisher's z of ncc between unrelated structure, per texture class.

    Parameters
    ----------
    effective_samples : tuple of float
        The typical number of effective samples of each class, ascending.
    quantiles : tuple of tuple of float
        Per class, atanh(ncc) at the normal `SCORES`: what unrelated structure stays below
        with the probability that a standard normal variable stays below the score.
    windows : int
        How many pairs of windows that do not overlap it was drawn from, a window counting
        with every displacement and tile that it is in; 0 for a formula.
    contrasts : tuple of float
        The typical contrast of each of the `strata`, ascending; see `relative_contrast`.
    strata : tuple of Null
        The same for windows of low to high contrast alone; empty where they are too few.
    """

    effective_samples: tuple[float, ...]
    quantiles: tuple[tuple[float, ...], ...]
    windows: int
    contrasts: tuple[float, ...] = ()
    strata: tuple[Null, ...] = ()

    def scores(self, ncc: Numbers, effective_samples: Numbers) -> Numbers:
        """Return the normal scores of ncc, classes and quantiles interpolated linearly.

        Windows of fewer samples than any class has, as a border cuts them off, vary as much more.
        """
        classes, z = np.log(self.effective_samples), _fisher(ncc)
        numbers = np.log(np.maximum(effective_samples, 1e-6))
        place = np.interp(numbers, classes, np.arange(len(classes)))
        z = z * np.exp(np.minimum(numbers - classes[0], 0.0) / 2)
        below = np.minimum(place.astype(int), max(len(classes) - 2, 0))
        above = np.minimum(below + 1, len(classes) - 1)
        share = (place - below)[..., np.newaxis]
        table = np.array(self.quantiles)
        return _interpolate(z, (1 - share) * table[below] + share * table[above])


def _fisher(ncc: Numbers) -> Numbers:
    return np.arctanh(np.clip(ncc, -LARGEST, LARGEST))


def _interpolate(z: Numbers, quantiles: Numbers) -> Numbers:
    """Return scores by the line between the two quantiles around z, or the last two."""
    place = np.clip((z[..., np.newaxis] >= quantiles).sum(axis=-1) - 1, 0, len(SCORES) - 2)
    low, high = (
        np.take_along_axis(quantiles, (place + k)[..., np.newaxis], -1)[..., 0] for k in (0, 1)
    )
    scores = np.array(SCORES)
    return scores[place] + (z - low) / (high - low) * (scores[1] - scores[0])


def fisher_null(is_signed: bool = True) -> Null:
    """Return what theory has for windows of n effective samples: z of variance 1 / (n - 3).

    Of |z| unless it is signed.
    """
    numbers = np.geomspace(4.0, 4e4, CLASSES)
    # Below 4 the formula has no answer: such windows tell nothing.
    numbers = np.concatenate([[3.01], numbers])
    spread = 1 / np.sqrt(numbers - 3)
    scores = np.array(SCORES)
    heights = scores if is_signed else ndtri((1 + ndtr(scores)) / 2)
    quantiles = spread[:, np.newaxis] * heights
    return Null(tuple(numbers.tolist()), tuple(map(tuple, quantiles.tolist())), 0)


def fit_null(
    ncc: NDArray[np.float32],
    effective_samples: NDArray[np.float32],
    contrast: NDArray[np.float32],
    windows: float,
) -> Null | None:
    """Fit a null to samples from unrelated structure.

    Parameters
    ----------
    ncc, effective_samples, contrast : array of float32, shape (n,)
        Of windows that may overlap; none NaN.
    windows : float
        How many pairs of windows that do not overlap they are worth.

    Returns
    -------
    Null or None
        None where there are too few windows for a single class.
    """
    whole = _fit_classes(ncc, effective_samples, windows)
    number = min(STRATA, int(windows / (LEAST_CLASSES * LEAST_WINDOWS)))
    if whole is None or number < 2:
        return whole
    parts = np.array_split(np.argsort(contrast), number)
    contrasts = [float(np.median(contrast[part])) for part in parts]
    strata = [
        _fit_classes(ncc[p], effective_samples[p], windows / number, CLASSES // number)
        for p in parts
    ]
    if min(np.diff(contrasts)) <= 0:  # even contrast: nothing to tell apart
        return whole
    return replace(
        whole, contrasts=tuple(contrasts), strata=tuple(s for s in strata if s is not None)
    )


def _fit_classes(
    ncc: NDArray[np.float32],
    effective_samples: NDArray[np.float32],
    windows: float,
    most: int = CLASSES,
) -> Null | None:
    classes = min(most, int(windows / LEAST_WINDOWS))
    if classes < 1:
        return None
    order = np.argsort(effective_samples)
    numbers, z = effective_samples[order], _fisher(ncc[order].astype(np.float64))
    parts = [slice(*edges) for edges in pairwise(_edges(z.size, classes))]
    table = np.concatenate(
        [
            _quantiles([z[parts[k]] for k in alike], windows * alike.size / classes)
            for alike in np.array_split(np.arange(classes), min(TAILS, classes))
        ]
    )
    centres = np.array([np.median(numbers[part]) for part in parts])
    keep = np.concatenate([[True], np.diff(centres) > 0])
    return Null(
        tuple(centres[keep].tolist()), tuple(map(tuple, table[keep].tolist())), int(windows)
    )


def _edges(size: int, parts: int) -> NDArray[np.int_]:
    return np.linspace(0, size, parts + 1).round().astype(int)


def _quantiles(classes: list[Numbers], windows: float) -> Numbers:
    """Return the quantiles at all scores of some classes that share the shape of their tails."""
    levels = np.array(SCORES)
    body = levels[levels <= TAIL]
    table = np.array([np.quantile(z, ndtr(body)) for z in classes])
    middle, top = table[:, body == 0], table[:, -1:]
    spread = np.maximum(top - middle, 1e-6)
    shape = np.concatenate(
        [(z - m) / s for z, m, s in zip(classes, middle[:, 0], spread[:, 0], strict=True)]
    )
    measured = levels[ndtr(-levels) * windows >= EXCEEDING]
    tail = _prolong(np.quantile(shape, ndtr(measured)), measured, levels)[body.size :]
    table = np.concatenate([table, middle + spread * tail], axis=1)
    # A tie (all windows alike) would make a confidence of 0 or 1 out of rounding.
    return np.maximum.accumulate(table, axis=1) + 1e-6 * np.arange(levels.size)


def _prolong(quantiles: Numbers, measured: Numbers, levels: Numbers) -> Numbers:
    """Prolong quantiles to the scores beyond those measured, by a line."""
    slope = (quantiles[-1] - quantiles[-3]) / (measured[-1] - measured[-3])
    beyond = levels[measured.size :] - measured[-1]
    return np.concatenate([quantiles, quantiles[-1] + slope * beyond])


@lru_cache(maxsize=16)  # of about 1 MB each: of the frames that threads are at, not of all
def confidence_tables(null: Null) -> tuple[NDArray[np.float32], int]:
    """Tabulate 1 - p for `look_up`.

    Returns
    -------
    tables : array of float32, shape (strata or 1, rows, COLUMNS + 1)
        `STEPS` rows per octave of effective samples; columns over ncc from -1 to 1.
    octave : int
        Of how many effective samples, as a power of 2, the first row is.
    """
    parts = null.strata or (null,)
    ends = [np.log2([part.effective_samples[0], part.effective_samples[-1]]) for part in parts]
    first, last = int(np.floor(np.min(ends))) - CUT_OFF, int(np.floor(np.max(ends)))
    octaves = 2.0 ** np.arange(first, last + 2)
    numbers = np.outer(octaves, 1 + np.arange(STEPS) / STEPS).reshape(-1)
    grid = np.meshgrid(numbers, np.linspace(-1, 1, COLUMNS + 1), indexing="ij")
    tables = np.stack([ndtr(part.scores(grid[1], grid[0])) for part in parts])
    tables[tables < RESOLVED] = 0.0
    return tables.astype(np.float32), first


def threshold(null: Null, confidence: float) -> list[float]:
    """Return the ncc that reaches a confidence, per class."""
    score = ndtri(confidence)
    scores = np.array(SCORES)
    place = int(np.clip(np.searchsorted(scores, score) - 1, 0, scores.size - 2))
    share = (score - scores[place]) / (scores[1] - scores[0])
    table = np.array(null.quantiles)
    return np.tanh((1 - share) * table[:, place] + share * table[:, place + 1]).tolist()
