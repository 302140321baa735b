"""The curve by which the intensities of one image tell those of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ContrastCurve:
    """Means of paired samples in classes of the intensity of the first.

    Attributes
    ----------
    intensities : ndarray of float64, shape (n,)
        Mean of the first image in every class that has samples, rising.
    means : ndarray of float64, shape (n,)
        Mean of the second there.
    explained : float
        Share of the second's variance that lies between the classes (the correlation ratio,
        squared), in [0, 1].
    """

    intensities: Samples
    means: Samples
    explained: float

    @classmethod
    def of(cls, moving: Samples, fixed: Samples, classes: int) -> ContrastCurve:
        """Divide the intensities of moving into classes of about equally many samples.

        Parameters
        ----------
        moving, fixed : ndarray of float64, shape (samples,)
            Pairs, all finite; fixed not constant.
        classes : int
            Of which fewer are left where many samples have the same intensity.
        """
        edges = np.unique(np.quantile(moving, np.linspace(0, 1, classes + 1)[1:-1]))
        level = np.searchsorted(edges, moving, side="right")
        count = np.bincount(level)
        full = count > 0
        here, there = (np.bincount(level, x)[full] / count[full] for x in (moving, fixed))
        between = float(np.sum(count[full] * (there - fixed.mean()) ** 2))
        return cls(here, there, between / (fixed.size * float(fixed.var())))
