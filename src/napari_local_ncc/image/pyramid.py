"""Coarser copies of a map, for viewing: means of what is defined."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.evidence.blocks import block_means

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SMALLEST_PLANE = 512  # px: a pyramid ends below it
FEW = 2**19  # samples that NumPy averages in less time than loading Numba takes, some 30 times over


def reduce_by(samples: NDArray[Any], factors: Sequence[int]) -> NDArray[Any]:
    """Return the mean of the defined samples of every block, NaN where there are none.

    Of whole numbers, which may be labels, the first of every block.
    """
    if samples.dtype.kind != "f":
        return samples[tuple(slice(None, None, factor) for factor in factors)]
    if max(factors[:-3], default=1) > 1:
        means, defined = block_means(samples, factors, np.isfinite(samples), 0, to_the_end=True)
        if defined is not None:
            means = np.where(defined, means, np.nan)
        return means.astype(np.float32)
    ones = (1,) * max(4 - samples.ndim, 0)  # axes that it lacks
    fine = samples.astype(np.result_type(samples.dtype, np.float32), copy=False)
    shape = [-(-n // f) for n, f in zip(samples.shape, factors, strict=True)]
    coarse = np.empty(shape, np.float32)
    last = (*ones, *factors)[-3:]
    four = (-1, *(*ones, *samples.shape)[-3:])
    pair = (fine.reshape(four), coarse.reshape((-1, *(*ones, *shape)[-3:])))
    if samples.size <= FEW and "numba" not in sys.modules:  # as where others compute the map
        mean_of_few(*pair, *last)
    else:
        from napari_local_ncc.ncc.kernels.reduce import mean_of_blocks

        mean_of_blocks(*pair, *last)
    return coarse


def mean_of_few(fine: NDArray[Any], coarse: NDArray[np.float32], *factors: int) -> None:
    """Fill `coarse` as `ncc.kernels.reduce.mean_of_blocks` does, to the last bit, by NumPy."""
    total, count = np.zeros(coarse.shape), np.zeros(coarse.shape, np.intp)
    for first in np.ndindex(*factors):  # in the order of the kernel's sums
        steps = (slice(at, None, factor) for at, factor in zip(first, factors, strict=True))
        part = fine[(slice(None), *steps)]
        here = tuple(slice(n) for n in part.shape)
        defined = np.isfinite(part)
        total[here] += np.where(defined, part, 0)
        count[here] += defined
    with np.errstate(invalid="ignore", over="ignore"):  # 0 / 0 where nothing is defined
        coarse[...] = total / count


def level_shapes(shape: tuple[int, ...], spatial: Sequence[bool]) -> list[tuple[int, ...]]:
    """Return the shapes of the levels of a pyramid, from fine to coarse."""
    shapes = [tuple(shape)]
    while max(shapes[-1][-2:]) >= SMALLEST_PLANE and any(spatial[-2:]):
        shapes.append(
            tuple(-(-n // 2) if s else n for s, n in zip(spatial, shapes[-1], strict=True))
        )
    return shapes


def write_levels(levels: Sequence[Any], location: tuple[slice, ...], samples: NDArray[Any]) -> None:
    """Write a part of the finest level, and what it is at the coarser ones.

    Parameters
    ----------
    levels : sequence of array
        Each the mean of the one before; NumPy or Zarr.
    location : tuple of slice
        The part of ``levels[0]``: whole blocks of samples that the coarser levels average.
    samples : ndarray
        Its samples.
    """
    levels[0][location] = samples
    for fine, coarse in pairwise(levels):
        factors = [-(-n // m) for n, m in zip(fine.shape, coarse.shape, strict=True)]
        location = tuple(
            slice(part.start // f, -(-part.stop // f))
            for part, f in zip(location, factors, strict=True)
        )
        samples = reduce_by(samples, factors)
        coarse[location] = samples


def update_pyramid(levels: Sequence[Any], location: tuple[slice, ...]) -> None:
    """Bring the coarser levels up to date with a part of the finest that has changed.

    Parameters
    ----------
    levels : sequence of array
        Of the shapes that `level_shapes` gives; NumPy or Zarr.
    location : tuple of slice
        The part of ``levels[0]``; plain slices with a start and a stop.
    """
    for fine, coarse in pairwise(levels):
        factors = _factors(fine.shape, coarse.shape)
        within = list(zip(location, factors, strict=True))
        location = tuple(slice(part.start // f, -(-part.stop // f)) for part, f in within)
        source = tuple(
            slice(part.start * f, min(part.stop * f, n))
            for part, f, n in zip(location, factors, fine.shape, strict=True)
        )
        coarse[location] = reduce_by(fine[source], factors)


def _factors(fine: tuple[int, ...], coarse: tuple[int, ...]) -> list[int]:
    return [1 if n == m else 2 for n, m in zip(fine, coarse, strict=True)]
