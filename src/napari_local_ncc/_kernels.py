"""The fused CPU kernel for NumPy arrays: any dtype and layout, tile by tile.

NumPy reads each tile into a scratch of float32, or float64 where that would lose digits. So
one compiled function serves nearly all dtypes, byte orders and strides, and extra memory is
that of a tile; and as a tile is read anyway, an image may come in pieces. `_moments`
computes the tile; `_exact` computes again the few windows whose sums lost too many digits.
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
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Samples = NDArray[np.float32 | np.float64]
    Validity = NDArray[np.bool_]
    Slices = tuple[slice, ...]
    Pieces = Sequence[tuple[Slices, NDArray[Any]]]  # where in the image, samples there

EPSILON = float(np.finfo(np.float64).eps)
EXACT_BITS = 53  # integers up to 2 ** 53 are exact in float64
MAX_NCC_ERROR = 3e-7  # of a window that is not computed again
ALL_VALID = np.ones((1, 1, 1, 0), np.bool_)
# Samples along z, y, x: rows long enough to stream, a tile small enough for the L2 cache.
PLANE_TILE = (1, 64, 1024)
VOLUME_TILE = (96, 48, 128)


def ncc_of_pieces(
    fixed: Pieces,
    moving: Pieces,
    mask: Pieces = (),
    *,
    region: Slices,
    radius: tuple[int, ...],
    weights: str,
    min_std: float,
    min_valid: float,
) -> NDArray[np.float32]:
    """Compute the local NCC in a region of two images, in one pass over their samples.

    Parameters
    ----------
    fixed, moving : sequence of (where, array of any real dtype)
        The pieces of two images of one shape, and the slices that each fills. Axes of
        radius 0 are not divided. NaN and inf are invalid samples.
    mask : sequence of (where, array of bool), optional
        True where samples may be used.
    region : tuple of slice
        Where NCC is wanted; all of an axis of radius 0.
    radius : tuple of int
        Window radius per axis in pixels; 0 = independent axis. At most 3 are above 0.
    weights : {"box", "gaussian"}
        Window weights; Gaussian with sigma = radius / 3, cut off at the radius.
    min_std : float
        Undefined where the standard deviation of either window is at or below this,
        in intensity units. 0: undefined where either window is constant.
    min_valid : float
        Least valid share of the window's weight inside the image.

    Returns
    -------
    array of float32, shape of the region
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
    out = np.empty(_lengths(region), np.float32)
    if not windowed or not out.size:  # a window of one sample is undefined
        out.fill(np.nan)
        return out
    largest = max((array for _, array in fixed), key=np.size)
    independent, tiled = _order_axes(largest, windowed)
    unused = [_axis(1, 0, weights)] * (3 - len(tiled))
    shape = [max(where[axis].stop for where, _ in fixed) for axis in range(len(radius))]
    axes = unused + [_axis(shape[axis], radius[axis], weights) for axis in tiled]
    window = _Window(tuple(axes), weights == "box", min_std, min_valid)
    images = [
        [(_stack_slices(where, independent, tiled), _as_stacks(array, independent, tiled))
         for where, array in pieces]
        for pieces in (fixed, moving, mask)
    ]  # fmt: skip
    ncc, part = _as_stacks(out, independent, tiled), _stack_slices(region, independent, tiled)
    for stack in np.ndindex(ncc.shape[:-4]):
        a, b, known = ([(where, array[stack]) for where, array in image] for image in images)
        _ncc_of_stack(a, b, known, window, part, ncc[stack])
    return out


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    reach: int
    taps: Numbers  # 2 * reach + 1 window weights, the largest being 1
    inside: Numbers  # window weight and sample count inside the array; shape (2, size)


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


def _stack_slices(where: Slices, independent: list[int], tiled: list[int]) -> Slices:
    """Return slices along batch, z, y, x."""
    one = (slice(0, 1),)
    batch = (where[independent[-1]],) if independent else one
    return batch + one * (3 - len(tiled)) + tuple(where[axis] for axis in tiled)


def _ncc_of_stack(
    fixed: Pieces,
    moving: Pieces,
    mask: Pieces,
    window: _Window,
    region: Slices,
    out: NDArray[np.float32],
) -> None:
    sides = tuple(axis.taps.size for axis in window.axes)
    dtypes = fixed[0][1].dtype, moving[0][1].dtype
    exact = window.box and _sums_are_exact(*dtypes, prod(sides))
    rounding = 0.0 if exact else EPSILON * (sum(sides) + 4) / MAX_NCC_ERROR
    tiles = _tiles(region, window)
    shape = tuple(max(_lengths(centres)[axis] for centres, _ in tiles) for axis in range(4))
    work = _aligned(workspace_size(sides, shape))
    single = all(np.can_cast(dtype, np.float32) for dtype in dtypes)
    room = np.empty(
        (2, max(prod(_lengths(around)) for _, around in tiles)),
        np.float32 if single else np.float64,
    )
    results = np.empty(max(prod(_lengths(centres)) for centres, _ in tiles), np.float32)
    for centres, around in tiles:
        a, b = _read(fixed, around, room[0]), _read(moving, around, room[1])
        valid = ALL_VALID
        if mask:
            known = _read(mask, around, np.empty(a.size, np.bool_))
            valid = np.isfinite(a) & np.isfinite(b) & known
        first = tuple(c.start for c in centres[1:])
        tile = _shaped(results, centres)
        if not _ncc_of_tile(a, b, valid, first, window, rounding, work, tile):
            valid = np.isfinite(a) & np.isfinite(b)
            _ncc_of_tile(a, b, valid, first, window, rounding, work, tile)
        out[_within(centres, region)] = tile


def _ncc_of_tile(
    a: Samples,
    b: Samples,
    valid: Validity,
    first: tuple[int, ...],
    window: _Window,
    rounding: float,
    work: Numbers,
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


def _tiles(region: Slices, window: _Window) -> list[tuple[Slices, Slices]]:
    """Return the centres of each tile and the samples around them that it needs."""
    batch, *size = _lengths(region)
    depth, height, width = VOLUME_TILE if size[0] > 1 else PLANE_TILE
    # Wide windows need larger tiles, or most of the work is on the samples around them.
    least = 4 if size[0] > 1 else 16
    if size[0] == 1:  # few rows leave room for long ones
        width = max(width, height * width // min(size[1], height))
    sides = [
        min(n, max(side, least * axis.reach))
        for n, side, axis in zip(size, (depth, height, width), window.axes, strict=True)
    ]
    cuts = [_cut(region[0], max(1, prod(PLANE_TILE) // prod(sides)), 0, batch)]
    cuts += [
        _cut(part, side, axis.reach, axis.inside.shape[1])
        for part, side, axis in zip(region[1:], sides, window.axes, strict=True)
    ]
    return [(tuple(c for c, _ in tile), tuple(s for _, s in tile)) for tile in product(*cuts)]


def _cut(part: slice, side: int, reach: int, size: int) -> list[tuple[slice, slice]]:
    """Cut part of an axis into about equal lengths up to `side`; and these plus `reach`."""
    length = part.stop - part.start
    count = ceil(length / side)
    edges = [part.start + length * i // count for i in range(count + 1)]
    return [
        (slice(start, stop), slice(max(start - reach, 0), min(stop + reach, size)))
        for start, stop in pairwise(edges)
    ]


def _lengths(part: Slices) -> tuple[int, ...]:
    return tuple(p.stop - p.start for p in part)


def _shaped(room: NDArray[Any], part: Slices) -> NDArray[Any]:
    lengths = _lengths(part)
    return room[: prod(lengths)].reshape(lengths)


def _within(part: Slices, whole: Slices) -> Slices:
    """Return a part relative to where the whole starts."""
    return tuple(
        slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, whole, strict=True)
    )


def _aligned(size: int) -> Numbers:
    """Return zeros from a multiple of 64 bytes on: vectors across cache lines are slow."""
    room = np.zeros(size + 8)
    skip = -(room.ctypes.data // 8) % 8
    return room[skip : skip + size]


def _read(pieces: Pieces, around: Slices, room: NDArray[Any]) -> NDArray[Any]:
    samples = _shaped(room, around)
    parts = [
        (samples[_within(common, around)], array[_within(common, where)])
        for where, array in pieces
        if (common := _common(around, where)) is not None
    ]
    if parts[0][1].dtype.kind in "iu" and parts[0][1].dtype.itemsize == 8:
        # Past 2 ** 53 float64 skips integers; NCC ignores offsets, so take off the lowest.
        lowest = min(int(source.min()) for _, source in parts) % 2**64
        parts = [(target, source.astype(np.uint64) - np.uint64(lowest)) for target, source in parts]
    for target, source in parts:
        np.copyto(target, source, casting="unsafe")
    return samples


def _common(one: Slices, other: Slices) -> Slices | None:
    """Return what two regions have in common, or None."""
    common = tuple(
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return common if all(part.start < part.stop for part in common) else None


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
