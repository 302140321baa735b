"""Calibration: a bounded, seeded sample of unrelated structure in the textures of two images."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_local_ncc.confidence.bad_pixels import has_common_bad_pixels
from napari_local_ncc.confidence.block_grid import SIDE, has_block_grid
from napari_local_ncc.confidence.calibration import Calibration
from napari_local_ncc.confidence.contrast import relative_contrast
from napari_local_ncc.confidence.null_distribution import Null, fisher_null, fit_null
from napari_local_ncc.confidence.samples import check_axes, check_images, effective_samples
from napari_local_ncc.confidence.unrelated_pairs import (
    SHIFTS,
    TILES,
    Tile,
    places,
    read_tile,
    unrelated_views,
)
from napari_local_ncc.ncc.dispatch import local_ncc
from napari_local_ncc.parameters import (
    as_samples,
    check_alternative,
    check_limits,
    check_radius,
    check_weights,
)
from napari_local_ncc.progress import Progress, Step, stepwise

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from numpy.typing import ArrayLike, NDArray

    Slices = tuple[slice, ...]

SAMPLES = 2**17  # windows that are sorted
BLOCKS = (
    "both images lie on one grid of 8 x 8 px blocks, as JPEG leaves it: displacements of the null "
    "keep to it, but similarity at its steps is the compression's"
)
BAD_PIXELS = (
    "both images have bad pixels at the same places, as of one camera: windows that hold one are "
    "alike by it; leave them out by a mask, or replace them"
)
LOOKED_AT = 6  # tiles in which what an instrument leaves is looked for


@stepwise
def calibrate(
    fixed: ArrayLike | da.Array,
    moving: ArrayLike | da.Array,
    *,
    radius: int | Sequence[int],
    weights: str = "box",
    mask: ArrayLike | da.Array | None = None,
    min_std: float = 0.0,
    min_valid: float = 0.5,
    per_frame: bool = False,
    alternative: str = "greater",
    in_even_light: bool = False,
    seed: int = 0,
    read: Callable[[Slices], Sequence[Any]] | None = None,
) -> Generator[Progress, None, Calibration]:
    """Find out what ncc unrelated structure reaches in the texture of two images.

    `iter_calibrate` does the same tile by tile: it yields `Progress` before each, and closing it
    cancels.

    Parameters
    ----------
    fixed, moving : array_like or dask array, shape (...)
        Two images of the same shape, registered. Of dask arrays, single tiles are computed.
    radius, weights, mask, min_std, min_valid
        As for `local_ncc`.
    per_frame : bool, default False
        Whether every frame (index along axes of radius 0) gets a null of its own; else
        all share one, drawn from frames at random.
    alternative : {"greater", "two-sided"}, default "greater"
        "greater": what is related has a high ncc. "two-sided": it has a high |ncc|, as where
        contrast may be inverted.
    in_even_light : bool, default False
        Whether both images are `structure_in_even_light` already.
    seed : int, default 0
        The same seed gives the same calibration, however the images are chunked.
    read : callable, optional
        ``read(place)`` returns fixed, moving and, if there is one, the mask at a place given
        as slices. For dask arrays of which a tile would cost all chunks that it lies in;
        what it returns may be dask arrays too. Default: the arrays' own slices.

    Returns
    -------
    Calibration
        Turns ncc and `effective_samples` into confidence.

    Notes
    -----
    The null is the ncc of fixed against moving displaced by large shifts, in up to 24
    tiles, in classes of equal size by effective samples. Where that gives fewer than 60
    pairs of windows that do not overlap, Fisher's z with the effective number of samples
    stands in, which is too strict in coarse texture; `Calibration.fallback` says so. In a
    small image tiles and displacements show the same windows again: 60 pairs may come
    from 6 windows, and one image's rate of false positives varies more.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> from napari_local_ncc import calibrate
    >>> fixed = rng.normal(size=(100, 100))
    >>> calibration = calibrate(fixed, fixed + rng.normal(size=(100, 100)), radius=3)
    >>> calibration.radius, calibration.fallback
    ((3, 3), '')
    """
    check_limits(min_std, min_valid)
    check_alternative(alternative)
    images = [fixed, moving] if mask is None else [fixed, moving, mask]
    arrays = [im if isinstance(im, da.Array) else as_samples(im) for im in images]
    check_images(arrays)
    radii = check_radius(radius, arrays[0].ndim)
    check_axes(radii)
    window = _Window(
        radii, check_weights(weights), float(min_std), float(min_valid), bool(in_even_light)
    )
    is_signed = alternative == "greater"
    frames = list(np.ndindex(*_independent(arrays[0].shape, radii))) if per_frame else [None]
    tiles = [places(arrays[0].shape, radii, frame, seed) for frame in frames]
    load = partial(read_tile, read or partial(_slices, arrays), shape=arrays[0].shape, radius=radii)
    is_blocked, notes = _traces(tiles, load, radii)
    sample = partial(_sample, load, window=window, step=SIDE if is_blocked else 1)
    nulls = yield from _iter_nulls(tiles, sample, is_signed, seed)
    return Calibration(
        tuple(null or fisher_null(is_signed) for null in nulls),
        radii,
        window.weights,
        seed,
        _why_fallback([number for number, null in enumerate(nulls) if null is None], len(nulls)),
        alternative,
        notes,
        window.in_even_light,
    )


iter_calibrate = calibrate.steps


def _iter_nulls(
    tiles: list[list[Slices]],
    sample: Callable[..., list[_Sample]],
    is_signed: bool,
    seed: int,
) -> Generator[Progress, None, list[Null | None]]:
    """Sample the tiles of every null in threads; yield progress, return the nulls."""
    done, total = 0, sum(map(len, tiles))
    nulls = []
    pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="calibrate")
    try:
        for frame, where in enumerate(tiles):
            run = partial(sample, views=-(-TILES * SHIFTS // len(where)))
            # Every tile has random numbers of its own: which ends first does not matter.
            running = [pool.submit(run, at, seed=(seed, frame, k)) for k, at in enumerate(where)]
            samples = []
            for future in running:
                yield Progress(Step.CALIBRATE, done, total)
                samples += future.result()
                done += 1
            nulls.append(_null(samples, is_signed))
    finally:
        pool.shutdown(cancel_futures=True)
    return nulls


def _traces(
    tiles: list[list[Slices]], load: Callable[[Slices], Tile], radius: tuple[int, ...]
) -> tuple[bool, tuple[str, ...]]:
    """Look for blocks of JPEG and for bad pixels in a few tiles: whether there are, what to say."""
    where = [place for frame in tiles for place in frame][:LOOKED_AT]
    pairs = [(tile.fixed, tile.moving) for tile in map(load, where)]
    starts = [[part.start for part in place] for place in where]
    is_blocked = has_block_grid(pairs, starts, radius)
    found = ((is_blocked, BLOCKS), (has_common_bad_pixels(pairs), BAD_PIXELS))
    return is_blocked, tuple(note for is_there, note in found if is_there)


def _independent(shape: tuple[int, ...], radius: tuple[int, ...]) -> list[int]:
    return [n for n, r in zip(shape, radius, strict=True) if not r]


def _slices(arrays: Sequence[Any], place: Slices) -> list[Any]:
    return [array[place] for array in arrays]


@dataclass(frozen=True, slots=True)
class _Window:
    radius: tuple[int, ...]
    weights: str
    min_std: float
    min_valid: float
    in_even_light: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """Ncc, effective samples and contrast of unrelated structure, shape (3, n)."""

    pairs: NDArray[np.float32]
    windows: float  # that do not overlap


def _sample(
    load: Callable[[Slices], Tile],
    place: Slices,
    *,
    window: _Window,
    step: int,
    views: int,
    seed: Sequence[int],
) -> list[_Sample]:
    """Return samples of some unrelated views of a tile."""
    rng, tile = np.random.default_rng(seed), load(place)
    found = unrelated_views(tile, window.radius, views, rng, step)
    return [_compare(view, window) for view in found]


def _compare(view: Tile, window: _Window) -> _Sample:
    """Sample a view; not all of its windows, as neighbours are much the same."""
    images = view.fixed, view.moving
    options: dict[str, Any] = {"radius": window.radius, "weights": window.weights}
    ncc = local_ncc(*images, **options, min_std=window.min_std, min_valid=window.min_valid)
    numbers = effective_samples(*images, **options, region=view.inside)
    contrast = relative_contrast(
        *images, **options, region=view.inside, in_even_light=window.in_even_light
    )
    pairs = np.stack([ncc[view.inside], numbers, contrast])
    windows = np.isfinite(pairs).all(axis=0).sum() / prod(2 * r + 1 for r in window.radius)
    pairs = pairs[:, *(slice(None, None, max(1, r // 2)) for r in window.radius)].reshape(3, -1)
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    step = max(1, -(-pairs.shape[1] * TILES * SHIFTS // SAMPLES))
    return _Sample(pairs[:, ::step], float(windows))


def _null(samples: list[_Sample], is_signed: bool) -> Null | None:
    """Fit a null to the samples of all tiles; None where they are too few."""
    if not samples:
        return None
    ncc, numbers, contrast = np.concatenate([sample.pairs for sample in samples], axis=1)
    height = ncc if is_signed else np.abs(ncc)
    return fit_null(height, numbers, contrast, sum(sample.windows for sample in samples))


def _why_fallback(poor: list[int], frames: int) -> str:
    if not poor:
        return ""
    where = f" in frames {', '.join(map(str, poor))}" if frames > 1 else ""
    return (
        f"too few windows of unrelated structure{where}: confidence is by Fisher's z with the "
        "effective number of samples, which is too strict in coarse texture"
    )
