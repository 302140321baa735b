"""The transform of one frame by pairs of points: least squares, or a thin-plate spline."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.affine import apply_affine, fit_matrix, invert_affine
from napari_local_ncc.geometry.kind import Kind, with_article
from napari_local_ncc.parameters import check_choice
from napari_local_ncc.transforms.frame_transform import FrameTransform
from napari_local_ncc.transforms.report import FrameReport
from napari_local_ncc.transforms.sampled_map import lattice_map, sample_map

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.geometry.grid import Grid

    Points = NDArray[np.float64]

METRIC = "distance of landmarks"
FLAT = 1e-9  # of the coordinates: points spread less along a direction by rounding


def frame_by_points(
    fixed: ArrayLike, moving: ArrayLike, space: Grid, model: str
) -> tuple[FrameTransform, Points]:
    """Return the transform of `fit_points` on a spatial grid, and its residuals."""
    check_choice("model", model, tuple(map(str, Kind)))
    kind = Kind(model)
    here, there = (np.asarray(points, np.float64) for points in (fixed, moving))
    _check_points(here, there, space.ndim)
    to_common = space.to_one_unit()
    begin, end = apply_affine(to_common, here), apply_affine(to_common, there)
    _check_determined(begin, end, kind)
    if kind is Kind.FLOW:
        found = _spline(begin, end, space)
    else:
        matrix = invert_affine(to_common) @ fit_matrix(begin, end, kind) @ to_common
        found = FrameTransform(matrix, space, model=kind)
    missed = apply_affine(to_common, found.transform_points(here)) - end
    residuals = np.linalg.norm(missed, axis=-1)
    report = FrameReport(METRIC, float(np.sqrt(np.mean(np.square(residuals)))))
    return replace(found, reports=(report,)), residuals


def _spline(begin: Points, end: Points, space: Grid) -> FrameTransform:
    """Sample the thin-plate spline through points that lie in a world of one unit."""
    from scipy.interpolate import RBFInterpolator  # takes long to load

    spline = RBFInterpolator(begin, end, kernel="thin_plate_spline")
    to_common = space.to_one_unit()
    from_common = invert_affine(to_common)

    def moves(points: Points) -> Points:
        return apply_affine(from_common, spline(apply_affine(to_common, points)))

    return sample_map(lattice_map(moves), space)


def _check_points(fixed: Points, moving: Points, ndim: int) -> None:
    if fixed.shape != moving.shape or fixed.ndim != 2 or fixed.shape[1] != ndim:
        raise ValueError(
            f"the points of fixed and moving have shapes {fixed.shape} and {moving.shape}; give "
            f"as many of both, one row a point and {ndim} columns"
        )
    if not (np.isfinite(fixed).all() and np.isfinite(moving).all()):
        raise ValueError("a point is not finite; leave out the pairs that are not placed in both")


def _check_determined(begin: Points, end: Points, kind: Kind) -> None:
    """Raise ValueError if the points spread along too few directions for the kind."""
    ndim = begin.shape[1]
    turns = ndim if kind.includes(Kind.AFFINE) else ndim - 1
    needed = 0 if kind is Kind.TRANSLATION else turns
    for name, points in (("fixed", begin), ("moving", end)):
        rank = _spread_directions(points)
        if rank < needed or not len(points):
            raise ValueError(
                f"{len(points)} points of {name} that spread along {rank} directions do not "
                f"determine {with_article(kind)} transform, which takes {needed + 1} along "
                f"{needed}; add points, or take a simpler model"
            )


def _spread_directions(points: Points) -> int:
    """Return along how many directions points spread."""
    if not len(points):
        return 0
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return int((spread > FLAT * np.abs(points).max()).sum())
