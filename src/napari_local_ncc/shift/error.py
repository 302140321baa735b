"""The standard error of a residual shift, and whether a window decides at all.

With e the residual of the smoothed windows and H the curvature of what the shift maximises,
the error has the covariance H^-1 J H^-1: J is the variance of the slope there, which is e
times the slope of the image. Smoothed noise is correlated as the smoothing makes it, so that J
follows from the power of the noise and the slopes, smoothed once more.
"""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.ndimage

from napari_local_ncc.shift.smoothing import MARGIN, SMOOTHING, derivative_taps, wide_taps
from napari_local_ncc.shift.window_sums_kernel import sum_products, sums_room

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.shift.subpixel.room import Room
    from napari_local_ncc.shift.subpixel.smooth_pair import SmoothPair

    Values = NDArray[np.float32]
    Numbers = NDArray[np.float64]
    Integers = NDArray[np.intp]

MOST_ERROR = 0.5  # px; beyond, the error of the error is as large
FITTED = 1.5  # independent samples of a window that the fit uses up
LEAST_LEFT = 0.2  # share of them that is left at least
EDGE = 0.6  # px of slopes beyond either end of a window that smoothing lets in
LEAST_SHARE = 0.25  # of the variance of the slope that noise in the slopes may take off


def noise_terms(
    pair: SmoothPair, room: Room, at_top: Numbers, pixels: Integers, tile: tuple[int, ...]
) -> Numbers:
    """Return what the error of shifts follows from once the noise is averaged.

    Parameters
    ----------
    pair : SmoothPair
        The smoothed images.
    room : Room
        Where sums are held.
    at_top : array of float64, shape (9, pixels)
        What `find_maxima` tells about the maxima.
    pixels : array of int, shape (pixels,)
        Which of the tile they are, counted in C order.
    tile : tuple of int
        Its lengths along z, y, x.

    Returns
    -------
    array of float64, shape (1 + 2 * windowed axes, pixels)
        The power N of the noise of both images, in squared units of fixed; and for each axis
        a and b, with which the variance of the shift is N a - N^2 b.
    """
    window = pair.window
    axes = [axis for axis in range(3) if window.radius[axis]]
    ndim = len(axes)
    ones = np.ones((1, *pair.fixed.shape), np.float32)
    squared = tuple(taps**2 for taps in window.taps)

    def sums(image: Values, other: Values, taps: Any) -> Numbers:
        out = np.empty((1, *tile))
        start = (0, 0, 0)
        work = room.take("work", (sums_room(tile, taps),))
        sum_products(image, start, other, start, tile, taps, window.box, work, out)
        return out.ravel()[pixels]

    whole = sums(pair.known[0], ones, window.taps)
    share = sums(pair.known[0], ones, squared) / whole**2  # one over the number of samples
    cov, var = at_top[0], at_top[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = cov / var
        power = (4 * pi * SMOOTHING**2) ** (-ndim / 2)  # of smoothed noise, of 1 of its own
        left = np.maximum(1 - FITTED * share / power, LEAST_LEFT)
        noise = np.maximum(at_top[8] - cov * gain, 0) / (power * left)
        slopes = [_slopes(pair.samples, axis, axes) for axis in axes]
        edge = np.prod([1 - EDGE / taps.size for taps in window.taps if taps.size > 1])
        score, curvature = np.zeros((2, len(pixels), ndim, ndim))
        for i, a in enumerate(axes):
            for j, b in enumerate(axes[: i + 1]):
                steep = slopes[i][0] * pair.known[0]
                sum_ab = sums(steep, slopes[j][1][np.newaxis], squared)
                if i != j:
                    steep = slopes[j][0] * pair.known[0]
                    sum_ab = (sum_ab + sums(steep, slopes[i][1][np.newaxis], squared)) / 2
                score[:, i, j] = score[:, j, i] = edge * sum_ab / whole**2 / gain**2
                place = 2 + a * (a + 1) // 2 + b
                curvature[:, i, j] = curvature[:, j, i] = at_top[place]
        for i, a in enumerate(axes):
            if not window.search[a]:  # the shift is 0, for sure
                curvature[:, i, i] = -1
                score[:, i] = score[:, :, i] = 0
        flatness = _inverse(curvature)
        first = np.einsum("pij,pjk,pki->ip", flatness, score, flatness)
        # The slope of the noise of one image times the noise of the other.
        crossed = (8 * pi * SMOOTHING**2) ** (-ndim / 2) / (4 * SMOOTHING**2)
        second = np.einsum("pij,pji->ip", flatness, flatness) * share * crossed / (4 * gain**2)
    scale = pair.scale
    return np.concatenate([noise[np.newaxis] / scale**2, first * scale**2, second * scale**4])


def _slopes(samples: Values, axis: int, axes: Sequence[int]) -> tuple[Values, Values]:
    """Return the slope of an image smoothed once and three times, without the margin."""
    once = samples
    thrice = samples
    for other in axes:
        order = int(other == axis)
        once = scipy.ndimage.correlate1d(once, derivative_taps(order), axis=other)
        thrice = scipy.ndimage.correlate1d(thrice, wide_taps(order), axis=other)
    inner = tuple(slice(MARGIN, n - MARGIN) if n > 1 else slice(None) for n in samples.shape)
    return np.ascontiguousarray(once[inner]), np.ascontiguousarray(thrice[inner])


def _inverse(matrices: Numbers) -> Numbers:
    """Return inverses, NaN of what has none; shape (n, d, d)."""
    regular = np.abs(np.linalg.det(matrices)) > 0
    found = np.full_like(matrices, np.nan)
    found[regular] = np.linalg.inv(matrices[regular])
    return found


def standard_error(terms: Numbers, radius: Sequence[int]) -> Numbers:
    """Return the standard error of shifts.

    Parameters
    ----------
    terms : array of float64, shape (1 + 2 * axes, ...)
        See `noise_terms`; NaN where there is no shift.
    radius : sequence of int
        Window radius along each axis of the image, over which the noise is averaged.

    Returns
    -------
    array of float64, shape (axes, ...)
        In px.
    """
    axes = (len(terms) - 1) // 2
    known = np.isfinite(terms[0])
    sides = [2 * r + 1 for r in radius]
    options: dict[str, Any] = {"size": sides, "mode": "constant"}
    total = scipy.ndimage.uniform_filter(np.where(known, terms[0], 0), **options)
    count = scipy.ndimage.uniform_filter(known.astype(np.float64), **options)
    noise = np.divide(total, count, out=np.full_like(total, np.nan), where=known)
    first, second = terms[1 : 1 + axes], terms[1 + axes :]
    variance = np.maximum(noise * first - noise**2 * second, LEAST_SHARE * noise * first)
    return np.sqrt(variance)


def total_error(terms: Numbers, spread: Values, radius: Sequence[int]) -> Values:
    """Return the standard error of shifts, the choice of the peak included.

    Parameters
    ----------
    terms, radius
        As for `standard_error`.
    spread : array of float32, shape (axes, ...)
        Variance in px^2 of which peak is the right one; see `peak_kernel.weigh_shifts`.

    Returns
    -------
    array of float32, shape (axes, ...)
        In px; NaN on all axes where it exceeds `MOST_ERROR` on one.
    """
    with np.errstate(invalid="ignore"):
        error = np.sqrt(standard_error(terms, radius) ** 2 + spread)
        error[:, ~(error <= MOST_ERROR).all(axis=0)] = np.nan
    return error.astype(np.float32)
