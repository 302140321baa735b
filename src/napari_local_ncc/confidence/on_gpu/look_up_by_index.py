"""Tables read between their points by indices, as a GPU does: `confidence_kernel` in arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.confidence.confidence_kernel import BIAS, MANTISSA
from napari_local_ncc.ncc.device import namespace_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


def look_up_by_index(
    tables: NDArray[np.float32],
    contrasts: NDArray[np.float32],
    octave: int,
    steps: int,
    ncc: Any,
    effective_samples: Any,
    contrast: Any,
) -> Any:
    """Interpolate tables over contrast, effective samples and ncc; NaN stays NaN.

    Parameters
    ----------
    tables, contrasts, octave, steps
        As for `confidence_kernel.look_up`.
    ncc, effective_samples, contrast : array of float32, one shape, of any namespace
        Where to read.

    Returns
    -------
    array of float32, that shape
        The values.
    """
    xp = namespace_of(ncc)
    unknown = xp.isnan(ncc) | xp.isnan(effective_samples)
    strata, rows, columns = tables.shape[0], tables.shape[1] - 1, tables.shape[2] - 1
    numbers = xp.where(unknown, np.float32(1), effective_samples).astype(np.float32)
    bits = numbers.view(np.int32) - np.int32((octave + BIAS) << MANTISSA)
    y = xp.clip(bits.astype(np.float32) * np.float32(steps / 2**MANTISSA), 0, rows)
    x = (xp.where(unknown, np.float32(0), ncc) + np.float32(1)) * np.float32(columns / 2)
    j = xp.minimum(y.astype(np.int32), rows - 1)
    k = xp.clip(x.astype(np.int32), 0, columns - 1)
    v, u = y - j.astype(np.float32), x - k.astype(np.float32)
    flat = xp.asarray(tables.reshape(-1))

    def read(stratum: Any) -> Any:
        at = (stratum * (rows + 1) + j) * (columns + 1) + k
        low = flat[at] + u * (flat[at + 1] - flat[at])
        at = at + columns + 1
        return low + v * (flat[at] + u * (flat[at + 1] - flat[at]) - low)

    if strata < 2:
        found = read(0)
    else:
        stratum = xp.zeros(ncc.shape, np.int32)
        for typical in contrasts[1:-1].tolist():
            stratum += contrast > np.float32(typical)
        known = xp.asarray(contrasts)
        low, high = known[stratum], known[stratum + 1]
        share = xp.clip((contrast - low) / (high - low), 0, 1)
        found = read(stratum)
        found += share * (read(stratum + 1) - found)
    return xp.where(unknown, np.float32(np.nan), xp.minimum(found, np.float32(1)))
