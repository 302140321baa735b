"""Loops over rows of numbers, compiled: the common part of the kernels.

All rows live in one flat array, `work`, and the loops take positions in it. This is what
numba compiles fast and well: a slice or an array more per call costs atomic reference
counts and compile time, and a loop over many arrays is not vectorised for lack of proof
that they do not overlap. Positions are unsigned (`U`) in the loops, as numba lets signed
ones wrap around, which defeats vectorisation too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import inner
from napari_local_ncc.parameters import MIN_SAMPLES as MIN_SAMPLES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Samples = NDArray[np.float32 | np.float64]
    Validity = NDArray[np.bool_]
    Pair = tuple[float, float]
    Index = tuple[int, int, int, int]
    Triple = tuple[int, int, int]
    Taps = tuple[Array, Array, Array]

BLOCK = 256  # columns to treat together: long loops, and rows that stay in the cache
LANES = 16  # numbers that a vectorised loop takes at once
NOT_FINITE = -1
UNDETERMINED = np.float32(2.0)
# Outside these the product of two variances loses digits in float32, or overflows.
FLOAT32_SAFE = (1e-36, 1e37)
NEAR = 1e-6  # share of a variance within which rounding may decide
U = np.uintp


def block_width(side: int) -> int:
    """Return how many columns to treat together; more where the window is wide."""
    return max(BLOCK, 2 * side)


@inner
def fill_row(work: Array, row: int, value: float, n: int) -> None:
    """Set a row to one value."""
    r = U(row)
    for x in range(U(n)):
        work[r + x] = value


@inner
def add_row(work: Array, row: int, first: int, second: int, n: int) -> None:
    """Set a row to the sum of two."""
    r, i, j = U(row), U(first), U(second)
    for x in range(U(n)):
        work[r + x] = work[i + x] + work[j + x]


@inner
def accumulate_row(work: Array, row: int, other: int, n: int) -> None:
    """Add another row to a row."""
    r, i = U(row), U(other)
    for x in range(U(n)):
        work[r + x] += work[i + x]


@inner
def add3_row(work: Array, row: int, first: int, second: int, third: int, n: int) -> None:
    """Set a row to the sum of three."""
    r, i, j, k = U(row), U(first), U(second), U(third)
    for x in range(U(n)):
        work[r + x] = work[i + x] + work[j + x] + work[k + x]


@inner
def add_pair_row(work: Array, row: int, tap: float, first: int, second: int, n: int) -> None:
    """Add the weighted sum of two rows to a row."""
    r, i, j = U(row), U(first), U(second)
    for x in range(U(n)):
        work[r + x] += tap * (work[i + x] + work[j + x])


@inner
def sum_box(work: Array, line: int, spare: int, length: int, side: int, row: int, n: int) -> None:
    """Sum `side` > 1 neighbours in the line into a row.

    From k neighbours to 2 k or 2 k + 1, whichever are the leading bits of the side. No
    serial chain, and the number of steps grows with log2 of the side only.
    """
    bits = 0
    while side >> bits > 1:
        bits += 1
    sums, k = line, 1
    for bit in range(bits - 1, -1, -1):
        doubled = row if bit == 0 else spare + length * (bit % 2)
        odd = (side >> bit) % 2
        size = n if bit == 0 else (n + length) // 2
        if odd:
            add3_row(work, doubled, sums, sums + k, line + 2 * k, size)
        else:
            add_row(work, doubled, sums, sums + k, size)
        sums, k = doubled, 2 * k + odd
