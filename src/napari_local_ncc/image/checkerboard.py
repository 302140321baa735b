"""Two images in one, square by square, to be compared by eye."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


def checkerboard(
    fixed: ArrayLike,
    moving: ArrayLike,
    *,
    square: int,
    limits: Sequence[tuple[float, float]] | None = None,
    origin: Sequence[int] = (0, 0),
) -> NDArray[np.float32]:
    """Show fixed and moving in turn, square by square: edges that go on are aligned.

    Parameters
    ----------
    fixed, moving : array_like, of one shape (..., y, x)
        Two images on one grid.
    square : int
        The side of a square along the last two axes, in px.
    limits : sequence of (float, float), optional
        What becomes 0 and 1, of fixed and of moving. Default: their least and largest finite
        value.
    origin : sequence of int, default (0, 0)
        Where the arrays begin in the whole image along the last two axes: so parts of it fit.

    Returns
    -------
    ndarray of float32, of the same shape
        In [0, 1]; NaN where the image that is shown is. The square at 0, 0 is fixed's.

    Raises
    ------
    ValueError
        If the shapes differ or have fewer than two axes, or a square has no side.

    Examples
    --------
    >>> import numpy as np
    >>> dark, bright = np.zeros((2, 4)), np.ones((2, 4))
    >>> checkerboard(dark, bright, square=1, limits=[(0, 1), (0, 1)]).tolist()
    [[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]]
    """
    images = [np.asarray(image) for image in (fixed, moving)]
    if images[0].shape != images[1].shape or images[0].ndim < 2:
        raise ValueError(
            f"fixed has shape {images[0].shape} and moving {images[1].shape}; give two images on "
            "one grid, of two axes or more"
        )
    if square < 1:
        raise ValueError(f"square must be >= 1 px, got {square}")
    ranges = [_range(image) for image in images] if limits is None else limits
    shown = [_scaled(image, *ends) for image, ends in zip(images, ranges, strict=True)]
    rows, columns = (
        (np.arange(n) + start) // square
        for n, start in zip(images[0].shape[-2:], origin, strict=True)
    )
    is_moving = (rows[:, np.newaxis] + columns) % 2 == 1
    return np.where(is_moving, shown[1], shown[0])


def _range(image: NDArray[Any]) -> tuple[float, float]:
    known = image[np.isfinite(image)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)


def _scaled(image: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    return np.clip((image.astype(np.float32) - low) / (high - low or 1.0), 0, 1).astype(np.float32)
