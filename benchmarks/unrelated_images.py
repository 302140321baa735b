"""Unrelated images of many kinds, for benchmarks/calibration.py."""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import scipy.ndimage

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from numpy.typing import NDArray

    Image = NDArray[Any]

CORRELATION_LENGTHS = (0.5, 1.5, 3.0)  # px, sigma of the blur; side by side in one image
CORNER = 0.2  # of the light in the middle, where it falls off to the least


def texture(rng: Generator, shape: tuple[int, ...], sigma: float) -> Image:
    around = tuple(n + 40 for n in shape)
    blurred = scipy.ndimage.gaussian_filter(rng.normal(size=around), sigma)
    blurred = blurred[(slice(20, -20),) * len(shape)]
    return blurred / blurred.std()


def strips(rng: Generator, shape: tuple[int, ...]) -> Image:
    """Textures side by side along the last axis."""
    parts = np.array_split(np.arange(shape[-1]), len(CORRELATION_LENGTHS))
    return np.concatenate(
        [texture(rng, shape, s)[..., p] for s, p in zip(CORRELATION_LENGTHS, parts, strict=True)],
        axis=-1,
    )


def strip_classes(shape: tuple[int, ...]) -> Image:
    parts = np.array_split(np.arange(shape[-1]), len(CORRELATION_LENGTHS))
    classes = np.concatenate([np.full(p.size, k) for k, p in enumerate(parts)])
    return np.broadcast_to(classes, shape)


def unchanged(rng: Generator, t: Image) -> Image:
    return t


def gaussian(rng: Generator, t: Image) -> Image:
    return t + 0.5 * rng.normal(size=t.shape)


def poisson(rng: Generator, t: Image) -> Image:
    return rng.poisson(np.clip(20 + 8 * t, 0, None))


def gradient(rng: Generator, t: Image) -> Image:
    return t + 10 * ramp(t.shape)


def ramp(shape: tuple[int, ...]) -> Image:
    return np.linspace(0, 1, shape[-2])[:, np.newaxis] + np.linspace(0, 1, shape[-1])


NULLS = {
    "textures": unchanged,
    "with Gaussian noise": gaussian,
    "with Poisson noise": poisson,
    "on a gradient": gradient,
}


def vignette(
    shape: tuple[int, ...], y0: float = 0.0, x0: float = 0.0, corner: float = CORNER
) -> Image:
    """Light that falls off from a point to a share in the corner that is farthest."""
    y, x = (np.linspace(-1, 1, n) for n in shape)
    squares = (y[:, np.newaxis] - y0) ** 2 + (x - x0) ** 2
    return corner ** (squares / squares.max())


def side_light(shape: tuple[int, ...]) -> Image:
    """Light that falls off to a fifth from one side to the other."""
    return np.broadcast_to(np.linspace(1, CORNER, shape[-1]), shape)


LIGHTS = {
    "one vignette, by distance from its centre": vignette,
    "one vignette beside the centre": partial(vignette, y0=0.5, x0=-0.4),
    "light from one side": side_light,
    "a vignette to a twentieth": partial(vignette, corner=0.05),
    "strong structure in that vignette": partial(vignette, corner=0.05),
}


def lit(rng: Generator, shape: tuple[int, ...], *, light: str) -> Image:
    return LIGHTS[light](shape) * (1000 + 60 * texture(rng, shape, 1.2))


def strong(rng: Generator, shape: tuple[int, ...], *, light: str) -> Image:
    return LIGHTS[light](shape) * 1000 * np.exp(0.5 * texture(rng, shape, 2.0))


def compressed(rng: Generator, shape: tuple[int, ...], *, quality: int) -> Image:
    image = np.clip(128 + 30 * texture(rng, shape, 1.2), 0, 255).astype(np.uint8)
    stored = io.BytesIO()
    PIL.Image.fromarray(image).save(stored, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(stored)).astype(np.float32)


def sparse_spots(rng: Generator, shape: tuple[int, ...]) -> Image:
    spots = scipy.ndimage.gaussian_filter((rng.random(shape) < 1 / 400).astype(float), 1.5)
    return 300 * spots + rng.normal(size=shape)


def of_uneven_contrast(rng: Generator, shape: tuple[int, ...]) -> Image:
    return texture(rng, shape, 1.2) * np.exp(0.7 * texture(rng, shape, 12.0))


def photons(rng: Generator, shape: tuple[int, ...]) -> Image:
    return rng.poisson(np.clip(6 + 3 * texture(rng, shape, 1.5), 0, None)).astype(np.float32)


def saturated(rng: Generator, shape: tuple[int, ...]) -> Image:
    return np.clip(128 + 120 * texture(rng, shape, 2.0), 0, 255).round()


def cells(rng: Generator, shape: tuple[int, ...]) -> Image:
    made = texture(rng, shape, 4.0)
    return 200.0 * (made > np.quantile(made, 0.8)) + 20 * rng.normal(size=shape)


NAMES = tuple(LIGHTS)
UNEVEN: dict[str, Callable[..., Image]] = {
    NAMES[0]: partial(lit, light=NAMES[0]),
    "JPEG of quality 50": partial(compressed, quality=50),
    "sparse spots": sparse_spots,
    "uneven contrast": of_uneven_contrast,
}
SIBLINGS: dict[str, Callable[..., Image]] = {
    **{name: partial(lit, light=name) for name in NAMES[1:-1]},
    NAMES[-1]: partial(strong, light=NAMES[-1]),
    "JPEG of quality 30": partial(compressed, quality=30),
    "few photons": photons,
    "saturated": saturated,
    "cells with sharp edges": cells,
}
