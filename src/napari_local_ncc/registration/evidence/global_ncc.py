"""The NCC of two whole frames before and after a transform, in chunks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
from dask.threaded import get as get_in_threads

from napari_local_ncc.chunked.tiles import compute_arrays
from napari_local_ncc.evidence.pearson import PairMoments
from napari_local_ncc.registration.evidence.agreement import compared_boxes
from napari_local_ncc.transforms.resampling import resample

if TYPE_CHECKING:
    import dask.array as da
    from numpy.typing import NDArray

    from napari_local_ncc.image.pairing import Pair
    from napari_local_ncc.transforms.registration import Registration


def with_quality(pair: Pair, found: Registration) -> Registration:
    """Add what the transform does to the NCC, and how much of fixed has a partner."""
    images = [resample(pair.moving, found.grid, t).data for t in (None, found)]
    sums = [_moments(pair.fixed.data, image) for image in images]
    before, after = dask.compute(*sums, scheduler=get_in_threads, callbacks=[])
    (first, _), (last, samples) = (_put_together(chunks) for chunks in (before, after))
    return replace(
        found,
        ncc_before=np.asarray(first.pearson(flat=0.0)),
        ncc_after=np.asarray(last.pearson(flat=0.0)),
        overlap=np.asarray(last.count / max(samples, 1)),
    )


def with_sampled_ncc(pair: Pair, found: Registration) -> Registration:
    """Add what the transform does to the NCC, from evenly spaced parts of large frames."""
    boxes = compared_boxes(pair.fixed.grid)
    fixed = [pair.fixed.data[box] for box in boxes]
    moving = [
        resample(pair.moving, pair.fixed.grid.crop(box), transform).data
        for transform in (None, found)
        for box in boxes
    ]
    parts = compute_arrays(*fixed, *moving)
    before, after = (
        PairMoments.of_parts(
            [_moments_of(*part)[0] for part in zip(parts[: len(boxes)], moved, strict=True)]
        )
        for moved in (parts[len(boxes) : 2 * len(boxes)], parts[2 * len(boxes) :])
    )
    return replace(
        found,
        ncc_before=np.asarray(before.pearson(flat=0.0)),
        ncc_after=np.asarray(after.pearson(flat=0.0)),
    )


def _moments(fixed: da.Array, moving: da.Array) -> list[Any]:
    """Return the lazy moments of every chunk, and how many samples of fixed it has."""
    chunks = zip(
        fixed.to_delayed().ravel(), moving.rechunk(fixed.chunks).to_delayed().ravel(), strict=True
    )
    return [dask.delayed(_moments_of)(a, b) for a, b in chunks]


def _moments_of(fixed: NDArray[Any], moving: NDArray[Any]) -> tuple[PairMoments, int]:
    has_fixed = np.isfinite(fixed)
    valid = has_fixed & np.isfinite(moving)
    return PairMoments.of(fixed[valid], moving[valid]), int(has_fixed.sum())


def _put_together(chunks: list[tuple[PairMoments, int]]) -> tuple[PairMoments, int]:
    moments, samples = zip(*chunks, strict=True)
    return PairMoments.of_parts(moments), sum(samples)
