"""The frames of a series: which is registered with which, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Literal

import dask.array as da
import numpy as np

from napari_local_ncc.chunked.tiles import compute_array
from napari_local_ncc.geometry.grid import CHANNEL_LABELS, Grid
from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.image.pairing import Pair
from napari_local_ncc.progress import Progress, Step
from napari_local_ncc.registration.engine_thread import watch_work
from napari_local_ncc.registration.engines import ENGINES
from napari_local_ncc.registration.frame import add_agreement, add_doubts, fit_frames
from napari_local_ncc.registration.translation.array_pair import standardise
from napari_local_ncc.transforms.displacement_field import field_array
from napari_local_ncc.transforms.registration import Registration
from napari_local_ncc.transforms.report import FrameReport

if TYPE_CHECKING:
    from collections.abc import Generator
    from threading import Event

    from numpy.typing import NDArray

    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.registration.engine_thread import Watch
    from napari_local_ncc.registration.initial import Start
    from napari_local_ncc.registration.settings import Settings

    Indices = list[tuple[int, ...]]

Series = Literal["each", "one"]
Reference = Literal["static", "first", "previous"]
CHAINED = "it is chained over a doubtful step"


@dataclass(frozen=True, slots=True, eq=False)
class SeriesTask:
    """How the frames of two paired images are registered; see `register`."""

    pair: Pair
    settings: Settings
    series: str
    reference: str
    start: Start
    is_same: bool  # fixed is moving, and nobody says that it begins elsewhere

    def run(self, cancelled: Event | None) -> Generator[Progress, None, Registration]:
        """Register frame after frame, yielding progress."""
        grid = self.pair.fixed.grid
        times = channels_together(grid)
        if self.series == "one":
            times = [[index for time in times for index in time]]
        found: list[Registration | ValueError] = []
        for k in range(len(times)):
            work = partial(self._attempt, times, found)
            fit = yield from watch_work(work, Progress(Step.REGISTER, k, len(times)), cancelled)
            found.append(fit)
        result = collect_frames(self.settings.model, grid, times, found)
        return result if self.reference == "static" else _with_reference(result, times, found)

    def _attempt(
        self, times: list[Indices], found: list[Registration | ValueError], watch: Watch
    ) -> Registration | ValueError:
        try:
            return self._fit(times, found, watch)
        except ValueError as error:  # a blank frame, say
            return error

    def _fit(
        self, times: list[Indices], found: list[Registration | ValueError], watch: Watch
    ) -> Registration:
        """Register the next time point with its reference, and put the steps together."""
        k = len(found)
        known = [n for n, fit in enumerate(found) if isinstance(fit, Registration)]
        if self.reference == "static" or not known:
            pair = Pair(frames(self.pair.fixed, times[k]), frames(self.pair.moving, times[k]))
            if self.is_same:
                if self.reference != "static":  # a blank frame is no reference
                    standardise(compute_array(pair.moving.data), None, "moving")
                return add_agreement(pair, self._same(), None, keep_doubtful=True)
            begin = self.start(pair, times[k][0], watch)
            here = fit_frames(pair, self.settings, begin, watch)
            keep = self.settings.keep_doubtful
            return add_agreement(pair, here, begin, keep_doubtful=keep)
        sure = [n for n in known if _is_sure(_sound(found[n]))] or known[:1]
        last = sure[0] if self.reference == "first" else sure[-1]
        target, moving = (
            frames(self.pair.fixed, times[known[0]]),
            frames(self.pair.moving, times[k]),
        )
        step_pair = Pair(frames(self.pair.moving, times[last]), moving)
        step = fit_frames(step_pair, self.settings, self.start(step_pair, None, watch), watch)
        before = _sound(found[last])
        chained = replace(
            before.compose(step),
            ncc_before=step.ncc_before,
            ncc_after=step.ncc_after,
            overlap=step.overlap,
            reports=step.reports,
        )
        if before.reports[0].doubt:  # nothing better to begin with
            chained = add_doubts(chained, CHAINED)
        return add_agreement(Pair(target, moving), chained, None, keep_doubtful=True)

    def _same(self) -> Registration:
        """Return the transform of a frame with itself."""
        model, one = self.settings.model, np.array(1.0)
        dense = ENGINES[model].kind is Kind.FLOW
        found = Registration.identity(self.pair.fixed.grid.space(), model, dense=dense)
        reports = (FrameReport("none"),)
        return replace(found, ncc_before=one, ncc_after=one, overlap=one, reports=reports)


def _is_sure(found: Registration) -> bool:
    """Whether the step to a frame was sure, so that others may be registered with that frame."""
    return found.reports[0].doubt in ("", CHAINED)  # a flow that gains nothing is no doubt


def _sound(result: Registration | ValueError) -> Registration:
    if isinstance(result, ValueError):
        raise result
    return result


def frames(image: SpatialImage, indices: Indices) -> SpatialImage:
    """Return the mean of some frames; of one, itself, in its own dtype."""
    chosen = [image.data[index] for index in indices]
    data = chosen[0] if len(chosen) == 1 else da.stack(chosen).mean(axis=0)
    return image.replace(data=data, grid=image.grid.space())


def channels_together(grid: Grid) -> list[Indices]:
    """Return the series indices, those that differ only by channel in one list."""
    labels = grid.axis_labels[: len(grid.series_shape)]

    def time(index: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(
            k for k, label in zip(index, labels, strict=True) if label.lower() not in CHANNEL_LABELS
        )

    indices = sorted(np.ndindex(grid.series_shape), key=time)
    return [list(group) for _, group in groupby(indices, key=time)]


def collect_frames(
    model: str, grid: Grid, times: list[Indices], found: list[Registration | ValueError]
) -> Registration:
    """Put the frames together; one that failed moves as the nearest that did not."""
    known = {k: result for k, result in enumerate(found) if isinstance(result, Registration)}
    if not known:
        raise next(result for result in found if isinstance(result, ValueError))
    square = (grid.spatial_ndim + 1,) * 2
    matrix = np.empty((*grid.series_shape, *square))
    quality = np.full((*grid.series_shape, 3), np.nan)
    fields = _join_fields(grid, times, known)
    reports: dict[tuple[int, ...], FrameReport] = {}
    for k, indices in enumerate(times):
        nearest = _nearest(known, k)
        report = nearest.reports[0]
        for index in indices:
            matrix[index] = nearest.matrix
            reports[index] = report if k in known else _report_failure(found[k], report)
            if k in known:
                quality[index] = nearest.ncc_before, nearest.ncc_after, nearest.overlap
    ordered = tuple(reports[index] for index in np.ndindex(grid.series_shape))
    before, after, share = np.moveaxis(quality, -1, 0)
    return Registration(
        model, matrix, grid, before, after, share, displacement=fields, reports=ordered
    )


def _with_reference(
    result: Registration, times: list[Indices], found: list[Registration | ValueError]
) -> Registration:
    """Say of the frames before the first that could be registered which the reference is."""
    first = next(k for k, fit in enumerate(found) if isinstance(fit, Registration))
    order = list(np.ndindex(result.grid.series_shape))
    reports = list(result.reports)
    for number in (order.index(index) for time in times[:first] for index in time):
        note = f"{reports[number].note}; the reference is time point {first} (from 0) instead"
        reports[number] = replace(reports[number], note=note)
    return replace(result, reports=tuple(reports))


def _nearest(known: dict[int, Registration], k: int) -> Registration:
    return known[min(known, key=lambda other: abs(other - k))]


def _join_fields(
    grid: Grid, times: list[Indices], known: dict[int, Registration]
) -> NDArray[np.float32] | None:
    """Put the displacements of all frames into one array; None where there are none."""
    first = next(iter(known.values())).displacement
    if first is None or not grid.series_shape:
        return first
    fields = field_array((*grid.series_shape, *first.shape))
    for k, indices in enumerate(times):
        for index in indices:
            fields[index] = _nearest(known, k).displacement
    return fields


def _report_failure(error: Registration | ValueError, nearest: FrameReport) -> FrameReport:
    """Say of a frame that could not be registered why it moves as another."""
    return FrameReport(
        nearest.metric,
        converged=False,
        applied=False,
        note=f"it moves as the nearest frame that could be registered, for: {error}",
    )
