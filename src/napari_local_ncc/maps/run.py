"""One run for all entrances: register, refine, calibrate, compare, sum up."""

from __future__ import annotations

from contextlib import closing, nullcontext
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from napari_local_ncc.chunked.tiles import compute_tiles
from napari_local_ncc.geometry.kind import UNREGISTERED
from napari_local_ncc.maps.map_summary import MapTally
from napari_local_ncc.maps.pipeline import load_kernel, map_of
from napari_local_ncc.progress import Progress, Step

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from napari_local_ncc.chunked.tiles import Tile
    from napari_local_ncc.confidence.calibration import Calibration
    from napari_local_ncc.maps.comparison import Comparison
    from napari_local_ncc.maps.grouped_histogram import GroupTally
    from napari_local_ncc.maps.pipeline import ConfidenceMap
    from napari_local_ncc.maps.refinement import Refinement
    from napari_local_ncc.transforms.registration import Registration

    Sink = Callable[[ConfidenceMap], AbstractContextManager[Any]]


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
        Its values by band.
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
    """

    comparison: Comparison
    map: ConfidenceMap
    refinement: Refinement | None
    tally: MapTally
    frames: GroupTally | None

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
    workers: int | None = None,
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
        Takes the map, and returns a context that takes its tiles by item assignment and
        keeps them where it closes without an error; see `napari_local_ncc.io.map_sink`.
    by_frame : bool, default False
        Whether to sum up the NCC of each frame, too.
    first : sequence of float, optional
        The pixel of the grid to begin at. Default: in any order.
    workers : int, optional
        Number of threads; default: one per core.
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
    aligned = yield from align(
        comparison, model=model, refine=refine, options=options, cancelled=cancelled
    )
    result = yield from map_of(aligned.comparison, calibration=calibration)
    yield Progress(Step.LOAD, 0, 1)
    load_kernel()
    yield MapBegun(aligned.comparison, result)
    tally = MapTally(result.band_names, result.calibration)
    frames = _frame_tally() if by_frame else None
    with closing(_tiles(result, sink, first, workers, cancelled)) as tiles:
        for tile in tiles:
            tally.add(tile.data)
            part = MapTile(
                tile.location[1:],
                dict(zip(result.band_names, tile.data, strict=True)),
                Progress(Step.COMPARE, tile.done, tile.total),
            )
            if frames is not None:
                frames.add_frames(part.location, part.bands["ncc"], result.grid)
            yield part
    return RunResult(aligned.comparison, result, aligned.refinement, tally, frames)


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


def _tiles(
    result: ConfidenceMap,
    sink: Sink | None,
    first: Sequence[float] | None,
    workers: int | None,
    cancelled: threading.Event | None,
) -> Generator[Tile, None, None]:
    """Compute the bands of a map tile by tile, and keep them in a sink if there is one."""
    begin = None if first is None else (0.0, *first)
    tiles = compute_tiles(result.bands, workers=workers, cancelled=cancelled, first=begin)
    kept = nullcontext() if sink is None else sink(result)
    with kept as pixels, closing(tiles):
        for tile in tiles:
            if pixels is not None:
                pixels[tile.location] = tile.data
            yield tile
