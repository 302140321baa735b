"""A pattern that stays with the camera: pixels, columns or lines that two frames share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.evidence.pearson import pearson
from napari_local_ncc.evidence.samples import samples_per_independent_one
from napari_local_ncc.evidence.stripes import medians

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Values = NDArray[np.floating]
    Flags = NDArray[np.bool_]

CERTAIN = 6.0  # standard errors of the correlation
READ = 256  # px of every axis, in the middle of the images


def has_sensor_pattern(
    fixed: Values,
    moving: Values,
    shift: Sequence[int],
    fixed_valid: Flags | None = None,
    moving_valid: Flags | None = None,
) -> bool:
    """Say whether two frames, whose scene moved, share fine structure where nothing moved.

    A scene is blurred by optics; from pixel to pixel it changes little. What a sensor adds
    does not know its neighbours. Frames of a moved scene whose second differences agree at no
    shift, and less at the scene's, show the same pixels of a camera; so do medians of columns or
    of lines whose second differences agree like that.

    Parameters
    ----------
    fixed, moving : ndarray of float, of one shape
        Frames of one camera, finite where valid.
    shift : sequence of int
        Pixel p of fixed shows what pixel p + shift of moving shows. All 0: the scene did not
        move, and nobody can tell.
    fixed_valid, moving_valid : ndarray of bool, optional
        True where samples count.
    """
    if fixed.shape != moving.shape or not any(shift):
        return False
    middle = tuple(slice(max(0, (n - READ) // 2), (n + READ) // 2) for n in fixed.shape)
    one, known = _second_differences(fixed, fixed_valid, middle)
    two, also = _second_differences(moving, moving_valid, middle)
    if one.size == 0:
        return False
    known_values = (_known(fixed, fixed_valid, middle), _known(moving, moving_valid, middle))
    if any(
        _stripes_stay(*known_values, axis, step)
        for axis, step in enumerate(shift)
        if step and fixed.ndim > 1
    ):
        return True
    return _stays(one, two, known, also, shift)


def _stripes_stay(fixed: Values, moving: Values, axis: int, step: int) -> bool:
    """Say whether two images share what varies along one axis alone, as columns do.

    Their samples are NaN where invalid.
    """
    lines = (np.moveaxis(i, axis, -1).reshape(-1, i.shape[axis]) for i in (fixed, moving))
    one, two = (np.diff(medians(part), 2) for part in lines)
    return _stays(one, two, np.isfinite(one), np.isfinite(two), [step])


def _known(image: Values, valid: Flags | None, box: tuple[slice, ...]) -> Values:
    """Return a box of an image, NaN where it is not valid."""
    return image[box] if valid is None else np.where(valid[box], image[box], np.nan)


def _stays(
    one: NDArray[np.float64],
    two: NDArray[np.float64],
    known: Flags,
    also: Flags,
    shift: Sequence[int],
) -> bool:
    """Say whether second differences agree at no shift, for certain, and less at a shift."""
    worth = samples_per_independent_one(np.where(known, one, 0), np.where(also, two, 0))
    still, count = _agreement(one, two, known, also, [0] * one.ndim)
    moved, _ = _agreement(one, two, known, also, shift)
    if not np.isfinite(still) or not np.isfinite(worth):
        return False
    certain = still * np.sqrt(max(count / worth - 3, 0)) > CERTAIN
    return bool(certain and not still <= moved)


def _second_differences(
    image: Values, valid: Flags | None, box: tuple[slice, ...]
) -> tuple[NDArray[np.float64], Flags]:
    """Return the second differences along all axes in a box, and where they are known."""
    values = image[box]
    differences = values.astype(np.float64)
    known = np.isfinite(values) if valid is None else valid[box] & np.isfinite(values)
    differences = np.where(known, differences, 0.0)
    for axis, n in enumerate(values.shape):
        if n > 2:
            low, middle, high = ((slice(None),) * axis + (slice(k, n - 2 + k),) for k in range(3))
            differences = differences[low] - 2 * differences[middle] + differences[high]
            known = known[low] & known[middle] & known[high]
    return differences, known


def _agreement(
    one: NDArray[np.float64],
    two: NDArray[np.float64],
    known: Flags,
    also: Flags,
    shift: Sequence[int],
) -> tuple[float, int]:
    """Return Pearson's r at a shift, and the number of samples; NaN where none are common."""
    sides = list(zip(shift, one.shape, strict=True))
    if any(abs(s) >= n for s, n in sides):
        return np.nan, 0
    here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in sides)
    there = tuple(slice(max(0, s), n + min(0, s)) for s, n in sides)
    both = known[here] & also[there]
    return pearson(one[here][both], two[there][both]), int(np.count_nonzero(both))
