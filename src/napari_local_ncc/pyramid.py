"""Coarser copies of a map, for viewing: means of what is defined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.measure import block_reduce

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SMALLEST_PLANE = 512  # px: a pyramid ends below it


def reduce_by(samples: NDArray[Any], factors: Sequence[int]) -> NDArray[Any]:
    """Return the mean of the defined samples of every block, NaN where there are none."""
    return block_reduce(samples, tuple(factors), _mean_of_defined, cval=np.nan)


def pyramid(samples: NDArray[Any], spatial: Sequence[bool]) -> list[NDArray[Any]]:
    """Return an array and coarser copies of it, each half as fine along the spatial axes.

    Parameters
    ----------
    samples : ndarray of float
        The finest level.
    spatial : sequence of bool
        Which axes to reduce.

    Returns
    -------
    list of ndarray
        From fine to coarse; the last has planes of less than 512 pixels a side.
    """
    levels = [samples]
    while max(levels[-1].shape[-2:]) >= SMALLEST_PLANE:
        shape = levels[-1].shape
        factors = [2 if s and n > 1 else 1 for s, n in zip(spatial, shape, strict=True)]
        levels.append(reduce_by(levels[-1], factors))
    return levels


def _mean_of_defined(samples: NDArray[np.float32], axis: tuple[int, ...]) -> NDArray[np.float32]:
    defined = ~np.isnan(samples)
    total = np.where(defined, samples, 0).sum(axis)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: undefined, as it should be
        return (total / defined.sum(axis)).astype(np.float32)
