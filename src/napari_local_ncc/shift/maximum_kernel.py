"""Compiled: Taylor images, and the maximum of the NCC whose covariance and variance are series.

Pixels are treated `LANES` at a time, in rows that are as far apart: as the compiler knows
that distance, it sees that they do not overlap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import inner, kernel
from napari_local_ncc.ncc.kernels.rows import U

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.rows import Array

    Values = NDArray[np.float32]
    Integers = NDArray[np.intp]

LANES = 64  # pixels whose maxima are sought together
# Rows of what is known at a shift: covariance, variance, half the gain, nine derivatives.
COV, VAR, HALF_GAIN, SLOPES, CURVATURES, ROWS = 0, 1, 2, 3, 6, 12
MOST_STEPS = 10
CONVERGED = 5e-5  # px of a step: the next one is shorter by far
SETTLED = 1e-2  # px: a fit whose next step would be longer has not found its maximum
LONGEST = 0.5  # px of a step
UPHILL = 0.25  # px, where the curvature does not say how far
FARTHEST = 1.5  # px from where the Taylor series is exact
MIN_CURVATURE = 1e-5  # of the NCC per px^2; less may be rounding


@inner
def _centre(
    cross: Array,
    means: Array,
    squares: Array,
    weight: Array,
    mean: Array,
    places: Integers,
    products: Integers,
    first: int,
    n: int,
    cov: int,
    var: int,
    sums: Array,
    work: Values,
) -> None:
    """Set the Taylor terms of covariance and of variance, a row each, of n pixels."""
    terms = cross.shape[0]
    for k in range(terms):
        row, spread = U(k * LANES), U((terms + k) * LANES)
        joint = U((cov + k) * LANES)
        for x in range(n):
            here, there = places[first + x, 0], places[first + x, 1]
            sums[row + U(x)] = means[k, there]
            sums[spread + U(x)] = squares[k, there]
            share = mean[here] / weight[here] * means[k, there]
            work[joint + U(x)] = (cross[k, here] - share) / weight[here]
    whole = U(2 * terms * LANES)
    for x in range(n):
        sums[whole + U(x)] = 1 / weight[places[first + x, 0]]
    for k in range(products.shape[0]):
        i, j = U(products[k, 0] * LANES), U(products[k, 1] * LANES)
        to = U((terms + products[k, 2]) * LANES)
        times = 1.0 if i == j else 2.0
        for x in range(U(n)):
            sums[to + x] -= times * sums[i + x] * sums[j + x] * sums[whole + x]
    for k in range(terms):
        spread, to = U((terms + k) * LANES), U((var + k) * LANES)
        for x in range(U(n)):
            work[to + x] = sums[spread + x] * sums[whole + x]


@inner
def _fill_powers(shifts: Array, first: int, n: int, powers: Integers, work: Values) -> None:
    """Set the monomials of the shifts of n pixels, a row each."""
    for x in range(U(n)):
        work[x] = np.float32(1)
    for k in range(1, powers.shape[0]):
        row, before, axis = U(k * LANES), U(powers[k, 0] * LANES), powers[k, 1]
        for x in range(U(n)):
            work[row + x] = work[before + x] * np.float32(shifts[axis, first + x])


@inner
def _add_product(work: Values, to: int, times: int, first: int, second: int, n: int) -> None:
    r, i, j, factor = U(to), U(first), U(second), np.float32(times)
    for x in range(U(n)):
        work[r + x] += factor * work[i + x] * work[j + x]


@inner
def _evaluate(terms: int, steps: Integers, n: int, work: Values) -> None:
    """Set covariance, variance, and the derivatives of covariance - gain / 2 * variance."""
    cov, var = terms * LANES, 2 * terms * LANES
    joint, out = 3 * terms * LANES, 4 * terms * LANES
    for row in range(out, out + ROWS * LANES, LANES):
        r = U(row)
        for x in range(U(n)):
            work[r + x] = np.float32(0)
    for k in range(terms):
        _add_product(work, out, 1, cov + k * LANES, k * LANES, n)
        _add_product(work, out + LANES, 1, var + k * LANES, k * LANES, n)
    for x in range(n):
        # Half the gain; a covariance at or below 0 has no maximum to climb to.
        work[out + 2 * LANES + x] = work[out + x] / work[out + LANES + x] / 2
    for k in range(terms):
        i, j, r, h = (
            U(cov + k * LANES),
            U(var + k * LANES),
            U(joint + k * LANES),
            U(out + 2 * LANES),
        )
        for x in range(U(n)):
            work[r + x] = work[i + x] - work[h + x] * work[j + x]
    for k in range(steps.shape[0]):
        to = out + (SLOPES + steps[k, 0]) * LANES
        _add_product(work, to, steps[k, 3], joint + steps[k, 1] * LANES, steps[k, 2] * LANES, n)


@inner
def _newton_step(work: Values, at: int) -> tuple[float, float, float, bool]:
    """Return a step to the top, and whether there is one; uphill, where there is none.

    By the factors L D L^T of the curvature, whose D tell whether it is negative.
    """
    unit = np.float64(work[at + COV * LANES])
    if not unit > 0.0:
        return 0.0, 0.0, 0.0, False
    z = work[at + SLOPES * LANES] / unit
    y = work[at + (SLOPES + 1) * LANES] / unit
    x = work[at + (SLOPES + 2) * LANES] / unit
    zz = work[at + CURVATURES * LANES] / unit
    zy = work[at + (CURVATURES + 1) * LANES] / unit
    yy = work[at + (CURVATURES + 2) * LANES] / unit
    zx = work[at + (CURVATURES + 3) * LANES] / unit
    yx = work[at + (CURVATURES + 4) * LANES] / unit
    xx = work[at + (CURVATURES + 5) * LANES] / unit
    # Along an axis that is not searched there is neither: the top stays where it is.
    zz = -1.0 if zz == 0.0 else zz
    yy = -1.0 if yy == 0.0 else yy
    xx = -1.0 if xx == 0.0 else xx
    steepest = max(abs(z), abs(y), abs(x))
    uphill = UPHILL / steepest if steepest > 0.0 else 0.0
    up_z, up_y, up_x = uphill * z, uphill * y, uphill * x
    zy_zz, zx_zz = zy / zz, zx / zz
    yy -= zy_zz * zy
    yx -= zy_zz * zx
    y -= zy_zz * z
    yx_yy = yx / yy
    xx -= zx_zz * zx + yx_yy * yx
    x -= zx_zz * z + yx_yy * y
    if not (zz < -MIN_CURVATURE and yy < -MIN_CURVATURE and xx < -MIN_CURVATURE):
        return up_z, up_y, up_x, False
    x /= -xx
    y = (y + yx * x) / -yy
    z = (z + zy * y + zx * x) / -zz
    longest = max(abs(z), abs(y), abs(x))
    scale = min(1.0, LONGEST / longest) if longest > 0.0 else 0.0
    return z * scale, y * scale, x * scale, True


@inner
def _move(shifts: Array, first: int, n: int, at: int, work: Values) -> float:
    """Take a step uphill; return the longest."""
    longest = 0.0
    for x in range(n):
        step_z, step_y, step_x, _ = _newton_step(work, at + x)
        pixel = first + x
        shifts[0, pixel] = min(max(shifts[0, pixel] + step_z, -FARTHEST), FARTHEST)
        shifts[1, pixel] = min(max(shifts[1, pixel] + step_y, -FARTHEST), FARTHEST)
        shifts[2, pixel] = min(max(shifts[2, pixel] + step_x, -FARTHEST), FARTHEST)
        longest = max(longest, abs(step_z), abs(step_y), abs(step_x))
    return longest


@inner
def _store(shifts: Array, first: int, n: int, at: int, work: Values, out: Array) -> None:
    """Store what is known at the maxima; NaN where there is none."""
    for x in range(n):
        step_z, step_y, step_x, is_top = _newton_step(work, at + x)
        settled = max(abs(step_z), abs(step_y), abs(step_x)) < SETTLED
        for axis in range(3):
            if not (is_top and settled):
                shifts[axis, first + x] = np.nan
        out[0, first + x] = work[at + COV * LANES + x]
        out[1, first + x] = work[at + VAR * LANES + x]
        for k in range(6):
            out[2 + k, first + x] = work[at + (CURVATURES + k) * LANES + x]


@kernel
def find_maxima(
    cross: Array,
    means: Array,
    squares: Array,
    weight: Array,
    mean: Array,
    square: Array,
    places: Integers,
    powers: Integers,
    products: Integers,
    steps: Integers,
    shifts: Array,
    out: Array,
) -> None:
    """Find where the NCC of smoothed windows is highest, pixel by pixel, by Newton's method.

    Parameters
    ----------
    cross : array of float64, shape (terms, n)
        Window sums of fixed times the Taylor images of moving.
    means, squares : array of float64, shape (terms, m)
        Window sums of the Taylor images of moving, and of those of its square.
    weight, mean, square : array of float64, shape (n,)
        Window sums of ones, of fixed, and of its square.
    places : array of int, shape (pixels, 2)
        Where a pixel is in `cross`, `weight`, `mean` and `square`; and in `means` and `squares`.
    powers : array of int, shape (terms, 2)
        Of which earlier term, and of which axis, a monomial is the product.
    products : array of int, shape (pairs, 3)
        Which two terms, the first not after the second, make which one.
    steps : array of int, shape (steps, 4)
        What adds to the derivatives (z, y, x, zz, zy, yy, zx, yx, xx): which one, the term,
        its monomial, and how many times.
    shifts : array of float64, shape (3, pixels)
        Where to begin, along z, y, x; receives the maximum, NaN where there is none.
    out : array of float64, shape (9, pixels)
        Receives covariance and variance of moving there, the Hessian (zz, zy, yy, zx, yx, xx)
        of covariance - gain / 2 * variance, and the variance of fixed.
    """
    terms = powers.shape[0]
    cov, var, at = terms, 2 * terms, 4 * terms * LANES
    work = np.empty((4 * terms + ROWS) * LANES, np.float32)
    sums = np.empty((2 * terms + 1) * LANES)
    for first in range(0, places.shape[0], LANES):
        n = min(LANES, places.shape[0] - first)
        _centre(
            cross, means, squares, weight, mean, places, products, first, n, cov, var, sums, work
        )
        for _ in range(MOST_STEPS):
            _fill_powers(shifts, first, n, powers, work)
            _evaluate(terms, steps, n, work)
            if _move(shifts, first, n, at, work) < CONVERGED:
                break
        _store(shifts, first, n, at, work, out)
        for pixel in range(first, first + n):
            here = places[pixel, 0]
            out[8, pixel] = square[here] / weight[here] - (mean[here] / weight[here]) ** 2


@kernel
def correlate(source: Values, target: Values, stride: int, taps: Values) -> None:
    """Correlate a flat array with 7 taps along one of its axes.

    The samples closer than 3 to an end are not set.
    """
    t0, t1, t2, t3, t4, t5, t6 = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5], taps[6]
    s, n = U(stride), U(max(source.size - 6 * stride, 0))
    for i in range(n):
        target[i + U(3) * s] = (
            t0 * source[i]
            + t1 * source[i + s]
            + t2 * source[i + U(2) * s]
            + t3 * source[i + U(3) * s]
            + t4 * source[i + U(4) * s]
            + t5 * source[i + U(5) * s]
            + t6 * source[i + U(6) * s]
        )


@kernel
def square_series(terms: Values, pairs: Integers, out: Values) -> None:
    """Set the Taylor images of the square of an image.

    Parameters
    ----------
    terms, out : array of float32, shape (terms, samples)
        The Taylor images of the image, and of its square.
    pairs : array of int, shape (pairs, 3)
        Which two terms, the first not after the second, make which one.
    """
    block = 512
    for x0 in range(0, terms.shape[1], block):
        n = U(min(block, terms.shape[1] - x0))
        out[:, x0 : x0 + block] = 0
        for k in range(pairs.shape[0]):
            first, second = terms[pairs[k, 0]], terms[pairs[k, 1]]
            row = out[pairs[k, 2]]
            times = np.float32(1 if pairs[k, 0] == pairs[k, 1] else 2)
            for x in range(U(x0), U(x0) + n):
                row[x] += times * first[x] * second[x]
