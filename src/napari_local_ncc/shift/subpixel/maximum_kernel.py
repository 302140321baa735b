"""Compiled: the maximum of the NCC whose covariance and variance are series.

Pixels are treated `LANES` at a time, in rows that are as far apart: as the compiler knows
that distance, it sees that they do not overlap. What needs more steps than most is set aside
and treated together later.
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
    Sums = tuple[Array, Array, Array, Array, Array, Array]

LANES = 64  # pixels whose maxima are sought together
# Rows of what is known at a shift: covariance, variance, half the gain, nine derivatives; and
# the shift, the step to the next one, and whether that leads to a top.
COV, VAR, HALF_GAIN, SLOPES, CURVATURES, SHIFT, STEP, TOP, ROWS = 0, 1, 2, 3, 6, 12, 15, 18, 19
FEW_STEPS, MOST_STEPS = 4, 10
CONVERGED = np.float32(1e-3)  # px of a step: the next one is about its square
SETTLED = np.float32(1e-2)  # px: a fit whose next step would be longer has not found its maximum
LONGEST = np.float32(0.5)  # px of a step
UPHILL = np.float32(0.25)  # px, where the curvature does not say how far
FARTHEST = np.float32(1.5)  # px from where the series is exact
MIN_CURVATURE = np.float32(1e-5)  # of the NCC per px^2; less may be rounding
NONE, UNIT = np.float32(0), np.float32(1)


@inner
def _centre(
    sums: Sums, places: Integers, listed: Integers, crossed: Integers, own: Array, work: Values
) -> None:
    """Set the terms of covariance and of variance, a row each, of the pixels that are listed."""
    cross, means, squares, weight, mean, _ = sums
    terms = cross.shape[0]
    at, there = np.empty(LANES, np.intp), np.empty(LANES, np.intp)
    for x in range(LANES):
        at[x], here, there[x] = places[0, listed[x]], places[1, listed[x]], places[2, listed[x]]
        own[x] = 1 / weight[here]
        own[LANES + x] = mean[here] / weight[here]
        own[2 * LANES + x] = means[0, there[x]] / weight[here]
    wide = squares.shape[0]
    for k in range(wide):
        row, cov, var = U(k * LANES), U((wide + k) * LANES), U((wide + terms + k) * LANES)
        two = squares[k]
        if k >= terms:
            for x in range(U(LANES)):
                work[var + x] = two[U(there[x])] * own[x]
            continue
        joint, one, twice = cross[k], means[k], 2.0 if k else 1.0
        for x in range(U(LANES)):
            share = own[x]
            term = one[U(there[x])] * share
            work[row + x] = term
            work[cov + x] = joint[U(at[x])] * share - own[U(LANES) + x] * term
            work[var + x] = two[U(there[x])] * share - twice * own[U(2 * LANES) + x] * term
    # Of the square of the mean, only the product of two slopes or higher terms is left.
    for k in range(crossed.shape[0]):
        i, j = U(crossed[k, 0] * LANES), U(crossed[k, 1] * LANES)
        to = U((wide + terms + crossed[k, 2]) * LANES)
        times = np.float32(1 if i == j else 2)
        for x in range(U(LANES)):
            work[to + x] -= times * work[i + x] * work[j + x]


@inner
def _fill_powers(powers: Integers, at: int, work: Values) -> None:
    """Set the monomials of the shifts, a row each."""
    for x in range(U(LANES)):
        work[x] = UNIT
    for k in range(1, powers.shape[0]):
        row, before = U(k * LANES), U(powers[k, 0] * LANES)
        shift = U(at + (SHIFT + powers[k, 1]) * LANES)
        for x in range(U(LANES)):
            work[row + x] = work[before + x] * work[shift + x]


@inner
def _evaluate(terms: int, wide: int, steps: Integers, at: int, work: Values) -> None:
    """Set covariance, variance, and the derivatives of covariance - gain / 2 * variance."""
    cov, var, half = U(at), U(at + VAR * LANES), U(at + HALF_GAIN * LANES)
    for x in range(U(SHIFT * LANES)):
        work[cov + x] = NONE
    for k in range(wide):
        power, i, j = U(k * LANES), U((wide + k) * LANES), U((wide + terms + k) * LANES)
        for x in range(U(LANES)):
            work[var + x] += work[j + x] * work[power + x]
        if k < terms:
            for x in range(U(LANES)):
                work[cov + x] += work[i + x] * work[power + x]
    for x in range(U(LANES)):
        # Half the gain; a covariance at or below 0 has no maximum to climb to.
        work[half + x] = work[cov + x] / work[var + x] / np.float32(2)
    for k in range(wide):
        i, j = U((wide + k) * LANES), U((wide + terms + k) * LANES)
        joint = U((2 * wide + terms + k) * LANES)
        for x in range(U(LANES)):
            work[joint + x] = -work[half + x] * work[j + x]
        if k < terms:
            for x in range(U(LANES)):
                work[joint + x] += work[i + x]
    for k in range(steps.shape[0]):
        to = U(at + (SLOPES + steps[k, 0]) * LANES)
        joint, power = U((2 * wide + terms + steps[k, 1]) * LANES), U(steps[k, 2] * LANES)
        times = np.float32(steps[k, 3])
        for x in range(U(LANES)):
            work[to + x] += times * work[joint + x] * work[power + x]


@inner
def _longest(z: np.float32, y: np.float32, x: np.float32) -> np.float32:
    z, y, x = abs(z), abs(y), abs(x)
    y = z if z > y else y
    return y if y > x else x


@inner
def _find_steps(work: Values, at: int) -> None:
    """Set the steps to the top, and whether there is one; uphill, where there is none.

    By the factors L D L^T of the curvature, whose D tell whether it is negative.
    """
    # Without branches, divisions among them, as else the loop is not vectorised.
    a, r = U(at), U(LANES)
    slopes, curved, step = a + U(SLOPES) * r, a + U(CURVATURES) * r, a + U(STEP) * r
    top = a + U(TOP) * r
    for k in range(r):
        cov = work[a + k]
        is_alike = cov > NONE
        unit = UNIT / (cov if is_alike else UNIT)
        z, y, x = work[slopes + k], work[slopes + r + k], work[slopes + U(2) * r + k]
        zz, zy, yy = work[curved + k], work[curved + r + k], work[curved + U(2) * r + k]
        zx, yx = work[curved + U(3) * r + k], work[curved + U(4) * r + k]
        xx = work[curved + U(5) * r + k]
        z, y, x, zz, zy, yy = z * unit, y * unit, x * unit, zz * unit, zy * unit, yy * unit
        zx, yx, xx = zx * unit, yx * unit, xx * unit
        # Along an axis that is not searched there is neither: the top stays where it is.
        zz = -UNIT if zz == NONE else zz
        yy = -UNIT if yy == NONE else yy
        xx = -UNIT if xx == NONE else xx
        steepest = _longest(z, y, x)
        uphill = (UPHILL if is_alike else NONE) / (steepest if steepest > NONE else UNIT)
        up_z, up_y, up_x = uphill * z, uphill * y, uphill * x
        zy_zz, zx_zz = zy / zz, zx / zz
        yy -= zy_zz * zy
        yx -= zy_zz * zx
        y -= zy_zz * z
        yx_yy = yx / yy
        xx -= zx_zz * zx + yx_yy * yx
        x -= zx_zz * z + yx_yy * y
        is_top = is_alike & (zz < -MIN_CURVATURE) & (yy < -MIN_CURVATURE) & (xx < -MIN_CURVATURE)
        x /= -xx
        y = (y + yx * x) / -yy
        z = (z + zy * y + zx * x) / -zz
        longest = _longest(z, y, x)
        scale = LONGEST / (longest if longest > LONGEST else LONGEST)
        work[step + k] = z * scale if is_top else up_z
        work[step + r + k] = y * scale if is_top else up_y
        work[step + U(2) * r + k] = x * scale if is_top else up_x
        work[top + k] = UNIT if is_top else NONE


@inner
def _move(work: Values, at: int) -> int:
    """Take the steps; return how many are long."""
    shift, step, r = U(at + SHIFT * LANES), U(at + STEP * LANES), U(LANES)
    long = 0
    for k in range(U(3) * r):
        moved = work[shift + k] + work[step + k]
        moved = FARTHEST if moved > FARTHEST else moved
        work[shift + k] = -FARTHEST if moved < -FARTHEST else moved
        long += abs(work[step + k]) > CONVERGED
    return long


@inner
def _climb(
    sums: Sums,
    places: Integers,
    listed: Integers,
    tables: tuple[Integers, Integers, Integers],
    most: int,
    shifts: Array,
    own: Array,
    work: Values,
) -> None:
    """Climb from the shifts of the pixels that are listed, by so many steps at most."""
    powers, crossed, steps = tables
    terms, wide = sums[0].shape[0], powers.shape[0]
    at = (terms + 3 * wide) * LANES
    _centre(sums, places, listed, crossed, own, work)
    for axis in range(3):
        for x in range(LANES):
            work[at + (SHIFT + axis) * LANES + x] = shifts[axis, places[3, listed[x]]]
    for _ in range(most):
        _fill_powers(powers, at, work)
        _evaluate(terms, wide, steps, at, work)
        _find_steps(work, at)
        if not _move(work, at):
            break


@inner
def _has_settled(work: Values, at: int, x: int, within: np.float32) -> bool:
    step = at + STEP * LANES + x
    longest = _longest(work[step], work[step + LANES], work[step + 2 * LANES])
    settled: bool = (work[at + TOP * LANES + x] > 0) & (longest < within)
    return settled


@inner
def _store(
    sums: Sums, places: Integers, listed: int, at: int, x: int, work: Values, shifts: Array,
    out: Array,
) -> None:  # fmt: skip
    """Store a maximum and, if that is wanted, what is known there."""
    pixel = places[3, listed]
    for axis in range(3):
        shifts[axis, pixel] = work[at + (SHIFT + axis) * LANES + x]
    if not out.size:
        return
    out[0, pixel] = work[at + COV * LANES + x]
    out[1, pixel] = work[at + VAR * LANES + x]
    for k in range(6):
        out[2 + k, pixel] = work[at + (CURVATURES + k) * LANES + x]
    here = places[1, listed]
    _, _, _, weight, mean, square = sums
    out[8, pixel] = square[here] / weight[here] - (mean[here] / weight[here]) ** 2


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
    crossed: Integers,
    steps: Integers,
    shifts: Array,
    out: Array,
) -> None:
    """Find where the NCC of smoothed windows is highest, pixel by pixel, by Newton's method.

    Parameters
    ----------
    cross : array of float64, shape (terms, n)
        Window sums of fixed times the terms of the series of moving.
    means : array of float64, shape (terms, m)
        Window sums of the terms of the series of moving.
    squares : array of float64, shape (wide terms, m)
        And of those of its square.
    weight, mean, square : array of float64, shape (k,)
        Window sums of ones, of fixed, and of its square.
    places : array of int, shape (4, pixels)
        Where a pixel is in `cross`; in `weight`, `mean` and `square`; in `means` and `squares`;
        in `shifts` and `out`.
    powers, crossed : array of int
        See `Series`.
    steps : array of int, shape (steps, 4)
        What adds to the derivatives (z, y, x, zz, zy, yy, zx, yx, xx): which one, the term,
        its monomial, and how many times.
    shifts : array of float64, shape (3, all pixels)
        Where to begin, along z, y, x; receives the maximum, NaN where there is none.
    out : array of float64, shape (9, all pixels), or (9, 0)
        Receives covariance and variance of moving there, the Hessian (zz, zy, yy, zx, yx, xx)
        of covariance - gain / 2 * variance, and the variance of fixed.
    """
    pixels, rows = places.shape[1], cross.shape[0] + 3 * powers.shape[0]
    sums = (cross, means, squares, weight, mean, square)
    tables = (powers, crossed, steps)
    at = rows * LANES
    work = np.empty((rows + ROWS) * LANES, np.float32)
    own, listed = np.empty(3 * LANES), np.empty(LANES, np.intp)
    again, left = np.empty(pixels, np.intp), 0
    for first in range(0, pixels, LANES):
        for x in range(LANES):
            listed[x] = min(first + x, pixels - 1)
        _climb(sums, places, listed, tables, FEW_STEPS, shifts, own, work)
        for x in range(min(LANES, pixels - first)):
            if _has_settled(work, at, x, CONVERGED):
                _store(sums, places, first + x, at, x, work, shifts, out)
            else:
                again[left] = first + x
                left += 1
    for first in range(0, left, LANES):
        for x in range(LANES):
            listed[x] = again[min(first + x, left - 1)]
        _climb(sums, places, listed, tables, MOST_STEPS, shifts, own, work)
        for x in range(min(LANES, left - first)):
            _store(sums, places, listed[x], at, x, work, shifts, out)
            if not _has_settled(work, at, x, SETTLED):
                for axis in range(3):
                    shifts[axis, places[3, listed[x]]] = np.nan
