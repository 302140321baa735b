"""How well two frames agree under a transform, and where a pixel ends that goes there and back."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi

from napari_local_ncc.chunked.tiles import compute_arrays
from napari_local_ncc.evidence.validity import normalized_convolution
from napari_local_ncc.geometry.affine import apply_affine, invert_affine
from napari_local_ncc.geometry.units import unit_factor
from napari_local_ncc.ncc.dispatch import local_ncc
from napari_local_ncc.transforms.report import AGREEMENT_RADIUS, Agreement, RoundTrip
from napari_local_ncc.transforms.resampling import resample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.pairing import Pair
    from napari_local_ncc.transforms.registration import Registration

COMPARED = 2**18  # px of a frame that are compared, in evenly spaced tiles
TILES = {1: 4, 2: 3, 3: 2}  # along every axis, for larger frames
QUANTILE = 1.6449  # of the normal distribution at 0.95
SAMPLES = 4096  # of fixed's pixels that make the round trip


def agreement(pair: Pair, registration: Registration | None) -> Agreement:
    """Compare two frames (spatial images) with a transform, or without one."""
    values, above = [], 0
    for fixed, moving, ncc in _compare_parts(pair, registration):
        values.append(ncc)
        above += int(np.count_nonzero(ncc > detection_threshold(fixed, moving, AGREEMENT_RADIUS)))
    ncc = np.concatenate(values)
    return Agreement(float(np.median(ncc)), above / ncc.size) if ncc.size else Agreement()


def likeness(pair: Pair, registration: Registration | None) -> float:
    """Return the mean squared local NCC of two frames; 0 where none is defined.

    Squared, since contrasts may be inverted here and there.
    """
    values = np.concatenate([ncc for _, _, ncc in _compare_parts(pair, registration)])
    return float(np.mean(np.square(values))) if values.size else 0.0


def _compare_parts(
    pair: Pair, registration: Registration | None
) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]]:
    """Yield the parts of both frames that are compared, and the local NCC where it is defined."""
    for box in compared_boxes(pair.fixed.grid):
        grid = pair.fixed.grid.crop(box)
        moved = resample(pair.moving, grid, registration)
        fixed, moving = compute_arrays(pair.fixed.data[box], moved.data)
        ncc = local_ncc(fixed, moving, radius=[min(AGREEMENT_RADIUS, n) for n in grid.shape])
        yield fixed, moving, ncc[np.isfinite(ncc)]


def detection_threshold(fixed: NDArray[Any], moving: NDArray[Any], radius: int) -> float:
    """Return the local NCC that unrelated texture exceeds in one window of twenty.

    Fisher's z of a window's NCC has the variance 1 / (n - 3), where n is the effective
    number of samples: neighbours are alike, and by Bartlett's formula N samples along an
    axis count as N / sum of ra(k) rb(k) over all lags k, with ra and rb the images'
    autocorrelations after what varies more slowly than the window has been removed.
    """
    side = 2 * radius + 1
    details = [_detail(image, side) for image in (fixed, moving)]
    count = 1.0
    for axis in range(fixed.ndim):
        lags = range(1, min(side, fixed.shape[axis]))
        alike = [_autocorrelation(detail, axis, lags) for detail in details]
        weight = 1 - np.array(lags) / side
        count *= side / max(1 + 2 * float(np.sum(weight * alike[0] * alike[1])), 1.0)
    return float(np.tanh(QUANTILE / np.sqrt(max(count - 3, 1.0))))


def _autocorrelation(image: NDArray[np.float64], axis: int, lags: range) -> NDArray[np.float64]:
    """Return the autocorrelation of a detail image along one axis."""
    lines = np.moveaxis(image, axis, 0)
    power = max(float(np.square(lines).sum()), np.finfo(float).tiny)
    return np.array([float((lines[k:] * lines[:-k]).sum()) / power for k in lags])


def _detail(image: NDArray[Any], side: int) -> NDArray[np.float64]:
    """Take off the local mean of the valid samples; invalid ones become 0."""
    valid = np.isfinite(image)
    known = image.astype(np.float64)
    mean, _ = normalized_convolution(known, valid, partial(ndi.uniform_filter, size=side))
    return np.where(valid, known - mean, 0.0)


def round_trip(there: Registration, back: Registration, pair: Pair) -> RoundTrip | None:
    """Send fixed's pixels to moving and back; None where they have no partners.

    Parameters
    ----------
    there, back : Registration
        Fixed world to moving world, and moving world to fixed world, of one frame.
    pair : Pair
        Two frames: images of spatial axes alone, in the same units.
    """
    fixed, moving = pair.fixed.grid, pair.moving.grid
    side = SAMPLES ** (1 / fixed.ndim)
    lattice = [np.unique(np.linspace(0, n - 1, int(min(n, side))).round()) for n in fixed.shape]
    pixels = np.stack(np.meshgrid(*lattice, indexing="ij"), axis=-1).reshape(-1, fixed.ndim)
    begin = apply_affine(fixed.pixel_to_world, pixels)
    partners = there.transform_points(begin)
    inside = apply_affine(invert_affine(moving.pixel_to_world), partners)
    kept = np.all((inside >= -1e-6) & (inside <= np.array(moving.shape) - 1 + 1e-6), axis=-1)
    if not kept.any():
        return None
    missed = back.transform_points(partners[kept]) - begin[kept]
    in_pixels = missed @ invert_affine(fixed.pixel_to_world)[:-1, :-1].T
    in_units = missed * [unit_factor(unit, fixed.units[-1]) for unit in fixed.units]
    quantiles = [
        float(q)
        for distance in (in_pixels, in_units)
        for q in np.quantile(np.linalg.norm(distance, axis=-1), (0.5, 0.95))
    ]
    return RoundTrip(*quantiles)


def compared_boxes(grid: Grid) -> list[tuple[slice, ...]]:
    """Return evenly spaced tiles of a frame, all of it if it is small."""
    if np.prod(grid.shape, dtype=float) <= COMPARED:
        return [tuple(slice(0, n) for n in grid.shape)]
    number = TILES.get(grid.ndim, 1)
    edge = int((COMPARED / number**grid.ndim) ** (1 / grid.ndim))
    starts = [
        np.unique(np.linspace(0, n - min(n, edge), number).astype(int)).tolist() for n in grid.shape
    ]
    sides = [min(n, edge) for n in grid.shape]
    return [
        tuple(slice(a, a + side) for a, side in zip(corner, sides, strict=True))
        for corner in product(*starts)
    ]
