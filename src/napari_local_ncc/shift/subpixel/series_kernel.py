"""Compiled: the images that are the terms of a series."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import kernel
from napari_local_ncc.ncc.kernels.rows import U

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.rows import Array, Validity

    Values = NDArray[np.float32]
    Integers = NDArray[np.intp]

BLOCK = 128  # samples that are squared together


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
def square_series(
    terms: Values, pairs: Integers, lowered: Integers, shares: Values, out: Values
) -> None:
    """Set the terms of the series of the square of an image.

    Parameters
    ----------
    terms : array of float32, shape (terms, samples)
        The terms of the image.
    pairs, lowered, shares : array
        `squares`, `lowered` and `shares` of `Series`.
    out : array of float32, shape (wide terms, samples)
        Receives those of its square.
    """
    size = terms.shape[1]
    values, flat = terms.reshape(terms.size), out.reshape(out.size)
    work = np.empty((pairs[:, 2].max() + 1) * BLOCK, np.float32)
    for x0 in range(0, size, BLOCK):
        n = U(min(BLOCK, size - x0))
        work[:] = 0
        for k in range(pairs.shape[0]):
            i, j = U(pairs[k, 0] * size + x0), U(pairs[k, 1] * size + x0)
            row = U(pairs[k, 2] * BLOCK)
            times = np.float32(1 if pairs[k, 0] == pairs[k, 1] else 2)
            for x in range(n):
                work[row + x] += times * values[i + x] * values[j + x]
        for k in range(out.shape[0]):
            to = U(k * size + x0)
            for x in range(n):
                flat[to + x] = np.float32(0)
        for k in range(lowered.shape[0]):
            row, to, share = U(lowered[k, 0] * BLOCK), U(lowered[k, 1] * size + x0), shares[k]
            for x in range(n):
                flat[to + x] += share * work[row + x]


@kernel
def scale_samples(
    samples: Array, scale: float, centre: float, most: float, valid: Validity, out: Values
) -> None:
    """Set `out` to the samples, centred and scaled; to 0 where they are not valid.

    What is not finite, or `most` or more then, is marked as not valid.
    """
    for x in range(U(samples.size)):
        value = np.float32((samples[x] - centre) * scale)
        held = valid[x] & (abs(value) < most)
        valid[x] = held
        out[x] = value if held else np.float32(0)


@kernel
def interleave(terms: Values, out: Values) -> None:
    """Put the terms of a sample beside each other.

    Parameters
    ----------
    terms : array of float32, shape (terms, samples)
        The images.
    out : array of float32, shape (samples, width)
        Receives them, in its first columns.
    """
    for x0 in range(0, terms.shape[1], 64):
        for k in range(terms.shape[0]):
            for x in range(x0, min(x0 + 64, terms.shape[1])):
                out[x, k] = terms[k, x]
