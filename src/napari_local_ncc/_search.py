"""The NCC at every shift of a search, tile by tile, on displaced views of the moving image.

A tile holds its NCC at all shifts, and is the smaller the more there are: memory depends
neither on the search nor on the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import pairwise, product
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from napari_local_ncc._filters import window_taps
from napari_local_ncc._kernels import ncc_of_pieces
from napari_local_ncc._peaks import find_peaks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_local_ncc._tiles import Pieces, Slices

TILE_VALUES = 2**25  # NCC values of a tile: 128 MiB
TILE_PIXELS = 2**17
FIT_SIGMA = 1.0  # px; the fit's weights fall off with the distance from the best shift


def search_pieces(
    fixed: Pieces,
    moving: Pieces,
    mask: Pieces = (),
    *,
    region: Slices,
    radius: tuple[int, ...],
    search: tuple[int, ...],
    **window: Any,
) -> NDArray[np.float32]:
    """Find the best shift in a region of two images; see `shift.shift_of_pieces`."""
    windowed = [axis for axis, r in enumerate(radius) if r]
    shape = tuple(max(where[axis].stop for where, _ in fixed) for axis in range(len(radius)))
    out = np.empty((3 + len(windowed), *_lengths(region)), np.float32)
    bands = [0, 1, 2, *range(6 - len(windowed), 6)]
    window |= {"radius": radius}
    tiles = []
    for tile in _tiles(region, radius, search):
        grown = _reach(tile, [min(s, 1) for s in search], shape)  # where the fit needs NCC
        tiles.append((tile, grown, _reach(grown, radius, shape)))
    count = prod(2 * s + 1 for s in search)
    room = np.empty(count * max(prod(_lengths(grown)) for _, grown, _ in tiles), np.float32)
    for tile, grown, around in tiles:
        ncc = _stacked(room, (count, *_lengths(grown)), windowed)
        samples = _Samples.cut((fixed, moving, mask), around, search, shape)
        for k, shift in enumerate(product(*(range(-s, s + 1) for s in search))):
            samples.store_ncc(shift, grown, window, ncc.by_axis[k])
        peaks = _stacked(
            np.empty(6 * prod(_lengths(tile)), np.float32), (6, *_lengths(tile)), windowed
        )
        _store_peaks(ncc.stack, _relative(tile, grown), search, windowed, peaks.stack)
        out[(slice(None), *_relative(tile, region))] = peaks.by_axis[bands]
    return out


class _Stacked(NamedTuple):
    """Two views of the same values."""

    stack: NDArray[np.float32]  # (values, batch, z, y, x), contiguous
    by_axis: NDArray[np.float32]  # (values, *axes of the image)


def _stacked(room: NDArray[np.float32], shape: tuple[int, ...], windowed: list[int]) -> _Stacked:
    count, *lengths = shape
    order = [axis for axis in range(len(lengths)) if axis not in windowed] + windowed
    tiled = [1] * (3 - len(windowed)) + [lengths[axis] for axis in windowed]
    stack = room[: prod(shape)].reshape(count, -1, *tiled)
    ordered = stack.reshape(count, *(lengths[axis] for axis in order))
    return _Stacked(stack, ordered.transpose(0, *(1 + order.index(a) for a in range(len(order)))))


@dataclass(frozen=True, slots=True, eq=False)
class _Samples:
    """The samples around a tile."""

    around: Slices
    shape: tuple[int, ...]  # of the image
    fixed: NDArray[Any]  # the samples around
    moving: NDArray[Any]  # those, and as many on each side as the search goes
    valid: NDArray[np.bool_] | None  # as moving; None where all inside the image are valid
    search: tuple[int, ...]

    @classmethod
    def cut(
        cls,
        images: Sequence[Pieces],
        around: Slices,
        search: tuple[int, ...],
        shape: tuple[int, ...],
    ) -> Self:
        """Cut them out of the pieces of fixed, moving and, if there is one, a mask."""
        beyond = tuple(
            slice(part.start - s, part.stop + s) for part, s in zip(around, search, strict=True)
        )
        fixed, moving = _cut_out(images[0], around), _cut_out(images[1], beyond)
        inside: Pieces = [(tuple(slice(0, n) for n in shape), np.broadcast_to(True, shape))]
        mask = images[2] if len(images) > 2 and images[2] else inside
        valid = _cut_out(mask, beyond, fill=False)
        held = _relative(_reach(beyond, [0] * len(shape), shape), beyond)
        clean = valid[held].all() and np.isfinite(fixed).all() and np.isfinite(moving).all()
        return cls(around, shape, fixed, moving, None if clean else valid, search)

    def store_ncc(
        self,
        shift: tuple[int, ...],
        region: Slices,
        window: dict[str, Any],
        out: NDArray[np.float32],
    ) -> None:
        """Store the NCC of fixed and the moving image at a shift."""
        if self.valid is None:
            self._store_clean_ncc(shift, region, window, out)
            return
        here = self._displaced(self.around, [0] * len(shift))
        there = self._displaced(self.around, shift)
        # What is masked out is so in both images, wherever they lie.
        images = self.fixed, self.moving[there], self.valid[here] & self.valid[there]
        out[:] = _ncc(images, _relative(region, self.around), window)

    def _displaced(self, part: Slices, shift: Sequence[int]) -> Slices:
        """Return where a region, displaced, lies in `moving`."""
        return tuple(
            slice(p.start - a.start + s + d, p.stop - a.start + s + d)
            for p, a, s, d in zip(part, self.around, self.search, shift, strict=True)
        )

    def _store_clean_ncc(
        self,
        shift: tuple[int, ...],
        region: Slices,
        window: dict[str, Any],
        out: NDArray[np.float32],
    ) -> None:
        """Store the NCC where all samples inside the image are valid.

        Windows that reach out of the moving image are clipped, like those that reach out of
        the fixed image, since this is much faster than a mask. Only their share in the
        window tells the two apart.
        """
        both = [(max(0, -d), min(n, n - d)) for n, d in zip(self.shape, shift, strict=True)]
        known, centres = _within(self.around, both), _within(region, both)
        if centres != region:
            out.fill(np.nan)
        if any(part.start >= part.stop for part in centres):
            return
        there = self._displaced(known, shift)
        images = self.fixed[_relative(known, self.around)], self.moving[there]
        ncc = _ncc(images, _relative(centres, known), window)
        shares = [
            _share(part, r, n, inside, window["weights"])
            for part, r, n, inside in zip(centres, window["radius"], self.shape, both, strict=True)
        ]
        least = window["min_valid"] * (1 - 1e-12)
        if prod(share.min() for share in shares) < least:
            ncc[reduce(np.multiply, np.ix_(*shares)) < least] = np.nan
        out[_relative(centres, region)] = ncc


def _ncc(images: Sequence[NDArray[Any]], region: Slices, window: dict[str, Any]) -> NDArray[Any]:
    whole = tuple(slice(0, n) for n in images[0].shape)
    return ncc_of_pieces(*([(whole, image)] for image in images), region=region, **window)


def _share(
    centres: slice, radius: int, size: int, inside: tuple[int, int], weights: str
) -> NDArray[np.float64]:
    """Return how much of the window's weight inside an axis is inside a part of it."""
    if radius == 0:
        return np.ones(centres.stop - centres.start)
    total = np.concatenate([[0.0], np.cumsum(window_taps(radius, weights))])
    first = np.arange(centres.start, centres.stop) - radius

    def weight(low: int, high: int) -> NDArray[np.float64]:
        last = 2 * radius + 1
        return total[np.clip(high - first, 0, last)] - total[np.clip(low - first, 0, last)]

    return weight(*inside) / weight(0, size)


def _cut_out(pieces: Pieces, box: Slices, fill: Any = None) -> NDArray[Any]:
    """Copy a box of an image, which may exceed it; filled there with any of its values."""
    first = pieces[0][1]
    cut = np.full(
        _lengths(box),
        first[(0,) * first.ndim] if fill is None else fill,
        first.dtype,
    )
    for where, array in pieces:
        common = _within(where, [(part.start, part.stop) for part in box])
        if all(part.start < part.stop for part in common):
            cut[_relative(common, box)] = array[_relative(common, where)]
    return cut


def _store_peaks(
    ncc: NDArray[np.float32],
    tile: Slices,
    search: tuple[int, ...],
    windowed: list[int],
    out: NDArray[np.float32],
) -> None:
    """Store the bands of a tile, a part of where the NCC is known."""
    unused = (0,) * (3 - len(windowed))
    steps = unused + tuple(search[axis] for axis in windowed)
    shifts = np.array(list(product(*(range(-s, s + 1) for s in steps))))
    numbered = np.column_stack([shifts, np.arange(len(shifts))])
    nearest_first = numbered[np.argsort((shifts**2).sum(axis=1), kind="stable")]
    first = unused + tuple(tile[axis].start for axis in windowed)
    neighbours = np.array(list(product(*(range(-min(s, 1), min(s, 1) + 1) for s in steps))))
    pitch = [(2 * steps[1] + 1) * (2 * steps[2] + 1), 2 * steps[2] + 1, 1]
    numbered = np.column_stack([neighbours, neighbours @ pitch])
    find_peaks(ncc, nearest_first, steps, numbered, _derivatives(neighbours), first, out)


def _derivatives(neighbours: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return what turns values at neighbours into the derivatives of the quadratic fit.

    By least squares, weighted with a Gaussian of the distance; shape (9, neighbours).
    """
    z, y, x = neighbours.T
    terms = np.stack(
        [np.ones_like(z), z, y, x, z * z / 2, y * y / 2, x * x / 2, z * y, z * x, y * x]
    )
    weight = np.exp(-(neighbours**2).sum(axis=1) / (4 * FIT_SIGMA**2))  # its square root
    return np.ascontiguousarray(np.linalg.pinv((terms * weight).T)[1:] * weight)


def _tiles(region: Slices, radius: tuple[int, ...], search: tuple[int, ...]) -> Iterator[Slices]:
    """Cut a region into tiles, compact along the axes of the windows.

    What is bounded is the tile together with its neighbours along the searched axes, whose
    NCC the fit needs.
    """
    pixels = min(TILE_PIXELS, TILE_VALUES // prod(2 * s + 1 for s in search))
    lengths = _lengths(region)
    sides = [1] * len(lengths)
    # The windowed axes share the pixels; the independent ones get what they leave.
    axes = sorted(range(len(lengths)), key=lambda axis: (radius[axis] == 0, lengths[axis]))
    shared = sum(1 for r in radius if r)
    held = 1
    for done, axis in enumerate(axes):
        beside = 2 * min(search[axis], 1)
        side = int((pixels / held) ** (1 / max(shared - done, 1))) - beside
        sides[axis] = min(lengths[axis], max(side, 1))
        held *= sides[axis] + beside
    cuts = []
    for part, length, side in zip(region, lengths, sides, strict=True):
        edges = np.linspace(part.start, part.stop, -(-length // side) + 1).astype(int).tolist()
        cuts.append([slice(a, b) for a, b in pairwise(edges)])
    return product(*cuts)


def _lengths(part: Slices) -> tuple[int, ...]:
    return tuple(p.stop - p.start for p in part)


def _reach(part: Slices, reach: Sequence[int], shape: tuple[int, ...]) -> Slices:
    """Extend a region, within the image."""
    extended = [slice(p.start - r, p.stop + r) for p, r in zip(part, reach, strict=True)]
    return _within(tuple(extended), [(0, n) for n in shape])


def _within(part: Slices, bounds: Sequence[tuple[int, int]]) -> Slices:
    return tuple(
        slice(max(p.start, low), min(p.stop, high))
        for p, (low, high) in zip(part, bounds, strict=True)
    )


def _relative(part: Slices, whole: Slices) -> Slices:
    return tuple(
        slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, whole, strict=True)
    )
