"""The fused CPU kernel for NumPy arrays: any dtype and layout, tile by tile.

Samples of the usual dtypes are read where they lie. Others, those that a mask leaves out, and
where an image comes in pieces, the seams: NumPy reads these tile by tile into a scratch of
float32, or float64 where that would lose digits. So few compiled functions serve all dtypes, byte
orders and strides, and extra memory is at most that of a tile. `_running` computes the tile by
sums that run along it. Where their digits do not suffice, `_constant`
finds the windows of one value, `_exact` computes again the few that are left, and `_moments`,
whose sums never subtract, a tile where these are many, or windows are very wide. These are
loaded when a tile needs them: most images never do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import log2, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.ncc.kernels.rows import NOT_FINITE, UNDETERMINED, block_width
from napari_local_ncc.ncc.kernels.running_sums import (
    DIRECT,
    WIDEST,
    running_block,
    running_ncc,
    running_workspace_size,
    set_aside,
)
from napari_local_ncc.ncc.kernels.tiles import (
    Window,
    cut_tiles,
    lengths_of,
    lie_in_place,
    read_tile,
    scale_and_centre,
    window_axis,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.rows import Samples, Validity
    from napari_local_ncc.ncc.kernels.tiles import InPlace, Numbers, Pieces, Slices

    Gauge = tuple[float, float]  # scale and centre of samples

EPSILON = float(np.finfo(np.float64).eps)
EXACT_BITS = 53  # integers up to 2 ** 53 are exact in float64
MAX_NCC_ERROR = 3e-7  # of a window that is not computed again
LONG_ROW = 128  # samples worth being looped over
# Which of z, y, x the tiled axes take. A box runs along z straight from the samples.
SLOTS = {
    "box": {1: (2,), 2: (0, 2), 3: (0, 1, 2)},
    "gaussian": {1: (2,), 2: (1, 2), 3: (0, 1, 2)},
}
ALL_VALID = np.ones(0, np.bool_)
NONE = np.ones((1, 1, 1, 0), np.bool_)
# Rows of a tile that is read where it lies: longer runs have fewer ends, but sums lose digits,
# if they are not of integers.
RUN, EXACT_RUN = 256, 512
PASSES = 8  # over a window take as long as sums that do not run


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
    if not windowed or 0 in lengths_of(region):  # a window of one sample is undefined
        return np.full(lengths_of(region), np.nan, np.float32)
    largest = max((array for _, array in fixed), key=np.size)
    independent, tiled = _order_axes(largest, windowed)
    shape = [max(where[axis].stop for where, _ in fixed) for axis in range(len(radius))]
    slots = SLOTS[weights][len(tiled)]
    axes = [window_axis(1, 0, weights)] * 3
    for slot, axis in zip(slots, tiled, strict=True):
        axes[slot] = window_axis(shape[axis], radius[axis], weights)
    window = Window(tuple(axes), weights == "box", min_std, min_valid)
    axes_order = (independent, tiled, slots)
    images = [
        [(_stack_slices(where, *axes_order), _as_stacks(array, *axes_order))
         for where, array in pieces]
        for pieces in (fixed, moving, mask)
    ]  # fmt: skip
    order = independent + tiled
    stored = np.empty([lengths_of(region)[axis] for axis in order], np.float32)
    out = stored.transpose(np.argsort(order))
    ncc, part = _as_stacks(out, *axes_order), _stack_slices(region, *axes_order)
    for stack in np.ndindex(ncc.shape[:-4]):
        a, b, known = ([(where, array[stack]) for where, array in image] for image in images)
        _ncc_of_stack(a, b, known, window, part, ncc[stack])
    return out


def _order_axes(array: NDArray[Any], windowed: list[int]) -> tuple[list[int], list[int]]:
    """Return the axes to loop over, the longest last, and up to 3 to tile, fastest last."""
    tiled = list(windowed)
    # Rows should lie along the smallest stride, even if windows do not extend along it.
    fastest = min(range(array.ndim), key=lambda axis: (abs(array.strides[axis]), -axis))
    if len(tiled) < 3 and fastest not in tiled and array.shape[fastest] >= LONG_ROW:
        tiled.append(fastest)
    tiled.sort(key=lambda axis: abs(array.strides[axis]), reverse=True)
    rest = [axis for axis in range(array.ndim) if axis not in tiled]
    return sorted(rest, key=lambda axis: array.shape[axis]), tiled


def _as_stacks(
    array: NDArray[Any], independent: list[int], tiled: list[int], slots: tuple[int, ...]
) -> NDArray[Any]:
    """View the array with axes (..., batch, z, y, x), those that it lacks being 1 long."""
    batch = () if independent else (None,)
    window = tuple(slice(None) if slot in slots else None for slot in range(3))
    index = (*batch, *(slice(None),) * len(independent), *window)
    return array.transpose(independent + tiled)[index]


def _stack_slices(
    where: Slices, independent: list[int], tiled: list[int], slots: tuple[int, ...]
) -> Slices:
    """Return slices along batch, z, y, x."""
    part = [slice(0, 1)] * 4
    if independent:
        part[0] = where[independent[-1]]
    for slot, axis in zip(slots, tiled, strict=True):
        part[1 + slot] = where[axis]
    return tuple(part)


def _ncc_of_stack(
    fixed: Pieces,
    moving: Pieces,
    mask: Pieces,
    window: Window,
    region: Slices,
    out: NDArray[np.float32],
) -> None:
    dtypes = (fixed[0][1].dtype, moving[0][1].dtype)
    is_direct = window.box and not mask and _is_direct(dtypes)
    in_place = (lie_in_place(fixed), lie_in_place(moving)) if is_direct else ()
    exact = window.box and _sums_are_exact(*dtypes, prod(axis.taps.size for axis in window.axes))
    rows = (EXACT_RUN if exact else RUN) if in_place else None
    tiles = cut_tiles(region, window, rows=rows)
    work = Workplace(window, tiles, dtypes, bool(mask))
    for centres, around in tiles:
        start = tuple(c.start - r.start for c, r in zip(centres, region, strict=True))
        first = tuple(c.start for c in centres[1:])
        place = Place(lengths_of(around), first, lengths_of(centres), start, out)
        undetermined = _run_in_place(in_place, around, place, window, work)
        if undetermined == 0:
            continue
        a, b = (
            read_tile(image, around, room)
            for image, room in zip((fixed, moving), work.samples, strict=True)
        )
        tile, valid = Tile(place.shape, first, place.lengths, start, out, a, b), ALL_VALID
        if mask:
            valid = read_tile(mask, around, work.validity) & np.isfinite(a) & np.isfinite(b)
        some_invalid = undetermined == NOT_FINITE
        if some_invalid or not _ncc_of_tile(tile, valid, undetermined, window, work):
            valid = np.isfinite(a) & np.isfinite(b)
            _ncc_of_tile(tile, valid, None, window, work)


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a tile lies, and where its NCC goes."""

    shape: tuple[int, ...]  # of the samples: the tile and around it
    first: tuple[int, ...]  # position of the first centre in the array, along z, y, x
    lengths: tuple[int, ...]  # of the centres
    start: tuple[int, ...]  # where these go in `out`
    out: NDArray[np.float32]

    @property
    def here(self) -> Slices:
        """Where in `out` the centres go."""
        return tuple(slice(at, at + n) for at, n in zip(self.start, self.lengths, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Tile(Place):
    """A part of two images, its samples one after the other."""

    a: Samples
    b: Samples

    @property
    def steps(self) -> tuple[int, int, int]:
        """How far apart neighbours along batch, z and y lie."""
        _, deep, high, wide = self.shape
        return (deep * high * wide, high * wide, wide)


def _run_in_place(
    images: Sequence[Sequence[InPlace]],
    around: Slices,
    place: Place,
    window: Window,
    work: Workplace,
) -> int | None:
    """Fill a tile from the samples where they lie, by sums that run.

    Return how many pixels are undetermined; `NOT_FINITE` where some samples are not. None, and
    nothing is done, where samples cannot be taken from there.
    """
    found = []
    for pieces in images if work.running else ():
        for piece in pieces:
            here = piece.find(around)
            if here is not None:
                found.append((piece, *here))
                break
    if len(found) < 2:
        return None
    pieces, samples, origins = zip(*found, strict=True)
    gauges: Sequence[Gauge] = [scale_and_centre(each, ALL_VALID) for each in samples]
    if any(scale == 0.0 for scale, _ in gauges):
        place.out[place.here] = np.nan
        return 0
    if work.in_integers:
        gauges = [(1, 0), (1, 0)]
    rows, steps = [piece.row for piece in pieces], tuple(piece.steps for piece in pieces)
    return _run(rows, ALL_VALID, origins, steps, place, gauges, window, work)


class Workplace:
    """What the tiles of a stack use in turn, and how far their sums can be trusted."""

    def __init__(
        self,
        window: Window,
        tiles: list[tuple[Slices, Slices]],
        dtypes: tuple[np.dtype[Any], np.dtype[Any]],
        masked: bool,
    ) -> None:
        shapes = [lengths_of(around) for _, around in tiles]
        # A row more, for whoever takes samples from outside.
        most = max(map(prod, shapes)) + max(shape[3] for shape in shapes)
        single = all(np.can_cast(dtype, np.float32) for dtype in dtypes)
        self._rooms = (2, most), np.float32 if single else np.float64
        self.validity = np.empty(most if masked else 0, np.bool_)
        self.lengths = tuple(
            max(lengths_of(centres)[axis] for centres, _ in tiles) for axis in range(4)
        )
        self.sides = side_z, side_y, side_x = tuple(axis.taps.size for axis in window.axes)
        self.exact = window.box and _sums_are_exact(*dtypes, prod(self.sides))
        squares = prod(self.sides) * 255**2  # the largest sum, of samples of 8 bits
        self.in_integers = self.exact and set(dtypes) == {np.dtype(np.uint8)} and squares < 2**31
        # Until the sums of a tile lose too many digits; and up to a width.
        self.running = window.box and side_x <= WIDEST
        share = 0.0 if self.exact else EPSILON / MAX_NCC_ERROR
        self.rounding = share * (sum(self.sides) + 4)
        # See `running_ncc`; as many steps again, as the first ones only fill the window.
        steps = self.lengths[1] + side_z + self.lengths[2] + side_y
        self.running_rounding = self.rounding + 2 * share * steps
        self.drifting = 3 * share * prod(self.sides) * side_y * side_x

    @cached_property
    def samples(self) -> NDArray[Any]:
        """Memory for the samples of a tile of either image."""
        shape, dtype = self._rooms
        return np.empty(shape, dtype)

    def running_room(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Memory for sums that run over samples of a dtype."""
        in_integers = dtype == np.uint8 and self.in_integers
        return self._room_of_integers if in_integers else self._room_of_floats

    @cached_property
    def _room_of_floats(self) -> Numbers:
        return _aligned_zeros(running_workspace_size(self.sides, self.lengths))

    @cached_property
    def _room_of_integers(self) -> NDArray[np.int32]:
        size = running_workspace_size(self.sides, self.lengths)
        return _aligned_zeros(size // 2 + 1).view(np.int32)

    @cached_property
    def room(self) -> Numbers:
        """Memory for sums that never subtract."""
        from napari_local_ncc.ncc.kernels.stable_sums import workspace_size

        return _aligned_zeros(workspace_size(self.sides, self.lengths))


def _ncc_of_tile(
    tile: Tile, valid: Validity, undetermined: int | None, window: Window, work: Workplace
) -> bool:
    """Fill `tile.out`; `undetermined` pixels, where sums that run have done the others."""
    size = prod(tile.shape)
    gauges = [scale_and_centre(samples[:size], valid[:size]) for samples in (tile.a, tile.b)]
    if undetermined is None:
        return ncc_of_tile(tile, valid, gauges, window, work)
    return _decide(tile, valid, undetermined, gauges, window, work)


def ncc_of_tile(
    tile: Tile,
    valid: Validity,
    gauges: Sequence[Gauge],
    window: Window,
    work: Workplace,
) -> bool:
    """Fill `tile.out`, unless there are invalid samples but `valid` is empty.

    `gauges` holds a scale and a centre of either image; see `scale_and_centre`.
    """
    if any(scale == 0.0 for scale, _ in gauges):  # every window is flat
        tile.out[tile.here] = np.nan
        return True
    if valid.size:  # what is not adds nothing to any sum
        for samples, (_, centre) in zip((tile.a, tile.b), gauges, strict=True):
            set_aside(samples, valid, centre)
    undetermined = None
    if work.running:
        rows = [_read_only(samples) for samples in (tile.a, tile.b)]
        where = (0, 0), (tile.steps,) * 2
        undetermined = _run(rows, valid, *where, tile, gauges, window, work)
        if undetermined == NOT_FINITE:
            return False
    return _decide(tile, valid, undetermined, gauges, window, work)


def _read_only(samples: Samples) -> Samples:
    """View samples as those that lie in images are viewed: compiled code is one for both."""
    view = samples.view()
    view.flags.writeable = False
    return view


def _run(
    rows: Sequence[NDArray[Any]],
    valid: Validity,
    origins: tuple[int, ...],
    steps: tuple[tuple[int, int, int], ...],
    place: Place,
    gauges: Sequence[Gauge],
    window: Window,
    work: Workplace,
) -> int:
    """Fill `place.out` by sums that run; see `running_ncc`."""
    undetermined = running_ncc(
        *rows, valid, place.shape, origins, steps, place.first, window.inside, work.sides,
        *_scaled(gauges, window), work.running_rounding, work.drifting, window.min_valid,
        running_block(work.sides[2]), work.running_room(rows[0].dtype),
        place.out, place.lengths, place.start,
    )  # fmt: skip
    return int(undetermined)


def _scaled(gauges: Sequence[Gauge], window: Window) -> tuple[Gauge, Gauge, tuple[float, ...]]:
    """Return the scales, and centres and noise floors in their units."""
    (scale_a, centre_a), (scale_b, centre_b) = gauges
    scales = (scale_a, scale_b)
    floors = tuple(float(window.min_std * scale) for scale in scales)
    return scales, (scale_a * centre_a, scale_b * centre_b), floors


def _decide(
    tile: Tile,
    valid: Validity,
    undetermined: int | None,
    gauges: Sequence[Gauge],
    window: Window,
    work: Workplace,
) -> bool:
    """Fill what is undetermined of a tile; None: all of it.

    Return False where there are invalid samples but `valid` is empty.
    """
    scales, centres, floors = _scaled(gauges, window)
    size, pixels = prod(tile.shape), prod(tile.lengths)
    if undetermined is not None:
        undetermined -= _mark_constant(tile, valid, undetermined, work)
        # What costs more than the sums that do not run is left to these.
        work.running = work.exact or undetermined * prod(work.sides) <= 4 * pixels
    if undetermined is None or not work.running:
        undetermined = _sum_tile(tile, valid, scales, centres, floors, window, work)
        if undetermined == NOT_FINITE:
            return False
        undetermined -= _mark_constant(tile, valid, undetermined, work)
        _sum_around_others(tile, valid, undetermined, scales, floors, window, work)
    if undetermined:
        from napari_local_ncc.ncc.kernels.two_pass import resolve

        images = (tile.a, tile.b, valid)
        a, b, known = (s[:size].reshape(tile.shape) if s.size else NONE for s in images)
        target = (tile.out, tile.lengths, tile.start)
        resolve(a, b, known, tile.first, window.taps, scales, floors, *target)
    return True


def _sum_tile(
    tile: Tile,
    valid: Validity,
    scales: tuple[float, ...],
    centres: tuple[float, ...],
    floors: tuple[float, ...],
    window: Window,
    work: Workplace,
) -> int:
    """Fill `tile.out` by sums that do not run; see `tile_ncc`."""
    from napari_local_ncc.ncc.kernels.stable_sums import tile_ncc

    undetermined = tile_ncc(
        tile.a, tile.b, valid, tile.shape, tile.first, window.inside, window.taps, window.box,
        scales, centres, floors, work.rounding, window.min_valid,
        block_width(window.taps[2].size), work.room, tile.out, tile.lengths, tile.start,
    )  # fmt: skip
    return int(undetermined)


def _mark_constant(tile: Tile, valid: Validity, undetermined: int, work: Workplace) -> int:
    """Set undetermined pixels whose window is constant to NaN; return how many.

    But not of so few that two passes over each of them take no longer than one over all.
    """
    marked = 0
    for samples in (tile.a, tile.b):
        if (undetermined - marked) * prod(work.sides) > prod(tile.lengths):
            from napari_local_ncc.ncc.kernels.constant_windows import carry_on, mark_constant

            known = carry_on(samples, valid) if valid.size else samples
            target = (tile.out, tile.lengths, tile.start)
            marked += mark_constant(known, tile.shape, tile.first, work.sides, *target)
    return marked


def _sum_around_others(
    tile: Tile,
    valid: Validity,
    undetermined: int,
    scales: tuple[float, ...],
    floors: tuple[float, ...],
    window: Window,
    work: Workplace,
) -> None:
    """Sum again, centred on what is undetermined, as long as that decides most of it.

    Sums keep the digits of samples near the centre: of a dark area beside a bright one, they
    keep those of one of both.
    """
    here = tile.here
    reach = (0, *(side // 2 for side in work.sides))
    first = [min(at, r) for at, r in zip((0, *tile.first), reach, strict=True)]
    inner = tuple(slice(at, at + n) for at, n in zip(first, tile.lengths, strict=True))
    room = np.empty(tile.lengths, np.float32)
    again = replace(tile, out=room, start=(0,) * 4)
    while undetermined * prod(work.sides) > PASSES * prod(tile.lengths):
        left = tile.out[here] == UNDETERMINED
        size = prod(tile.shape)
        centres = tuple(
            scale * float(np.median(samples[:size].reshape(tile.shape)[inner][left]))
            for samples, scale in zip((tile.a, tile.b), scales, strict=True)
        )
        _sum_tile(again, valid, scales, centres, floors, window, work)
        tile.out[here][left] = room[left]
        before, undetermined = undetermined, int((tile.out[here] == UNDETERMINED).sum())
        if 2 * undetermined > before:
            return


def _is_direct(dtypes: tuple[np.dtype[Any], np.dtype[Any]]) -> bool:
    """Tell whether samples of two images may be read where they lie."""
    return dtypes[0] == dtypes[1] and dtypes[0] in DIRECT and dtypes[0].isnative


def _sums_are_exact(fixed: np.dtype[Any], moving: np.dtype[Any], samples: int) -> bool:
    """Tell whether n * sum(a * b), the largest number that occurs, is an exact integer."""
    if fixed.kind not in "bui" or moving.kind not in "bui":
        return False
    return 2 * log2(samples) + 16 * max(fixed.itemsize, moving.itemsize) <= EXACT_BITS


def _aligned_zeros(size: int) -> Numbers:
    """Return zeros from a multiple of 64 bytes on: vectors across cache lines are slow."""
    room = np.zeros(size + 8)
    skip = -(room.ctypes.data // 8) % 8
    return room[skip : skip + size]
