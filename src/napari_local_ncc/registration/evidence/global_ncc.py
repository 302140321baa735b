"""The NCC of two whole frames before and after a transform, in chunks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask
import numpy as np

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
    before, after = dask.compute(*sums, scheduler="threads", callbacks=[])
    share = sum(m.count for m in after) / max(sum(m.fixed for m in after), 1)
    return replace(
        found,
        ncc_before=np.asarray(_ncc(before)),
        ncc_after=np.asarray(_ncc(after)),
        overlap=np.asarray(share),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Moments:
    """Of the valid pairs of one chunk: their number, means, and scatter; and fixed's number."""

    count: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]
    fixed: int


def _moments(fixed: da.Array, moving: da.Array) -> list[Any]:
    """Return the lazy moments of every chunk."""
    chunks = zip(
        fixed.to_delayed().ravel(), moving.rechunk(fixed.chunks).to_delayed().ravel(), strict=True
    )
    return [dask.delayed(_moments_of)(a, b) for a, b in chunks]


def _moments_of(fixed: NDArray[Any], moving: NDArray[Any]) -> _Moments:
    has_fixed = np.isfinite(fixed)
    valid = has_fixed & np.isfinite(moving)
    pairs = np.stack([image[valid].astype(np.float64) for image in (fixed, moving)])
    mean = pairs.mean(axis=1) if pairs.size else np.zeros(2)
    rest = pairs - mean[:, np.newaxis]
    scatter = np.einsum("in,jn->ij", rest, rest)
    return _Moments(pairs.shape[1], mean, scatter, int(has_fixed.sum()))


def _ncc(chunks: list[_Moments]) -> float:
    """Put chunks together: scatter within them and between their means."""
    count = np.array([chunk.count for chunk in chunks], np.float64)
    if not count.sum():
        return np.nan
    mean = np.stack([chunk.mean for chunk in chunks])
    apart = mean - count @ mean / count.sum()
    scatter = sum(chunk.scatter for chunk in chunks) + np.einsum("n,ni,nj", count, apart, apart)
    spread = np.sqrt(scatter[0, 0] * scatter[1, 1])
    return float(scatter[0, 1] / spread) if spread > 0 else np.nan
