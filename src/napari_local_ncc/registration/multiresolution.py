"""Images too large for an engine: a reduced level first, then full-resolution tiles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
from skimage.measure import block_reduce

from napari_local_ncc.chunked.tiles import compute_array
from napari_local_ncc.evidence.blocks import mean_of_defined
from napari_local_ncc.geometry.affine import apply_affine, fit_matrix, invert_affine
from napari_local_ncc.image.pairing import Pair
from napari_local_ncc.transforms.registration import Registration
from napari_local_ncc.transforms.resampling import resample

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_local_ncc.geometry.kind import Kind
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.registration.engine import Estimate
    from napari_local_ncc.registration.engine_thread import Watch
    from napari_local_ncc.registration.settings import Settings

    Matrix = NDArray[np.float64]
    Points = NDArray[np.float64]

BYTES = 100  # that an engine takes for each pixel of both images
NARROWEST = 16  # px, below which no axis is reduced
EDGE = {1: 4096, 2: 256, 3: 48}  # px of a tile
CELLS = {1: 8, 2: 4, 3: 3}  # of the field, along every axis: one tile is taken from each
FEWEST = 6  # tiles that must agree
ROUNDS = 5  # of fitting and leaving out what does not fit
OUTLYING = 4.0  # times the median deviation, from which a tile does not fit


def reduce_pair(pair: Pair, memory: float) -> Pair:
    """Return a pair of frames, reduced (means of blocks) so that an engine keeps to `memory`.

    Parameters
    ----------
    pair : Pair
        Two frames, lazy: they are read chunk by chunk.
    memory : float
        Bytes.

    Returns
    -------
    Pair
        The same pair where it is small enough.
    """
    pixels = memory / BYTES
    if max(np.prod(image.grid.shape, dtype=float) for image in (pair.fixed, pair.moving)) <= pixels:
        return pair
    return Pair(_reduce(pair.fixed, pixels), _reduce(pair.moving, pixels))


def _reduce(image: SpatialImage, pixels: float) -> SpatialImage:
    shape = np.array(image.grid.shape)
    factor = int(np.ceil((np.prod(shape, dtype=float) / pixels) ** (1 / len(shape))))
    factors = np.clip(factor, 1, np.maximum(shape // NARROWEST, 1))
    data = da.coarsen(
        mean_of_defined, image.data, dict(enumerate(factors.tolist())), trim_excess=True
    )
    grow = np.diag([*factors.astype(float), 1.0])
    grow[:-1, -1] = (factors - 1) / 2
    grid = image.grid.replace(shape=data.shape, pixel_to_world=image.grid.pixel_to_world @ grow)
    # in memory: the engines, and the search for tiles, read it several times
    return image.replace(data=da.from_array(compute_array(data.astype(np.float32))), grid=grid)


@dataclass(frozen=True, slots=True)
class Levels:
    """How a linear transform is found of images of any size.

    Parameters
    ----------
    kind : Kind
        What the transform may do.
    whole : callable
        The engine for frames that fit into memory, as for `Engine`.
    tile : callable
        The same for tiles at full resolution, of which each shows only part of the motion.
    """

    kind: Kind
    whole: Estimate
    tile: Estimate

    def estimate(
        self, pair: Pair, settings: Settings, start: Registration | None, watch: Watch
    ) -> Registration:
        """Estimate at a level that fits into the memory; refine on tiles at full resolution."""
        small = reduce_pair(pair, settings.memory)
        found = replace(self.whole(small, settings, start, watch), grid=pair.fixed.grid)
        if small is pair or not _is_sure(found):
            return found
        matrix = self._refine(pair, small.fixed, found.matrix, partial(self._step, settings, watch))
        return replace(found, matrix=matrix)

    def _step(self, settings: Settings, watch: Watch, tile: Pair, near: Matrix) -> Matrix | None:
        """Register a tile with moving as `near` puts it there; None where it is not reliable."""
        watch.check()
        grid = tile.fixed.grid
        moved = resample(tile.moving, grid, Registration.from_matrix(near, grid))
        try:
            found = self.tile(Pair(tile.fixed, moved), settings, Registration.identity(grid), watch)
        except ValueError:  # a flat or empty tile
            return None
        return near @ found.matrix if _is_sure(found) else None

    def _refine(
        self,
        pair: Pair,
        coarse: SpatialImage,
        matrix: Matrix,
        step: Callable[[Pair, Matrix], Matrix | None],
    ) -> Matrix:
        """Improve a transform on the tiles with most structure at full resolution.

        The matrix of the kind that fits most tiles' centres best; `matrix` where hardly any
        tile has one.
        """
        here, there = [], []
        for box in _tiles(coarse, pair.fixed):
            tile = pair.fixed.replace(data=pair.fixed.data[box], grid=pair.fixed.grid.crop(box))
            centre = tile.grid.corners().mean(axis=0)
            partner = invert_affine(pair.moving.grid.pixel_to_world) @ matrix @ [*centre, 1.0]
            last = np.array(pair.moving.grid.shape) - 1
            if (partner[:-1] < 0).any() or (partner[:-1] > last).any():
                continue
            found = step(Pair(tile, pair.moving), matrix)
            if found is not None:
                here.append(centre)
                there.append(apply_affine(found, centre))
        if len(here) < FEWEST:
            return matrix
        to_common = pair.fixed.grid.to_one_unit()
        begin, end = apply_affine(to_common, here), apply_affine(to_common, there)
        fitted: Matrix = invert_affine(to_common) @ _robust(begin, end, self.kind) @ to_common
        return fitted


def _is_sure(found: Registration) -> bool:
    report = found.reports[0]
    return report.applied and not report.doubt


def _tiles(coarse: SpatialImage, fixed: SpatialImage) -> list[tuple[slice, ...]]:
    """Return the box with the largest contrast from each cell of the field."""
    ndim = fixed.grid.ndim
    shape = np.array(fixed.grid.shape)
    factors = shape // np.array(coarse.grid.shape)
    edge = np.minimum(EDGE.get(ndim, 16), shape)
    block = np.maximum(edge // factors, 1)
    values = compute_array(coarse.data)
    filled = np.where(np.isfinite(values), values, np.float32(np.nanmean(values)))
    contrast = block_reduce(filled, tuple(block.tolist()), np.std)
    parts = [np.array_split(np.arange(n), min(CELLS.get(ndim, 2), n)) for n in contrast.shape]
    boxes = []
    for cell in product(*parts):
        inner = contrast[np.ix_(*cell)]
        best = np.unravel_index(np.argmax(inner), inner.shape)
        index = np.array([part[k] for part, k in zip(cell, best, strict=True)])
        start = np.minimum(index * block * factors, shape - edge)
        boxes.append(tuple(slice(int(a), int(a + e)) for a, e in zip(start, edge, strict=True)))
    return boxes


def _robust(here: Points, there: Points, kind: Kind) -> Matrix:
    """Fit a kind to pairs of points, leaving out those that contradict most of the others."""
    kept = np.ones(len(here), bool)
    matrix = fit_matrix(here, there, kind)
    for _ in range(ROUNDS):
        missed = np.linalg.norm(apply_affine(matrix, here) - there, axis=-1)
        kept = missed <= max(OUTLYING * float(np.median(missed)), np.finfo(float).eps)
        if np.count_nonzero(kept) < FEWEST:
            break
        matrix = fit_matrix(here[kept], there[kept], kind)
    return matrix
