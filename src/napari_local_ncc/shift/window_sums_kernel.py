"""Compiled sums over windows of one image times each of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import inner, kernel
from napari_local_ncc.ncc.kernels.rows import U, add3_row, add_pair_row, add_row, fill_row

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.rows import Array, Taps, Triple

    Values = NDArray[np.float32]
    Integers = NDArray[np.intp]


@inner
def _sum_box(work: Array, line: int, size: int, side: int, stride: int) -> int:
    """Sum `side` samples from each one of a line on, a stride apart; return where.

    From k samples to 2 k or 2 k + 1, whichever are the leading bits of the side. `work` has
    room for three lines.
    """
    bits = 0
    while side >> bits > 1:
        bits += 1
    one = (line + size) % (3 * size)
    two = (line + 2 * size) % (3 * size)
    sums, to, k = line, one, 1
    for bit in range(bits - 1, -1, -1):
        odd = (side >> bit) % 2
        n = size - (2 * k + odd - 1) * stride
        if odd:
            add3_row(work, to, sums, sums + k * stride, line + 2 * k * stride, n)
        else:
            add_row(work, to, sums, sums + k * stride, n)
        k = 2 * k + odd
        sums, to = to, (two if to == one else one)
    return sums


@inner
def _sum_taps(work: Array, line: int, size: int, taps: Array, stride: int) -> int:
    """Sum weighted samples from each one of a line on, a stride apart; return where."""
    to = (line + size) % (3 * size)
    n = size - (taps.size - 1) * stride
    half = taps.size // 2
    for x0 in range(0, n, 512):
        count = min(512, n - x0)
        fill_row(work, to + x0, 0.0, count)
        for tap in range(half):
            first = line + x0 + tap * stride
            last = line + x0 + (taps.size - 1 - tap) * stride
            add_pair_row(work, to + x0, taps[tap], first, last, count)
        centre = line + x0 + half * stride
        add_pair_row(work, to + x0, taps[half] / 2, centre, centre, count)
    return to


@kernel
def sum_products(
    factor: Values,
    factor_start: Triple,
    terms: Values,
    terms_start: Triple,
    lengths: Triple,
    taps: Taps,
    box: bool,
    out: Array,
) -> None:
    """Sum an image times each of others over the windows of a block of pixels.

    Parameters
    ----------
    factor : array of float32, shape (z, y, x)
        The image.
    terms : array of float32, shape (terms, z', y', x')
        The others.
    factor_start, terms_start : tuple of int
        Where in each the first window begins.
    lengths : tuple of int
        How many pixels along z, y, x.
    taps : tuple of array
        The weights of a window along z, y, x.
    box : bool
        All of them are 1.
    out : array of float64, shape (terms, *lengths)
        Receives the sums.

    Notes
    -----
    No sum is ever taken off another one: a sample that outshines all spoils its windows only.
    """
    side_z, side_y, side_x = taps[0].size, taps[1].size, taps[2].size
    deep, high, wide = lengths[0] + side_z - 1, lengths[1] + side_y - 1, lengths[2] + side_x - 1
    size = deep * high * wide
    work = np.empty(3 * size)
    for term in range(terms.shape[0]):
        image = terms[term]
        for z in range(deep):
            for y in range(high):
                one = factor[factor_start[0] + z, factor_start[1] + y]
                other = image[terms_start[0] + z, terms_start[1] + y]
                i, j, to = U(factor_start[2]), U(terms_start[2]), U((z * high + y) * wide)
                for x in range(U(wide)):
                    work[to + x] = np.float64(one[i + x]) * np.float64(other[j + x])
        sums, stride = 0, 1
        for axis in range(2, -1, -1):
            if taps[axis].size > 1:
                if box:
                    sums = _sum_box(work, sums, size, taps[axis].size, stride)
                else:
                    sums = _sum_taps(work, sums, size, taps[axis], stride)
            stride *= lengths[axis] + taps[axis].size - 1
        for z in range(lengths[0]):
            for y in range(lengths[1]):
                at = U(sums + (z * high + y) * wide)
                row = out[term, z, y]
                for x in range(U(lengths[2])):
                    row[x] = work[at + x]


@kernel
def sum_products_at(
    factor: Values,
    factor_starts: Integers,
    terms: Values,
    terms_starts: Integers,
    taps: Taps,
    out: Array,
) -> None:
    """Sum an image times each of others over some windows, one by one.

    Parameters
    ----------
    factor : array of float32, shape (z, y, x)
        The image.
    factor_starts, terms_starts : array of int, shape (pixels, 3)
        Where in each a window begins.
    terms : array of float32, shape (z', y', x', terms)
        The others, together in each sample.
    taps : tuple of array
        The weights of a window along z, y, x.
    out : array of float64, shape (terms, pixels)
        Receives the sums.
    """
    count = terms.shape[3]
    sums = np.empty(count)
    for pixel in range(factor_starts.shape[0]):
        i, j = factor_starts[pixel], terms_starts[pixel]
        sums[:] = 0
        for z in range(taps[0].size):
            for y in range(taps[1].size):
                weight = taps[0][z] * taps[1][y]
                for x in range(taps[2].size):
                    share = weight * taps[2][x] * factor[i[0] + z, i[1] + y, i[2] + x]
                    values = terms[j[0] + z, j[1] + y, j[2] + x]
                    for k in range(U(count)):
                        sums[k] += share * np.float64(values[k])
        for k in range(count):
            out[k, pixel] = sums[k]
