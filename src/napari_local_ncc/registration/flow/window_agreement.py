"""How well two images agree in small windows, by which a flow is judged."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.registration.affine.sampled_image import Matrix, Sampled

    Points = NDArray[np.float64]
    Windows = NDArray[np.float32]

SIGNIFICANT = 5.0  # standard deviations of chance; see docs/registration.md for what was measured
SIDE = {2: 256.0, 3: 64.0}  # px of an axis (geometric mean) at which detail is compared
RADIUS = {2: 4, 3: 2}  # px
DRAWN = 2048  # windows, of which WINDOWS are kept
WINDOWS = 256
CEILING = 0.99  # real images are not more alike than this other than by construction
FEWEST = 8  # windows below which nothing is said


def draw_windows(fixed: Sampled, random: np.random.Generator) -> tuple[Points, Windows]:
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
