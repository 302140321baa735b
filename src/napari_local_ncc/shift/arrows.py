"""A residual shift as arrows: few enough to be drawn, the same however the map is cut."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

MOST = 20_000  # arrows of one map, which any screen draws at once


def arrow_strides(shape: Sequence[int], radius: Sequence[int], most: int) -> tuple[int, ...]:
    """Return how many pixels arrows should stand apart: a window's side, or a multiple of it.

    Parameters
    ----------
    shape, radius : sequence of int
        Of the map and of its windows, per axis. Every index of an axis of radius 0 has arrows.
    most : int
        How many arrows there may be in all.
    """
    times = 1
    while True:
        strides = tuple(times * (2 * r + 1) if r else 1 for r in radius)
        count = math.prod(-(-n // step) for n, step in zip(shape, strides, strict=True))
        if count <= most or all(
            r == 0 or s >= n for n, r, s in zip(shape, radius, strides, strict=True)
        ):
            return strides
        times += 1


class ArrowTally:
    """Gathers arrows tile by tile; the memory needed does not grow with the map.

    Parameters
    ----------
    shape, radius : sequence of int
        Of the map and of its windows, per axis.
    most : int
        How many arrows there may be in all.
    """

    def __init__(self, shape: Sequence[int], radius: Sequence[int], most: int = MOST) -> None:
        self.strides = arrow_strides(shape, radius, most)
        self._axes = [axis for axis, r in enumerate(radius) if r]
        self._ends: list[NDArray[np.float32]] = [np.empty((0, 2, len(shape)), np.float32)]
        self._labels: list[NDArray[np.uint8]] = [np.empty(0, np.uint8)]
        self._errors: list[NDArray[np.float32]] = [np.empty((0, len(self._axes)), np.float32)]

    def add(
        self,
        components: ArrayLike,
        labels: NDArray[np.uint8],
        keep: NDArray[np.bool_],
        location: Sequence[slice],
        errors: ArrayLike | None = None,
    ) -> None:
        """Take the arrows of a tile.

        Parameters
        ----------
        components : array_like, shape (n, ...)
            The tile's shift in pixels along the n axes of a radius above 0.
        labels : array of uint8, shape (...)
            The class of every pixel, which its arrow keeps.
        keep : array of bool, shape (...)
            Where an arrow is wanted; none is where the shift is NaN.
        location : sequence of slice
            Where the tile lies in the map.
        errors : array_like, shape (n, ...), optional
            Standard deviations of the components in pixels; default: unknown.
        """
        values = np.asarray(components, np.float32)
        spread = np.full_like(values, np.nan) if errors is None else np.asarray(errors, np.float32)
        begins = [
            (step // 2 - part.start) % step
            for part, step in zip(location, self.strides, strict=True)
        ]
        picked = tuple(slice(b, None, step) for b, step in zip(begins, self.strides, strict=True))
        values = values[(slice(None), *picked)]
        known = keep[picked] & np.isfinite(values).all(axis=0)
        first = [part.start + b for part, b in zip(location, begins, strict=True)]
        ends = np.zeros((int(known.sum()), 2, len(begins)), np.float32)
        ends[:, 0] = np.argwhere(known) * np.asarray(self.strides) + first
        ends[:, 1, self._axes] = values[:, known].T
        self._ends.append(ends)
        self._labels.append(labels[picked][known])
        self._errors.append(spread[(slice(None), *picked)][:, known].T)

    @property
    def ends(self) -> NDArray[np.float32]:
        """Where each arrow begins and its components, in pixels: shape (arrows, 2, axes).

        Fixed shows at the beginning what moving shows at the end.
        """
        return np.concatenate(self._ends)

    @property
    def components(self) -> NDArray[np.float32]:
        """The same components along the axes of a radius alone: shape (arrows, these axes)."""
        return self.ends[:, 1][:, self._axes]

    @property
    def labels(self) -> NDArray[np.uint8]:
        """The class of each arrow."""
        return np.concatenate(self._labels)

    @property
    def errors(self) -> NDArray[np.float32]:
        """Standard deviations in pixels, NaN where unknown: shape (arrows, axes of a radius)."""
        return np.concatenate(self._errors)
