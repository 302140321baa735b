"""The sub-pixel fit of a region, tile by tile, and what its error follows from."""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.ncc.kernels.tiles import lengths_of, relative
from napari_local_ncc.shift.error import noise_terms
from napari_local_ncc.shift.subpixel import SmoothPair, SmoothWindow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.rows import Validity
    from napari_local_ncc.ncc.kernels.tiles import Pieces, Slices

    Values = NDArray[np.float32]
    Numbers = NDArray[np.float64]

TILES = {1: (8192,), 2: (128, 128), 3: (24, 32, 64)}  # pixels along the windowed axes


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
    array of float64, shape (1 + 2 * windowed axes, *region), or (0, *region)
        See `error.noise_terms`; NaN where there is no shift.
    """
    windowed = len(start)
    shape = tuple(max(where[axis].stop for where, _ in images[0]) for axis in range(len(region)))
    unused = (0,) * (3 - windowed)
    window = SmoothWindow.of(
        (*unused, *radius[-windowed:]), (*unused, *search[-windowed:]), weights, windowed
    )
    terms = np.full((1 + 2 * windowed if with_error else 0, *lengths_of(region)), np.nan)
    for tile in _tiles(region, windowed):
        here = (slice(None), *relative(tile, region))
        sides = (*(1,) * (3 - windowed), *lengths_of(tile)[-windowed:])
        found = np.zeros((2, 3, *sides))
        for array, given in zip(found, (start[here], best[here]), strict=True):
            array[3 - windowed :] = given.reshape(windowed, *sides)
        known: Validity = np.all(np.isfinite(found), axis=(0, 1))
        if known.any():
            reach = [int(v) + 2 for v in np.abs(found[0][:, known]).max(axis=1)]
            pair = SmoothPair.read(images, tile, shape, window, reach)
            found[0][:, known], at_top = pair.climb(found[0][:, known], found[1][:, known], known)
            if with_error:
                values = np.full((len(terms), *sides), np.nan)
                values[:, known] = noise_terms(pair, at_top, known)
                terms[here] = values.reshape(terms[here].shape)
        start[here] = found[0][3 - windowed :].reshape(start[here].shape)
    if with_error:
        terms[:, np.isnan(start).any(axis=0)] = np.nan
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
