"""The compiled part of `effective_samples`: lag-1 autocorrelations in every window.

The correlation of neighbours follows from their mean squared difference d and the variance
v: r = 1 - d / (2 v). So the sums needed are those of a, a², b, b² and, per windowed axis,
the squared differences of neighbours; and counts where samples are missing. They are summed
along z into planes, along y into columns, then along x, each sum sliding: what enters is
added, what leaves subtracted. Rounding is that of float64 against the largest sample of a
tile, which is plenty for a description of texture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc._rows import U, cached, inner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Sums = NDArray[np.float64]
    Samples = NDArray[np.float64]
    Triple = tuple[int, int, int]

BLOCK = 128  # columns whose sums fit in the cache
# Rows of sums, the rare ones last: samples and squares of either image; squared differences
# of neighbours, a and b, along x, y, z; counts of samples; of pairs along x, y, z.
A, B, DIFFERENCES, COUNT, PAIRS = 0, 2, 4, 10, 11
PLANE_ROWS, VOLUME_ROWS, ALL_ROWS = 8, 12, 16
# Where neighbours are alike in one image and opposite in the other, Bartlett's formula
# would make a window worth any number of samples.
LEAST_PRODUCT = -0.5


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
    planes: Sums,
) -> None:
    """Add a row of samples, and the differences to the next in each direction, to the sums."""
    z, y, x0 = at
    depth, height, width = a.shape
    _add_powers(a, at, n, sign, planes, y, A)
    _add_powers(b, at, n, sign, planes, y, B)
    if valid.size:
        _add_counts(valid, at, at, n, sign, planes, y, COUNT)
    for axis in range(3):
        to, m = (z, y, x0 + 1), min(n, width - 1 - x0)
        if axis == 1:
            to, m = (z, y + 1, x0), n if y + 1 < height else 0
        elif axis == 2:
            to, m = (z + 1, y, x0), n if z + 1 < depth else 0
        row = DIFFERENCES + 2 * axis
        if m <= 0:
            continue
        if valid.size:
            _add_valid_differences(a, valid, at, to, m, sign, planes, y, row)
            _add_valid_differences(b, valid, at, to, m, sign, planes, y, row + 1)
            _add_counts(valid, at, to, m, sign, planes, y, PAIRS + axis)
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
def _window(centre: int, reach: int, size: int) -> tuple[int, int]:
    return max(centre - reach, 0), min(centre + reach, size - 1)


@inner
def _store_counts(centres: Triple, reach: Triple, shape: Triple, n: int, sums: Sums) -> None:
    """Set the counts that windows have where no sample is missing."""
    z0, z1 = _window(centres[0], reach[0], shape[0])
    y0, y1 = _window(centres[1], reach[1], shape[1])
    depth, height = z1 - z0 + 1, y1 - y0 + 1
    pairs_z, pairs_y = min(z1, shape[0] - 2) - z0 + 1, min(y1, shape[1] - 2) - y0 + 1
    for x in range(n):
        x0, x1 = _window(centres[2] + x, reach[2], shape[2])
        width = x1 - x0 + 1
        sums[COUNT, x] = depth * height * width
        sums[PAIRS, x] = depth * height * (min(x1, shape[2] - 2) - x0 + 1)
        sums[PAIRS + 1, x] = depth * pairs_y * width
        sums[PAIRS + 2, x] = pairs_z * height * width


@inner
def _multiply_fractions(sums: Sums, axis: int, n: int) -> None:
    """Multiply the rows A and B by numerator and denominator of Bartlett's fraction."""
    row, pairs = DIFFERENCES + 2 * axis, PAIRS + axis
    for x in range(U(n)):
        # Where there are no pairs, neighbours say nothing.
        w = 1.0 / max(sums[pairs, x], 1.0)
        va, vb = 2.0 * sums[A + 1, x], 2.0 * sums[B + 1, x]
        da, db = min(w * sums[row, x], 2.0 * va), min(w * sums[row + 1, x], 2.0 * vb)
        whole = va * vb
        product = max((va - da) * (vb - db), LEAST_PRODUCT * whole)
        product = product if sums[pairs, x] > 0.5 else 0.0
        sums[A, x] *= whole - product
        sums[B, x] *= whole + product


@inner
def _store_share(
    sums: Sums,
    axes: tuple[bool, bool, bool],
    floors: tuple[float, float],
    n: int,
    out: NDArray[np.float32],
    to: Triple,
) -> None:
    """Set a row of `out` to the product of Bartlett's fractions."""
    for x in range(U(n)):
        w = 1.0 / max(sums[COUNT, x], 1.0)
        mean_a, mean_b = w * sums[A, x], w * sums[B, x]
        var_a = w * sums[A + 1, x] - mean_a * mean_a
        var_b = w * sums[B + 1, x] - mean_b * mean_b
        known = (sums[COUNT, x] > 2.5) & (var_a > floors[0]) & (var_b > floors[1])
        sums[A + 1, x], sums[B + 1, x] = var_a, var_b
        sums[A, x] = 1.0 if known else np.nan
        sums[B, x] = 1.0
    for axis in range(3):
        if axes[axis]:
            _multiply_fractions(sums, axis, n)
    z, y, x0 = to[0], to[1], U(to[2])
    for x in range(U(n)):
        out[z, y, x0 + x] = sums[A, x] / sums[B, x]


@cached
def tile_independent_share(
    a: Samples,
    b: Samples,
    valid: Samples,
    first: Triple,
    reach: Triple,
    floors: tuple[float, float],
    out: NDArray[np.float32],
) -> None:
    """Compute which share of the samples in every window of a tile counts as independent.

    Parameters
    ----------
    a, b : array of float64, shape (z, y, x)
        The samples of the tile and around it: `reach` before, `reach` + 1 behind, unless
        the image ends there. Centred; 0 where invalid.
    valid : array of float64, shape (z, y, x) or empty
        1 or 0; empty where all samples are valid.
    first : tuple of int
        Position of the first window centre in `a`, along z, y, x.
    reach : tuple of int
        Window radius along z, y, x; 0 = not windowed.
    floors : tuple of float
        Variances at or below which a window is flat.
    out : array of float32, shape (z, y, x)
        Receives the shares, NaN where undefined.
    """
    shape = a.shape
    depth, height, width = out.shape
    rows = VOLUME_ROWS if reach[0] else PLANE_ROWS
    rows = ALL_ROWS if valid.size else rows
    side = 2 * reach[2] + 1
    planes = np.empty((shape[1], ALL_ROWS, BLOCK + 2 * reach[2]))
    columns = np.empty((ALL_ROWS, BLOCK + 2 * reach[2]))
    sums = np.empty((ALL_ROWS, BLOCK))
    axes = (reach[2] > 0, reach[1] > 0, reach[0] > 0)
    for block in range(0, width, BLOCK):
        n = min(BLOCK, width - block)
        x = first[2] + block
        left, right = max(x - reach[2], 0), min(x + n + reach[2], shape[2])
        pad, taken = left - (x - reach[2]), right - left
        planes[:] = 0.0
        for k in range(depth):
            z = first[0] + k
            last = min(z + reach[0] + 1, shape[0])
            for y in range(shape[1]):
                for plane in range(max(z - reach[0], 0) if k == 0 else z + reach[0], last):
                    _add_row(a, b, valid, (plane, y, left), taken, 1.0, planes)
                if k > 0 and z > reach[0]:
                    _add_row(a, b, valid, (z - reach[0] - 1, y, left), taken, -1.0, planes)
            columns[:] = 0.0
            for i in range(height):
                y = first[1] + i
                last = min(y + reach[1] + 1, shape[1])
                for row in range(max(y - reach[1], 0) if i == 0 else y + reach[1], last):
                    _slide_down(planes, row, 1.0, taken, rows, columns, pad)
                if i > 0 and y > reach[1]:
                    _slide_down(planes, y - reach[1] - 1, -1.0, taken, rows, columns, pad)
                for row in range(0, rows, 4):
                    _slide_along(columns, row, side, n, sums)
                if not valid.size:
                    _store_counts((z, y, x), reach, shape, n, sums)
                _store_share(sums, axes, floors, n, out, (k, i, block))
