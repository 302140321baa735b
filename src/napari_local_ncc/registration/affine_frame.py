"""The rigid, similarity or affine transform of two frames, in the world."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.chunked.tiles import computed
from napari_local_ncc.geometry.affine import invert_affine
from napari_local_ncc.registration.affine.estimate import AffineFit, estimate_affine
from napari_local_ncc.registration.evidence.significance import SIGNIFICANT
from napari_local_ncc.transforms.registration import Registration
from napari_local_ncc.transforms.report import FrameReport

if TYPE_CHECKING:
    from napari_local_ncc.geometry.kind import Kind
    from napari_local_ncc.image.pairing import Pair
    from napari_local_ncc.registration.engine_thread import Watch
    from napari_local_ncc.registration.settings import Settings


def estimate_frame(
    kind: Kind, pair: Pair, settings: Settings, start: Registration | None, watch: Watch
) -> Registration:
    """Find the transform of a kind; other parameters and result are those of `Engine.estimate`."""
    space = pair.fixed.grid
    to_common = space.to_one_unit()
    from_common = invert_affine(to_common)
    common = (space.units[-1],) * space.ndim
    found = estimate_affine(
        computed(pair.fixed.data),
        computed(pair.moving.data),
        model=kind,
        fixed_to_world=space.in_units(common).pixel_to_world,
        moving_to_world=pair.moving.grid.in_units(common).pixel_to_world,
        metric=settings.metric,
        start=None if start is None else to_common @ start.matrix @ from_common,
        keep_doubtful=settings.keep_doubtful,
        watch=watch,
    )
    report = FrameReport(
        settings.metric,
        found.metric,
        found.iterations,
        found.converged,
        found.significance,
        found.is_applied,
        _doubts(found, kind),
    )
    return Registration(
        settings.model,
        from_common @ found.matrix @ to_common,
        space,
        np.array(found.ncc_before),
        np.array(found.ncc_after),
        np.array(found.overlap),
        reports=(report,),
    )


def _doubts(found: AffineFit, kind: Kind) -> str:
    """Say what there is to say against a transform, if anything."""
    doubts = [] if found.converged else ["the optimiser ended before an optimum"]
    if not found.significance >= SIGNIFICANT:
        doubts.append(
            f"no {kind} transform is reliably better than chance "
            f"({found.significance:.1f} standard deviations of {SIGNIFICANT:g} needed)"
        )
    return "; ".join(doubts)
