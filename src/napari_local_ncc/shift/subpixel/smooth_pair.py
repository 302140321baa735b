"""The sub-pixel shift: where the NCC of smoothed windows is highest, close to a known shift.

Interpolating a noisy image smooths its noise, most of all half-way between the samples, and so
pulls a fit towards half a pixel. Both images are therefore smoothed by the same Gaussian
first, whatever the shift: moving at p + d is the sum of its samples weighted by a Gaussian
about p + d, and that is smooth in d. About every whole pixel it is a series in d whose terms
are images: derivatives of a Gaussian, about, times the samples. Sums over the windows of fixed
times each term then are the terms of the covariance, for all windows at once, and the maximum
of the NCC follows by Newton's method without another look at the samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Self

import numpy as np

from napari_local_ncc.ncc.kernels.tiles import window_axis
from napari_local_ncc.shift.smoothing import FILL_REACH, REACH
from napari_local_ncc.shift.subpixel.read_samples import read_samples, without_margin
from napari_local_ncc.shift.subpixel.room import Room
from napari_local_ncc.shift.subpixel.series import DEGREE, Series, series_taps
from napari_local_ncc.shift.subpixel.series_kernel import correlate, square_series

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.tiles import Pieces, Slices

    Values = NDArray[np.float32]
    Numbers = NDArray[np.float64]
    Integers = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class SmoothWindow:
    """What the tiles have in common."""

    radius: tuple[int, ...]
    search: tuple[int, ...]
    taps: tuple[Numbers, ...]
    box: bool
    series: Series

    @classmethod
    def of(cls, radius: tuple[int, ...], search: tuple[int, ...], weights: str) -> Self:
        """Return the windows of a radius and a search along z, y, x."""
        taps = tuple(window_axis(2 * r + 1, r, weights).taps for r in radius)
        return cls(radius, search, taps, weights == "box", Series.of(tuple(s > 0 for s in search)))

    @property
    def samples(self) -> int:
        """How many samples a window holds."""
        return prod(taps.size for taps in self.taps)


@dataclass(frozen=True, slots=True, eq=False)
class SmoothPair:
    """A tile of the smoothed fixed image, and the terms of moving's series around it."""

    window: SmoothWindow
    fixed: Values  # shape (z, y, x); the tile and its windows
    terms: Values  # shape (terms, z, y, x); as much more on each side as `reach`
    squares: Values  # those of its square
    fixed_square: Values
    known: tuple[Values, Values]  # what samples of fixed and moving count, 0 to 1
    reach: tuple[int, ...]
    is_clean: bool
    samples: Values  # of fixed, not smoothed, with `MARGIN` more on each side
    scale: float  # of the samples of fixed, to what they were

    @classmethod
    def read(
        cls,
        images: Sequence[Pieces],
        tile: Slices,
        shape: tuple[int, ...],
        window: SmoothWindow,
        reach: Sequence[int],
        room: Room,
    ) -> Self:
        """Read and smooth what a tile needs, with shifts up to `reach` along z, y, x."""
        limits = tuple(min(n, s) for n, s in zip(reach, window.search, strict=True))
        series, (left, right, mask) = window.series, images
        samples, in_fixed, scale = read_samples(left, mask, tile, window.radius, (0, 0, 0), shape)
        fixed = series_images(without_margin(samples, FILL_REACH), series.exponents[:1])[0]
        moving, in_moving, _ = read_samples(right, mask, tile, window.radius, limits, shape)
        terms = series_images(without_margin(moving, FILL_REACH), series.exponents, room)
        squares = room.take("squared", (len(series.powers), *terms.shape[1:]), np.float32)
        given, out = (images.reshape(len(images), -1) for images in (terms, squares))
        square_series(given, series.squares, series.lowered, series.shares, out)
        square = fixed**2
        clean = bool((in_fixed == 1).all() and (in_moving == 1).all())
        if not clean:
            fixed *= in_fixed
            square *= in_fixed
            terms *= in_moving
            squares *= in_moving
        known = in_fixed, in_moving
        return cls(window, fixed, terms, squares, square, known, limits, clean, samples, scale)


def series_images(samples: Values, exponents: Integers, room: Room | None = None) -> Values:
    """Return the terms of the series of a smoothed image about each of its samples.

    Parameters
    ----------
    samples : array of float32, shape (z, y, x)
        The image.
    exponents : array of int, shape (terms, 3)
        Powers of the offset along z, y, x.
    room : Room, optional
        Where they are to be held.

    Returns
    -------
    array of float32, shape (terms, z', y', x')
        Without the `REACH` samples at either end of each axis longer than 1 sample.
    """
    inner = tuple(slice(REACH, n - REACH) if n > 1 else slice(None) for n in samples.shape)
    room = room or Room()
    terms = room.take("images", (len(exponents), *samples[inner].shape), np.float32)
    lines = room.take("correlated", (3, samples.size), np.float32)
    degrees = DEGREE - exponents.sum(axis=1, keepdims=True) + exponents
    taps = [
        [series_taps(order, degree) for order, degree in zip(orders, most, strict=True)]
        for orders, most in zip(exponents.tolist(), degrees.tolist(), strict=True)
    ]
    before: list[Values] = []
    for k in np.lexsort(exponents.T[::-1]).tolist():  # what terms have in common is done once
        source, shared = samples.reshape(-1), True
        for axis in range(3):
            if samples.shape[axis] == 1:
                continue
            shared = shared and bool(before) and taps[k][axis] is before[axis]
            if not shared:
                correlate(source, lines[axis], prod(samples.shape[axis + 1 :]), taps[k][axis])
            source = lines[axis]
        before = taps[k]
        terms[k] = source.reshape(samples.shape)[inner]
    return terms
