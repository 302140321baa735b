"""Whether a transform is better than chance: the detail must fit here, and not a little beside."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.affine import invert_affine
from napari_local_ncc.registration.affine.sampled_image import Sampled, frame_of, to_unit_range

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.registration.affine.sampled_image import Matrix

    Points = NDArray[np.float64]
    Windows = NDArray[np.float32]

SIGNIFICANT = 5.0  # standard deviations of chance; see docs/registration.md for what was measured
SIDE = {2: 256.0, 3: 64.0}  # px of an axis (geometric mean) at which detail is compared
RADIUS = {2: 4, 3: 2}  # px
DRAWN = 2048  # windows, of which WINDOWS are kept
WINDOWS = 256
DISPLACED = 24
NEAREST, FARTHEST = 0.12, 0.4  # displacement, in units of the frame (fixed's rms radius)
CEILING = 0.99  # real images are not more alike than this other than by construction
SHORTEST = 4  # px of every axis
FEWEST = 8  # windows, or displaced positions, below which nothing is said


def significance_of(fixed: Sampled, moving: Sampled, matrix: Matrix, seed: int = 0) -> float:
    """Return the `significance` of a transform of images as they lie in the world.

    Parameters
    ----------
    fixed, moving : Sampled
        Images in the world.
    matrix : ndarray, shape (ndim + 1, ndim + 1)
        Maps fixed world to moving world.
    seed : int, default 0
        Of the windows and displacements.

    Returns
    -------
    float
        NaN also where there are not 2 or 3 axes, or too few samples or no contrast.
    """
    if fixed.ndim not in SIDE or min(*fixed.values.shape, *moving.values.shape) < SHORTEST:
        return np.nan
    to_frame = frame_of(fixed)
    spacing = _spacing_for(fixed, moving)
    framed = []
    for image in (fixed, moving):
        small = image.reduce(spacing)
        if small.count < FEWEST or np.nanmin(small.values) == np.nanmax(small.values):
            return np.nan
        framed.append(Sampled(to_unit_range(small.values), to_frame @ small.to_frame))
    return significance(framed[0], framed[1], to_frame @ matrix @ invert_affine(to_frame), seed)


def _spacing_for(fixed: Sampled, moving: Sampled) -> float:
    """Return the spacing at which detail is compared."""
    finest = max(image.spacing.min() for image in (fixed, moving))
    return max(finest, float(np.prod(fixed.extent)) ** (1 / fixed.ndim) / SIDE[fixed.ndim])


def significance(fixed: Sampled, moving: Sampled, matrix: Matrix, seed: int) -> float:
    """Return how far the agreement of detail stands out from that at displaced positions.

    The agreement is the rms correlation in small windows (as Fisher's z): it knows neither the
    sign nor the scale of a contrast, and an optimiser that matches large bright things with
    large bright things does not raise it. The same windows displaced by 5 to 15 % of the
    field hold the same texture, and no correspondence.

    Parameters
    ----------
    fixed, moving : Sampled
        Images in one frame whose unit is fixed's rms radius.
    matrix : ndarray, shape (ndim + 1, ndim + 1)
        Maps fixed's frame to moving's.
    seed : int
        Of the windows and displacements.

    Returns
    -------
    float
        Standard deviations of the displaced agreements above their mean; NaN where too few
        windows have structure in both images.
    """
    ndim = fixed.ndim
    spacing = _spacing_for(fixed, moving)
    fixed, moving = fixed.reduce(spacing), moving.reduce(spacing)
    random = np.random.default_rng(seed)
    points, values = drawn_windows(fixed, random)
    found = agreement_of(points, values, moving, matrix)
    chance = []
    for _ in range(DISPLACED):
        step = random.normal(size=ndim)
        displaced = np.eye(ndim + 1)
        displaced[:-1, -1] = step / np.linalg.norm(step) * random.uniform(NEAREST, FARTHEST)
        chance.append(agreement_of(points, values, moving, matrix @ displaced))
    known = np.array(chance)[np.isfinite(chance)]
    spread = float(known.std()) if known.size >= FEWEST else 0.0
    return (found - float(known.mean())) / spread if spread > 0 else np.nan


def drawn_windows(fixed: Sampled, random: np.random.Generator) -> tuple[Points, Windows]:
    """Draw windows, rather where there is structure than in an empty field.

    Returns
    -------
    points : ndarray, shape (window, sample, ndim)
        Where their samples are, in the frame.
    values : ndarray, shape (window, sample)
        What they are.
    """
    shape = np.array(fixed.values.shape)
    radius = np.minimum(RADIUS[fixed.ndim], (shape - 1) // 2)
    sides = zip(radius, shape - radius, strict=True)
    centres = np.stack([random.integers(low, high, DRAWN) for low, high in sides], axis=-1)
    offsets = np.array(list(product(*(range(-r, r + 1) for r in radius))))
    pixels = centres[:, np.newaxis] + offsets
    values = fixed.values[tuple(np.moveaxis(pixels, -1, 0))]
    contrast = np.std(np.where(np.isfinite(values), values, 0), axis=1) + 1e-6
    odds = contrast / contrast.sum(dtype=np.float64)
    kept = random.choice(DRAWN, WINDOWS, replace=False, p=odds / odds.sum())
    places = fixed.place(pixels[kept].reshape(-1, fixed.ndim))
    return places.reshape(*pixels[kept].shape), values[kept]


def agreement_of(points: Points, values: Windows, moving: Sampled, matrix: Matrix) -> float:
    """Fisher's z of the rms correlation of the windows that are half valid and not flat."""
    partners = moving.read(points.reshape(-1, moving.ndim) @ matrix[:-1, :-1].T + matrix[:-1, -1])
    partners = partners.reshape(values.shape)
    valid = np.isfinite(values) & np.isfinite(partners)
    usable = 2 * valid.sum(axis=1) >= values.shape[1]
    valid = valid[usable]
    count = valid.sum(axis=1, keepdims=True)
    a, b = (np.where(valid, x[usable], 0) for x in (values, partners))
    a, b = (np.where(valid, x - x.sum(axis=1, keepdims=True) / count, 0) for x in (a, b))
    aa, ab, bb = ((x * y).sum(axis=1, dtype=np.float64) for x, y in ((a, a), (a, b), (b, b)))
    textured = np.minimum(aa, bb) > 1e-5 * count[:, 0]  # values lie in [0, 1]
    if np.count_nonzero(textured) < FEWEST:
        return np.nan
    power = float(np.mean(ab[textured] ** 2 / (aa[textured] * bb[textured])))
    return float(np.arctanh(min(np.sqrt(power), CEILING)))
