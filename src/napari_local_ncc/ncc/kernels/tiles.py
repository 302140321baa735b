"""Cutting an image into tiles, and reading one from the pieces that an image comes in."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from math import ceil, frexp, isfinite, ldexp, prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.rows import Validity

    Numbers = NDArray[np.float64]
    Slices = tuple[slice, ...]
    Pieces = Sequence[tuple[Slices, NDArray[Any]]]  # where in the image, samples there

# Samples along both axes of a plane, and along z, y, x: rows long enough to stream, a tile
# small enough for the L2 cache.
PLANE_TILE = (128, 1024)
VOLUME_TILE = (96, 48, 128)


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """What windows are along one axis."""

    reach: int
    taps: Numbers  # 2 * reach + 1 window weights, the largest being 1
    inside: Numbers  # window weight and sample count inside the array; shape (2, size)


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """What decides about NCC, apart from the samples."""

    axes: tuple[Axis, ...]  # z, y, x
    box: bool
    min_std: float
    min_valid: float

    @property
    def taps(self) -> tuple[Numbers, ...]:
        """Window weights along z, y, x."""
        return tuple(axis.taps for axis in self.axes)

    @property
    def inside(self) -> tuple[Numbers, ...]:
        """What of a window lies inside the array, along z, y, x."""
        return tuple(axis.inside for axis in self.axes)


def window_axis(size: int, radius: int, weights: str) -> Axis:
    """Return what windows are along an axis of some samples."""
    # An axis of n samples has no neighbours farther away than n - 1.
    reach = min(radius, size - 1)
    ones = np.ones(2 * reach + 1)
    gaussian = weights == "gaussian" and reach
    taps = np.exp(-0.5 * (3.0 * np.arange(-reach, reach + 1) / radius) ** 2) if gaussian else ones
    places = np.arange(size)
    first = reach - np.minimum(places, reach)
    last = reach + np.minimum(size - 1 - places, reach) + 1
    sums = [np.concatenate([[0.0], np.cumsum(w)]) for w in (taps, ones)]
    inside = [sums_to[last] - sums_to[first] for sums_to in sums]
    return Axis(reach, taps, np.stack(inside))


def cut_tiles(
    region: Slices, window: Window, *, rows: int | None = None
) -> list[tuple[Slices, Slices]]:
    """Return the centres of each tile and the samples around them that it needs.

    `rows` says how many a tile of a plane has, about; default: as many as fit in the cache.
    """
    batch, *size = lengths_of(region)
    # Wide windows need larger tiles, or most of the work is on the samples around them.
    if min(size) > 1:
        wanted, least = VOLUME_TILE, 4
    else:
        height, width = rows or PLANE_TILE[0], PLANE_TILE[1]
        width = max(width, height * width // min(max(size[:2]), height))  # of few rows, long ones
        wanted, least = (height, height, width), 8
    sides = [
        min(n, max(side, least * axis.reach))
        for n, side, axis in zip(size, wanted, window.axes, strict=True)
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


def lengths_of(part: Slices) -> tuple[int, ...]:
    """Return the lengths of a box."""
    return tuple(p.stop - p.start for p in part)


def clip(part: Slices, bounds: Sequence[tuple[int, int]]) -> Slices:
    """Return what of a box lies within bounds."""
    return tuple(
        slice(max(p.start, low), min(p.stop, high))
        for p, (low, high) in zip(part, bounds, strict=True)
    )


def relative(part: Slices, whole: Slices) -> Slices:
    """Return where a box lies in another."""
    return tuple(
        slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, whole, strict=True)
    )


def read_tile(pieces: Pieces, around: Slices, room: NDArray[Any]) -> NDArray[Any]:
    """Read samples into a flat array, and leave room for a row of samples that are not there."""
    lengths = lengths_of(around)
    size = prod(lengths)
    flat = room[: size + lengths[-1]]
    flat[size:] = 0
    samples = flat[:size].reshape(lengths)
    parts: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for where, array in pieces:
        target, source = [], []
        for wanted, filled in zip(around, where, strict=True):
            start, stop = max(wanted.start, filled.start), min(wanted.stop, filled.stop)
            if start >= stop:
                break
            target.append(slice(start - wanted.start, stop - wanted.start))
            source.append(slice(start - filled.start, stop - filled.start))
        else:
            parts.append((samples[tuple(target)], array[tuple(source)]))
    if parts[0][1].dtype.kind in "iu" and parts[0][1].dtype.itemsize == 8:
        # Past 2 ** 53 float64 skips integers; NCC ignores offsets, so take off the lowest.
        lowest = min(int(given.min()) for _, given in parts) % 2**64
        parts = [(part, given.astype(np.uint64) - np.uint64(lowest)) for part, given in parts]
    for part, given in parts:
        np.copyto(part, given, casting="unsafe")
    return flat


class InPlace(NamedTuple):
    """Samples of a piece, to be read where they lie."""

    where: Slices  # in the image
    samples: NDArray[Any]  # along batch, z, y, x
    row: NDArray[Any]  # the memory from the first to the last of them, flat, not writable
    steps: tuple[int, int, int]  # how far apart neighbours along batch, z, y lie in it

    def find(self, around: Slices) -> tuple[NDArray[Any], int] | None:
        """Return the samples there, and where they begin; None where some are not here."""
        starts = []
        for w, part in zip(self.where, around, strict=True):
            if not w.start <= part.start <= part.stop <= w.stop:
                return None
            starts.append(part.start - w.start)
        begin = starts[3] + sum(at * step for at, step in zip(starts, self.steps, strict=False))
        return self.samples[relative(around, self.where)], begin


def lie_in_place(pieces: Pieces) -> list[InPlace]:
    """Return the pieces whose rows are rows of memory."""
    found = []
    for where, samples in pieces:
        size = samples.itemsize
        # numpy gives an axis of one sample any stride; that of repeated samples is 0
        strides = [s if n > 1 else 0 for s, n in zip(samples.strides, samples.shape, strict=True)]
        is_row = strides.pop() == size or samples.shape[3] == 1
        along_rows = is_row and all(s >= 0 and s % size == 0 for s in strides)
        if samples.flags.aligned and along_rows:
            steps = [s // size for s in strides]
            last = sum(s * (n - 1) for s, n in zip(steps, samples.shape, strict=False))
            extent = (last + samples.shape[3],)
            row = as_strided(samples, extent, (size,), writeable=False)
            found.append(InPlace(where, samples, row, (steps[0], steps[1], steps[2])))
    return found


def scale_and_centre(samples: Any, valid: Validity) -> tuple[float, float]:
    """Return a power of two that makes the span of some samples about 1; and their median.

    The power is 0 where all samples are equal.
    The median, as a mean would follow a few bright pixels; some, as nearly any will do.
    """
    some = samples.flat[:: max(1, samples.size // 61)]
    if valid.size:
        some = some[valid[:: max(1, samples.size // 61)]]
    ordered = sorted(filter(isfinite, some.tolist()))
    centre = ordered[len(ordered) // 2] if ordered else 0.0
    lowest, highest = (ordered[0], ordered[-1]) if ordered else (centre, centre)
    if lowest == highest:
        values = samples[valid] if valid.size else samples
        lowest, highest = float(values.min(initial=centre)), float(values.max(initial=centre))
        if lowest == highest:
            return 0.0, centre
    # By halves, as the whole span may exceed the largest number.
    half = max(highest / 2 - centre / 2, centre / 2 - lowest / 2)
    return ldexp(1.0, min(1000, -frexp(half)[1])), centre
