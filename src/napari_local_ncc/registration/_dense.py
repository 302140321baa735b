"""From a pair of images to a flow, frame by frame: the start, the blocks, the verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np

from napari_local_ncc.deformation import field_array, slabs
from napari_local_ncc.progress import Progress
from napari_local_ncc.registration._result import Registration
from napari_local_ncc.registration.flow import iter_flow
from napari_local_ncc.resampling import resample

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_local_ncc.geometry import Grid
    from napari_local_ncc.image import SpatialImage
    from napari_local_ncc.pairing import Pair

    Frames = list[tuple[int, ...]]


def iter_dense(
    pair: Pair, times: list[Frames], start: Registration | None, method: str
) -> Generator[Progress, None, Registration]:
    """Estimate a flow for every time point, after the start has moved moving.

    Parameters
    ----------
    pair : Pair
        The images, masked.
    times : list of list of tuple of int
        The frames; those in one list share a flow, found on their mean.
    start : Registration or None
        What moving is resampled through before; the flow found is composed with it.
    method : str
        As for `iter_flow`.

    Yields
    ------
    Progress
        Blocks done and to do, of all time points.

    Returns
    -------
    Registration
        A time point that cannot be registered moves as the nearest that can; its NCC is NaN.
    """
    grid = pair.fixed.grid
    start = identity(grid) if start is None else identity(grid).compose(start)
    started = resample(pair.moving, grid, start)
    field = field_array((*grid.series_shape, grid.spatial_ndim, *grid.space().shape))
    failed: dict[int, ValueError] = {}
    for k, indices in enumerate(times):
        try:
            flow = yield from _one_flow(pair.fixed, started, indices, method, (k, len(times)))
        except ValueError as error:  # a blank frame, say
            failed[k] = error
        else:
            for index in indices:
                field[index] = flow
    if len(failed) == len(times):
        raise failed[0]
    known = [k for k in range(len(times)) if k not in failed]
    for k in failed:
        nearest = known[np.argmin(np.abs(np.array(known) - k))]
        for index in times[k]:
            field[index] = field[times[nearest][0]]
    alone = replace(identity(grid), model="flow", displacement=field)
    yield Progress("compare", 0, 1)
    return _judged(pair, alone.compose(start), [index for k in failed for index in times[k]])


def identity(grid: Grid) -> Registration:
    """Return the transform that changes nothing, for every frame of a grid."""
    nothing = np.full(grid.series_shape, np.nan)
    eye = np.eye(grid.spatial_ndim + 1)
    matrix = np.broadcast_to(eye, (*grid.series_shape, *eye.shape))
    return Registration("none", matrix, grid, nothing, nothing, nothing)


def _one_flow(
    fixed: SpatialImage,
    moving: SpatialImage,
    indices: Frames,
    method: str,
    place: tuple[int, int],
) -> Generator[Progress, None, NDArray[np.float32]]:
    """Estimate the flow of one time point, in world units."""
    a, b = (_mean([image.data[index] for index in indices]) for image in (fixed, moving))
    steps = iter_flow(a, b, method=method)
    while True:
        try:
            done, total = next(steps)
        except StopIteration as end:
            flow: NDArray[np.float32] = end.value
            break
        yield Progress("register", place[0] * total + done, place[1] * total)
    to_world = fixed.grid.space().pixel_to_world[:-1, :-1]
    for box in slabs(flow.shape[1:]):
        part = (slice(None), *box)
        flow[part] = np.tensordot(to_world, flow[part], axes=1)
    return flow


def _mean(frames: list[da.Array]) -> da.Array:
    """Return the mean of some frames, lazily; of one, itself."""
    return frames[0] if len(frames) == 1 else da.stack(frames).mean(axis=0)


def _judged(pair: Pair, found: Registration, failed: Frames) -> Registration:
    """Say what the transform does to the NCC, and how much of fixed has a partner."""
    grid = found.grid
    quality = np.full((*grid.series_shape, 3), np.nan)
    images = [resample(pair.moving, grid, transform).data for transform in (None, found)]
    for index in np.ndindex(grid.series_shape):
        if index not in failed:
            sums = [_moments(pair.fixed.data[index], image[index]) for image in images]
            before, after = dask.compute(*sums, scheduler="threads", callbacks=[])
            share = sum(m.count for m in after) / max(sum(m.fixed for m in after), 1)
            quality[index] = _ncc(before), _ncc(after), share
    before, after, overlap = np.moveaxis(quality, -1, 0)
    return replace(found, ncc_before=before, ncc_after=after, overlap=overlap)


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
