"""The compiled part of linear registration: reading at points, and the sums of least squares.

Arrays are volumes (an image is one of one plane). A gradient along an axis is that of five taps,
of three where the axis is short; an axis of one sample has none. Samples beside what is invalid
have no gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import inner, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Volume = NDArray[np.float32]
    Table = NDArray[np.float64]

NEAR, FAR = np.float32(8 / 12), np.float32(1 / 12)  # taps of a derivative at 1 and 2 px
HALF = np.float32(0.5)
ROUNDING = 1e-6  # px, within which a place is a sample's
LONG = 16  # samples of an axis, for five taps: of fewer planes too few would be left


@inner
def slope_of(flat: Volume, at: int, stride: int, length: int) -> np.float32:
    """Return the derivative of a flat volume along one axis; NaN beside what is invalid."""
    if length == 1:
        return np.float32(0)
    if length < LONG:
        return HALF * (flat[at + stride] - flat[at - stride])
    return NEAR * (flat[at + stride] - flat[at - stride]) - FAR * (
        flat[at + 2 * stride] - flat[at - 2 * stride]
    )


@inner
def margin(length: int) -> int:
    """Return how many samples at either end of an axis have no gradient."""
    return 0 if length == 1 else 1 if length < LONG else 2


@inner
def find_cell(at: float, length: int) -> tuple[int, float]:
    """Return the sample before a place on an axis, and how far beyond it that is; -1 outside."""
    whole = np.rint(at)
    if abs(at - whole) < ROUNDING:
        at = whole
    if not (0 <= at <= length - 1):
        return -1, 0.0
    low = min(int(at), max(length - 2, 0))
    return low, at - low


@kernel
def read_points(values: Volume, pixels: Table, out: Volume) -> None:
    """Interpolate linearly at places; NaN outside, and beside what is invalid.

    Parameters
    ----------
    values : ndarray of float32, shape (z, y, x)
    pixels : ndarray of float64, shape (n, 3)
        Indices.
    out : ndarray of float32, shape (n,)
        Filled.
    """
    depth, height, width = values.shape
    for k in range(pixels.shape[0]):
        z, far_z = find_cell(pixels[k, 0], depth)
        y, far_y = find_cell(pixels[k, 1], height)
        x, far_x = find_cell(pixels[k, 2], width)
        if min(z, y, x) < 0:
            out[k] = np.nan
            continue
        total = 0.0
        for corner in range(8):
            up, down, right = corner >> 2, (corner >> 1) & 1, corner & 1
            weight = (far_z if up else 1 - far_z) * (far_y if down else 1 - far_y)
            weight *= far_x if right else 1 - far_x
            if weight != 0:  # an invalid neighbour without weight does no harm
                total += weight * values[z + up, y + down, x + right]
        out[k] = total


@kernel
def sample_rows(here: Volume, other: Volume, every: int, rows: Table) -> int:
    """Read every so-manieth place that has both gradients: where it is, and what is there.

    Parameters
    ----------
    here, other : ndarray of float32, shape (z, y, x)
        Both images on one lattice, NaN where invalid.
    every : int
        Of how many places one is looked at.
    rows : ndarray of float64, shape (n, 11)
        Filled with the index (3), the gradients of `here` and `other` (3 each), the residual
        and 1.

    Returns
    -------
    int
        How many rows were filled.
    """
    depth, height, width = here.shape
    a, b = here.ravel(), other.ravel()
    strides = (height * width, width, 1)
    lengths = (depth, height, width)
    lows = (margin(depth), margin(height), margin(width))
    count = 0
    seen = 0
    for z in range(lows[0], depth - lows[0]):
        for y in range(lows[1], height - lows[1]):
            for x in range(lows[2] + seen % every, width - lows[2], every):
                at = (z * height + y) * width + x
                total = a[at] - b[at]
                row = rows[count]
                for axis in range(3):
                    row[3 + axis] = slope_of(a, at, strides[axis], lengths[axis])
                    row[6 + axis] = slope_of(b, at, strides[axis], lengths[axis])
                    total += row[3 + axis] + row[6 + axis]
                if np.isfinite(total) and count < rows.shape[0] - 1:
                    row[0], row[1], row[2] = z, y, x
                    row[9], row[10] = a[at] - b[at], 1.0
                    count += 1
            seen += 7  # the places of one row are not those of the next
    return count


@kernel
def sum_scores(
    here: Volume, other: Volume, middle: float, bound: float, blocks: int, sums: Table
) -> int:
    """Sum the weighted residuals times the mean gradient, and times the index, block by block.

    Parameters
    ----------
    here, other : ndarray of float32, shape (z, y, x)
        Both images on one lattice, NaN where invalid.
    middle : float
        What is taken off the residuals.
    bound : float
        Size of a residual from which on it weighs no more (Huber).
    blocks : int
        Along every axis of more than one sample.
    sums : ndarray of float64, shape (blocks, 3, 5)
        Added to: for each axis of the gradient its product with the residual times z, y, x and
        1, and the number of samples.

    Returns
    -------
    int
        How many samples have both gradients.
    """
    depth, height, width = here.shape
    a, b = here.ravel(), other.ravel()
    plane = height * width
    count = 0
    low, first, begin = margin(depth), margin(height), margin(width)
    for z in range(low, depth - low):
        for y in range(first, height - first):
            line = (z * blocks // depth) * blocks + y * blocks // height
            for x in range(begin, width - begin):
                at = (z * height + y) * width + x
                gz = slope_of(a, at, plane, depth) + slope_of(b, at, plane, depth)
                gy = slope_of(a, at, width, height) + slope_of(b, at, width, height)
                gx = slope_of(a, at, 1, width) + slope_of(b, at, 1, width)
                residual = a[at] - b[at]
                if not np.isfinite(residual + gz + gy + gx):
                    continue
                residual = 0.5 * min(max(residual - middle, -bound), bound)
                block = sums[line * blocks + x * blocks // width]
                add_pull(block[0], gz * residual, z, y, x)
                add_pull(block[1], gy * residual, z, y, x)
                add_pull(block[2], gx * residual, z, y, x)
                count += 1
    return count


@inner
def add_pull(row: Table, pull: float, z: int, y: int, x: int) -> None:
    """Add one sample's pull to the sums of an axis."""
    row[0] += pull * z
    row[1] += pull * y
    row[2] += pull * x
    row[3] += pull
    row[4] += 1
