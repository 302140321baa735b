"""The NCC at every shift of a search, tile by tile, and the best of it.

A tile holds its NCC at all shifts, and is the smaller the more there are: memory depends
neither on the search nor on the image. Its samples are read once for all shifts.
"""

from __future__ import annotations

from itertools import pairwise, product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.ncc.kernels.tiles import clip, lengths_of, relative
from napari_local_ncc.shift.error import total_error
from napari_local_ncc.shift.fit_tiles import refine_shift
from napari_local_ncc.shift.ncc_at_shift import Displaced, Windows
from napari_local_ncc.shift.peak_kernel import find_peaks, weigh_shifts
from napari_local_ncc.shift.smoothing import error_reach, noise_reach

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.tiles import Pieces, Slices

TILE_VALUES = 2**25  # NCC values of a tile: 128 MiB
# Pixels of a tile, by number of windowed axes: what its samples take stays in the cache, and, in
# volumes, what windows reach beyond it is not too much.
TILE_PIXELS = {1: 2**15, 2: 2**15, 3: 2**16}
ROW = 256  # pixels of a tile along its rows
# Times what windows reach out of an image: the least length cut there; by number of windowed axes.
APART = {1: 8, 2: 8}  # in 3-D, the many thin parts would take longer
FIT_SIGMA = 1.0  # px; the fit's weights fall off with the distance from the best shift


def search_pieces(
    fixed: Pieces,
    moving: Pieces,
    mask: Pieces = (),
    *,
    region: Slices,
    radius: tuple[int, ...],
    search: tuple[int, ...],
    with_error: bool = False,
    is_signed: bool = True,
    with_whole: bool = False,
    **window: Any,
) -> NDArray[np.float32]:
    """Find the best shift in a region of two images; see `dispatch.shift_of_pieces`."""
    windowed = [axis for axis, r in enumerate(radius) if r]
    order = [axis for axis, r in enumerate(radius) if not r] + windowed
    images = [
        [(_reorder(where, order), array.transpose(order)) for where, array in image]
        for image in (fixed, moving, mask)
    ]
    region, radius, search = (_reorder(values, order) for values in (region, radius, search))
    shape = tuple(max(where[axis].stop for where, _ in images[0]) for axis in range(len(order)))
    wanted = region
    if with_error:  # its error leans on windows as far around
        region = _reach(region, error_reach(radius), shape)
    tiles = []
    for tile in _tiles(region, radius, search, shape):
        grown = _reach(tile, [min(s, 1) for s in search], shape)  # where the fit needs NCC
        tiles.append((tile, grown, _reach(grown, radius, shape)))
    rows = 4 + 3 * len(windowed) if with_error else 3 + 2 * len(windowed)
    ends = (1 + len(windowed)) * with_whole
    out = np.empty((rows + ends, *lengths_of(region)), np.float32)
    inverted = np.zeros(lengths_of(region), bool)  # where the best shift's NCC is negative
    dtypes = fixed[0][1].dtype, moving[0][1].dtype
    windows = Windows(shape, radius, search, [parts[1:] for parts in tiles], dtypes, **window)
    shifts = list(product(*(range(-s, s + 1) for s in search)))
    room = np.empty(len(shifts) * max(prod(lengths_of(grown)) for _, grown, _ in tiles), np.float32)
    for tile, grown, around in tiles:
        samples = Displaced.read(images, grown, around, windows)
        ncc = room[: len(shifts) * prod(lengths_of(grown))].reshape(-1, *lengths_of(grown))
        samples.store_all(shifts, ncc)
        here = relative(tile, grown)
        at_zero = ncc[len(shifts) // 2][here].copy()
        is_negative = None if is_signed else ncc < 0
        if is_negative is not None:
            np.abs(ncc, out=ncc)
        samples_of_window = windows.samples(noise_reach(radius)) if with_error else None
        best = _peaks(ncc, here, search[-len(windowed) :], samples_of_window, with_whole=with_whole)
        for band, values in zip(out, (at_zero, *best), strict=True):
            band[relative(tile, region)] = values.reshape(lengths_of(tile))
        if is_negative is not None:
            steps = out[3 + len(windowed) : 3 + 2 * len(windowed), *relative(tile, region)]
            at_best = _at_shifts(is_negative[:, *here], steps, search[-len(windowed) :])
            inverted[relative(tile, region)] = at_best
    bands, whole, doubt, at_border = np.split(out, [3 + len(windowed), 3 + 2 * len(windowed), rows])
    terms = _refine(
        images,
        region,
        bands[3:],
        whole,
        inverted,
        radius=radius,
        search=search,
        weights=window["weights"],
        with_error=with_error,
    )
    found, fitted = [bands], bands[3:].copy() if with_whole else bands[:0]
    if with_error:
        error = total_error(terms, doubt[1:], np.isfinite(bands[0]), radius, search)
        np.copyto(bands[3:], np.nan, where=np.isnan(error).any(axis=0))
        found += [error, doubt[:1]]
    if with_whole:
        found += [at_border, fitted]
    here = relative(wanted, region)
    out = np.concatenate([part[:, *here] for part in found])
    return out.transpose(0, *(1 + order.index(axis) for axis in range(len(order))))


def _reorder(values: Any, order: list[int]) -> tuple[Any, ...]:
    return tuple(values[axis] for axis in order)


def _stack_shape(lengths: tuple[int, ...], windowed: int) -> tuple[int, ...]:
    """Return the shape (batch, z, y, x) of an array whose last axes are those of the windows."""
    batch, sides = lengths[:-windowed], lengths[-windowed:]
    return (prod(batch), *(1,) * (3 - windowed), *sides)


def _peaks(
    ncc: NDArray[np.float32],
    tile: Slices,
    search: tuple[int, ...],
    samples: tuple[float, float] | None,
    *,
    with_whole: bool,
) -> list[NDArray[np.float32]]:
    """Return the best NCC of a tile, a part of where it is known, the gain and the shifts.

    With the number of samples of a window, also how far the other shifts are from being best.
    """
    unused = (0,) * (3 - len(search))
    steps = unused + search
    shifts = np.array(list(product(*(range(-s, s + 1) for s in steps))))
    numbered = np.column_stack([shifts, np.arange(len(shifts))])
    nearest_first = numbered[np.argsort((shifts**2).sum(axis=1), kind="stable")]
    first = unused + tuple(part.start for part in tile[-len(search) :])
    neighbours = np.array(list(product(*(range(-min(s, 1), min(s, 1) + 1) for s in steps))))
    pitch = [(2 * steps[1] + 1) * (2 * steps[2] + 1), 2 * steps[2] + 1, 1]
    numbered = np.column_stack([neighbours, neighbours @ pitch])
    out = np.full((12, *_stack_shape(lengths_of(tile), len(search))), np.nan, np.float32)
    ncc = ncc.reshape(len(shifts), *_stack_shape(ncc.shape[1:], len(search)))
    rows = 12 if with_whole else 8
    fit = _derivatives(neighbours)
    find_peaks(ncc, nearest_first, steps, numbered, fit, first, out[:rows])
    used = slice(3 - len(search), 3)
    found = [out[0], out[1], *out[2:5][used], *out[5:8][used]]
    ends = [band.copy() for band in (out[8], *out[9:12][used])] if with_whole else []
    if samples is None:
        return [*found, *ends]
    out[8:] = np.nan
    weigh_shifts(ncc, nearest_first, steps, first, samples, out)
    return [*found, out[8], *out[9:12][used], *ends]


def _at_shifts(
    values: NDArray[Any], steps: NDArray[np.float32], search: tuple[int, ...]
) -> NDArray[Any]:
    """Return, of values at all shifts of a search, those at one shift per pixel; NaN counts as 0.

    Parameters
    ----------
    values : array, shape (shifts, *pixels)
    steps : array of float32, shape (windowed axes, *pixels)
        Whole numbers.
    search : tuple of int
        The longest along these axes.
    """
    whole = np.nan_to_num(steps).astype(np.intp)
    sides = [2 * s + 1 for s in search]
    place = np.ravel_multi_index([w + s for w, s in zip(whole, search, strict=True)], sides)
    return np.take_along_axis(values, place[np.newaxis], axis=0)[0]


def _refine(
    images: Sequence[Pieces],
    region: Slices,
    shift: NDArray[np.float32],
    whole: NDArray[np.float32],
    inverted: NDArray[np.bool_],
    **options: Any,
) -> NDArray[np.float64]:
    """Move a shift to the maximum of the NCC, or where inverted to the minimum.

    That is the maximum for moving's negative; see `fit_tiles.refine_shift`.
    """
    if not inverted.any():
        return refine_shift(images, region, shift, whole, **options)
    fixed, moving, *mask = images
    negative = [(where, ~a if a.dtype.kind in "iub" else -a) for where, a in moving]
    parts = [shift.copy(), shift]
    parts[0][:, inverted], parts[1][:, ~inverted] = np.nan, np.nan
    plain, turned = (
        refine_shift([fixed, other, *mask], region, part, whole, **options)
        for other, part in zip((moving, negative), parts, strict=True)
    )
    shift[:, ~inverted] = parts[0][:, ~inverted]
    return np.where(inverted, turned, plain)


def _derivatives(neighbours: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return what turns values at neighbours into the derivatives of the quadratic fit.

    By least squares, weighted with a Gaussian of the distance; shape (9, neighbours).
    """
    z, y, x = neighbours.T
    terms = np.stack(
        [np.ones_like(z), y, x, y * y / 2, x * x / 2, y * x, z, z * z / 2, z * y, z * x]
    )
    weight = np.exp(-(neighbours**2).sum(axis=1) / (4 * FIT_SIGMA**2))  # its square root
    used = terms.any(axis=1)  # by what is searched; the others are exactly 0
    derivatives = np.zeros(terms.shape)
    derivatives[used] = np.linalg.pinv((terms[used] * weight).T) * weight
    return derivatives[1:]


def _tiles(
    region: Slices, radius: tuple[int, ...], search: tuple[int, ...], shape: tuple[int, ...]
) -> Iterator[Slices]:
    """Cut a region into tiles: long rows, and compact along the other axes of the windows.

    What is bounded is the tile together with its neighbours along the searched axes, whose
    NCC the fit needs. What windows reach out of the image is apart, where there is much else.
    """
    shared = sum(1 for r in radius if r)
    pixels = min(TILE_PIXELS[shared], TILE_VALUES // prod(2 * s + 1 for s in search))
    lengths = lengths_of(region)
    sides = [1] * len(lengths)
    # The windowed axes share the pixels; the independent ones get what they leave.
    rows = len(lengths) - 1
    axes = sorted(range(rows), key=lambda axis: (radius[axis] == 0, lengths[axis]))
    held = 1
    for done, axis in enumerate([rows, *axes]):
        beside = 2 * min(search[axis], 1)
        wanted = (pixels / held) ** (1 / max(shared - done, 1))
        if axis == rows:
            wanted = min(ROW, max(wanted, pixels / ROW))
        sides[axis] = min(lengths[axis], max(min(int(wanted), pixels) - beside, 1))
        held *= sides[axis] + beside
    cuts = []
    for part, side, r, s, n in zip(region, sides, radius, search, shape, strict=True):
        margin = r + s + min(s, 1)
        inner = [margin, n - margin] if r and n >= APART.get(shared, np.inf) * margin else []
        bounds = [part.start, *(b for b in inner if part.start < b < part.stop), part.stop]
        cuts.append(
            [piece for start, stop in pairwise(bounds) for piece in _cut(start, stop, side)]
        )
    return product(*cuts)


def _cut(start: int, stop: int, side: int) -> list[slice]:
    """Cut part of an axis into about equal lengths up to `side`."""
    edges = np.linspace(start, stop, -(-(stop - start) // side) + 1).astype(int).tolist()
    return [slice(a, b) for a, b in pairwise(edges)]


def _reach(part: Slices, reach: Sequence[int], shape: tuple[int, ...]) -> Slices:
    """Extend a region, within the image."""
    extended = [slice(p.start - r, p.stop + r) for p, r in zip(part, reach, strict=True)]
    return clip(tuple(extended), [(0, n) for n in shape])
