"""The series of a smoothed image about each of its samples: its terms, and how they combine.

A truncated Taylor series is exact where it begins and worst where it ends. Here value and slope
are those of the Taylor series, the higher terms fit the Gaussian best wherever the series is
used (it is "economised"): degree 4 then is as good as the Taylor series of degree 6. The square
of an image is finer than the image: the product of degree 8 is brought back to 5 in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.polynomial import hermite_e

from napari_local_ncc.shift.smoothing import REACH, SMOOTHING, derivative_taps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float32]
    Numbers = NDArray[np.float64]
    Integers = NDArray[np.intp]
    Exponents = tuple[int, ...]

DEGREE = 4  # of the series; the rule of `series_taps` holds up to 5
WIDE = 5  # degree of the series of its square, which is finer
USED = 0.6  # px from a whole pixel within which the series is used, and fits best
SLOPE = 1.0  # px: what an error of the slope counts against one of the value


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """The terms of a series in z, y, x up to `DEGREE`, and how they combine."""

    exponents: Integers  # shape (terms, 3), by degree
    powers: Integers  # shape (wide terms, 2): the earlier term and axis that each is the product of
    squares: Integers  # shape (pairs, 3): which two terms make which one of the whole square
    lowered: Integers  # shape (n, 2): which one of these adds to which wide one,
    shares: Values  # and how much of it
    crossed: Integers  # shape (pairs, 3): which two terms, not the first, make which wide one
    steps: Integers  # shape (steps, 4): see `find_maxima`

    @classmethod
    @cache
    def of(cls, searched: tuple[bool, ...]) -> Self:
        """Return the series along the axes that are searched.

        That of the square has more terms, of higher degree: the "wide" ones.
        """
        whole = _exponents(searched, 2 * DEGREE)
        low, wide = ([e for e in whole if sum(e) <= degree] for degree in (DEGREE, WIDE))
        place = {e: k for k, e in enumerate(whole)}
        powers = [(0, 0)]
        for e in wide[1:]:
            axis = next(a for a in range(3) if e[a])
            powers.append((place[_lower(e, axis)], axis))
        squares = [
            (i, j, place[tuple(map(sum, zip(a, b, strict=True)))])
            for (i, a), (j, b) in product(enumerate(low), repeat=2)
            if i <= j
        ]
        crossed = [pair for pair in squares if pair[0] and pair[2] < len(wide)]
        brought = [
            (place[e], place[lower], share) for e in whole for lower, share in _lowered(e, wide)
        ]
        return cls(
            np.array(low, np.intp),
            np.array(powers, np.intp),
            np.array(squares, np.intp),
            np.array([row[:2] for row in brought], np.intp),
            np.array([row[2] for row in brought], np.float32),
            np.array(crossed, np.intp).reshape(-1, 3),
            np.array(_steps({e: place[e] for e in wide}, searched), np.intp).reshape(-1, 4),
        )


def _exponents(searched: tuple[bool, ...], degree: int) -> list[Exponents]:
    ranges = (range(degree + 1) if used else range(1) for used in searched)
    return sorted((e for e in product(*ranges) if sum(e) <= degree), key=sum)


def _lower(exponents: Exponents, axis: int) -> Exponents:
    return tuple(e - (a == axis) for a, e in enumerate(exponents))


def _steps(
    place: dict[Exponents, int], searched: tuple[bool, ...]
) -> list[tuple[int, int, int, int]]:
    """Return what adds to the derivatives: which one, the term, its monomial, how many times."""
    steps = []
    axes = [axis for axis in range(3) if searched[axis]]
    for e, k in place.items():
        for axis in axes:
            if not e[axis]:
                continue
            once = _lower(e, axis)
            steps.append((axis, k, place[once], e[axis]))
            for other in axes:
                if other <= axis and once[other]:
                    times = e[axis] * once[other]
                    row = 3 + axis * (axis + 1) // 2 + other
                    steps.append((row, k, place[_lower(once, other)], times))
    return steps


def _lowered(exponents: Exponents, wide: list[Exponents]) -> list[tuple[Exponents, float]]:
    """Return the polynomial that a monomial is best replaced by.

    Value and slope at 0 stay what they are: an image is displaced by exactly 0 from itself.
    """
    if sum(exponents) <= WIDE:
        return [(exponents, 1.0)]
    # Odd ones take no share in even ones.
    used = [
        e
        for e in wide
        if sum(e) > 1 and all((a - b) % 2 == 0 for a, b in zip(e, exponents, strict=True))
    ]
    axes = [axis for axis in range(3) if any(e[axis] for e in wide)]
    line = np.linspace(-USED, USED, 7)
    at = np.zeros((3, line.size ** len(axes)))
    at[axes] = np.reshape(np.meshgrid(*[line] * len(axes), indexing="ij"), (len(axes), -1))
    columns = [_values_and_slopes(e, at, axes) for e in [*used, exponents]]
    shares = np.linalg.lstsq(np.stack(columns[:-1], axis=1), columns[-1])[0]
    return list(zip(used, shares.tolist(), strict=True))


def _values_and_slopes(exponents: Exponents, at: Numbers, axes: list[int]) -> Numbers:
    powers = at ** np.array(exponents)[:, np.newaxis]
    parts = [powers.prod(axis=0)]
    for axis in axes:
        slope = powers.copy()
        slope[axis] = exponents[axis] * at[axis] ** max(exponents[axis] - 1, 0)
        parts.append(SLOPE * slope.prod(axis=0))
    return np.concatenate(parts)


@cache
def series_taps(order: int, degree: int) -> Values:
    """Return what, correlated with samples, gives a term of the smoothed image's series.

    Parameters
    ----------
    order : int
        Power of the offset.
    degree : int
        Degree of the series along this axis: `DEGREE` less the powers along the others.
    """
    if order < 2:
        return derivative_taps(order)
    offset = np.linspace(-USED, USED, 41)[:, np.newaxis]
    at = (np.arange(-REACH, REACH + 1) - offset) / SMOOTHING
    gaussian = np.exp(-(at**2) / 2) / (SMOOTHING * np.sqrt(2 * np.pi))
    value, slope = (derivative_taps(k).astype(np.float64) for k in (0, 1))
    left = np.concatenate(
        [
            gaussian - value - offset * slope,
            SLOPE * (gaussian * hermite_e.hermeval(at, [0, 1]) / SMOOTHING - slope),
        ]
    )
    powers = np.arange(2, degree + 1)
    terms = np.concatenate([offset**powers, SLOPE * powers * offset ** (powers - 1)])
    return np.linalg.lstsq(terms, left)[0][order - 2].astype(np.float32)
