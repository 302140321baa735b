"""One pair of files: compared, judged frame by frame, and told as one JSON document."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_local_ncc.batch.place import noise_of, place_evidence
from napari_local_ncc.confidence.calibration import DEFINITION
from napari_local_ncc.geometry.kind import UNREGISTERED
from napari_local_ncc.image.pairing import warn_of_spacing
from napari_local_ncc.io.outputs import check_unchanged, state_of, states_of
from napari_local_ncc.io.reading import read_image
from napari_local_ncc.maps.comparison import Comparison
from napari_local_ncc.maps.run import progress_in, run_comparison
from napari_local_ncc.parameters import NCCParameters
from napari_local_ncc.progress import translate
from napari_local_ncc.reports.describe import describe_comparison
from napari_local_ncc.reports.document import as_json, document, pair_facts
from napari_local_ncc.reports.tables import frame_table
from napari_local_ncc.reports.verdict import RULES, Verdict, judge_place, judge_series
from napari_local_ncc.transforms.transform_file import read_transform

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    import dask.array as da

    from napari_local_ncc.batch.pairs import FilePair
    from napari_local_ncc.image.pairing import Unitless
    from napari_local_ncc.maps.pipeline import ConfidenceMap
    from napari_local_ncc.maps.run import RunResult
    from napari_local_ncc.progress import Progress
    from napari_local_ncc.transforms.report import FrameReport

BANDS = ("ncc", "confidence", "shift", "classes")
MAP_ENDING = ".ome.zarr"
RATE = 0.05  # of false discoveries
BY_INFORMATION = "mutual information"  # a metric that asks for no contrast in common


@dataclass(frozen=True)
class Settings:
    """How the pairs of a batch are compared.

    Parameters
    ----------
    parameters : NCCParameters
        Window, limits and bands.
    model : str
        What moving is registered by first; see `register`.
    options : dict
        Further arguments of `register`.
    refine : bool
        Whether the residual shift refines the transform.
    ndim : int, optional
        Spatial axes of all images.
    rate : float
        The false discovery rate to accept pixels at, in (0, 1).
    reading : dict
        Further arguments of `read_image`.
    unitless : str, optional
        As for `Comparison`.
    keep_maps : bool
        Whether the maps are written.

    Examples
    --------
    >>> from napari_local_ncc import NCCParameters
    >>> from napari_local_ncc.batch import Settings
    >>> settings = Settings(NCCParameters(radius="2um"), model="translation", keep_maps=False)
    >>> settings.rate
    0.05
    """

    parameters: NCCParameters = field(default_factory=lambda: NCCParameters(bands=BANDS))
    model: str = UNREGISTERED
    options: dict[str, Any] = field(default_factory=dict)
    refine: bool = False
    ndim: int | None = None
    rate: float = RATE
    reading: dict[str, Any] = field(default_factory=dict)
    unitless: str | None = None
    keep_maps: bool = True

    def key(self, pair: FilePair) -> str:
        """Return what a result depends on: rules, definitions, settings, files as they are now.

        Of a folder, as a Zarr is, dates and sizes of the files in it count; of an address nothing
        does: what is there is taken to be what it was.
        """
        rules = [version("napari-local-ncc"), RULES, DEFINITION]
        files = [[each, state_of(each)] for each in asdict(pair).values() if each]
        text = json.dumps([rules, asdict(self), files], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def compare_files(
    pair: FilePair, settings: Settings, folder: Path
) -> Generator[Progress, None, dict[str, Any]]:
    """Compare two files, and judge whether they show the same place; yield progress.

    Parameters
    ----------
    pair : FilePair
        The files.
    settings : Settings
        How they are compared.
    folder : Path
        Where the map goes, as ``NAME.ome.zarr``.

    Returns
    -------
    dict
        A document of plain JSON values: as of ``local-ncc map --json``, and "verdict", the
        same for each frame in "frames", "settings", "recipe" and "pictures" (PNG in base64).

    Raises
    ------
    Exception
        What reading, `register`, `confidence_map` and writing raise.

    Examples
    --------
    >>> import numpy as np
    >>> from pathlib import Path
    >>> scene = np.random.default_rng(0).normal(size=(108, 108))
    >>> np.save("a.npy", scene[4:104, 4:104])
    >>> np.save("b.npy", scene[9:, 1:][:100, :100])
    >>> from napari_local_ncc import NCCParameters
    >>> from napari_local_ncc.batch import FilePair, Settings, compare_files
    >>> from napari_local_ncc.progress import finish
    >>> settings = Settings(NCCParameters(), keep_maps=False)
    >>> found = finish(compare_files(FilePair("pair", "a.npy", "b.npy"), settings, Path()))
    >>> found["verdict"]["judgement"], round(found["verdict"]["distance_px"], 1)
    ('failed', 5.8)
    """
    comparison = _comparison(pair, settings)
    states = states_of([comparison.fixed, comparison.moving, comparison.mask])
    registered = settings.model if comparison.registration is None else UNREGISTERED
    plan = describe_comparison(comparison, model=registered)
    path = folder / f"{pair.name}{MAP_ENDING}"
    run = run_comparison(
        comparison,
        model=registered,
        refine=settings.refine,
        options=settings.options,
        sink=_sink(path) if settings.keep_maps else None,
        by_frame=True,
    )
    result = yield from translate(run, progress_in)
    verdicts = judge_frames(result.comparison, searched=registered != UNREGISTERED)
    assert result.frames is not None
    facts = pair_facts(
        result.comparison,
        result.tally,
        _shown(result, path, settings),
        plan=plan,
        rate=settings.rate,
        refinement=result.refinement,
        frames=frame_table(result.frames, result.map.grid),
        outputs={"map": path.name} if settings.keep_maps else {},
    )
    check_unchanged(states, "result")
    facts = {"name": pair.name, "files": asdict(pair)} | with_verdicts(facts, verdicts)
    return plain_document(facts)


def with_verdicts(facts: dict[str, Any], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Add a verdict to facts, and to each of their frames, if they tell of frames."""
    told = facts["frames"]
    frames = told and [
        frame | {"verdict": asdict(verdict)} for frame, verdict in zip(told, verdicts, strict=True)
    ]
    return facts | {"frames": frames, "verdict": asdict(judge_series(verdicts))}


def plain_document(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the document of a pair as it is read back from a file."""
    return cast("dict[str, Any]", json.loads(as_json(document("pair", facts))))


def _comparison(pair: FilePair, settings: Settings) -> Comparison:
    def read(path: str, **more: Any) -> Any:
        return read_image(path, **settings.reading | more).with_spatial_ndim(settings.ndim)

    mask = read(pair.mask, absent_chunks="fill") if pair.mask else None
    comparison = Comparison(
        read(pair.fixed),
        read(pair.moving),
        mask,
        settings.parameters,
        unitless=cast("Unitless | None", settings.unitless),  # pair_images checks it
    )
    warn_of_spacing(comparison.fixed, comparison.moving)
    if not pair.transform:
        return comparison
    return comparison.with_registration(read_transform(pair.transform, comparison.grid))


def _sink(path: Path) -> Any:
    from napari_local_ncc.io.sinks import map_sink

    return map_sink(path, overwrite=True)


def _shown(result: RunResult, path: Path, settings: Settings) -> ConfidenceMap:
    """Return the map as it was written, so that nothing is computed again, or as it is."""
    if not settings.keep_maps:
        return result.map
    from napari_local_ncc.io.writing import read_map

    return read_map(path)


def judge_frames(comparison: Comparison, *, searched: bool) -> list[Verdict]:
    """Judge every frame of a comparison, in the order of its grid.

    Parameters
    ----------
    comparison : Comparison
        What is compared.
    searched : bool
        Whether its transform was found by registering these images.
    """
    return list(iter_verdicts(comparison, searched=searched))


def iter_verdicts(comparison: Comparison, *, searched: bool) -> Iterator[Verdict]:
    """Yield the verdict of every frame; parameters as for `judge_frames`."""
    fixed, moved = comparison.pair.fixed.data, comparison.moving_on_grid()
    usable, found = comparison.usable_on_grid(), comparison.registration
    reports = found.reports if found is not None else ()
    for number, index in enumerate(np.ndindex(comparison.grid.series_shape)):
        one = fixed[index]
        if usable is not None:
            one = one.astype(np.float32)
            one[~usable[index]] = np.nan
        report = reports[number] if number < len(reports) else None
        noise = None if found is None else _noise(comparison.pair.moving.data, index)
        yield judge_place(
            place_evidence(one, moved[index], moving_noise=noise),
            searched=searched,
            same_contrast=_same_contrast(comparison, report),
            doubt="" if report is None else report.doubt,
        )


def _noise(moving: da.Array, index: tuple[int, ...]) -> float:
    """Return the noise of a frame of moving, as it was taken."""
    return noise_of(
        moving[tuple(min(k, n - 1) for k, n in zip(index, moving.shape, strict=False))]
    ).sd


def _same_contrast(comparison: Comparison, report: FrameReport | None) -> bool:
    """Say whether what is bright in one image has to be bright in the other."""
    by_information = report is not None and report.metric == BY_INFORMATION
    return comparison.parameters.alternative == "greater" and not by_information
