"""The compiled part of Taylor images: correlation with a few taps, and the square of a series."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import kernel
from napari_local_ncc.ncc.kernels.rows import U

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float32]
    Integers = NDArray[np.intp]


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
