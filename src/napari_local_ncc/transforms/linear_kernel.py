"""Linear interpolation where an affine says, compiled: the same for a pixel in whatever box."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.compilation import inner, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32 | np.float64]
    Three = tuple[int, int, int]


@inner
def _in_row(samples: Floats, z: int, y: int, x: int, fx: float) -> float:
    """Interpolate in a row; a sample of no weight does not count, though it be NaN."""
    if fx == 0.0:
        return samples[z, y, x]
    return (1.0 - fx) * samples[z, y, x] + fx * samples[z, y, x + 1]


@inner
def _in_plane(samples: Floats, z: int, y: int, fy: float, x: int, fx: float) -> float:
    """Interpolate in a plane."""
    row = _in_row(samples, z, y, x, fx)
    if fy == 0.0:
        return row
    return (1.0 - fy) * row + fy * _in_row(samples, z, y + 1, x, fx)


@kernel
def sample_linearly(
    samples: Floats,
    low: Three,
    shape: Three,
    to_moving: NDArray[np.float64],
    start: Three,
    rounding: float,
    out: Floats,
) -> None:
    """Fill a box of a grid from the samples of an image; NaN outside of it.

    Parameters
    ----------
    samples : ndarray, 3 axes
        Those of the image that the box needs.
    low, shape : tuple of int
        Where they begin in the image; the shape of the image.
    to_moving : ndarray, shape (3, 4)
        Pixels of the grid to pixels of the image.
    start : tuple of int
        Where the box begins in the grid. Positions are computed from the grid's own indices,
        so that they do not depend on the box, to the last bit.
    rounding : float
        How far outside its outermost samples, in px, the image still holds.
    out : ndarray, 3 axes
        The box.
    """
    m = to_moving
    last_z, last_y, last_x = shape[0] - 1.0, shape[1] - 1.0, shape[2] - 1.0
    for k, j in np.ndindex(out.shape[:2]):
        z, y = float(k + start[0]), float(j + start[1])
        row_z = m[0, 0] * z + m[0, 1] * y + m[0, 3]
        row_y = m[1, 0] * z + m[1, 1] * y + m[1, 3]
        row_x = m[2, 0] * z + m[2, 1] * y + m[2, 3]
        if m[0, 2] == 0.0 and m[1, 2] == 0.0:  # along a row of the image: half the time
            if not max(-row_z, -row_y, row_z - last_z, row_y - last_y) <= rounding:
                out[k, j] = np.nan
                continue
            cz, cy = min(max(row_z, 0.0), last_z), min(max(row_y, 0.0), last_y)
            iz, iy = int(cz), int(cy)
            fz, fy = cz - iz, cy - iy
            iz, iy = iz - low[0], iy - low[1]
            for i in range(out.shape[2]):
                cx = row_x + m[2, 2] * float(i + start[2])
                if not max(-cx, cx - last_x) <= rounding:
                    out[k, j, i] = np.nan
                    continue
                cx = min(max(cx, 0.0), last_x)
                ix = int(cx)
                fx, ix = cx - ix, ix - low[2]
                value = _in_plane(samples, iz, iy, fy, ix, fx)
                if fz > 0.0:
                    after = _in_plane(samples, iz + 1, iy, fy, ix, fx)
                    value = (1.0 - fz) * value + fz * after
                out[k, j, i] = value
            continue
        for i in range(out.shape[2]):
            x = float(i + start[2])
            cz, cy, cx = row_z + m[0, 2] * x, row_y + m[1, 2] * x, row_x + m[2, 2] * x
            beyond = max(-cz, -cy, -cx, cz - last_z, cy - last_y, cx - last_x)
            if not beyond <= rounding:
                out[k, j, i] = np.nan
                continue
            cz, cy, cx = (
                min(max(cz, 0.0), last_z),
                min(max(cy, 0.0), last_y),
                min(max(cx, 0.0), last_x),
            )
            iz, iy, ix = int(cz), int(cy), int(cx)
            fz, fy, fx = cz - iz, cy - iy, cx - ix
            iz, iy, ix = iz - low[0], iy - low[1], ix - low[2]
            value = _in_plane(samples, iz, iy, fy, ix, fx)
            if fz > 0.0:
                after = _in_plane(samples, iz + 1, iy, fy, ix, fx)
                value = (1.0 - fz) * value + fz * after
            out[k, j, i] = value
