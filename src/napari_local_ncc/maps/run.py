"""One run for all entrances: register, refine, calibrate, compare, sum up."""

from __future__ import annotations

import math
import os
from contextlib import closing
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from napari_local_ncc.geometry.kind import UNREGISTERED
from napari_local_ncc.maps.block.plan import check_bands_on, plan_bands
from napari_local_ncc.maps.map_summary import MapTally
from napari_local_ncc.maps.pipeline import load_kernel, map_of
from napari_local_ncc.maps.stream import stream_map
from napari_local_ncc.ncc.device import check_device, free_device_memory
from napari_local_ncc.progress import Progress, Step

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Mapping, Sequence

    import numpy as np
    from distributed import Client
    from numpy.typing import NDArray

    from napari_local_ncc.confidence.calibration import Calibration
    from napari_local_ncc.maps.comparison import Comparison
    from napari_local_ncc.maps.grouped_histogram import GroupTally
    from napari_local_ncc.maps.pipeline import ConfidenceMap
    from napari_local_ncc.maps.refinement import Refinement
    from napari_local_ncc.maps.stream import Sink
    from napari_local_ncc.transforms.registration import Registration

SMALL = 100_000_000  # bytes that are always there
REFINED = 12  # bytes of a pixel and band while a transform is refined
UNLIKE = 0.2  # median NCC below which images are not alike


@dataclass(frozen=True, slots=True, eq=False)
class MapBegun:
    """The map is known, and its tiles are about to come.

    Parameters
    ----------
    comparison : Comparison
        What is compared, with the transform that was found or given.
    map : ConfidenceMap
        Lazy; on the grid of the comparison.
    """

    comparison: Comparison
    map: ConfidenceMap


@dataclass(frozen=True, slots=True, eq=False)
class MapTile:
    """A finished part of the map.

    Parameters
    ----------
    location : tuple of slice
        Where it lies on the map's grid.
    bands : dict of str to ndarray of float32
        Its values by band; none where another process keeps them (`client`).
    progress : Progress
        How much of the map is finished.
    """

    location: tuple[slice, ...]
    bands: dict[str, NDArray[np.float32]]
    progress: Progress


Event = Progress | MapBegun | MapTile


def progress_in(event: Event) -> tuple[Progress, ...]:
    """Return what an event says of how far the run is, for those who show only that."""
    if isinstance(event, MapBegun):
        return ()
    return (event.progress,) if isinstance(event, MapTile) else (event,)


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """How moving comes onto fixed.

    Parameters
    ----------
    comparison : Comparison
        What is compared, with the transform that was found or given.
    refinement : Refinement or None
        How it was refined, if it was.
    """

    comparison: Comparison
    refinement: Refinement | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RunResult:
    """What a run gives.

    Parameters
    ----------
    comparison : Comparison
        What was compared, with the transform that was found or given.
    map : ConfidenceMap
        The map, lazy; what was computed of it went into the tiles and the sink.
    refinement : Refinement or None
        How the transform was refined, if it was.
    tally : MapTally
        The map in numbers.
    frames : GroupTally or None
        Its NCC in numbers frame by frame, if that was asked for; see `reports.frame_table`.
    found : Registration or None
        A translation that was looked for and not applied, where the images were taken as they
        lie and are not alike, if that was asked for.
    """

    comparison: Comparison
    map: ConfidenceMap
    refinement: Refinement | None
    tally: MapTally
    frames: GroupTally | None
    found: Registration | None = None

    @property
    def registration(self) -> Registration | None:
        """The transform that was applied."""
        return self.comparison.registration


def align(
    comparison: Comparison,
    *,
    model: str = UNREGISTERED,
    refine: bool = False,
    options: Mapping[str, Any] | None = None,
    cancelled: threading.Event | None = None,
) -> Generator[Progress, None, Alignment]:
    """Find the transform of a comparison; yield progress.

    Parameters are those of `run_comparison`.

    Returns
    -------
    Alignment
        The comparison with the transform. Where nothing is to be found, as it is given.
    """
    if model != UNREGISTERED:
        registration = yield from _registered(comparison, model, options or {}, cancelled)
        comparison = comparison.with_registration(registration)
    if not refine:
        return Alignment(comparison)
    from napari_local_ncc.maps.refinement import refinement_of

    refinement = yield from refinement_of(comparison, cancelled=cancelled)
    return Alignment(comparison.with_registration(refinement.registration), refinement)


def run_comparison(
    comparison: Comparison,
    *,
    model: str = UNREGISTERED,
    refine: bool = False,
    options: Mapping[str, Any] | None = None,
    calibration: Calibration | None = None,
    sink: Sink | None = None,
    by_frame: bool = False,
    first: Sequence[float] | None = None,
    threads: int | None = None,
    client: Client | None = None,
    memory: float | None = None,
    device: str | None = None,
    probe: bool = False,
    cancelled: threading.Event | None = None,
) -> Generator[Event, None, RunResult]:
    """Register, refine, calibrate, compare and sum up, step by step.

    Parameters
    ----------
    comparison : Comparison
        What is compared. Its registration is where `refine` begins, or what is applied.
    model : str, default UNREGISTERED
        Register moving first; see `register`. Not if the comparison has a registration.
    refine : bool, default False
        Whether to let the residual shift refine the transform; see `napari_local_ncc.refine`.
    options : mapping, optional
        Further arguments of `register`.
    calibration : Calibration, optional
        As for `confidence_map`.
    sink : callable, optional
        Takes the map, and returns a context that takes its tiles by item assignment, from
        several threads, and keeps them where it closes without an error; see
        `napari_local_ncc.io.map_sink`.
    by_frame : bool, default False
        Whether to sum up the NCC of each frame, too.
    first : sequence of float, optional
        The pixel of the grid to begin at. Default: in any order.
    threads : int, optional
        How many; default: one per core. Not with a client.
    client : distributed.Client, optional
        Where to compute the map. Its workers read the images and write the map themselves,
        where the sink is a store.
    memory : float, optional
        Bytes to keep to: blocks are as large, and as many at a time, as fit. Default: half of
        what is free.
    device : "cuda", optional
        Compute the map on a GPU, which needs CuPy, block by block: moving is resampled, and the
        bands "ncc" and "confidence" are computed there. Samples are read and written, and a
        calibration and a registration are found, by the processor.
    probe : bool, default False
        Whether to look afterwards if a translation would make images alike that were taken as
        they lie and are not.
    cancelled : threading.Event, optional
        Cancels when it is set, from any thread.

    Yields
    ------
    Progress, MapBegun or MapTile
        Steps as they advance; the map before its first tile; every tile of it once. Closing
        the generator cancels.

    Returns
    -------
    RunResult
        The value that ends the generator; see `finish`.

    Raises
    ------
    Exception
        What `register`, `refine` and `confidence_map` raise.
    concurrent.futures.CancelledError
        If `cancelled` was set.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import Comparison, run_comparison
    >>> fixed = np.random.default_rng(0).normal(size=(64, 64))
    >>> for event in run_comparison(Comparison(fixed, 2 * fixed + 7)):
    ...     print(type(event).__name__)
    Progress
    MapBegun
    MapTile
    """
    check_bands_on(device, comparison.parameters.bands)
    if device is not None:
        check_device(device)
    blocks, threads = _fit(comparison, memory, threads, client, device)
    if memory is not None:
        options = {"memory": memory / 2, **(options or {})}
        if refine:
            check_refined(comparison, memory)
    aligned = yield from align(
        comparison, model=model, refine=refine, options=options, cancelled=cancelled
    )
    # Whoever looks on gets small parts early; blocks of a store are larger.
    if first is not None:
        blocks = None
    result = yield from map_of(
        aligned.comparison, calibration=calibration, blocks=blocks, device=device
    )
    if device is None and client is None:  # elsewhere it is loaded where it is needed
        yield Progress(Step.LOAD, 0, 1)
        load_kernel(aligned.comparison)
    yield MapBegun(aligned.comparison, result)
    tally = MapTally.of(result)
    frames = _frame_tally() if by_frame else None
    parts = stream_map(
        result,
        sink,
        summed=True,
        by_frame=by_frame,
        first=first,
        threads=threads,
        client=client,
        cancelled=cancelled,
    )
    pixels = 0
    with closing(parts):
        for done, part in enumerate(parts, start=1):
            pixels += math.prod(b.stop - b.start for b in part.location[1:])
            if part.tally is not None:
                tally.merge(part.tally)
            if frames is not None and part.frames is not None:
                frames.merge(part.frames)
            bands = () if part.bands is None else zip(result.band_names, part.bands, strict=True)
            progress = Progress(Step.COMPARE, done, part.total, pixels=pixels)
            yield MapTile(part.location[1:], dict(bands), progress)
    found = None
    if probe and aligned.comparison.registration is None and tally.similarity.median < UNLIKE:
        found = yield from _probed(aligned.comparison, cancelled)
    return RunResult(aligned.comparison, result, aligned.refinement, tally, frames, found)


def _probed(
    comparison: Comparison, cancelled: threading.Event | None
) -> Generator[Progress, None, Registration | None]:
    """Look for a translation that nobody asked for: None where the images allow none."""
    try:
        return (yield from _registered(comparison, "translation", {}, cancelled))
    except ValueError:  # too small, flat, no overlap: there is nothing to propose
        return None


def _fit(
    comparison: Comparison,
    memory: float | None,
    threads: int | None,
    client: Client | None,
    device: str | None,
) -> tuple[tuple[int, ...] | None, int]:
    """Return the blocks of a map and how many to compute at a time, within a budget."""
    grid, parameters = comparison.grid, comparison.parameters
    plan = plan_bands(grid, parameters, None, device=device)
    wanted = threads or os.cpu_count() or 1
    if memory is None and math.prod(grid.shape) * plan.bytes_per_pixel < SMALL:
        return None, wanted
    from napari_local_ncc.chunked.budget import BASE, fit_blocks, free_memory

    if device is not None:
        free = BASE + free_device_memory(device)
        if memory is not None and memory > free:
            raise ValueError(
                f"half of what is free on the GPU, {(free - BASE) / 1e6:.0f} MB, may be used: "
                f"give --memory (memory=) {free / 1e6:.0f}MB or less"
            )
        memory = min(free_memory() / 2, free) if memory is None else memory
    memory = free_memory() / 2 if memory is None else memory
    if client is not None:
        wanted = max(1, sum(client.nthreads().values()))
        memory -= BASE * (len(client.nthreads()) - 1)
    return fit_blocks(
        grid.shape,
        grid.spatial,
        reach=plan.reach,
        per_pixel=plan.bytes_per_pixel,
        memory=memory,
        threads=wanted,
    )


def check_refined(comparison: Comparison, memory: float) -> None:
    """Raise ValueError where a refinement, which holds whole bands, does not fit."""
    from napari_local_ncc.chunked.budget import BASE

    needed = math.prod(comparison.grid.shape) * REFINED * (4 + comparison.grid.spatial_ndim)
    if needed + BASE > memory:
        raise ValueError(
            f"refining holds the bands of the whole map, {(needed + BASE) / 1e9:.1f} GB, more than "
            f"{memory / 1e9:.1f} GB: give more memory (--memory), or refine at a reduced level "
            "(--level-fixed, --level-moving)"
        )


def _frame_tally() -> GroupTally:
    from napari_local_ncc.maps.grouped_histogram import GroupTally

    return GroupTally()


def _registered(
    comparison: Comparison,
    model: str,
    options: Mapping[str, Any],
    cancelled: threading.Event | None,
) -> Generator[Progress, None, Registration]:
    """Register the images of a comparison where they may be used; yield progress."""
    from napari_local_ncc.registration.door import iter_register_pair
    from napari_local_ncc.registration.settings import Settings

    pair, usable = comparison.pair, comparison.usable_on_grid()
    if usable is not None:
        pair = replace(pair, fixed=pair.fixed.where(usable))
    names = {each.name for each in fields(Settings)}
    settings = Settings(model, **{k: v for k, v in options.items() if k in names})
    rest = {k: v for k, v in options.items() if k not in names}
    return (yield from iter_register_pair(pair, settings, cancelled=cancelled, **rest))
