"""What error of a registration is stated: the distances that most possible errors keep to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FINEST = 1e-3  # px: what interpolation is good to, so that no smaller error is stated
SHARES = (0.6827, 0.9545)  # of a normal error within one and two standard deviations


def stated_error(lengths: NDArray[np.float64]) -> tuple[float, float]:
    """Return the distances within which errors lie in 68 and in 95 of 100 cases.

    Parameters
    ----------
    lengths : ndarray of float64
        Those of errors drawn from their distribution, in px.

    Returns
    -------
    tuple of float
        In px, `FINEST` at least.
    """
    inner, outer = np.hypot(np.quantile(lengths, SHARES), FINEST)
    return float(inner), float(outer)
