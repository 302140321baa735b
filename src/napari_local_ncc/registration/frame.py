"""One pair of frames: choose the engine, find the transform, and say what it is worth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from napari_local_ncc.chunked.tiles import computed
from napari_local_ncc.geometry.affine import apply_affine, invert_affine
from napari_local_ncc.geometry.units import unit_factor
from napari_local_ncc.image.pairing import Pair
from napari_local_ncc.parameters import check_choice
from napari_local_ncc.registration.affine import estimate as affine
from napari_local_ncc.registration.evidence.agreement import agreement, likeness, round_trip
from napari_local_ncc.registration.evidence.global_ncc import with_quality
from napari_local_ncc.registration.evidence.significance import SIGNIFICANT
from napari_local_ncc.registration.flow import estimate as flow
from napari_local_ncc.registration.flow.frame import dense_flow
from napari_local_ncc.registration.multiresolution import refined, within
from napari_local_ncc.registration.translation import estimate as translation
from napari_local_ncc.transforms.registration import Registration, unmoved
from napari_local_ncc.transforms.report import FrameReport
from napari_local_ncc.transforms.resampling import resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.registration.engine_thread import Watch
    from napari_local_ncc.registration.evidence.flow_evidence import FlowEvidence
    from napari_local_ncc.transforms.displacement_field import Jacobian

    Matrix = NDArray[np.float64]

WORSE = 0.02  # of the median local NCC: more than its own error
ASTRAY = 2.0  # px: median round trip from which one of the two ways is wrong
GAINED = 2.0  # standard errors from which a flow is better than none
UNEXPLAINED = 0.85  # of what windows do not explain: a flow fitted to noise leaves more
FOLDED = 1e-3  # share of cells: noise folds space here and there, a wrong flow more
Metric = Literal["mutual information", "correlation"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How frames are registered; see `register` for what each value means."""

    model: str
    metric: str = "mutual information"
    method: str = "ilk"
    min_overlap: float = 0.3
    consistency: bool = False
    keep_doubtful: bool = False
    memory: float = 1e9

    def __post_init__(self) -> None:
        check_choice("metric", self.metric, get_args(Metric))
        check_choice("method", self.method, flow.METHODS)
        if not 0 < self.min_overlap <= 1:
            raise ValueError(f"min_overlap must lie in (0, 1], got {self.min_overlap!r}")
        is_number = isinstance(self.memory, (int, float, np.number))
        if not is_number or not 0 < self.memory < np.inf:
            raise ValueError(f"memory must be a number of bytes > 0, got {self.memory!r}")


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
        Of one frame, to begin at; None searches for starts (a flow: begins at the identity).
    watch : Watch
        Learns the metric, and can stop the engine.

    Returns
    -------
    Registration
        Of one frame, with its report: what was found; the start (the identity, if there is
        none) where that is doubtful, unless doubtful results are to be kept.
    """
    found = _engine(pair, settings, start, watch)
    if start is not None:
        found = _doubted(found, *_doubts_of_start(found, start))
    if settings.consistency:
        watch.check()
        found = _there_and_back(pair, settings, found, start, watch)
    return found


def _doubts_of_start(found: Registration, start: Registration) -> list[str]:
    """Say what there is to say against a start that is built upon, or held."""
    doubts = []
    worse = abs(float(found.ncc_after)) < abs(float(found.ncc_before))
    if not found.reports[0].applied and worse:
        doubts.append(
            f"the start is held although the images agree worse there (global NCC "
            f"{float(found.ncc_after):.3f} after {float(found.ncc_before):.3f})"
        )
    if start.reports and start.reports[0].note:
        doubts.append(f"of its start: {start.reports[0].note}")
    return doubts


def _there_and_back(
    pair: Pair, settings: Settings, found: Registration, start: Registration | None, watch: Watch
) -> Registration:
    """Add the round trip to the report; by one that ends elsewhere, nothing is moved."""
    wide = replace(settings, keep_doubtful=True)  # it is the ways found that are compared
    reverse = None if start is None else start.inverse()
    back = _engine(Pair(pair.moving, pair.fixed), wide, reverse, watch)
    trip = round_trip(found, back, pair)
    found = reported(found, round_trip=trip)
    if not found.reports[0].applied or trip is None or trip.median_px <= ASTRAY:
        return found
    found = _doubted(
        found, f"the way there and back ends {trip.median_px:.1f} px (median) from where it began"
    )
    if settings.keep_doubtful:
        return found
    held = start or unmoved(pair.fixed.grid)
    if settings.model == "flow":
        held = unmoved(pair.fixed.grid, "flow").compose(held)
    held = with_quality(pair, replace(held, model=settings.model))
    return reported(replace(held, reports=found.reports), applied=False)


def _doubted(found: Registration, *doubts: str) -> Registration:
    """Add doubts to the report of a transform of one frame."""
    return reported(found, note="; ".join(filter(None, (found.reports[0].note, *doubts))))


def measured(pair: Pair, found: Registration, fallback: Registration | None) -> Registration:
    """Add the agreement of two frames before and after to the report of their transform.

    Parameters
    ----------
    pair : Pair
        Two frames.
    found : Registration
        Their transform, with its report.
    fallback : Registration or None
        What to return instead of a translation by which windows agree worse, although the
        images as a whole agree better: it fits shades, or one period for another. None
        returns that, too, and only says it.
    """
    before, after = agreement(pair, None), agreement(pair, found)
    found = reported(found, before=before, after=after)
    if found.model != "translation" or not after.median < before.median - WORSE:
        return found
    said = f"windows agree worse: median local NCC {after.median:.3f} after {before.median:.3f}"
    note = "; ".join(filter(None, (found.reports[0].note, said)))
    if fallback is None:
        return reported(found, note=note)
    kept = with_quality(pair, replace(fallback, model=found.model, reports=found.reports))
    return reported(kept, note=note, applied=False, after=agreement(pair, kept))


def reported(found: Registration, **changes: Any) -> Registration:
    """Change the report of a transform of one frame."""
    return replace(found, reports=(replace(found.reports[0], **changes),))


def _engine(
    pair: Pair, settings: Settings, start: Registration | None, watch: Watch
) -> Registration:
    """Estimate at a level that fits into the memory; refine on tiles at full resolution."""
    if settings.model == "flow":  # has levels and blocks of its own
        return _flow(pair, settings, start, watch)
    small = within(pair, settings.memory)
    found = _whole(small, settings, None if start is None else start.matrix, watch)
    found = replace(found, grid=pair.fixed.grid)
    if small is pair or not _is_sure(found):
        return found
    one = replace(settings, model="translation" if settings.model == "translation" else "rigid")

    def step(tile: Pair, near: Matrix) -> Matrix | None:
        watch.check()
        return _tile_step(tile, one, near, watch)

    to_common = _in_one_unit(pair)[2]
    matrix = refined(pair, small.fixed, found.matrix, settings.model, to_common, step)
    return replace(found, matrix=matrix)


def _is_sure(found: Registration) -> bool:
    report = found.reports[0]
    return report.applied and not report.note


def _tile_step(tile: Pair, settings: Settings, near: Matrix, watch: Watch) -> Matrix | None:
    """Register one tile with moving as `near` puts it there; None where that is not reliable."""
    known = Registration("affine", near, tile.fixed.grid, *(np.array(np.nan),) * 3)
    moved = resample(tile.moving, tile.fixed.grid, known)
    try:
        found = _whole(Pair(tile.fixed, moved), settings, np.eye(len(near)), watch)
    except ValueError:  # a flat or empty tile
        return None
    return near @ found.matrix if _is_sure(found) else None


def _whole(pair: Pair, settings: Settings, start: Matrix | None, watch: Watch) -> Registration:
    """Send two frames to their engine."""
    if settings.model == "translation":
        return _translate(pair, settings, start, watch)
    return _fit_affine(pair, settings, start, watch)


def _flow(pair: Pair, settings: Settings, start: Registration | None, watch: Watch) -> Registration:
    """Find a flow, and judge whether it is better than chance, and than its start."""
    begin = start or unmoved(pair.fixed.grid)
    found, evidence = dense_flow(pair, begin, settings.method, settings.memory, watch)
    watch.check()
    none, held, after = [likeness(pair, transform) for transform in (None, begin, found)]
    before = {"no transform": none} | ({} if start is None else {"its start": held})
    doubts = [*_chance(evidence), *_worse(before, after)]
    gains = not doubts and _gains(evidence, max(before.values()), after)
    is_applied = settings.keep_doubtful or gains
    volumes = found.jacobian()
    folds = _folds(volumes) if doubts or is_applied else ""
    report = FrameReport(
        "mean squared local ncc",
        after,
        significance=evidence.significance,
        gain=evidence.gain,
        applied=is_applied,
        note="; ".join(filter(None, [*doubts, folds])),
        volumes=volumes,
    )
    if not is_applied:
        found = with_quality(pair, unmoved(pair.fixed.grid, "flow").compose(begin))
    return replace(found, reports=(report,))


def _chance(evidence: FlowEvidence) -> list[str]:
    """Say of a flow that chance may have found it."""
    if evidence.significance >= SIGNIFICANT:
        return []
    return [
        "no flow is reliably better than flows of unrelated structure "
        f"({evidence.significance:.1f} standard deviations of {SIGNIFICANT:g} needed)"
    ]


def _worse(before: dict[str, float], after: float) -> list[str]:
    """Say of a flow that it agrees worse than something simpler."""
    worse = [
        f"the flow agrees worse than {what} (mean squared local NCC {after:.3f} after {value:.3f})"
        for what, value in before.items()
        if not after >= value - WORSE
    ]
    return [" and ".join(worse)] if worse else []


def _gains(evidence: FlowEvidence, before: float, after: float) -> bool:
    """Whether images that correspond agree better, by more than a flow finds in noise."""
    explained = not evidence.gain < 0 and 1 - after <= UNEXPLAINED * (1 - before)
    return after > before and (evidence.gain >= GAINED or explained)


def _folds(volumes: Jacobian) -> str:
    """Say of a flow that folds space in more than a few cells, as no tissue does."""
    if volumes.folds <= FOLDED * volumes.cells:
        return ""
    share = volumes.folds / volumes.cells
    return f"space is folded in {share:.2%} of the cells: the images may not correspond there"


def _translate(pair: Pair, settings: Settings, start: Matrix | None, watch: Watch) -> Registration:
    lattice, origin = _moving_lattice(pair)
    space = pair.fixed.grid
    guess = None if start is None else origin + _pixels(space, start)
    found = translation.estimate_translation(
        computed(pair.fixed.data),
        computed(resample(pair.moving, lattice).data),
        start=origin.tolist(),
        guess=guess,
        min_overlap=settings.min_overlap,
        keep_doubtful=settings.keep_doubtful,
        watch=watch,
    )
    doubt = (
        f"no shift is reliably better than none ({found.significance:.1f} standard deviations "
        f"of {SIGNIFICANT:g} needed)"
    )
    report = FrameReport(
        "ncc",
        found.ncc_found,
        significance=found.significance,
        applied=found.is_reliable or settings.keep_doubtful,
        note="" if found.is_reliable else doubt,
    )
    return _registration(
        "translation", pair, shift_matrix(space, found.offset - origin), found, report
    )


def _registration(
    model: str,
    pair: Pair,
    matrix: Matrix,
    found: translation.Translation | affine.AffineFit,
    report: FrameReport,
) -> Registration:
    before, after, share = map(np.asarray, (found.ncc_before, found.ncc_after, found.overlap))
    return Registration(model, matrix, pair.fixed.grid, before, after, share, reports=(report,))


def _pixels(space: Grid, start: Matrix) -> NDArray[np.float64]:
    """Return the shift of a start in pixels of fixed."""
    steps: NDArray[np.float64] = invert_affine(space.pixel_to_world)[:-1, :-1] @ start[:-1, -1]
    return steps


def _fit_affine(pair: Pair, settings: Settings, start: Matrix | None, watch: Watch) -> Registration:
    fixed, moving, to_common = _in_one_unit(pair)
    from_common = invert_affine(to_common)
    found = affine.estimate_affine(
        computed(pair.fixed.data),
        computed(pair.moving.data),
        model=settings.model,
        fixed_to_world=fixed.pixel_to_world,
        moving_to_world=moving.pixel_to_world,
        metric=settings.metric,
        start=None if start is None else to_common @ start @ from_common,
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
        _doubts(found, settings.model),
    )
    return _registration(
        settings.model, pair, from_common @ found.matrix @ to_common, found, report
    )


def _doubts(found: affine.AffineFit, model: str) -> str:
    """Say what there is to say against a transform, if anything."""
    doubts = [] if found.converged else ["the optimiser ended before an optimum"]
    if not found.significance >= SIGNIFICANT:
        doubts.append(
            f"no {model} transform is reliably better than chance "
            f"({found.significance:.1f} standard deviations of {SIGNIFICANT:g} needed)"
        )
    return "; ".join(doubts)


def _in_one_unit(pair: Pair) -> tuple[Grid, Grid, Matrix]:
    """Return both spatial grids in one unit along all axes, and the map from fixed's units.

    A rotation mixes the axes, so that nm along one and um along another would shear.
    """
    fixed, moving = pair.fixed.grid, pair.moving.grid
    common = (fixed.units[-1],) * fixed.ndim
    factors = [unit_factor(unit, fixed.units[-1]) for unit in fixed.units]
    return fixed.in_units(common), moving.in_units(common), np.diag([*factors, 1.0])


def _moving_lattice(pair: Pair) -> tuple[Grid, NDArray[np.float64]]:
    """Return a grid of fixed's pixels that covers all of moving, and where fixed lies on it.

    Where both have the same pixels but for an offset, it is moving's own grid: nothing is
    interpolated, even where the offset is no whole number of pixels.
    """
    fixed, moving = pair.fixed.grid, pair.moving.grid
    to_moving = invert_affine(moving.pixel_to_world) @ fixed.pixel_to_world
    if np.allclose(to_moving[:-1, :-1], np.eye(fixed.ndim), rtol=0, atol=1e-9):
        return moving, to_moving[:-1, -1]
    corners = apply_affine(invert_affine(fixed.pixel_to_world), moving.corners())
    first = np.floor(corners.min(axis=0) + 1e-6)
    size = np.ceil(corners.max(axis=0) - 1e-6) - first + 1
    place = fixed.pixel_to_world.copy()
    place[:-1, -1] = apply_affine(fixed.pixel_to_world, first)
    return fixed.replace(shape=tuple(size.astype(int)), pixel_to_world=place), -first


def shift_matrix(space: Grid, pixels: NDArray[np.float64] | float) -> Matrix:
    """Return the world matrix of a displacement in pixels of `space`."""
    matrix = np.eye(space.ndim + 1)
    steps = np.broadcast_to(pixels, (space.ndim,))
    matrix[:-1, -1] = space.pixel_to_world[:-1, :-1] @ steps
    return matrix
