"""The flow of two frames: found on moving as the start moves it, and judged as a whole."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np

from napari_local_ncc.deformation import field_array, slabs
from napari_local_ncc.registration._flow_evidence import FlowEvidence, flow_evidence
from napari_local_ncc.registration._result import Registration
from napari_local_ncc.registration.flow import WHOLE, iter_flow
from napari_local_ncc.resampling import resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.geometry import Grid
    from napari_local_ncc.pairing import Pair
    from napari_local_ncc.registration._report import FrameReport
    from napari_local_ncc.registration._watch import Watch

BYTES = 400  # that optical flow takes for each sample that it handles at once


def dense_flow(
    pair: Pair, start: Registration, method: str, memory: float, watch: Watch
) -> tuple[Registration, FlowEvidence]:
    """Find the flow of two frames, and compose it with its start.

    Parameters
    ----------
    pair : Pair
        Two frames: images of spatial axes alone, in the same units.
    start : Registration
        What moving is resampled through before.
    method : str
        As for `iter_flow`.
    memory : float
        Bytes to keep to, about.
    watch : Watch
        Learns the blocks done, and can stop the work between them.

    Returns
    -------
    found : Registration
        Of one frame, with the global NCC and the overlap.
    evidence : FlowEvidence
        What speaks for the flow.
    """
    grid = pair.fixed.grid
    moving = resample(pair.moving, grid, start)
    steps = iter_flow(
        pair.fixed.data, moving.data, method=method, whole=int(min(WHOLE, memory / BYTES))
    )
    with closing(steps):
        while True:
            try:
                watch.at(*next(steps))
                watch.check()
            except StopIteration as end:
                flow: NDArray[np.float32] = end.value
                break
    evidence = flow_evidence(pair.fixed.data, moving.data, flow, method, watch)
    to_world = grid.pixel_to_world[:-1, :-1]
    for box in slabs(flow.shape[1:]):
        part = (slice(None), *box)
        flow[part] = np.tensordot(to_world, flow[part], axes=1)
    alone = replace(unmoved(grid, "flow"), displacement=flow)
    watch.check()
    return with_quality(pair, alone.compose(start)), evidence


def unmoved(grid: Grid, model: str = "none", report: FrameReport | None = None) -> Registration:
    """Return the transform of a spatial grid that changes nothing."""
    field = field_array((grid.ndim, *grid.shape)) if model == "flow" else None
    nothing = np.array(np.nan)
    reports = () if report is None else (report,)
    eye = np.eye(grid.ndim + 1)
    return Registration(
        model, eye, grid, nothing, nothing, nothing, displacement=field, reports=reports
    )


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
