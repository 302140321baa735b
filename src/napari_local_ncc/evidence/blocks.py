"""Images at a reduced resolution: means of blocks, as far as they are valid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def block_means(
    image: NDArray[np.floating],
    factor: Sequence[int],
    valid: NDArray[np.bool_] | None = None,
    least: float = 0.5,
) -> tuple[NDArray[np.floating], NDArray[np.bool_] | None]:
    """Return the means of the valid samples of blocks of `factor` samples per axis.

    Parameters
    ----------
    image : ndarray of float, shape (...)
        Samples; those at the end that fill no block are left out.
    factor : sequence of int
        Per axis, at least 1.
    valid : ndarray of bool, shape (...), optional
        True where samples count; None: everywhere.
    least : float, default 0.5
        Share of a block that must be valid for its mean to be.

    Returns
    -------
    means : ndarray of image's dtype
        0 where invalid.
    valid : ndarray of bool or None
        None: everywhere.
    """
    if max(factor) == 1:
        return (image if valid is None else np.where(valid, image, image.dtype.type(0))), valid
    kept = tuple(slice(0, n - n % k) for n, k in zip(image.shape, factor, strict=True))
    size = float(np.prod(factor))
    if valid is None:
        return _sums(image[kept], factor) / image.dtype.type(size), None
    known = valid[kept]
    total = _sums(np.where(known, image[kept], image.dtype.type(0)), factor)
    count = _sums(known.astype(np.float32), factor)
    enough = count >= least * size
    means = np.where(enough, total / np.maximum(count, 1).astype(image.dtype), image.dtype.type(0))
    return means, None if enough.all() else enough


def _sums(values: NDArray[np.floating], factor: Sequence[int]) -> NDArray[np.floating]:
    """Sum blocks, axis after axis: the last is contiguous, and shrinks what comes after."""
    for axis in reversed(range(values.ndim)):
        k = factor[axis]
        if k > 1:
            n = values.shape[axis] // k
            split = values.reshape(*values.shape[:axis], n, k, *values.shape[axis + 1 :])
            values = split.sum(axis=axis + 1, dtype=values.dtype)
    return values
