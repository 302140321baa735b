"""The shift of two images in one frame, where the judge of translations applies it."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.affine import apply_affine, invert_affine
from napari_local_ncc.registration.affine.detail_search import on_lattice
from napari_local_ncc.registration.affine.sampled_image import Sampled
from napari_local_ncc.registration.translation.estimate import estimate_translation

if TYPE_CHECKING:
    from napari_local_ncc.registration.affine.sampled_image import Matrix, Vector
    from napari_local_ncc.registration.engine_thread import Watch
    from napari_local_ncc.registration.evidence.judge import Verdict

MOST_SAMPLES = 4  # times those of the larger image: what moving may have in fixed's pixels


def verified_shift(fixed: Sampled, moving: Sampled, watch: Watch) -> tuple[Matrix, Verdict] | None:
    """Return the map of a shift, and its verdict; None where a translation would be refused.

    Nor is a shift asked for where fixed's pixels are so small that moving would have many.

    Parameters
    ----------
    fixed, moving : Sampled
        Images in one frame, NaN where invalid.
    watch : Watch
        Can stop the work.
    """
    placed = _in_pixels_of(fixed, moving)
    if placed is None:
        return None
    values, origin = placed
    try:
        found = estimate_translation(fixed.values, values.values, start=origin, watch=watch)
    except ValueError:  # no shift leaves enough in common
        return None
    if not found.is_reliable:
        return None
    matrix = np.eye(fixed.ndim + 1)
    matrix[:-1, -1] = fixed.to_frame[:-1, :-1] @ (found.offset - origin)
    return matrix, found.verdict


def _in_pixels_of(fixed: Sampled, moving: Sampled) -> tuple[Sampled, Vector] | None:
    """Return moving in fixed's pixels, and where fixed's first pixel lies on it; None if too large.

    Nothing is interpolated where both have the same pixels but for an offset.
    """
    moving = moving.reduce(fixed.step)
    to_moving = invert_affine(moving.to_frame) @ fixed.to_frame
    if np.allclose(to_moving[:-1, :-1], np.eye(fixed.ndim), rtol=0, atol=1e-9):
        return moving, to_moving[:-1, -1]
    last = (n - 1 for n in moving.values.shape)
    corners = apply_affine(
        invert_affine(to_moving), np.array(list(product(*((0, n) for n in last))))
    )
    first = np.floor(corners.min(axis=0) + 1e-6)
    shape = (np.ceil(corners.max(axis=0) - 1e-6) - first + 1).astype(int)
    if shape.prod(dtype=np.float64) > MOST_SAMPLES * max(fixed.values.size, moving.values.size):
        return None
    move = np.eye(fixed.ndim + 1)
    move[:-1, -1] = first
    lattice = Sampled(np.empty(shape, np.float32), fixed.to_frame @ move)
    unit = np.eye(fixed.ndim + 1)
    return Sampled(on_lattice(moving, unit, lattice, beyond=np.nan), lattice.to_frame), -first
