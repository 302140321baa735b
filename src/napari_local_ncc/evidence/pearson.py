"""Pearson's r, of paired samples or of parts of them that are put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FLAT = 1e-9  # of the mean square: variance that is rounding


@dataclass(frozen=True, slots=True, eq=False)
class PairMoments:
    """What Pearson's r needs to know of paired samples.

    Attributes
    ----------
    count : int
        Number of pairs.
    mean : ndarray of float64, shape (2,)
        Of fixed and moving; 0 without pairs.
    scatter : ndarray of float64, shape (2, 2)
        Sums of the products of what differs from the means.
    """

    count: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @classmethod
    def of(cls, fixed: NDArray[np.floating], moving: NDArray[np.floating]) -> Self:
        """Return the moments of finite samples of two arrays of one shape."""
        rest = [image.ravel().astype(np.float64) for image in (fixed, moving)]
        mean = np.array([x.mean() if x.size else 0.0 for x in rest])
        a, b = (x - m for x, m in zip(rest, mean, strict=True))
        # plain sums: BLAS would wake a thread pool for a few thousand numbers
        aa, ab, bb = (float(np.sum(x * y)) for x, y in ((a, a), (a, b), (b, b)))
        return cls(a.size, mean, np.array([[aa, ab], [ab, bb]]))

    @classmethod
    def of_parts(cls, parts: Sequence[PairMoments]) -> Self:
        """Put parts together: scatter within them and between their means."""
        counts = np.array([part.count for part in parts], np.float64)
        means = np.stack([part.mean for part in parts])
        mean = counts @ means / max(counts.sum(), 1)
        apart = means - mean
        between = np.einsum("n,ni,nj", counts, apart, apart)
        return cls(int(counts.sum()), mean, sum(part.scatter for part in parts) + between)

    def pearson(self, flat: float = FLAT) -> float:
        """Return Pearson's r; NaN where a variance is at most `flat` of the mean square."""
        own = np.diagonal(self.scatter)
        if np.any(own <= flat * (own + self.count * np.square(self.mean))):
            return np.nan
        spread = np.sqrt(own[0]) * np.sqrt(own[1])
        return float(np.clip(self.scatter[0, 1] / spread, -1, 1))


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
    return np.nan if fixed.size < least else PairMoments.of(fixed, moving).pearson()
