"""The flow of two frames: found on moving as the start moves it, and judged as a whole."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.registration.evidence.flow_evidence import FlowEvidence, flow_evidence
from napari_local_ncc.registration.evidence.global_ncc import with_quality
from napari_local_ncc.registration.flow.estimate import WHOLE, iter_flow
from napari_local_ncc.transforms.displacement_field import slabs
from napari_local_ncc.transforms.registration import Registration, unmoved
from napari_local_ncc.transforms.resampling import resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.image.pairing import Pair
    from napari_local_ncc.registration.engine_thread import Watch

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
