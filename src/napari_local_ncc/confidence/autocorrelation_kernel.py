"""The compiled part of `effective_samples`: autocorrelations in every window.

The correlation at a lag follows from the mean squared difference d there and the variance
v: 1 - d / (2 v). So the sums needed are those of a, a², b, b² and, per windowed axis, the
squared differences at two lags; and counts where samples are missing. They are summed along
z into planes, along y into columns, then along x, each sum sliding: what enters is added,
what leaves subtracted. So rounding is that of float64 against the largest sample of a tile,
which is plenty for a description of texture; where it is not, next to a sample that
outshines all, every window is summed anew, and rounding is against what lies in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import inner, kernel
from napari_local_ncc.ncc.kernels.rows import U

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Sums = NDArray[np.float64]
    Samples = NDArray[np.float64]
    Triple = tuple[int, int, int]

BLOCK = 128  # columns whose sums fit in the cache
# Rows of sums, the rare ones last: samples and squares of either image; per axis x, y, z
# the squared differences of a and b at the short lag, then at the long one; counts of
# samples; counts of pairs per axis and lag.
A, B, DIFFERENCES, COUNT, PAIRS = 0, 2, 4, 16, 17
PLANE_ROWS, VOLUME_ROWS, ALL_ROWS = 12, 16, 24
# Neighbours that are alike in one image and opposite in the other would make a window worth
# any number of samples.
LEAST_PRODUCT, LEAST_SUM = -0.3, 0.3
LEAST_VARIANCE = 1e-3  # of what a period leaves of it at the long lag, of all of it


@inner
def _add_powers(
    samples: Samples, at: Triple, n: int, sign: float, sums: Sums, y: int, row: int
) -> None:
    z, j, x0 = at[0], at[1], U(at[2])
    for x in range(U(n)):
        d = samples[z, j, x0 + x]
        sums[y, row, x] += sign * d
        sums[y, row + 1, x] += sign * d * d


@inner
def _add_differences(
    samples: Samples, at: Triple, to: Triple, n: int, sign: float, sums: Sums, y: int, row: int
) -> None:
    z, j, x0, z2, j2, x2 = at[0], at[1], U(at[2]), to[0], to[1], U(to[2])
    for x in range(U(n)):
        d = samples[z2, j2, x2 + x] - samples[z, j, x0 + x]
        sums[y, row, x] += sign * d * d


@inner
def _add_valid_differences(
    samples: Samples,
    valid: Samples,
    at: Triple,
    to: Triple,
    n: int,
    sign: float,
    sums: Sums,
    y: int,
    row: int,
) -> None:
    z, j, x0, z2, j2, x2 = at[0], at[1], U(at[2]), to[0], to[1], U(to[2])
    for x in range(U(n)):
        d = samples[z2, j2, x2 + x] - samples[z, j, x0 + x]
        sums[y, row, x] += sign * d * d * valid[z, j, x0 + x] * valid[z2, j2, x2 + x]


@inner
def _add_counts(
    valid: Samples, at: Triple, to: Triple, n: int, sign: float, sums: Sums, y: int, row: int
) -> None:
    z, j, x0, z2, j2, x2 = at[0], at[1], U(at[2]), to[0], to[1], U(to[2])
    for x in range(U(n)):
        sums[y, row, x] += sign * valid[z, j, x0 + x] * valid[z2, j2, x2 + x]


@inner
def _add_row(
    a: Samples,
    b: Samples,
    valid: Samples,
    at: Triple,
    n: int,
    sign: float,
    lags: Triple,
    planes: Sums,
) -> None:
    """Add a row of samples, and its differences from others in each direction, to the sums."""
    z, y, x0 = at
    depth, height, width = a.shape
    _add_powers(a, at, n, sign, planes, y, A)
    _add_powers(b, at, n, sign, planes, y, B)
    if valid.size:
        _add_counts(valid, at, at, n, sign, planes, y, COUNT)
    for term in range(6):
        axis = term // 2
        lag = lags[2 - axis] if term % 2 else 1
        if lags[2 - axis] == 0:
            continue
        to, m = (z, y, x0 + lag), min(n, width - lag - x0)
        if axis == 1:
            to, m = (z, y + lag, x0), n if y + lag < height else 0
        elif axis == 2:
            to, m = (z + lag, y, x0), n if z + lag < depth else 0
        row = DIFFERENCES + 2 * term
        if m <= 0:
            continue
        if valid.size:
            _add_valid_differences(a, valid, at, to, m, sign, planes, y, row)
            _add_valid_differences(b, valid, at, to, m, sign, planes, y, row + 1)
            _add_counts(valid, at, to, m, sign, planes, y, PAIRS + term)
        else:
            _add_differences(a, at, to, m, sign, planes, y, row)
            _add_differences(b, at, to, m, sign, planes, y, row + 1)


@inner
def _slide_down(
    planes: Sums, y: int, sign: float, n: int, rows: int, columns: Sums, pad: int
) -> None:
    p = U(pad)
    for row in range(rows):
        for x in range(U(n)):
            columns[row, p + x] += sign * planes[y, row, x]


@inner
def _slide_along(columns: Sums, row: int, side: int, n: int, sums: Sums) -> None:
    """Sum neighbours in four rows at a time, as one alone would wait for its own last sum."""
    s0 = s1 = s2 = s3 = 0.0
    for x in range(side):
        s0 += columns[row, x]
        s1 += columns[row + 1, x]
        s2 += columns[row + 2, x]
        s3 += columns[row + 3, x]
    sums[row, 0], sums[row + 1, 0], sums[row + 2, 0], sums[row + 3, 0] = s0, s1, s2, s3
    one, new = U(1), U(side)
    for x in range(U(n - 1)):
        s0 += columns[row, new + x] - columns[row, x]
        s1 += columns[row + 1, new + x] - columns[row + 1, x]
        s2 += columns[row + 2, new + x] - columns[row + 2, x]
        s3 += columns[row + 3, new + x] - columns[row + 3, x]
        sums[row, one + x] = s0
        sums[row + 1, one + x] = s1
        sums[row + 2, one + x] = s2
        sums[row + 3, one + x] = s3


@inner
def _sum_anew(columns: Sums, rows: int, side: int, n: int, sums: Sums) -> None:
    for row in range(rows):
        for x in range(n):
            sums[row, x] = 0.0
        for k in range(side):
            for x in range(U(n)):
                sums[row, x] += columns[row, U(k) + x]


@inner
def _window(centre: int, reach: int, size: int) -> tuple[int, int]:
    return max(centre - reach, 0), min(centre + reach, size - 1)


@inner
def _pairs(window: tuple[int, int], lag: int, size: int) -> int:
    return max(min(window[1], size - 1 - lag) - window[0] + 1, 0)


@inner
def _store_counts(
    centres: Triple, reach: Triple, lags: Triple, shape: Triple, n: int, sums: Sums
) -> None:
    """Set the counts that windows have where no sample is missing."""
    in_z = _window(centres[0], reach[0], shape[0])
    in_y = _window(centres[1], reach[1], shape[1])
    depth, height = in_z[1] - in_z[0] + 1, in_y[1] - in_y[0] + 1
    for x in range(n):
        in_x = _window(centres[2] + x, reach[2], shape[2])
        width = in_x[1] - in_x[0] + 1
        sums[COUNT, x] = depth * height * width
        for far in range(2):
            lag_z, lag_y, lag_x = lags if far else (1, 1, 1)
            sums[PAIRS + far, x] = depth * height * _pairs(in_x, lag_x, shape[2])
            sums[PAIRS + 2 + far, x] = depth * _pairs(in_y, lag_y, shape[1]) * width
            sums[PAIRS + 4 + far, x] = _pairs(in_z, lag_z, shape[0]) * height * width


@inner
def _product(sums: Sums, term: int, x: int) -> float:
    """Return the product of the two images' autocovariances; 0 where there are no pairs."""
    row, pairs = DIFFERENCES + 2 * term, sums[PAIRS + term, x]
    w = 0.5 / max(pairs, 1.0)
    va, vb = sums[A + 1, x], sums[B + 1, x]
    a, b = max(va - w * sums[row, x], -va), max(vb - w * sums[row + 1, x], -vb)
    return a * b if pairs > 0.5 else 0.0


@inner
def _multiply_fractions(sums: Sums, axis: int, long_weight: float, n: int) -> None:
    """Multiply the rows A and B by numerator and denominator of the share along an axis."""
    for x in range(U(n)):
        whole = sums[A + 1, x] * sums[B + 1, x]
        near = max(_product(sums, 2 * axis, x), LEAST_PRODUCT * whole)
        far = max(_product(sums, 2 * axis + 1, x), 0.0)
        sums[A, x] *= whole
        sums[B, x] *= max(whole + 2.0 * (near + long_weight * far), LEAST_SUM * whole)


@inner
def _variance_within(sums: Sums, image: int, lags: Triple, x: int, variance: float) -> float:
    """Return half the mean squared difference at the long lags: what narrow windows hold."""
    total, axes = 0.0, 0.0
    for axis in range(3):
        term = 2 * axis + 1
        if lags[2 - axis] and sums[PAIRS + term, x] > 0.5:
            total += sums[DIFFERENCES + 2 * term + image, x] / sums[PAIRS + term, x]
            axes += 2.0
    return max(total / axes, LEAST_VARIANCE * variance) if axes else variance


@inner
def _store_share(
    sums: Sums,
    lags: Triple,
    long_weights: tuple[float, float, float],
    narrow: bool,
    floor: float,
    sliding: bool,
    n: int,
    out: NDArray[np.float32],
    to: Triple,
) -> None:
    """Set a row of `out` to the product of the shares along all axes."""
    for x in range(U(n)):
        w = 1.0 / max(sums[COUNT, x], 1.0)
        mean_a, mean_b = w * sums[A, x], w * sums[B, x]
        var_a = w * sums[A + 1, x] - mean_a * mean_a
        var_b = w * sums[B + 1, x] - mean_b * mean_b
        floor_a = floor if sliding else floor * w * sums[A + 1, x]
        floor_b = floor if sliding else floor * w * sums[B + 1, x]
        known = (sums[COUNT, x] > 2.5) & (var_a > floor_a) & (var_b > floor_b)
        if narrow:
            var_a = _variance_within(sums, 0, lags, x, var_a)
            var_b = _variance_within(sums, 1, lags, x, var_b)
        sums[A + 1, x], sums[B + 1, x] = var_a, var_b
        sums[A, x] = 1.0 if known else np.nan
        sums[B, x] = 1.0
    for axis in range(3):
        if lags[2 - axis]:
            _multiply_fractions(sums, axis, long_weights[2 - axis], n)
    z, y, x0 = to[0], to[1], U(to[2])
    for x in range(U(n)):
        out[z, y, x0 + x] = sums[A, x] / sums[B, x]


@kernel
def tile_independent_share(
    a: Samples,
    b: Samples,
    valid: Samples,
    first: Triple,
    reach: Triple,
    lags: Triple,
    long_weights: tuple[float, float, float],
    narrow: bool,
    floor: float,
    sliding: bool,
    out: NDArray[np.float32],
) -> None:
    """Compute which share of the samples in every window of a tile counts as independent.

    Parameters
    ----------
    a, b : array of float64, shape (z, y, x)
        The samples of the tile and around it: `reach` before, `reach` + `lags` behind,
        unless the image ends there. Centred, the largest being 1 or -1; 0 where invalid.
    valid : array of float64, shape (z, y, x) or empty
        1 or 0; empty where all samples are valid.
    first : tuple of int
        Position of the first window centre in `a`, along z, y, x.
    reach : tuple of int
        Window radius along z, y, x; 0 = not windowed.
    lags : tuple of int
        The long lag along z, y, x; 0 = not windowed. The short lag is 1.
    long_weights : tuple of float
        How many lags the long one stands for.
    narrow : bool
        Whether the variance is that at the long lag, not in the whole window.
    floor : float
        The variance at or below which a window counts as flat; if not `sliding`, as a
        share of the mean square in the window.
    sliding : bool
        Whether sums slide, which is several times faster than to sum every window anew.
    out : array of float32, shape (z, y, x)
        Receives the shares, NaN where undefined.
    """
    shape = a.shape
    depth, height, width = out.shape
    rows = VOLUME_ROWS if lags[0] else PLANE_ROWS
    rows = ALL_ROWS if valid.size else rows
    side = 2 * reach[2] + 1
    planes = np.empty((shape[1], ALL_ROWS, BLOCK + 2 * reach[2]))
    columns = np.empty((ALL_ROWS, BLOCK + 2 * reach[2]))
    sums = np.empty((ALL_ROWS, BLOCK))
    for block in range(0, width, BLOCK):
        n = min(BLOCK, width - block)
        x = first[2] + block
        left, right = max(x - reach[2], 0), min(x + n + reach[2], shape[2])
        pad, taken = left - (x - reach[2]), right - left
        for k in range(depth):
            z, fresh = first[0] + k, k == 0 or not sliding
            if fresh:
                planes[:] = 0.0
            last = min(z + reach[0] + 1, shape[0])
            for y in range(shape[1]):
                for plane in range(max(z - reach[0], 0) if fresh else z + reach[0], last):
                    _add_row(a, b, valid, (plane, y, left), taken, 1.0, lags, planes)
                if not fresh and z > reach[0]:
                    _add_row(a, b, valid, (z - reach[0] - 1, y, left), taken, -1.0, lags, planes)
            for i in range(height):
                y, fresh = first[1] + i, i == 0 or not sliding
                if fresh:
                    columns[:] = 0.0
                last = min(y + reach[1] + 1, shape[1])
                for row in range(max(y - reach[1], 0) if fresh else y + reach[1], last):
                    _slide_down(planes, row, 1.0, taken, rows, columns, pad)
                if not fresh and y > reach[1]:
                    _slide_down(planes, y - reach[1] - 1, -1.0, taken, rows, columns, pad)
                if sliding:
                    for row in range(0, rows, 4):
                        _slide_along(columns, row, side, n, sums)
                else:
                    _sum_anew(columns, rows, side, n, sums)
                if not valid.size:
                    _store_counts((z, y, x), reach, lags, shape, n, sums)
                _store_share(
                    sums, lags, long_weights, narrow, floor, sliding, n, out, (k, i, block)
                )
