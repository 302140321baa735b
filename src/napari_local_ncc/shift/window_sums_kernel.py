"""Compiled sums over windows of one image times each of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import inner, kernel
from napari_local_ncc.ncc.kernels.rows import U, add3_row, add_pair_row, add_row, fill_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.rows import Array, Taps, Triple

    Values = NDArray[np.float32]
    Integers = NDArray[np.intp]


@inner
def _sum_box(work: Array, base: int, line: int, size: int, side: int, stride: int) -> int:
    """Sum `side` samples from each one of a line on, a stride apart; return where.

    From k samples to 2 k or 2 k + 1, whichever are the leading bits of the side. `work` has
    room for three lines from `base` on; they are counted from there.
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
        first, second = base + sums, base + sums + k * stride
        if odd:
            add3_row(work, base + to, first, second, base + line + 2 * k * stride, n)
        else:
            add_row(work, base + to, first, second, n)
        k = 2 * k + odd
        sums, to = to, (two if to == one else one)
    return sums


@inner
def _sum_taps(work: Array, base: int, line: int, size: int, taps: Array, stride: int) -> int:
    """Sum weighted samples from each one of a line on; see `_sum_box`."""
    target = (line + size) % (3 * size)
    n = size - (taps.size - 1) * stride
    half = taps.size // 2
    for x0 in range(0, n, 512):
        count = min(512, n - x0)
        to, here = base + target + x0, base + line + x0
        fill_row(work, to, 0.0, count)
        for tap in range(half):
            last = here + (taps.size - 1 - tap) * stride
            add_pair_row(work, to, taps[tap], here + tap * stride, last, count)
        centre = here + half * stride
        add_pair_row(work, to, taps[half] / 2, centre, centre, count)
    return target


@inner
def _sum(work: Array, base: int, line: int, size: int, taps: Array, box: bool, stride: int) -> int:
    if taps.size == 1:
        return line
    if box:
        return _sum_box(work, base, line, size, taps.size, stride)
    return _sum_taps(work, base, line, size, taps, stride)


@inner
def _multiply(one: Values, i: int, other: Values, j: int, work: Array, to: int, n: int) -> None:
    p, q, r = U(i), U(j), U(to)
    for x in range(U(n)):
        work[r + x] = np.float64(one[p + x]) * np.float64(other[q + x])


@inner
def _copy_rows(
    work: Array, first: int, pitch: int, target: Array, to: int, lengths: tuple[int, int]
) -> None:
    """Copy rows, `pitch` apart, to one after the other."""
    for y in range(lengths[0]):
        i, r = U(first + y * pitch), U(to + y * lengths[1])
        for x in range(U(lengths[1])):
            target[r + x] = work[i + x]


def sums_room(lengths: Sequence[int], taps: Sequence[Array]) -> int:
    """Return how many numbers `sum_products` needs as `work` for so many pixels."""
    deep, high, wide = (n + axis.size - 1 for n, axis in zip(lengths, taps, strict=True))
    return 3 * high * wide + (3 * deep * lengths[1] * lengths[2] if taps[0].size > 1 else 0)


@kernel
def sum_products(
    factor: Values,
    factor_start: Triple,
    terms: Values,
    terms_start: Triple,
    lengths: Triple,
    taps: Taps,
    box: bool,
    work: Array,
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
    work : array of float64
        `sums_room` numbers.
    out : array of float64, shape (terms, *lengths)
        Receives the sums.

    Notes
    -----
    No sum is ever taken off another one: a sample that outshines all spoils its windows only.
    """
    depth, height, width = lengths
    deep, high, wide = depth + taps[0].size - 1, height + taps[1].size - 1, width + taps[2].size - 1
    size, stack = high * wide, 3 * high * wide
    plane, volume = height * width, deep * height * width
    given, others, sums = (
        factor.reshape(factor.size),
        terms.reshape(terms.size),
        out.reshape(out.size),
    )
    _, deep_a, high_a, wide_a = terms.shape
    for term in range(terms.shape[0]):
        for z in range(deep):
            # Plane by plane, as these stay in the cache.
            for y in range(high):
                i = (factor_start[0] + z) * factor.shape[1] + factor_start[1] + y
                j = (term * deep_a + terms_start[0] + z) * high_a + terms_start[1] + y
                i, j = i * factor.shape[2] + factor_start[2], j * wide_a + terms_start[2]
                _multiply(given, i, others, j, work, y * wide, wide)
            at = _sum(work, 0, 0, size, taps[2], box, 1)
            at = _sum(work, 0, at, size, taps[1], box, wide)
            if taps[0].size > 1:
                _copy_rows(work, at, wide, work, stack + z * plane, (height, width))
            else:
                to = (term * depth + z) * plane
                _copy_rows(work, at, wide, sums, to, (height, width))
        if taps[0].size > 1:
            at = stack + _sum(work, stack, 0, volume, taps[0], box, plane)
            _copy_rows(work, at, 0, sums, term * depth * plane, (1, depth * plane))


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
    terms : array of float32, shape (z', y', x', width)
        The others, together in each sample; there may be room for more.
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
        for k in range(out.shape[0]):
            out[k, pixel] = sums[k]
