"""The compiled comparison of the best shift of a window with all others that were searched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import inner, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.rows import Triple

    Values = NDArray[np.float32]
    Integers = NDArray[np.intp]

NEAR = 1.0  # px from the shift within which a window may well be as alike
NEGLIGIBLE = 1e-5  # weight of a shift
ALMOST_ONE = 1 - 1e-7  # an NCC beyond it is 1 but for rounding


@inner
def _is_peak(
    values: Values, size: int, at: int, shift: Integers, neighbours: Integers, search: Triple
) -> bool:
    """Tell whether no neighbour that was searched is more alike."""
    here = values[shift[3] * size + at]
    for k in range(neighbours.shape[0]):
        inside = True
        for axis in range(3):
            inside &= abs(shift[axis] + neighbours[k, axis]) <= search[axis]
        if inside and values[(shift[3] + neighbours[k, 3]) * size + at] > here:
            return False
    return True


@kernel
def weigh_shifts(
    ncc: Values,
    shifts: Integers,
    search: Triple,
    neighbours: Integers,
    first: Triple,
    samples: float,
    out: Values,
) -> None:
    """Weigh all shifts of every pixel against the best.

    Parameters
    ----------
    ncc, shifts, search, neighbours, first
        As for `peak_kernel.find_peaks`.
    samples : float
        How many samples a window has.
    out : array of float32, shape (12, batch, z, y, x)
        The first 8 as `find_peaks` sets them. Receives the NCC of the second peak over that of
        the first, and the variance along z, y, x (px^2) of which peak is the right one.

    Notes
    -----
    With white noise a shift of NCC r has the likelihood (1 - r^2)^(-samples / 2). The variance
    is that of the distances beyond `NEAR` from the best shift, so weighted.
    """
    _, batch, deep, high, wide = ncc.shape
    _, _, depth, height, width = out.shape
    values = ncc.reshape(ncc.size)
    size = batch * deep * high * wide
    for m in range(batch):
        for z in range(depth):
            for y in range(height):
                for x in range(width):
                    if not np.isfinite(out[2, m, z, y, x]):
                        continue
                    at = ((m * deep + first[0] + z) * high + first[1] + y) * wide + first[2] + x
                    best = min(np.float64(out[0, m, z, y, x]), ALMOST_ONE)
                    if best <= 0:
                        continue
                    least = 1 - best * best
                    bound = NEGLIGIBLE ** (2 / samples)
                    second, total = 0.0, 0.0
                    spread_z = spread_y = spread_x = 0.0
                    for k in range(shifts.shape[0]):
                        value = np.float64(values[shifts[k, 3] * size + at])
                        if not value > 0:
                            continue
                        gap = 0.0
                        for axis in range(3):
                            gap = max(gap, abs(shifts[k, axis] - out[5 + axis, m, z, y, x]))
                        if (
                            gap > NEAR
                            and value > second
                            and _is_peak(values, size, at, shifts[k], neighbours, search)
                        ):
                            second = value
                        quotient = least / (1 - min(value, ALMOST_ONE) ** 2)
                        if quotient < bound:
                            continue
                        weight = quotient ** (samples / 2)
                        total += weight
                        far = max(abs(shifts[k, 0] - out[2, m, z, y, x]) - NEAR, 0.0)
                        spread_z += weight * far * far
                        far = max(abs(shifts[k, 1] - out[3, m, z, y, x]) - NEAR, 0.0)
                        spread_y += weight * far * far
                        far = max(abs(shifts[k, 2] - out[4, m, z, y, x]) - NEAR, 0.0)
                        spread_x += weight * far * far
                    out[8, m, z, y, x] = second / best
                    out[9, m, z, y, x] = spread_z / total
                    out[10, m, z, y, x] = spread_y / total
                    out[11, m, z, y, x] = spread_x / total
