"""One pair of frames: let the engine find the transform, and say what it is worth."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.geometry.units import PIXEL, unit_symbol
from napari_local_ncc.image.pairing import Pair
from napari_local_ncc.registration.engines import ENGINES
from napari_local_ncc.registration.evidence.agreement import agreement, round_trip
from napari_local_ncc.registration.evidence.global_ncc import with_quality
from napari_local_ncc.transforms.registration import Registration
from napari_local_ncc.transforms.report import FrameReport

if TYPE_CHECKING:
    from napari_local_ncc.registration.engine_thread import Watch
    from napari_local_ncc.registration.settings import Settings

ASTRAY = 2.0  # px: median round trip from which one of the two ways is wrong


def fit_frames(
    pair: Pair, settings: Settings, start: Registration | None, watch: Watch
) -> Registration:
    """Estimate the transform of one pair of spatial images.

    Parameters
    ----------
    pair : Pair
        Two frames: images of spatial axes alone, in the same units.
    settings : Settings
        Model, metric and so on.
    start : Registration or None
        Of one frame, to begin at; None searches for starts (a flow: for the translation).
    watch : Watch
        Learns the metric, and can stop the engine.

    Returns
    -------
    Registration
        Of one frame, with its report: what was found; the start (the identity, if there is
        none) where that is doubtful, unless doubtful results are to be kept.
    """
    found = _estimate(pair, settings, start, watch)
    if start is not None:
        found = add_doubts(found, *_doubts_of_start(found, start))
    if settings.consistency:
        watch.check()
        found = _there_and_back(pair, settings, found, start, watch)
    return found


def _estimate(
    pair: Pair, settings: Settings, start: Registration | None, watch: Watch
) -> Registration:
    """Let the engine of the model work, and fill in what it does not say."""
    found = ENGINES[settings.model].estimate(pair, settings, start, watch)
    found = replace(found, model=settings.model)
    if np.isnan(found.ncc_after):
        found = with_quality(pair, found)
    if found.reports:
        return found
    return replace(found, reports=(FrameReport("ncc", float(found.ncc_after)),))


def _doubts_of_start(found: Registration, start: Registration) -> list[str]:
    """Say what there is to say against a start that is built upon, or held."""
    doubts = []
    worse = abs(float(found.ncc_after)) < abs(float(found.ncc_before))
    if not found.reports[0].applied and worse:
        doubts.append(
            f"the start is held although the images agree worse there (global NCC "
            f"{float(found.ncc_after):.3f} after {float(found.ncc_before):.3f})"
        )
    if start.reports and start.reports[0].doubt:
        doubts.append(f"of its start: {start.reports[0].doubt}")
    return doubts


def _there_and_back(
    pair: Pair, settings: Settings, found: Registration, start: Registration | None, watch: Watch
) -> Registration:
    """Add the round trip to the report; by one that ends elsewhere, nothing is moved."""
    wide = replace(settings, keep_doubtful=True)  # it is the ways found that are compared
    reverse = None if start is None else start.inverse()
    back = _estimate(Pair(pair.moving, pair.fixed), wide, reverse, watch)
    trip = round_trip(found, back, pair)
    found = change_report(found, round_trip=trip)
    if not found.reports[0].applied or trip is None or trip.median_px <= ASTRAY:
        return found
    unit = pair.fixed.grid.units[-1]
    apart = trip.median_px if unit == PIXEL else trip.median
    found = add_doubts(
        found,
        f"the way there and back ends {apart:.3g} {unit_symbol(unit)} (median) from where it began",
    )
    if settings.keep_doubtful:
        return found
    return change_report(_hold(pair, found, start), applied=False)


def _hold(pair: Pair, found: Registration, start: Registration | None) -> Registration:
    """Return the start (or the identity) in the form, and with the report, of what was found."""
    grid = pair.fixed.grid
    held = Registration.identity(grid) if start is None else start
    if ENGINES[found.model].kind is Kind.FLOW:
        held = Registration.identity(grid, dense=True).compose(held)
    return with_quality(pair, replace(held, model=found.model, reports=found.reports))


def add_agreement(
    pair: Pair, found: Registration, start: Registration | None, *, keep_doubtful: bool
) -> Registration:
    """Add the agreement of two frames before and after to the report of their transform.

    Parameters
    ----------
    pair : Pair
        Two frames.
    found : Registration
        Their transform, with its report.
    start : Registration or None
        What to return instead (None: the identity) where the engine doubts what it found, now
        that it is known how windows agree.
    keep_doubtful : bool
        Whether to return that, too, and only say it.
    """
    before, after = agreement(pair, None), agreement(pair, found)
    found = change_report(found, before=before, after=after)
    doubt = ENGINES[found.model].doubt(found.reports[0])
    if not doubt:
        return found
    found = add_doubts(found, doubt)
    if keep_doubtful:
        return found
    held = _hold(pair, found, start)
    return change_report(held, applied=False, after=agreement(pair, held))


def add_doubts(found: Registration, *doubts: str) -> Registration:
    """Add doubts to the report of a transform of one frame."""
    return change_report(found, note="; ".join(filter(None, (found.reports[0].note, *doubts))))


def change_report(found: Registration, **changes: Any) -> Registration:
    """Change the report of a transform of one frame."""
    return replace(found, reports=(replace(found.reports[0], **changes),))
