"""Images too large for an engine: a reduced level first, then full-resolution tiles."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
from skimage.measure import block_reduce

from napari_local_ncc.chunked.tiles import computed
from napari_local_ncc.geometry.affine import apply_affine, invert_affine, projected
from napari_local_ncc.image.pairing import Pair
from napari_local_ncc.image.pyramid import mean_of_defined

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_local_ncc.image.spatial_image import SpatialImage

    Matrix = NDArray[np.float64]
    Points = NDArray[np.float64]

BYTES = 100  # that an engine takes for each pixel of both images
NARROWEST = 16  # px, below which no axis is reduced
EDGE = {1: 4096, 2: 256, 3: 48}  # px of a tile
CELLS = {1: 8, 2: 4, 3: 3}  # of the field, along every axis: one tile is taken from each
FEWEST = 6  # tiles that must agree
ROUNDS = 5  # of fitting and leaving out what does not fit
OUTLYING = 4.0  # times the median deviation, from which a tile does not fit


def within(pair: Pair, memory: float) -> Pair:
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
    return Pair(_reduced(pair.fixed, pixels), _reduced(pair.moving, pixels))


def _reduced(image: SpatialImage, pixels: float) -> SpatialImage:
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
    return image.replace(data=da.from_array(computed(data.astype(np.float32))), grid=grid)


def refined(
    pair: Pair,
    coarse: SpatialImage,
    matrix: Matrix,
    model: str,
    to_common: Matrix,
    step: Callable[[Pair, Matrix], Matrix | None],
) -> Matrix:
    """Improve a transform on the tiles with most structure at full resolution.

    Parameters
    ----------
    pair : Pair
        Two frames.
    coarse : SpatialImage
        The reduced fixed image.
    matrix : ndarray, shape (ndim + 1, ndim + 1)
        Fixed world to moving world, good to a few pixels.
    model : str
        What the result may be.
    to_common : ndarray, shape (ndim + 1, ndim + 1)
        From the worlds' units to one unit along all axes, in which the model holds.
    step : callable
        Gives the transform of one tile near `matrix`, or None where it is not reliable.

    Returns
    -------
    ndarray, shape (ndim + 1, ndim + 1)
        The transform of the model that fits most tiles' centres best; `matrix` where hardly
        any tile has one.
    """
    here, there = [], []
    for box in _tiles(coarse, pair.fixed):
        tile = pair.fixed.replace(data=pair.fixed.data[box], grid=pair.fixed.grid.crop(box))
        centre = tile.grid.corners().mean(axis=0)
        partner = invert_affine(pair.moving.grid.pixel_to_world) @ matrix @ [*centre, 1.0]
        if (partner[:-1] < 0).any() or (partner[:-1] > np.array(pair.moving.grid.shape) - 1).any():
            continue
        found = step(Pair(tile, pair.moving), matrix)
        if found is not None:
            here.append(centre)
            there.append(apply_affine(found, centre))
    if len(here) < FEWEST:
        return matrix
    begin, end = apply_affine(to_common, here), apply_affine(to_common, there)
    fitted: Matrix = invert_affine(to_common) @ _robust(begin, end, model) @ to_common
    return fitted


def _tiles(coarse: SpatialImage, fixed: SpatialImage) -> list[tuple[slice, ...]]:
    """Return the box with the largest contrast from each cell of the field."""
    ndim = fixed.grid.ndim
    shape = np.array(fixed.grid.shape)
    factors = shape // np.array(coarse.grid.shape)
    edge = np.minimum(EDGE.get(ndim, 16), shape)
    block = np.maximum(edge // factors, 1)
    values = computed(coarse.data)
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


def _robust(here: Points, there: Points, model: str) -> Matrix:
    """Fit a model to pairs of points, leaving out those that contradict most of the others."""
    kept = np.ones(len(here), bool)
    matrix = _fitted(here, there, model)
    for _ in range(ROUNDS):
        missed = np.linalg.norm(apply_affine(matrix, here) - there, axis=-1)
        kept = missed <= max(OUTLYING * float(np.median(missed)), np.finfo(float).eps)
        if np.count_nonzero(kept) < FEWEST:
            break
        matrix = _fitted(here[kept], there[kept], model)
    return matrix


def _fitted(here: Points, there: Points, model: str) -> Matrix:
    """Least squares: translation, affine, or (Umeyama 1991) rigid and similarity."""
    ndim = here.shape[-1]
    matrix = np.eye(ndim + 1)
    middle, target = here.mean(axis=0), there.mean(axis=0)
    a, b = here - middle, there - target
    if model == "affine":
        matrix[:-1, :-1] = np.linalg.lstsq(a, b, rcond=None)[0].T
    elif model in ("rigid", "similarity"):
        covariance = np.eye(ndim + 1)
        covariance[:-1, :-1] = b.T @ a
        turn = projected(covariance, "rigid")[:-1, :-1]
        scale = np.sum(b * (a @ turn.T)) / np.sum(a * a) if model == "similarity" else 1.0
        matrix[:-1, :-1] = scale * turn
    matrix[:-1, -1] = target - matrix[:-1, :-1] @ middle
    return matrix
