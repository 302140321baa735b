"""A spline of samples, read at any positions: by SciPy, or by indices on a GPU."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_local_ncc.ncc.device import namespace_of
from napari_local_ncc.parameters import is_cupy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def read_spline(
    samples: NDArray[Any],
    at: NDArray[np.float64],
    dtype: np.dtype[Any],
    order: int,
    *,
    is_exact: bool = False,
) -> NDArray[Any]:
    """Read a spline at positions; outside of the samples as at their border.

    Parameters
    ----------
    samples : array of float, shape (...)
        The coefficients of the spline, which up to order 1 are the samples.
    at : array of float64, shape (ndim, *shape)
        Where, in px.
    dtype : dtype
        Of the result.
    order : int
        Of the spline: 0, 1 or 3.
    is_exact : bool
        Whether a sample of no weight does not count though it be NaN, as in `linear_kernel`; on
        a GPU only.

    Returns
    -------
    array, shape `shape`
    """
    if is_cupy(samples):
        read: NDArray[Any] = _read_by_index(samples, at, order, is_exact=is_exact).astype(dtype)
        return read
    found: NDArray[Any] = ndimage.map_coordinates(
        samples, at, dtype, order=order, mode="nearest", prefilter=False
    )
    return found


def _read_by_index(samples: Any, at: Any, order: int, *, is_exact: bool) -> Any:
    """Sum, at every position, the samples around it by their weights.

    CuPy's `map_coordinates` compiles anew for every shape of the result, and has rules of its
    own for samples of no weight.
    """
    xp = namespace_of(samples)
    flat, total = samples.reshape(-1), xp.zeros(at.shape[1:])
    places, weights = [], []
    for axis, n in enumerate(samples.shape):
        position = xp.clip(at[axis], 0, n - 1)
        first = xp.floor(position if order % 2 else position + 0.5)
        weights.append(_weights(position - first, order))
        step = prod(samples.shape[axis + 1 :])
        first = first.astype(np.int64) - order // 2
        places.append([step * xp.clip(first + k, 0, n - 1) for k in range(order + 1)])
    for taps in product(range(order + 1), repeat=samples.ndim):
        weight = prod(line[k] for line, k in zip(weights, taps, strict=True))
        value = flat[sum(line[k] for line, k in zip(places, taps, strict=True))]
        part = weight * value
        total += xp.where(weight == 0, 0.0, part) if is_exact else part
    return total


def _weights(beyond: Any, order: int) -> Sequence[Any]:
    """Return what the samples around a position count, that lies so far beyond one, in px."""
    if order == 0:
        return (1.0,)
    if order == 1:
        return (1 - beyond, beyond)
    before = 1 - beyond
    first, second = before**3 / 6, (3 * beyond - 6) * beyond**2 / 6 + 2 / 3
    third = (3 * before - 6) * before**2 / 6 + 2 / 3
    return (first, second, third, 1 - first - second - third)
