"""The flow of two frames: found on moving as the start moves it, and judged as a whole."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.affine import invert_affine
from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.registration.engine import WORSE
from napari_local_ncc.registration.evidence.agreement import likeness
from napari_local_ncc.registration.evidence.global_ncc import with_quality
from napari_local_ncc.registration.flow.estimate import WHOLE, iter_flow
from napari_local_ncc.registration.flow.evidence import FlowEvidence, FlowTrial
from napari_local_ncc.registration.flow.sharpness import equally_sharp
from napari_local_ncc.registration.translation_frame import estimate_shift
from napari_local_ncc.transforms.displacement_field import slabs
from napari_local_ncc.transforms.registration import Registration
from napari_local_ncc.transforms.report import FrameReport
from napari_local_ncc.transforms.resampling import resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.image.pairing import Pair
    from napari_local_ncc.registration.engine_thread import Watch
    from napari_local_ncc.registration.settings import Settings
    from napari_local_ncc.transforms.displacement_field import Jacobian

GAINED = 2.5  # standard errors from which a flow is better than none: chance gives 6 of 1000
FOLDED = 1e-3  # share of cells: noise folds space here and there, a wrong flow more
AS_FINE = 0.02  # of a pixel's length: difference that does not count
BYTES = 400  # that optical flow takes for each sample that it handles at once


def estimate_frame(
    pair: Pair, settings: Settings, start: Registration | None, watch: Watch
) -> Registration:
    """Find a flow, and judge whether it is better than chance, and than its start.

    Parameters and result are those of `Engine.estimate`.
    """
    begin = _verified_shift(pair, settings, watch) if start is None else start
    found, evidence, remark = dense_flow(pair, begin, settings.method, settings.memory, watch)
    watch.check()
    none, held, after = [likeness(pair, transform) for transform in (None, begin, found)]
    before = {"no transform": none, "its start": held}
    doubts = [*_chance(evidence), *_worse(before, after)]
    gains = not doubts and _gains(evidence, max(before.values()), after)
    is_applied = settings.keep_doubtful or gains
    volumes = found.jacobian()
    folds = _folds(volumes) if doubts or is_applied else ""
    report = FrameReport(
        "mean squared local ncc",
        after,
        significance=evidence.verdict.significance,
        gain=evidence.gain,
        applied=is_applied,
        note="; ".join(filter(None, [*doubts, folds, remark])),
        remark=remark,
        volumes=volumes,
    )
    if not is_applied:
        unbent = Registration.identity(pair.fixed.grid, dense=True)
        found = with_quality(pair, unbent.compose(begin))
    return replace(found, reports=(report,))


def _chance(evidence: FlowEvidence) -> list[str]:
    """Say of a flow that chance may have found it."""
    if evidence.verdict.is_significant:
        return []
    return [
        "no flow is reliably better than flows of unrelated structure "
        f"({evidence.verdict.describe()})"
    ]


def _worse(before: dict[str, float], after: float) -> list[str]:
    """Say of a flow that it agrees worse than something simpler."""
    worse = [
        f"the flow agrees worse than {what} (mean squared local NCC {after:.3f} after {value:.3f})"
        for what, value in before.items()
        if not after >= value - WORSE
    ]
    return [" and ".join(worse)] if worse else []


def _verified_shift(pair: Pair, settings: Settings, watch: Watch) -> Registration:
    """Return the shift of two frames; none where that is doubtful, or none within its error."""
    alone = replace(settings, model="translation", keep_doubtful=False)
    try:
        found = estimate_shift(pair, alone, None, watch)
    except ValueError:  # no structure to tell a shift by: the flow's own checks say more
        return Registration.identity(pair.fixed.grid)
    report = found.reports[0]
    is_sure = report.applied and not report.doubt and not _length_px(found) <= report.error95_px
    return found if is_sure else Registration.identity(pair.fixed.grid)


def _length_px(shift: Registration) -> float:
    """Return the length of a shift, in px of fixed."""
    to_pixels = invert_affine(shift.grid.pixel_to_world)[:-1, :-1]
    return float(np.linalg.norm(to_pixels @ shift.matrix[:-1, -1]))


def _gains(evidence: FlowEvidence, before: float, after: float) -> bool:
    """Whether images that correspond agree better, at places that the flow did not see too."""
    return after > before and evidence.gain >= GAINED


def _folds(volumes: Jacobian) -> str:
    """Say of a flow that folds space in more than a few cells, as no tissue does."""
    if volumes.folds <= FOLDED * volumes.cells:
        return ""
    share = volumes.folds / volumes.cells
    return (
        f"space is folded in {share:.2%} of the cells: there, one image hides what the other "
        "shows (an occlusion), or the images do not correspond"
    )


def _is_as_fine(pair: Pair, start: Registration) -> bool:
    """Whether moving's pixels are as large as fixed's, where the start puts them."""
    steps = (
        invert_affine(pair.moving.grid.pixel_to_world)
        @ start.matrix
        @ pair.fixed.grid.pixel_to_world
    )[:-1, :-1]
    return bool(np.abs(np.linalg.norm(steps, axis=0) - 1).max() < AS_FINE)


def dense_flow(
    pair: Pair, start: Registration, method: str, memory: float, watch: Watch
) -> tuple[Registration, FlowEvidence, str]:
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
    said : str
        What was smoothed, see `equally_sharp`; empty if nothing.
    """
    grid = pair.fixed.grid
    moving = resample(pair.moving, grid, start)
    taken = pair.moving if _is_as_fine(pair, start) else moving
    one, two, said = equally_sharp(pair.fixed.data, moving.data, taken.data)
    trial = FlowTrial.prepare(one, two, method)
    watch.check()
    steps = iter_flow(
        one,
        two,
        method=method,
        whole=int(min(WHOLE, memory / BYTES)),
        chance=trial.chance,
    )
    with closing(steps):
        while True:
            try:
                watch.at(*next(steps))
                watch.check()
            except StopIteration as end:
                flow: NDArray[np.float32] = end.value
                break
    evidence = trial.weigh(flow, method, watch)
    to_world = grid.pixel_to_world[:-1, :-1]
    for box in slabs(flow.shape[1:]):
        part = (slice(None), *box)
        flow[part] = np.tensordot(to_world, flow[part], axes=1)
    alone = Registration.from_matrix(np.eye(grid.ndim + 1), grid, Kind.FLOW, displacement=flow)
    watch.check()
    return with_quality(pair, alone.compose(start)), evidence, said
