"""The sub-pixel fit of a region, tile by tile, and what its error follows from."""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.tiles import lengths_of, relative
from napari_local_ncc.shift.error import noise_terms, terms_of
from napari_local_ncc.shift.small_windows import small_window
from napari_local_ncc.shift.subpixel.room import Room
from napari_local_ncc.shift.subpixel.smooth_pair import SmoothPair, SmoothWindow
from napari_local_ncc.shift.subpixel.window_sums import climb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.tiles import Pieces, Slices

    Values = NDArray[np.float32]
    Numbers = NDArray[np.float64]

# Pixels along the windowed axes; no powers of two, whose many sums would share few cache lines.
TILES = {1: (8200,), 2: (120, 136), 3: (24, 30, 62)}


def refine_shift(
    images: Sequence[Pieces],
    region: Slices,
    start: Values,
    best: Values,
    *,
    radius: tuple[int, ...],
    search: tuple[int, ...],
    weights: str,
    with_error: bool,
) -> Numbers:
    """Move a shift, in place, to where the smoothed windows fit best.

    Parameters
    ----------
    images : sequence of pieces
        Fixed, moving and, optionally, the mask. Independent axes come first.
    region : tuple of slice
        Where the shift is wanted.
    start : array of float32, shape (windowed axes, *region)
        Near where to look, in px; NaN where there is nothing to refine. Receives the shift, NaN
        where the NCC has no maximum within 1 px of `best`.
    best : array of float32, shape (windowed axes, *region)
        The best whole-pixel shift.
    radius, search : tuple of int
        Window radius and largest shift per axis.
    weights : {"box", "gaussian"}
        Window weights.
    with_error : bool
        Whether what its error follows from is wanted.

    Returns
    -------
    array of float64, shape (terms, *region), or (0, *region)
        See `error.noise_terms`; the noise is NaN where there is no shift, the rest anything.
    """
    windowed = len(start)
    shape = tuple(max(where[axis].stop for where, _ in images[0]) for axis in range(len(region)))
    unused = (0,) * (3 - windowed)
    window = SmoothWindow.of(
        (*unused, *radius[-windowed:]), (*unused, *search[-windowed:]), weights
    )
    terms = np.empty((terms_of(windowed) if with_error else 0, *lengths_of(region)))
    terms[:1] = np.nan
    small = None
    if with_error:
        small = small_window(window.taps[-windowed:], [s > 0 for s in window.search[-windowed:]])
    room = Room()
    for tile in _tiles(region, windowed):
        here = (slice(None), *relative(tile, region))
        sides = (*(1,) * (3 - windowed), *lengths_of(tile)[-windowed:])
        lookup = start[here].reshape(windowed, -1)
        pixels = np.flatnonzero(np.isfinite(lookup).all(axis=0))
        if pixels.size:
            given = np.zeros((2, 3, pixels.size))
            given[0, 3 - windowed :] = lookup[:, pixels]
            given[1, 3 - windowed :] = best[here].reshape(windowed, -1)[:, pixels]
            reach = [int(v) + 2 for v in np.abs(given[0]).max(axis=1)]
            pair = SmoothPair.read(images, tile, shape, window, reach, room)
            found, at_top = climb(pair, room, sides, pixels, *given, with_top=with_error)
            lookup = np.full(lookup.shape, np.nan, np.float32)
            lookup[:, pixels] = found[3 - windowed :]
            if small is not None:
                values = terms[here].reshape(len(terms), -1)
                values[:, pixels] = noise_terms(pair, room, at_top, pixels, sides, small)
                terms[here] = values.reshape(terms[here].shape)
            start[here] = lookup.reshape(start[here].shape)
    if with_error:
        np.copyto(terms[0], np.nan, where=np.isnan(start).any(axis=0))
    return terms


def _tiles(region: Slices, windowed: int) -> Iterator[Slices]:
    """Cut a region into tiles along the windowed axes, and into frames."""
    sides = (*(1,) * (len(region) - windowed), *TILES[windowed])
    cuts = []
    for part, side in zip(region, sides, strict=True):
        count = -(-(part.stop - part.start) // side)
        edges = np.linspace(part.start, part.stop, count + 1).astype(int).tolist()
        cuts.append([slice(a, b) for a, b in pairwise(edges)])
    return product(*cuts)
