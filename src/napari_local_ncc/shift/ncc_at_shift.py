"""The NCC of a tile of the fixed image with the moving image at any shift.

The samples around a tile are read once for all shifts. Independent axes come first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_local_ncc.ncc.kernels.constant_windows import mark_constant
from napari_local_ncc.ncc.kernels.driver import ALL_VALID, SLOTS, Tile, Workplace, ncc_of_tile
from napari_local_ncc.ncc.kernels.rows import UNDETERMINED
from napari_local_ncc.ncc.kernels.tiles import (
    Axis,
    Window,
    clip,
    lengths_of,
    read_tile,
    relative,
    scale_and_centre,
    window_axis,
)
from napari_local_ncc.shift.shifts_kernel import (
    SUMS,
    ncc_of_joint_windows,
    ncc_of_whole_windows,
    shifts_workspace_size,
    standardise,
)
from napari_local_ncc.shift.window_sums_kernel import sum_products, sums_room

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.rows import Samples, Validity
    from napari_local_ncc.ncc.kernels.tiles import Pieces, Slices


FEW = 2**14  # pixels of a tile for which a call per shift costs more than sums that do not run


@dataclass(frozen=True, slots=True, eq=False)
class _Overlap:
    """Where along an axis both images are, at a shift."""

    start: int
    stop: int
    axis: Axis  # windows clipped to it
    share: NDArray[np.float64]  # how much of their weight inside the fixed image is left

    @classmethod
    def at(cls, shift: int, size: int, radius: int, weights: str) -> Self:
        whole = window_axis(size, radius, weights)
        start = min(max(0, -shift), size)
        stop = max(start, min(size, size - shift))
        both = (np.arange(size) >= start) & (np.arange(size) < stop)
        centres = slice(whole.reach + start, whole.reach + stop)
        taps = whole.taps, np.ones(whole.taps.size)
        inside = np.stack([np.convolve(both, weight)[centres] for weight in taps])
        axis = Axis(whole.reach, whole.taps, inside)
        return cls(start, stop, axis, inside[0] / whole.inside[0, start:stop])


class Windows:
    """What the tiles of a search have in common.

    Parameters
    ----------
    shape, radius, search : tuple of int
        Size of the images, window radius and largest shift.
    tiles : sequence of (slices, slices)
        Centres, and the samples that their windows hold in the fixed image.
    dtypes : tuple of dtype
        Of fixed and moving.
    weights, min_std, min_valid
        As for `kernels.driver.ncc_of_pieces`.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        radius: tuple[int, ...],
        search: tuple[int, ...],
        tiles: Sequence[tuple[Slices, Slices]],
        dtypes: tuple[np.dtype[Any], np.dtype[Any]],
        *,
        weights: str,
        min_std: float,
        min_valid: float,
    ) -> None:
        self.shape, self.search, self.min_valid = shape, search, min_valid
        self.slots = SLOTS[weights][sum(r > 0 for r in radius)]
        self._limits = weights == "box", min_std, min_valid
        self._overlaps = [
            [_Overlap.at(shift, size, r, weights) for shift in range(-s, s + 1)]
            for size, r, s in zip(shape, radius, search, strict=True)
        ]
        stacks = [
            (_from_zero(self.stack(lengths_of(c))), _from_zero(self.stack(lengths_of(around))))
            for c, around in tiles
        ]
        self.whole = self.window(self.overlaps([0] * len(shape)))
        self.work = Workplace(self.whole, stacks, dtypes, masked=True)

    def samples(self, reach: Sequence[int]) -> tuple[float, float]:
        """Return how many samples a whole window is worth, and it with the windows around it.

        These are as far as `reach` along each axis.
        """
        taps = self.whole.taps
        wide = self.place(reach, 0)
        around = [np.convolve(t, np.ones(2 * r + 1)) for t, r in zip(taps, wide, strict=True)]
        return _worth(taps), _worth(around)

    def overlaps(self, shift: Sequence[int]) -> list[_Overlap]:
        """Return where both images are at a shift, along each axis."""
        axes = zip(self._overlaps, shift, self.search, strict=True)
        return [per_shift[d + s] for per_shift, d, s in axes]

    def window(self, overlaps: list[_Overlap]) -> Window:
        """Return the windows there."""
        axes = [window_axis(1, 0, "box")] * 3
        for slot, overlap in zip(self.slots, overlaps[-len(self.slots) :], strict=True):
            axes[slot] = overlap.axis
        return Window(tuple(axes), *self._limits)

    def stack(self, lengths: Sequence[int]) -> tuple[int, ...]:
        """Return lengths along batch, z, y, x."""
        batch, sides = lengths[: -len(self.slots)], self.place(lengths, 1)
        return (prod(batch), *sides)

    def place(self, values: Sequence[int], other: int) -> tuple[int, ...]:
        """Return values along z, y, x, of which some axes have none."""
        placed = dict(zip(self.slots, values[-len(self.slots) :], strict=True))
        return tuple(placed.get(slot, other) for slot in range(3))


def _worth(taps: Sequence[NDArray[np.float64]]) -> float:
    return float(prod(weights.sum() ** 2 / (weights**2).sum() for weights in taps))


def _from_zero(lengths: tuple[int, ...]) -> Slices:
    return tuple(slice(0, n) for n in lengths)


@dataclass(frozen=True, slots=True, eq=False)
class Displaced:
    """The samples around a tile of fixed, and those of moving that a search may bring there."""

    windows: Windows
    centres: Slices
    around: Slices  # what their windows hold in the fixed image
    fixed: Samples
    moving: Samples  # as many more on each side as the search goes
    known: tuple[Validity, Validity]  # which of these are
    clean: bool  # all that are inside the images are
    gauges: list[tuple[float, float]]  # see `scale_and_centre`

    @classmethod
    def read(
        cls, images: Sequence[Pieces], centres: Slices, around: Slices, windows: Windows
    ) -> Self:
        """Read them from the pieces of fixed, moving and, if there is one, a mask."""
        beyond = tuple(
            slice(part.start - s, part.stop + s)
            for part, s in zip(around, windows.search, strict=True)
        )
        here = relative(around, beyond)
        held = relative(clip(beyond, [(0, n) for n in windows.shape]), beyond)
        dtype = windows.work.samples.dtype
        fixed, moving = _read(images[0], around, dtype), _read(images[1], beyond, dtype)
        used = np.zeros(moving.shape, np.bool_)
        used[held] = True
        if images[2]:
            used = _read(images[2], beyond, used.dtype)
        # What is masked out is so in both images, wherever they lie.
        known = used[here] & np.isfinite(fixed), used & np.isfinite(moving)
        clean = bool(known[0].all() and known[1][held].all())
        gauges = [
            scale_and_centre(samples.ravel(), valid.ravel())
            for samples, valid in zip((fixed, moving), known, strict=True)
        ]
        return cls(windows, centres, around, fixed, moving, known, clean, gauges)

    def store_all(self, shifts: Sequence[tuple[int, ...]], out: NDArray[np.float32]) -> None:
        """Store the NCC of fixed and moving at all shifts; `out` is contiguous."""
        if any(scale == 0.0 for scale, _ in self.gauges):  # every window is flat
            out.fill(np.nan)
            return
        windows = self.windows
        steps = np.array([windows.place(shift, 0) for shift in shifts])
        stacks = out.reshape(len(shifts), *windows.stack(lengths_of(self.centres)))
        fixed, moving = self._pad()
        if fixed[1].all() and moving[1].all() and self._store_whole(fixed, moving, steps, stacks):
            return
        left = np.arange(len(steps))
        if out[0].size <= FEW:
            left = np.flatnonzero(self._store_joint(fixed, moving, steps, stacks))
        for k in left.tolist():
            self.store_ncc(shifts[k], out[k])

    def _pad(self) -> list[NDArray[np.float64]]:
        """Return scaled samples of fixed and moving, and 1 where known, around whole windows.

        Of shape (2, batch, z, y, x); both 0 where there is no sample.
        """
        windows, axes = self.windows, len(self.centres)
        overlaps = windows.overlaps([0] * axes)
        padded = []
        for image, (samples, known, (scale, centre)) in enumerate(
            zip((self.fixed, self.moving), self.known, self.gauges, strict=True)
        ):
            beyond = [s * image for s in windows.search]
            whole = tuple(
                slice(part.start - overlap.axis.reach - s, part.stop + overlap.axis.reach + s)
                for part, overlap, s in zip(self.centres, overlaps, beyond, strict=True)
            )
            held = tuple(
                slice(part.start - s, part.stop + s)
                for part, s in zip(self.around, beyond, strict=True)
            )
            filled = np.zeros((2, *lengths_of(whole)))
            here = (slice(None), *relative(held, whole))
            filled[here][0] = np.where(known, samples * np.float64(scale) - scale * centre, 0.0)
            filled[here][1] = known
            padded.append(filled.reshape(2, *windows.stack(lengths_of(whole))))
        return padded

    def _store_whole(
        self,
        fixed: NDArray[np.float64],
        moving: NDArray[np.float64],
        steps: NDArray[np.intp],
        out: NDArray[np.float32],
    ) -> bool:
        """Store NCC where all samples are known; say whether all of it is determined."""
        window, own = self.windows.whole, []
        for image, (scale, _) in zip((fixed, moving), self.gauges, strict=True):
            moments = _standard_moments(image[0], window, scale, self.windows.work.rounding)
            if moments is None:
                return False
            own.append(moments)
        room = np.empty(shifts_workspace_size(window.taps, out.shape[1:], 1))
        ncc_of_whole_windows(fixed[0], moving[0], *own, steps, window.taps, window.box, room, out)
        return True

    def _store_joint(
        self,
        fixed: NDArray[np.float64],
        moving: NDArray[np.float64],
        steps: NDArray[np.intp],
        out: NDArray[np.float32],
    ) -> NDArray[np.intp]:
        """Store NCC of the samples that are known; return how many are not determined."""
        windows, window = self.windows, self.windows.whole
        here = [part.start for part in self.centres[-len(windows.slots) :]]
        starts = windows.place([0] * (len(self.centres) - len(here)) + here, 0)
        inside = tuple(
            np.ascontiguousarray(axis.inside[0, at : at + n])
            for axis, at, n in zip(window.axes, starts, out.shape[2:], strict=True)
        )
        floors = tuple(window.min_std * scale for scale, _ in self.gauges)
        room = np.empty(shifts_workspace_size(window.taps, out.shape[1:], SUMS))
        undetermined = np.zeros(len(steps), np.intp)
        ncc_of_joint_windows(
            fixed, moving, steps, window.taps, window.box, inside, floors,
            windows.work.rounding, window.min_valid, room, out, undetermined,
        )  # fmt: skip
        return undetermined

    def store_ncc(self, shift: tuple[int, ...], out: NDArray[np.float32]) -> None:
        """Store the NCC of fixed and moving at a shift; `out` is contiguous."""
        # Windows that reach out of moving are clipped, like those that reach out of fixed,
        # since this is much faster than a mask.
        if not (self.clean and self._store_clipped(shift, out)):
            self._store_masked(shift, out)

    def _store_clipped(self, shift: tuple[int, ...], out: NDArray[np.float32]) -> bool:
        overlaps = self.windows.overlaps(shift)
        bounds = [(overlap.start, overlap.stop) for overlap in overlaps]
        around, centres = clip(self.around, bounds), clip(self.centres, bounds)
        if centres != self.centres:
            out.fill(np.nan)
        if min(lengths_of(centres)) <= 0:
            return True
        if not self._store(shift, around, centres, overlaps, out, masked=False):
            return False
        # Only their share in the window tells the images' borders apart.
        shares = [
            overlap.share[part.start - overlap.start : part.stop - overlap.start]
            for overlap, part in zip(overlaps, centres, strict=True)
        ]
        ncc = out.reshape(lengths_of(self.centres))[relative(centres, self.centres)]
        _drop(ncc, shares, self.windows.min_valid * (1 - 1e-12))
        return True

    def _store_masked(self, shift: tuple[int, ...], out: NDArray[np.float32]) -> None:
        overlaps = self.windows.overlaps([0] * len(shift))
        self._store(shift, self.around, self.centres, overlaps, out, masked=True)

    def _store(
        self,
        shift: tuple[int, ...],
        around: Slices,
        centres: Slices,
        overlaps: list[_Overlap],
        out: NDArray[np.float32],
        *,
        masked: bool,
    ) -> bool:
        """Store the NCC of a part; see `ncc_of_tile`."""
        windows, work = self.windows, self.windows.work
        here = relative(around, self.around)
        there = tuple(
            slice(part.start + s + d, part.stop + s + d)
            for part, s, d in zip(here, windows.search, shift, strict=True)
        )
        valid = ALL_VALID
        if masked:
            valid = _flat(self.known[0][here] & self.known[1][there], work.validity)
        tile = Tile(
            windows.stack(lengths_of(around)),
            windows.place([c.start - o.start for c, o in zip(centres, overlaps, strict=True)], 0),
            windows.stack(lengths_of(centres)),
            (0, *windows.place([part.start for part in relative(centres, self.centres)], 0)),
            out.reshape(windows.stack(lengths_of(self.centres))),
            _flat(self.fixed[here], work.samples[0]),
            _flat(self.moving[there], work.samples[1]),
        )
        return ncc_of_tile(tile, valid, self.gauges, windows.window(overlaps), work)


def _standard_moments(
    image: NDArray[np.float64], window: Window, scale: float, rounding: float
) -> NDArray[np.float64] | None:
    """Return what `ncc_of_whole_windows` takes of an image alone; None where sums do not tell."""
    sides = [taps.size for taps in window.taps]
    lengths = tuple(n - side + 1 for n, side in zip(image.shape[1:], sides, strict=True))
    sums, work = np.empty((2, len(image), *lengths)), np.empty(sums_room(lengths, window.taps))
    for stack, total, square in zip(image, *sums, strict=True):
        for factor, out in ((np.ones_like(stack), total), (stack, square)):
            arguments = factor, (0, 0, 0), stack[np.newaxis], (0, 0, 0)
            sum_products(*arguments, lengths, window.taps, window.box, work, out[np.newaxis])
    weight = prod(taps.sum() for taps in window.taps)
    floor = (window.min_std * scale * weight) ** 2
    found, marked = np.empty_like(sums), np.empty(sums.shape[1:], np.float32)
    if standardise(sums, weight, rounding, floor, found, marked):
        unsure = marked == UNDETERMINED
        first = tuple(side // 2 for side in sides)
        target = marked, marked.shape, (0, 0, 0, 0)
        mark_constant(image.ravel(), image.shape, first, tuple(sides), *target)
        if not np.isnan(marked[unsure]).all():
            return None
        found[:, unsure] = np.nan
    return found


def _read(pieces: Pieces, box: Slices, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Read samples of a box, which may exceed the image; 0 there."""
    lengths = lengths_of(box)
    flat = read_tile(pieces, box, np.zeros(prod(lengths) + lengths[-1], dtype))
    return flat[: prod(lengths)].reshape(lengths)


def _flat(samples: NDArray[Any], room: NDArray[Any]) -> NDArray[Any]:
    """Copy samples into a flat array, and leave a row for samples that are not there."""
    flat = room[: samples.size + samples.shape[-1]]
    np.copyto(flat[: samples.size].reshape(samples.shape), samples)
    flat[samples.size :] = 0
    return flat


def _drop(ncc: NDArray[np.float32], shares: list[NDArray[np.float64]], least: float) -> None:
    """Set to NaN where too little is left of a window, by the shares along the axes."""
    lowest = [share.min() for share in shares]
    if prod(lowest) >= least:
        return
    # Only what is little along one axis can be too little along all.
    near = [
        np.flatnonzero(share * prod(lowest) < least * low)
        for share, low in zip(shares, lowest, strict=True)
    ]
    part = tuple(slice(where[0], where[-1] + 1) for where in near)
    left = [share[where] for share, where in zip(shares, part, strict=True)]
    ncc[part][reduce(np.multiply, np.ix_(*left)) < least] = np.nan
