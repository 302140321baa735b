"""Images too large for an engine: a reduced level first, then full-resolution tiles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
from skimage.measure import block_reduce

from napari_local_ncc.chunked.tiles import compute_array
from napari_local_ncc.geometry.affine import apply_affine, invert_affine
from napari_local_ncc.image.pairing import Pair
from napari_local_ncc.image.pyramid import reduce_by
from napari_local_ncc.registration.affine.ladder import draw_errors, error_quantiles
from napari_local_ncc.registration.affine.sampled_image import Sampled, frame_of
from napari_local_ncc.registration.evidence.global_ncc import with_sampled_ncc
from napari_local_ncc.registration.tile_fit import FEWEST, fit_tiles
from napari_local_ncc.transforms.report import MIXED

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_local_ncc.geometry.kind import Kind
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.registration.engine import Estimate
    from napari_local_ncc.registration.engine_thread import Watch
    from napari_local_ncc.registration.settings import Settings
    from napari_local_ncc.registration.tile_fit import TileFit, TileShift
    from napari_local_ncc.transforms.registration import Registration

    Matrix = NDArray[np.float64]
    RefineTile = Callable[[Pair, Settings, Matrix, int], "TileShift | None"]
    Settle = Callable[[Pair, Matrix, NDArray[np.float64]], Matrix]

BYTES = 100  # that an engine takes for each pixel of both images
SEARCHED = {2: 2**20}  # px of a frame that a search has use for
NARROWEST = 16  # px, below which no axis is reduced, nor divided into cells
EDGE = {1: 4096, 2: 256, 3: 48}  # px of a tile
CELLS = {1: 8, 2: 4, 3: 3}  # of the field, along every axis: one tile is taken from each

UNLIKELY, LEVEL = 3.0, 0.15  # times its error, and px of a reduced level, that tiles may correct


def reduce_pair(pair: Pair, memory: float) -> Pair:
    """Return a pair of frames, reduced (means of blocks) as far as an engine has use for.

    Parameters
    ----------
    pair : Pair
        Two frames, lazy: they are read chunk by chunk.
    memory : float
        Bytes to keep to.

    Returns
    -------
    Pair
        The same pair where it is small enough. Planes of more than 2 million px are reduced
        in any case: the evidence for a shift is weighed at a lower resolution still, and a few
        tiles tell the rest at less cost.
    """
    largest = max(np.prod(i.grid.shape, dtype=float) for i in (pair.fixed, pair.moving))
    pixels = memory / BYTES
    searched = SEARCHED.get(pair.fixed.grid.ndim, np.inf)
    if largest <= min(pixels, 2 * searched):
        return pair
    pixels = min(pixels, searched)
    return Pair(_reduce(pair.fixed, pixels), _reduce(pair.moving, pixels))


def _reduce(image: SpatialImage, pixels: float) -> SpatialImage:
    shape = np.array(image.grid.shape)
    factor = int(np.ceil((np.prod(shape, dtype=float) / pixels) ** (1 / len(shape))))
    factors = np.clip(factor, 1, np.maximum(shape // NARROWEST, 1))
    with dask.config.set({"array.rechunk.method": "tasks"}):  # or it loads distributed to ask it
        data = da.coarsen(
            _mean_of_parts, image.data, dict(enumerate(factors.tolist())), trim_excess=True
        )
    grow = np.diag([*factors.astype(float), 1.0])
    grow[:-1, -1] = (factors - 1) / 2
    grid = image.grid.replace(shape=data.shape, pixel_to_world=image.grid.pixel_to_world @ grow)
    # in memory: the engines, and the search for tiles, read it several times
    return image.replace(data=da.from_array(compute_array(data.astype(np.float32))), grid=grid)


def _mean_of_parts(parts: NDArray[Any], axis: tuple[int, ...] | None = None) -> NDArray[Any]:
    """Return the means of what is defined, as dask's `coarsen` asks for them.

    Every axis of the image is two, of which `axis` are the inner ones; None asks for the dtype.
    """
    if axis is None:
        return np.zeros((), np.float32)
    factors = parts.shape[1::2]
    image = parts.reshape([n * k for n, k in zip(parts.shape[::2], factors, strict=True)])
    return reduce_by(image.astype(np.result_type(image.dtype, np.float32), copy=False), factors)


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
        Of a tile of fixed with all of moving, the settings, a matrix that brings them near, and
        how many px of the tile it may be off: the `TileShift`, None where the tile does not
        tell one. It does not search: the whole has been, and was judged.
    settle : callable, optional
        Of the pair, the matrix found and the covariance of its shift (px of fixed, squared):
        the matrix to take, as one by whole pixels where that is as good.
    """

    kind: Kind
    whole: Estimate
    tile: RefineTile
    settle: Settle | None = None

    def estimate(
        self, pair: Pair, settings: Settings, start: Registration | None, watch: Watch
    ) -> Registration:
        """Estimate at a level that fits into the memory; refine on tiles at full resolution."""
        small = reduce_pair(pair, settings.memory)
        if small is pair:
            return self.whole(pair, settings, start, watch)
        scale = _scale(pair, small)
        found = _at_full(self.whole(small, settings, start, watch), pair, scale)
        if not _is_sure(found):
            return with_sampled_ncc(pair, found)
        reach = max(int(np.ceil(scale)), 1)
        step = partial(self._shift_of, pair, settings, found.matrix, reach, watch)
        shifts = [step(box) for box in _tiles(small.fixed, pair.fixed)]
        told = [shift for shift in shifts if shift is not None]
        found = self._refined(pair, found, told, scale)
        silent = len(shifts) - len(told)
        if len(told) >= FEWEST and silent >= len(told):  # empty, outside, or moved much farther
            said = f"{silent} of {len(shifts)} tiles at full resolution do not tell it"
            found = _remark(found, said)
        found = with_sampled_ncc(pair, found)
        report = found.reports[0]
        if report.metric == "ncc" and np.isfinite(found.ncc_after):
            report = replace(report, score=float(found.ncc_after))
        return replace(found, reports=(report,))

    def _shift_of(
        self,
        pair: Pair,
        settings: Settings,
        near: Matrix,
        reach: int,
        watch: Watch,
        box: tuple[slice, ...],
    ) -> TileShift | None:
        watch.check()
        tile = pair.fixed.replace(data=pair.fixed.data[box], grid=pair.fixed.grid.crop(box))
        try:
            found = self.tile(Pair(tile, pair.moving), settings, near, reach)
        except ValueError:  # a flat or empty tile
            return None
        if found is None:
            return None
        return replace(found, centre=found.centre + [part.start for part in box])

    def _refined(
        self, pair: Pair, found: Registration, shifts: list[TileShift], scale: float
    ) -> Registration:
        """Improve a transform, and what is said of it, by the tiles that agree near it.

        What moved otherwise at the reduced level, or only there, is no noise: tiles do not see
        it, and the error that is stated is no less for them.
        """
        field = _empty(pair.fixed)
        to_frame = frame_of(field)
        fit = fit_tiles(shifts, to_frame @ field.to_frame, self.kind)
        if fit is None:
            return _remark(
                found, f"not refined: too few tiles agree at full resolution ({len(shifts)} tell)"
            )
        to_common = pair.fixed.grid.to_one_unit()
        world_to_frame = to_frame @ to_common
        matrix = found.matrix @ invert_affine(world_to_frame) @ fit.step @ world_to_frame
        if self.settle is not None:
            matrix = self.settle(pair, matrix, _in_pixels(fit, to_frame @ field.to_frame))
        in_frame = replace(field, to_frame=to_frame @ field.to_frame)
        inner, outer = error_quantiles(draw_errors(fit.spread), self.kind, in_frame)
        coarse = found.reports[0]
        apart = _apart(fit, to_frame @ field.to_frame, shifts)
        is_other = apart > max(UNLIKELY * coarse.error95_px, LEVEL * scale)
        if is_other:
            inner, outer = max(inner, apart), max(outer, 2 * apart)
        if MIXED in coarse.remark or coarse.error_px > scale:
            inner, outer = max(inner, coarse.error_px), max(outer, coarse.error95_px)
        report = replace(coarse, error_px=inner, error95_px=outer)
        refined = replace(found, matrix=matrix, reports=(report,))
        if is_other:
            refined = _remark(refined, f"{MIXED} ({apart:.2g} px from this shift)")
        if fit.agreeing == len(shifts):
            return refined
        others = len(shifts) - fit.agreeing
        return _remark(
            refined, f"{others} of {len(shifts)} tiles at full resolution move otherwise"
        )


def _at_full(found: Registration, pair: Pair, scale: float) -> Registration:
    """Say what was found at a reduced level in px of the full resolution."""
    report = found.reports[0]
    error, error95 = (scale * each for each in (report.error_px, report.error95_px))
    report = replace(report, error_px=error, error95_px=error95)
    return replace(found, grid=pair.fixed.grid, reports=(report, *found.reports[1:]))


def _scale(pair: Pair, small: Pair) -> float:
    """Return how many px of fixed one of the reduced level's is, along the axis of most."""
    grids = pair.fixed.grid, small.fixed.grid
    fine, coarse = (np.linalg.norm(grid.pixel_to_world[:-1, :-1], axis=0) for grid in grids)
    return float(np.max(coarse / fine))


def _remark(found: Registration, said: str) -> Registration:
    """Add what is no doubt to the report of a frame."""
    report = found.reports[0]
    remark = "; ".join(filter(None, (report.remark, said)))
    note = "; ".join(filter(None, (report.doubt, remark)))
    return replace(found, reports=(replace(report, remark=remark, note=note),))


def _empty(image: SpatialImage) -> Sampled:
    """Return the place of an image, in one unit along all axes, without its samples."""
    grid = image.grid
    nothing = np.broadcast_to(np.float32(0), grid.shape)
    return Sampled(nothing, grid.to_one_unit() @ grid.pixel_to_world)


def _apart(fit: TileFit, to_frame: Matrix, shifts: list[TileShift]) -> float:
    """Return how far a fit moves the typical tile, px."""
    step = invert_affine(to_frame) @ fit.step @ to_frame
    centres = np.array([shift.centre for shift in shifts])
    moved = np.linalg.norm(apply_affine(step, centres) - centres, axis=-1)
    return float(np.median(moved))


def _in_pixels(fit: TileFit, to_frame: Matrix) -> NDArray[np.float64]:
    """Return the covariance of the shift of a fit, px squared."""
    ndim = len(to_frame) - 1
    back = np.linalg.inv(to_frame[:-1, :-1])
    return np.asarray(back @ fit.spread[:ndim, :ndim] @ back.T)


def _is_sure(found: Registration) -> bool:
    report = found.reports[0]
    return report.applied and not report.doubt


def _tiles(coarse: SpatialImage, fixed: SpatialImage) -> list[tuple[slice, ...]]:
    """Return the box with the largest contrast from each cell of the field."""
    ndim = fixed.grid.ndim
    shape = np.array(fixed.grid.shape)
    factors = shape // np.array(coarse.grid.shape)
    cells = np.clip(shape // NARROWEST, 1, CELLS.get(ndim, 2))
    edge = np.clip(shape // cells, 1, EDGE.get(ndim, 16))  # apart, so that each tells its own
    block = np.maximum(edge // factors, 1)
    values = compute_array(coarse.data)
    filled = np.where(np.isfinite(values), values, np.float32(np.nanmean(values)))
    whole = tuple(slice(0, int(n)) for n in filled.shape // block * block)  # none is filled up
    contrast = block_reduce(filled[whole], tuple(block.tolist()), np.std)
    parts = [
        np.array_split(np.arange(n), min(count, n))
        for n, count in zip(contrast.shape, cells.tolist(), strict=True)
    ]
    boxes = []
    for cell in product(*parts):
        inner = contrast[np.ix_(*cell)]
        best = np.unravel_index(np.argmax(inner), inner.shape)
        index = np.array([part[k] for part, k in zip(cell, best, strict=True)])
        start = np.minimum(index * block * factors, shape - edge)
        boxes.append(tuple(slice(int(a), int(a + e)) for a, e in zip(start, edge, strict=True)))
    return boxes
