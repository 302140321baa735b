"""The rigid, similarity or affine transform of two frames, in the world."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.chunked.tiles import compute_array, compute_arrays
from napari_local_ncc.geometry.affine import apply_affine, invert_affine
from napari_local_ncc.registration.affine.estimate import AffineFit, estimate_affine
from napari_local_ncc.registration.affine.refine import refine_transform
from napari_local_ncc.registration.tile_fit import TileShift
from napari_local_ncc.transforms.registration import Registration
from napari_local_ncc.transforms.report import FrameReport

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.geometry.kind import Kind
    from napari_local_ncc.image.pairing import Pair
    from napari_local_ncc.registration.engine_thread import Watch
    from napari_local_ncc.registration.settings import Settings

    Matrix = NDArray[np.float64]

AROUND = 8  # px of moving around a tile, for what interpolates and smooths


def estimate_frame(
    kind: Kind, pair: Pair, settings: Settings, start: Registration | None, watch: Watch
) -> Registration:
    """Find the transform of a kind; other parameters and result are those of `Engine.estimate`."""
    space = pair.fixed.grid
    to_common = space.to_one_unit()
    from_common = invert_affine(to_common)
    common = (space.units[-1],) * space.ndim
    found = estimate_affine(
        compute_array(pair.fixed.data),
        compute_array(pair.moving.data),
        model=kind,
        fixed_to_world=space.in_units(common).pixel_to_world,
        moving_to_world=pair.moving.grid.in_units(common).pixel_to_world,
        metric=settings.metric,
        start=None if start is None else to_common @ start.matrix @ from_common,
        keep_doubtful=settings.keep_doubtful,
        mirror=settings.mirror,
        watch=watch,
    )
    doubt, remark = _doubt(found, pair), _remark(found, kind)
    report = FrameReport(
        settings.metric,
        found.metric,
        found.iterations,
        found.converged,
        found.significance,
        found.is_applied,
        note="; ".join(filter(None, (doubt, remark))),
        remark=remark,
        error_px=found.error_px,
        error95_px=found.error95_px,
    )
    return Registration(
        settings.model,
        from_common @ found.matrix @ to_common,
        space,
        np.array(found.ncc_before),
        np.array(found.ncc_after),
        np.array(found.overlap),
        reports=(report,),
    )


def refine_tile(pair: Pair, settings: Settings, near: Matrix, reach: int) -> TileShift | None:
    """Improve a transform in a tile; parameters and result are those of `Levels.tile`."""
    tile, moving = pair.fixed.grid, pair.moving.grid
    to_moving = invert_affine(moving.pixel_to_world) @ near @ tile.pixel_to_world
    last = np.array(tile.shape) - 1
    corners = np.array(list(product(*((-2 * reach, n + 2 * reach) for n in last.tolist()))))
    ends = apply_affine(to_moving, corners)
    low = np.maximum(np.floor(ends.min(axis=0)).astype(int) - AROUND, 0)
    high = np.minimum(np.ceil(ends.max(axis=0)).astype(int) + 1 + AROUND, moving.shape)
    middle = apply_affine(to_moving, last / 2)
    if (middle < low).any() or (middle >= high).any():
        return None
    box = tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    move = np.eye(len(to_moving))
    move[:-1, -1] = -low
    fixed, part = compute_arrays(pair.fixed.data, pair.moving.data[box])
    found = refine_transform(fixed, part, move @ to_moving, reach, settings.metric)
    return None if found is None else TileShift(last / 2, *found)


def _doubt(found: AffineFit, pair: Pair) -> str:
    """Say what there is to say against a transform, if anything."""
    doubts = list(found.doubts)
    if found.mirrored is not None and not found.is_applied:
        axis = pair.moving.grid.axis_labels[found.mirrored]
        doubts.insert(
            0, f"the moving image is mirrored along {axis}; ask for that (mirror=True, --mirror)"
        )
    return "; ".join(doubts)


def _remark(found: AffineFit, kind: Kind) -> str:
    """Say what the transform is, where that is not what was asked for."""
    remarks = list(found.remarks)
    if found.is_applied and found.mirrored is not None:
        remarks.append("moving is mirrored")
    if found.is_applied and found.motion != kind:
        remarks.append(f"a {found.motion} explains the images as well as the {kind} transform")
    return "; ".join(remarks)
