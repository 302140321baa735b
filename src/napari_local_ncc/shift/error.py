"""The standard error of a residual shift, and whether a window decides at all.

With e the residual of the smoothed windows and H the curvature of what the shift maximises,
the error has the covariance H^-1 J H^-1: J is the variance of the slope there, which is e
times the slope of the image, less what of that is a change of brightness or contrast of the
window. Smoothed noise is correlated as the smoothing makes it, so that J follows from the power of
the noise and the slopes, smoothed once more.

Noise curves what is maximised, too. Where it does so more than structure, a few windows look
sharp by chance, and only these would seem to be well known. So the curvature counts less what
noise may add, and the variance is the mean of two: with that curvature, and with the one
that the slopes of fixed alone let expect, less their noise. What chance brings together between
both images is not in the second.
"""

from __future__ import annotations

from math import pi, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.ndimage

from napari_local_ncc.shift.error_kernel import variances_of_shifts
from napari_local_ncc.shift.smoothing import (
    MARGIN,
    SMOOTHING,
    derivative_taps,
    is_single,
    noise_reach,
    wide_taps,
)
from napari_local_ncc.shift.subpixel.single_axis import lean_on_others
from napari_local_ncc.shift.window_sums_kernel import sum_products, sums_room

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.shift.small_windows import SmallWindow
    from napari_local_ncc.shift.subpixel.room import Room
    from napari_local_ncc.shift.subpixel.smooth_pair import SmoothPair

    Values = NDArray[np.float32]
    Numbers = NDArray[np.float64]
    Integers = NDArray[np.intp]

MOST_ERROR = 0.5  # px; beyond, the error of the error is as large
DOUBT = 1.6  # standard deviations of what noise adds to the curvature that it counts less


def noise_terms(
    pair: SmoothPair,
    room: Room,
    at_top: Numbers,
    pixels: Integers,
    tile: tuple[int, ...],
    small: SmallWindow,
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
    small : SmallWindow
        What windows are too small for.

    Returns
    -------
    array of float64, shape (`terms_of(windowed axes)`, pixels)
        The power of the noise of both images, in squared units of fixed; one over the number of
        samples; and three symmetric matrices, row by row of their lower triangles, in squared
        units of fixed per px^2: the curvature of the NCC, and the mean product of fixed's slopes,
        and of these smoothed once more.
    """
    window = pair.window
    axes = [axis for axis in range(3) if window.radius[axis]]
    ndim = len(axes)
    slopes = [_slopes(pair.samples, axis, axes) for axis in axes]
    fields = np.stack([np.ones_like(pair.fixed), *(image for two in slopes for image in two)])

    def sums(image: Values, others: Values, taps: Any) -> Numbers:
        out = np.empty((len(others), *tile))
        start = (0, 0, 0)
        work = room.take("work", (sums_room(tile, taps),))
        sum_products(image, start, others, start, tile, taps, window.box, work, out)
        return out.reshape(len(others), -1)[:, pixels]

    known = pair.known[0]
    means = sums(known, fields, window.taps)
    whole = means[0]
    share = sums(known, fields[:1], tuple(taps**2 for taps in window.taps))[0] / whole**2
    cov, var, var_fixed = at_top[0], at_top[1], at_top[8]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = means / whole
        gain = np.sqrt(var_fixed / var)  # of moving, in units of fixed; noise is in both
        power = (4 * pi * SMOOTHING**2) ** (-ndim / 2)  # of smoothed noise, of 1 of its own
        # Where samples are missing, more of the noise is taken up by the fit.
        left = small.left ** (share / small.share)
        noise = 2 * np.maximum(var_fixed - cov * gain, 0) / (power * left)
        joint = sums(pair.fixed, fields, window.taps) / whole
        contrast = joint[1:] - joint[0] * means[1:]
        inside = np.sqrt(small.inside)
        matrices = np.zeros((3, _pairs(ndim), len(pixels)))
        for i, a in enumerate(axes):
            product = sums(slopes[i][0] * known, fields[1:], window.taps) / whole
            # What is a change of brightness, or of contrast, is no change of place.
            product -= means[1 + 2 * i] * means[1:] + contrast[2 * i] * contrast / var_fixed
            for j, b in enumerate(axes):
                at, place = _pairs(max(i, j)) + min(i, j), 2 + a * (a + 1) // 2 + b
                if j <= i:
                    fit = contrast[2 * i] * contrast[2 * j] * cov / (var_fixed**2 / gain)
                    matrices[0, at] = -gain * at_top[place] - fit
                    matrices[1, at] = product[2 * j]
                matrices[2, at] += inside[i] * inside[j] * product[2 * j + 1] / (1 + (i != j))
        for i, a in enumerate(axes):
            if not window.search[a]:  # the shift is 0, for sure
                beside = [_pairs(max(i, j)) + min(i, j) for j in range(ndim)]
                matrices[:, beside] = 0
                matrices[:2, beside[i]] = 1
    for values in (matrices, noise):  # twice, as its square may be beyond a number
        values /= pair.scale
        values /= pair.scale
    return np.concatenate([[noise, share], matrices.reshape(-1, len(pixels))])


def _pairs(axes: int) -> int:
    """Return how many numbers a symmetric matrix of so many axes has."""
    return axes * (axes + 1) // 2


def terms_of(axes: int) -> int:
    """Return how many terms `noise_terms` gives for so many windowed axes."""
    return 2 + 3 * _pairs(axes)


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


def standard_error(terms: Numbers, radius: Sequence[int], search: Sequence[int]) -> Numbers:
    """Return the standard error of shifts.

    Parameters
    ----------
    terms : array of float64, shape (terms, ...)
        See `noise_terms`; the noise is NaN where there is no shift.
    radius, search : sequence of int
        Window radius along each axis of the image, over which the noise is averaged; and the
        longest shift.

    Returns
    -------
    array of float64, shape (axes, ...)
        In px.
    """
    known = np.isfinite(terms[0])
    sides = [2 * r + 1 for r in noise_reach(radius)]
    options: dict[str, Any] = {"size": sides, "mode": "constant"}
    total = scipy.ndimage.uniform_filter(np.where(known, terms[0], 0), **options)
    count = scipy.ndimage.uniform_filter(known.astype(np.float64), **options)
    noise = np.divide(total, count, out=np.full(known.shape, np.nan), where=known)
    searched = np.array([float(s > 0) for r, s in zip(radius, search, strict=True) if r])
    # Half of the noise is in either image: of the slope of its own, smoothed; and of the slope of
    # one times the other, summed, the variance and that of its own slope.
    axes = len(searched)
    steep = (4 * pi * SMOOTHING**2) ** (-axes / 2) / (2 * SMOOTHING**2)
    crossed = (8 * pi * SMOOTHING**2) ** (-axes / 2) / (4 * SMOOTHING**2)
    chance = sqrt(crossed * 3 / (4 * SMOOTHING**2)) / 2
    # Along one axis windows hold so little that fixed's slopes alone seem steep by chance, too.
    doubts = [DOUBT * chance, DOUBT * chance if axes == 1 else 0.0]
    variance = np.empty((axes, *known.shape))
    variances_of_shifts(
        noise.ravel(),
        terms.reshape(len(terms), -1),
        searched,
        np.array(doubts),
        steep / 2,
        crossed / 4,
        variance.reshape(axes, -1),
    )
    return np.sqrt(variance, out=variance)


def total_error(
    terms: Numbers,
    spread: Values,
    windows: NDArray[np.bool_],
    radius: Sequence[int],
    search: Sequence[int],
) -> Values:
    """Return the standard error of shifts, the choice of the peak included.

    Parameters
    ----------
    terms, radius, search
        As for `standard_error`.
    spread : array of float32, shape (axes, ...)
        Variance in px^2 of which peak is the right one; see `peak_kernel.weigh_shifts`.
    windows : array of bool, shape (...)
        Where there is an NCC at no displacement.

    Returns
    -------
    array of float32, shape (axes, ...)
        In px; NaN on all axes where it exceeds `MOST_ERROR` on one; along a single axis also
        where few windows around have a shift.
    """
    with np.errstate(invalid="ignore"):
        error, is_lonely = standard_error(terms, radius, search), np.zeros(windows.shape, bool)
        if is_single(radius):
            error, is_lonely = lean_on_others(error, windows, radius, MOST_ERROR)
        error = np.sqrt(error**2 + spread)
        np.copyto(error, np.nan, where=~(error <= MOST_ERROR).all(axis=0) | is_lonely)
    return error.astype(np.float32)
