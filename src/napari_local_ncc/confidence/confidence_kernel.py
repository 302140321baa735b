"""The compiled part of `Calibration.confidence`: a table read between its points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import inner, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float32]

BIAS, MANTISSA = 127, 23  # of float32


@inner
def _read(table: NDArray[np.float32], j: int, k: int, v: float, u: float) -> float:
    low = table[j, k] + u * (table[j, k + 1] - table[j, k])
    high = table[j + 1, k] + u * (table[j + 1, k + 1] - table[j + 1, k])
    return low + v * (high - low)


@kernel
def look_up(
    tables: NDArray[np.float32],
    contrasts: NDArray[np.float32],
    octave: int,
    steps: int,
    ncc: Values,
    effective_samples: Values,
    bits: NDArray[np.int32],
    contrast: Values,
    out: Values,
) -> None:
    """Interpolate tables over contrast, effective samples and ncc; NaN stays NaN.

    Parameters
    ----------
    tables : array of float32, shape (strata, rows, columns)
        Columns at equal steps of ncc from -1 to 1. Rows at equal steps within each octave
        of effective samples, as the bits of a float have them: no logarithm is needed.
    contrasts : array of float32, shape (strata,)
        The contrast of each, ascending.
    octave : int
        The power of 2 of the first row.
    steps : int
        Rows per octave.
    ncc, effective_samples : array of float32, shape (n,)
        Where to read; numbers beyond the rows count as the last.
    bits : array of int32, shape (n,)
        `effective_samples` seen as integers.
    contrast : array of float32, shape (n,)
        Beyond the first or last of `contrasts` it counts as that.
    out : array of float32, shape (n,)
        Receives the values.
    """
    strata, rows, columns = tables.shape[0], tables.shape[1] - 1, tables.shape[2] - 1
    scale = np.float32(steps / 2**MANTISSA)
    origin = (octave + BIAS) << MANTISSA
    for i in range(ncc.size):
        value = ncc[i]
        if np.isnan(value) or np.isnan(effective_samples[i]):
            out[i] = np.nan
            continue
        y = min(max(np.float32(bits[i] - origin) * scale, np.float32(0)), np.float32(rows))
        x = np.float32(columns) * (value + np.float32(1)) * np.float32(0.5)
        j, k = min(int(y), rows - 1), min(max(int(x), 0), columns - 1)
        v, u = y - np.float32(j), x - np.float32(k)
        s = 0
        while s < strata - 2 and contrast[i] > contrasts[s + 1]:
            s += 1
        found = _read(tables[s], j, k, v, u)
        if strata > 1:
            w = (contrast[i] - contrasts[s]) / (contrasts[s + 1] - contrasts[s])
            w = min(max(w, np.float32(0)), np.float32(1))
            found += w * (_read(tables[s + 1], j, k, v, u) - found)
        out[i] = min(found, np.float32(1))
