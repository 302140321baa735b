"""The shift of two frames, in the world."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.chunked.tiles import compute_array, compute_arrays
from napari_local_ncc.geometry.affine import apply_affine, invert_affine
from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.registration.multiresolution import Levels
from napari_local_ncc.registration.tile_fit import TileShift
from napari_local_ncc.registration.translation.estimate import estimate_translation
from napari_local_ncc.registration.translation.refine import refine_shift
from napari_local_ncc.registration.translation.subpixel import whole_where_as_good
from napari_local_ncc.transforms.registration import Registration
from napari_local_ncc.transforms.report import FrameReport
from napari_local_ncc.transforms.resampling import resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.pairing import Pair
    from napari_local_ncc.registration.engine_thread import Watch
    from napari_local_ncc.registration.settings import Settings

    Matrix = NDArray[np.float64]

AROUND = 8  # px of moving around a tile, for what interpolates


def estimate_shift(
    pair: Pair, settings: Settings, start: Registration | None, watch: Watch
) -> Registration:
    """Find the shift of two images of any size.

    Parameters and result are those of `Engine.estimate`.
    """
    levels = Levels(Kind.TRANSLATION, estimate_frame, refine_tile, settle_shift)
    return levels.estimate(pair, settings, start, watch)


def estimate_frame(
    pair: Pair, settings: Settings, start: Registration | None, watch: Watch
) -> Registration:
    """Find the shift of two frames; parameters and result are those of `Engine.estimate`."""
    lattice, origin = _moving_lattice(pair)
    space = pair.fixed.grid
    guess = None if start is None else origin + _pixels(space, start.matrix)
    found = estimate_translation(
        compute_array(pair.fixed.data),
        compute_array(resample(pair.moving, lattice).data),
        start=origin.tolist(),
        guess=guess,
        min_overlap=settings.min_overlap,
        keep_doubtful=settings.keep_doubtful,
        watch=watch,
    )
    remark = "; ".join(found.remarks)
    report = FrameReport(
        "ncc",
        found.ncc_found,
        significance=found.significance,
        applied=found.is_reliable or settings.keep_doubtful,
        note="; ".join(filter(None, (found.doubt, remark))),
        remark=remark,
        error_px=found.error_px,
        error95_px=found.error95_px,
    )
    return Registration(
        settings.model,
        shift_matrix(space, found.offset - origin),
        space,
        np.array(found.ncc_before),
        np.array(found.ncc_after),
        np.array(found.overlap),
        reports=(report,),
    )


def refine_tile(pair: Pair, settings: Settings, near: Matrix, reach: int) -> TileShift | None:
    """Improve the shift of a tile; parameters and result are those of `Levels.tile`."""
    tile = pair.fixed.grid
    lattice, origin = _moving_lattice(pair)
    offset = origin + _pixels(tile, near)
    around = 2 * reach + AROUND
    low = np.maximum(np.floor(offset).astype(int) - around, 0)
    high = np.minimum(np.ceil(offset).astype(int) + tile.shape + around, lattice.shape)
    if (2 * (high - low) < tile.shape).any():
        return None
    part = lattice.crop([slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)])
    fixed, moving = compute_arrays(pair.fixed.data, resample(pair.moving, part).data)
    found = refine_shift(fixed, moving, offset - low, reach)
    if found is None:
        return None
    place, covariance = found
    return TileShift((np.array(tile.shape) - 1) / 2, place + low - offset, covariance)


def settle_shift(pair: Pair, matrix: Matrix, covariance: NDArray[np.float64]) -> Matrix:
    """Take the shift by whole pixels where that is as good; see `Levels.settle`."""
    origin = _moving_lattice(pair)[1]
    offset = origin + _pixels(pair.fixed.grid, matrix)
    return shift_matrix(pair.fixed.grid, whole_where_as_good(offset, covariance) - origin)


def _pixels(space: Grid, start: Matrix) -> NDArray[np.float64]:
    """Return the shift of a start in pixels of fixed."""
    steps: NDArray[np.float64] = invert_affine(space.pixel_to_world)[:-1, :-1] @ start[:-1, -1]
    return steps


def _moving_lattice(pair: Pair) -> tuple[Grid, NDArray[np.float64]]:
    """Return a grid of fixed's pixels that covers all of moving, and where fixed lies on it.

    Where both have the same pixels but for an offset, it is moving's own grid: nothing is
    interpolated, even where the offset is no whole number of pixels.
    """
    fixed, moving = pair.fixed.grid, pair.moving.grid
    to_moving = invert_affine(moving.pixel_to_world) @ fixed.pixel_to_world
    if np.allclose(to_moving[:-1, :-1], np.eye(fixed.ndim), rtol=0, atol=1e-9):
        return moving, to_moving[:-1, -1]
    corners = apply_affine(invert_affine(fixed.pixel_to_world), moving.corners())
    first = np.floor(corners.min(axis=0) + 1e-6)
    size = np.ceil(corners.max(axis=0) - 1e-6) - first + 1
    place = fixed.pixel_to_world.copy()
    place[:-1, -1] = apply_affine(fixed.pixel_to_world, first)
    return fixed.replace(shape=tuple(size.astype(int)), pixel_to_world=place), -first


def shift_matrix(space: Grid, pixels: NDArray[np.float64] | float) -> Matrix:
    """Return the world matrix of a displacement in pixels of `space`."""
    matrix = np.eye(space.ndim + 1)
    steps = np.broadcast_to(pixels, (space.ndim,))
    matrix[:-1, -1] = space.pixel_to_world[:-1, :-1] @ steps
    return matrix
