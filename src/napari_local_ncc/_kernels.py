"""The fused CPU kernel for NumPy arrays: any dtype and layout, tile by tile.

NumPy reads each tile into a float64 scratch, so that one compiled function serves all
dtypes, byte orders and strides, and extra memory is that of a tile. `_moments` computes
the tile; `_exact` computes again the few windows whose sums have lost too many digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from math import ceil, frexp, ldexp, log2, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc._exact import resolve
from napari_local_ncc._moments import (
    BLOCK,
    NOT_FINITE,
    block_width,
    tile_ncc,
    workspace_size,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.float64]
    Validity = NDArray[np.bool_]
    Slices = tuple[slice, ...]

EPSILON = float(np.finfo(np.float64).eps)
EXACT_BITS = 53  # integers up to 2 ** 53 are exact in float64
MAX_NCC_ERROR = 3e-7  # of a window that is not computed again
ALL_VALID = np.ones((1, 1, 1, 0), np.bool_)
# Samples along z, y, x: rows long enough to stream, a tile small enough for the L2 cache.
PLANE_TILE = (1, 64, 1024)
VOLUME_TILE = (64, 32, 256)


def ncc_tile(
    fixed: NDArray[Any],
    moving: NDArray[Any],
    mask: NDArray[np.bool_] | None = None,
    *,
    radius: tuple[int, ...],
    weights: str,
    min_std: float,
    min_valid: float,
) -> NDArray[np.float32]:
    """Compute the local NCC of two NumPy arrays in one pass over their samples.

    Parameters
    ----------
    fixed, moving : array of any real dtype, shape (...)
        Images of one shape. NaN and inf are invalid samples.
    mask : array of bool, shape (...), optional
        True where samples may be used.
    radius : tuple of int
        Window radius per axis in pixels; 0 = independent axis. At most 3 are above 0.
    weights : {"box", "gaussian"}
        Window weights; Gaussian with sigma = radius / 3, cut off at the radius.
    min_std : float
        Undefined where the standard deviation of either window is at or below this,
        in intensity units. 0: undefined where either window is constant.
    min_valid : float
        Least valid share of the window's weight inside the array.

    Returns
    -------
    array of float32, shape (...)
        NCC in [-1, 1]; NaN where the centre sample is invalid, where fewer than 3 samples
        or less than `min_valid` of the window are valid, and where a window is flat.

    Raises
    ------
    ValueError
        If windows extend along more than 3 axes.

    Notes
    -----
    Within 1e-6 of the two-pass formula in float64 on windows clipped at the border. The
    first call of a process loads the compiled code, the first ever compiles it.
    """
    windowed = [axis for axis, r in enumerate(radius) if r]
    if len(windowed) > 3:
        raise ValueError(f"windows extend along at most 3 axes, got radius {radius}")
    out = np.empty(fixed.shape, np.float32)
    if not windowed or not out.size:  # a window of one sample is undefined
        out.fill(np.nan)
        return out
    independent, tiled = _order_axes(fixed, windowed)
    unused = [_axis(1, 0, weights)] * (3 - len(tiled))
    axes = unused + [_axis(fixed.shape[axis], radius[axis], weights) for axis in tiled]
    window = _Window(tuple(axes), weights == "box", min_std, min_valid)
    a, b, ncc = (_as_stacks(array, independent, tiled) for array in (fixed, moving, out))
    valid = None if mask is None else _as_stacks(mask, independent, tiled)
    for stack in np.ndindex(ncc.shape[:-4]):
        known = None if valid is None else valid[stack]
        _ncc_of_stack(a[stack], b[stack], known, window, ncc[stack])
    return out


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    reach: int
    taps: Samples  # 2 * reach + 1 window weights, the largest being 1
    inside: Samples  # window weight and sample count inside the array; shape (2, size)


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    axes: tuple[_Axis, ...]  # z, y, x
    box: bool
    min_std: float
    min_valid: float


def _axis(size: int, radius: int, weights: str) -> _Axis:
    # An axis of n samples has no neighbours farther away than n - 1.
    reach = min(radius, size - 1)
    ones = np.ones(2 * reach + 1)
    gaussian = weights == "gaussian" and reach
    taps = np.exp(-0.5 * (3.0 * np.arange(-reach, reach + 1) / radius) ** 2) if gaussian else ones
    inside = [np.convolve(np.ones(size), w)[reach : reach + size] for w in (taps, ones)]
    return _Axis(reach, taps, np.stack(inside))


def _order_axes(array: NDArray[Any], windowed: list[int]) -> tuple[list[int], list[int]]:
    """Return the axes to loop over, the longest last, and up to 3 to tile, fastest last."""
    tiled = list(windowed)
    # Rows should lie along the smallest stride, even if windows do not extend along it.
    fastest = min(range(array.ndim), key=lambda axis: (abs(array.strides[axis]), -axis))
    if len(tiled) < 3 and fastest not in tiled and array.shape[fastest] >= BLOCK:
        tiled.append(fastest)
    tiled.sort(key=lambda axis: abs(array.strides[axis]), reverse=True)
    rest = [axis for axis in range(array.ndim) if axis not in tiled]
    return sorted(rest, key=lambda axis: array.shape[axis]), tiled


def _as_stacks(array: NDArray[Any], independent: list[int], tiled: list[int]) -> NDArray[Any]:
    """View the array with axes (..., batch, z, y, x), those that it lacks being 1 long."""
    batch = () if independent else (None,)
    index = (*batch, *(slice(None),) * len(independent), *(None,) * (3 - len(tiled)), ...)
    return array.transpose(independent + tiled)[index]


def _ncc_of_stack(
    fixed: NDArray[Any],
    moving: NDArray[Any],
    mask: Validity | None,
    window: _Window,
    out: NDArray[np.float32],
) -> None:
    sides = tuple(axis.taps.size for axis in window.axes)
    exact = window.box and _sums_are_exact(fixed.dtype, moving.dtype, prod(sides))
    rounding = 0.0 if exact else EPSILON * (sum(sides) + 4) / MAX_NCC_ERROR
    tiles = _tiles(fixed.shape, window)
    shape = tuple(max(c[axis].stop - c[axis].start for c, _ in tiles) for axis in range(4))
    work = _aligned(workspace_size(sides, shape))
    room = np.empty((2, max(fixed[around].size for _, around in tiles)))
    for centres, around in tiles:
        a, b = _read(fixed[around], room[0]), _read(moving[around], room[1])
        valid = ALL_VALID if mask is None else np.isfinite(a) & np.isfinite(b) & mask[around]
        first = tuple(c.start for c in centres[1:])
        tile = np.empty([c.stop - c.start for c in centres], np.float32)
        if not _ncc_of_tile(a, b, valid, first, window, rounding, work, tile):
            valid = np.isfinite(a) & np.isfinite(b)
            _ncc_of_tile(a, b, valid, first, window, rounding, work, tile)
        out[centres] = tile


def _ncc_of_tile(
    a: Samples,
    b: Samples,
    valid: Validity,
    first: tuple[int, ...],
    window: _Window,
    rounding: float,
    work: Samples,
    out: NDArray[np.float32],
) -> bool:
    """Fill `out`, unless there are invalid samples but `valid` is empty."""
    taps = tuple(axis.taps for axis in window.axes)
    inside = tuple(axis.inside for axis in window.axes)
    scales, centres = zip(_scale_and_centre(a, valid), _scale_and_centre(b, valid), strict=True)
    floors = tuple(window.min_std * scale for scale in scales)
    undetermined = tile_ncc(
        a, b, valid, first, inside, taps, window.box, scales, centres, floors, rounding,
        window.min_valid, block_width(taps[2].size), work, out,
    )  # fmt: skip
    if undetermined > 0:
        resolve(a, b, valid, first, taps, scales, floors, out)
    return bool(undetermined != NOT_FINITE)


def _sums_are_exact(fixed: np.dtype[Any], moving: np.dtype[Any], samples: int) -> bool:
    """Tell whether n * sum(a * b), the largest number that occurs, is an exact integer."""
    if fixed.kind not in "bui" or moving.kind not in "bui":
        return False
    return 2 * log2(samples) + 16 * max(fixed.itemsize, moving.itemsize) <= EXACT_BITS


def _tiles(shape: tuple[int, ...], window: _Window) -> list[tuple[Slices, Slices]]:
    """Return the centres of each tile and the samples around them that it needs."""
    batch, *size = shape
    depth, height, width = VOLUME_TILE if size[0] > 1 else PLANE_TILE
    # Wide windows need larger tiles, or most of the work is on the samples around them.
    least = 4 if size[0] > 1 else 16
    if size[0] == 1:  # few rows leave room for long ones
        width = max(width, height * width // min(size[1], height))
    sides = [
        min(n, max(side, least * axis.reach))
        for n, side, axis in zip(size, (depth, height, width), window.axes, strict=True)
    ]
    cuts = [_cut(batch, max(1, prod(PLANE_TILE) // prod(sides)), 0)]
    cuts += [
        _cut(n, side, axis.reach) for n, side, axis in zip(size, sides, window.axes, strict=True)
    ]
    return [(tuple(c for c, _ in tile), tuple(s for _, s in tile)) for tile in product(*cuts)]


def _cut(size: int, side: int, reach: int) -> list[tuple[slice, slice]]:
    """Cut an axis into about equal parts of at most `side`, and these extended by `reach`."""
    count = ceil(size / side)
    edges = [size * i // count for i in range(count + 1)]
    return [
        (slice(start, stop), slice(max(start - reach, 0), min(stop + reach, size)))
        for start, stop in pairwise(edges)
    ]


def _aligned(size: int) -> Samples:
    """Return zeros from a multiple of 64 bytes on: vectors across cache lines are slow."""
    room = np.zeros(size + 8)
    skip = -(room.ctypes.data // 8) % 8
    return room[skip : skip + size]


def _read(source: NDArray[Any], room: Samples) -> Samples:
    samples = room[: source.size].reshape(source.shape)
    np.copyto(samples, source, casting="unsafe")
    return samples


def _scale_and_centre(samples: Samples, valid: Validity) -> tuple[float, float]:
    """Return a power of two that makes the span of some samples about 1; their scaled median.

    The median, as a mean would follow a few bright pixels; some, as nearly any will do.
    """
    values = samples.reshape(-1)
    some = slice(None, None, max(1, values.size // 61))
    known = np.isfinite(values[some])
    if valid.size:
        known &= valid.reshape(-1)[some]
    ordered = np.sort(values[some][known])
    centre = float(ordered[ordered.size // 2]) if ordered.size else 0.0
    lowest, highest = (ordered[0], ordered[-1]) if ordered.size else (centre, centre)
    if lowest == highest:
        values = values[valid.reshape(-1)] if valid.size else values
        lowest, highest = values.min(initial=centre), values.max(initial=centre)
    # By halves, as the whole span may exceed the largest number.
    half = max(float(highest) / 2 - centre / 2, centre / 2 - float(lowest) / 2)
    scale = ldexp(1.0, min(1000, -frexp(half)[1]))
    return scale, centre * scale
