"""Which pixels to accept when there are millions of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

STEPS = 2**13  # of the tally, over powers of 10 of p
ROUNDING = 1e-4  # of a step
SMALLEST = 2.0**-25  # half of the smallest 1 - p that float32 can tell from 0


class ConfidenceTally:
    """Counts confidences tile by tile; the memory needed does not grow with the map."""

    def __init__(self) -> None:
        self._counts = np.zeros(STEPS + 1, np.int64)

    def add(self, confidence: NDArray[Any]) -> None:
        """Count an array of values in [0, 1]; NaN is ignored."""
        p = 1 - confidence[~np.isnan(confidence)].astype(np.float64)
        step = np.log(np.maximum(p, SMALLEST)) * (STEPS / np.log(SMALLEST))
        self._counts += np.bincount(step.astype(np.intp), minlength=STEPS + 1)

    def merge(self, other: ConfidenceTally) -> None:
        """Count what another tally has counted."""
        self._counts += other._counts

    def share(self, confidence: float = 0.95) -> float:
        """Return the share of defined pixels with at least this confidence; NaN if none is.

        Raises
        ------
        ValueError
            If `confidence` is not within (0, 1).
        """
        check_confidence(confidence)
        total = int(self._counts.sum())
        if not total:
            return np.nan
        step = np.log(max(1 - confidence, SMALLEST)) * STEPS / np.log(SMALLEST)
        first = int(np.ceil(step - ROUNDING))  # a step's own limit reaches that step
        return float(self._counts[first:].sum() / total)

    def false_discovery_threshold(self, rate: float = 0.05) -> float:
        """Do the same as `false_discovery_threshold` for all values so far, to 0.2 % of p."""
        # Each step counts as the largest p in it.
        p = SMALLEST ** (np.arange(STEPS + 1) / STEPS)
        return _benjamini_hochberg(p[::-1], self._counts[::-1], rate)


def check_confidence(confidence: float) -> None:
    """Raise an error unless a level of confidence lies within (0, 1)."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie within (0, 1), got {confidence!r}")


def false_discovery_threshold(confidence: ArrayLike, rate: float = 0.05) -> float:
    """Return the confidence to ask for so that few of the accepted pixels are false.

    Parameters
    ----------
    confidence : array_like of float
        Confidences in [0, 1]; NaN is ignored.
    rate : float, default 0.05
        The share of false ones among the accepted pixels that is expected at most.

    Returns
    -------
    float
        Accept the pixels whose confidence is at least this. Above 1 (nothing to accept)
        where none is confident enough.

    Raises
    ------
    ValueError
        If the rate is not within (0, 1).

    Notes
    -----
    Benjamini and Hochberg, J. Roy. Statist. Soc. B 57, 289 (1995), on p = 1 - confidence:
    the largest p(k) of the ordered p(1) ... p(m) that is at most rate k / m. It holds where
    pixels are independent or positively dependent (Benjamini and Yekutieli, Ann. Statist.
    29, 1165, 2001), as neighbours in overlapping windows are. "False" means that the
    structure is unrelated; a pixel that is shifted by less than its texture is wide is not
    false in this sense. `ConfidenceTally` does it for maps larger than memory.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> from napari_local_ncc import false_discovery_threshold
    >>> chance, found = rng.uniform(size=900), np.full(100, 0.99999)
    >>> bool(0.99 < false_discovery_threshold(np.append(chance, found), 0.05) < 0.99999)
    True
    """
    values = np.asarray(confidence, np.float64)
    p, counts = np.unique(1 - values[~np.isnan(values)], return_counts=True)
    return _benjamini_hochberg(p, counts, rate)


def _benjamini_hochberg(p: NDArray[np.float64], counts: NDArray[np.int64], rate: float) -> float:
    """Return 1 - the largest of the ascending p to accept, or a number above 1."""
    if not 0 < rate < 1:
        raise ValueError(f"rate must lie within (0, 1), got {rate!r}")
    accepted = np.cumsum(counts)
    passed = np.flatnonzero((counts > 0) & (p * accepted[-1:].sum() <= rate * accepted))
    return float(1 - p[passed[-1]]) if passed.size else float(np.nextafter(1.0, 2.0))
