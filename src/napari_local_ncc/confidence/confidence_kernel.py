"""The compiled part of `Calibration.confidence`: a table read between its points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float32]

BIAS, MANTISSA = 127, 23  # of float32


@kernel
def look_up(
    table: Values,
    octave: int,
    steps: int,
    ncc: Values,
    effective_samples: Values,
    bits: NDArray[np.int32],
    out: Values,
) -> None:
    """Interpolate a table over effective samples and ncc; NaN stays NaN.

    Parameters
    ----------
    table : array of float32, shape (rows, columns)
        Columns at equal steps of ncc from -1 to 1. Rows at equal steps within each octave
        of effective samples, as the bits of a float have them: no logarithm is needed.
    octave : int
        The power of 2 of the first row.
    steps : int
        Rows per octave.
    ncc, effective_samples : array of float32, shape (n,)
        Where to read; numbers beyond the rows count as the last.
    bits : array of int32, shape (n,)
        `effective_samples` seen as integers.
    out : array of float32, shape (n,)
        Receives the values.
    """
    rows, columns = table.shape[0] - 1, table.shape[1] - 1
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
        low = table[j, k] + u * (table[j, k + 1] - table[j, k])
        high = table[j + 1, k] + u * (table[j + 1, k + 1] - table[j + 1, k])
        out[i] = min(low + v * (high - low), np.float32(1))
