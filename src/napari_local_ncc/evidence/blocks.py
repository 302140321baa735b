"""Images at a reduced resolution: means of blocks, as far as they are valid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def block_means(
    image: NDArray[np.floating],
    factor: Sequence[int],
    valid: NDArray[np.bool_] | None = None,
    least: float = 0.5,
    *,
    to_the_end: bool = False,
) -> tuple[NDArray[np.floating], NDArray[np.bool_] | None]:
    """Return the means of the valid samples of blocks of `factor` samples per axis.

    Parameters
    ----------
    image : ndarray of float, shape (...)
        Finite samples where valid.
    factor : sequence of int
        Per axis, at least 1.
    valid : ndarray of bool, shape (...), optional
        True where samples count; None: everywhere.
    least : float, default 0.5
        Share of a block that must be valid for its mean to be; 0: any one sample.
    to_the_end : bool, default False
        Whether blocks at the end that the image does not fill count, too, as far as they are
        filled; else they are left out.

    Returns
    -------
    means : ndarray of image's dtype
        0 where invalid.
    valid : ndarray of bool or None
        None: everywhere.
    """
    if max(factor) == 1:
        return (image if valid is None else np.where(valid, image, image.dtype.type(0))), valid
    over = [n % k for n, k in zip(image.shape, factor, strict=True)]
    if any(over) and to_the_end:
        missing = [(0, (k - rest) % k) for k, rest in zip(factor, over, strict=True)]
        known = np.pad(np.ones(image.shape, bool) if valid is None else valid, missing)
        image, valid = np.pad(image, missing), known
    elif any(over):
        kept = tuple(slice(0, n - rest) for n, rest in zip(image.shape, over, strict=True))
        image, valid = image[kept], None if valid is None else valid[kept]
    size = float(np.prod(factor))
    if valid is None:
        return _sums(image, factor) / image.dtype.type(size), None
    total = _sums(np.where(valid, image, image.dtype.type(0)), factor)
    count = _sums(valid.astype(np.float32), factor)
    enough = count >= max(least * size, 1)
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


def mean_of_defined(
    samples: NDArray[Any], axis: tuple[int, ...] | None = None
) -> NDArray[np.float32]:
    """Return the mean along some axes of what is finite, NaN where nothing is."""
    defined = np.isfinite(samples)
    total = np.where(defined, samples, 0).sum(axis)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: undefined, as it should be
        mean: NDArray[np.float32] = np.asarray(total / defined.sum(axis), np.float32)
    return mean
