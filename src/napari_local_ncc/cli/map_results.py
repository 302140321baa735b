"""What `local-ncc map` makes of a map: lines, tables, a figure, a page, a document."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from napari_local_ncc.cli.console import VOICE, answer_with_data, doubts_of, follow, report, tell
from napari_local_ncc.cli.options import RATE
from napari_local_ncc.geometry.kind import UNREGISTERED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_local_ncc.chunked.slab import Slab
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.maps.run import RunResult
    from napari_local_ncc.reports.tables import FrameTable
    from napari_local_ncc.reports.verdict import Verdict


@dataclass(frozen=True)
class Files:
    """Where the results of one comparison go; None where they are not wanted.

    Parameters
    ----------
    map : Path
        The map itself.
    table : Path or None
        A row per label, or per frame.
    vectors : Path or None
        The shift as vectors, `stride` pixels apart.
    figure : Path or None
        Pair and map as a picture.
    report : Path or None
        A page.
    stride : int
        Distance of vectors.
    overwrite : bool
        Whether they may replace what is there.
    """

    map: Path
    table: Path | None = None
    vectors: Path | None = None
    figure: Path | None = None
    report: Path | None = None
    stride: int = field(default=8, repr=False)
    overwrite: bool = field(default=False, repr=False)

    def check(self, inputs: Sequence[str], labels: str | None, bands: Sequence[str]) -> None:
        """Fail before the work where one of them could not be written; the map is not looked at.

        A table of "-" is what standard output is then kept for.
        """
        from napari_local_ncc.io.outputs import check_distinct, check_free

        if labels is not None and self.table is None:
            raise ValueError("--labels needs --table T.csv, for a row per label")
        if self.table is not None and not answer_with_data(self.table):
            check_free(self.table, self.overwrite, inputs, ending=".csv")
        if self.vectors is not None:
            check_free(self.vectors, self.overwrite, inputs, ending=".csv")
            if not {"shift", "shift_error"} <= set(bands):
                raise ValueError(
                    f"--vectors needs --bands ncc,shift,shift_error, got --bands {','.join(bands)}"
                )
        if self.figure is not None:
            from napari_local_ncc.reports.figures import check_figure

            check_figure(self.figure, self.overwrite, inputs)
        if self.report is not None:
            check_free(self.report, self.overwrite, inputs, ending=".html")
        check_distinct(self.written().values())

    def written(self) -> dict[str, Path]:
        """Return what is written, by what it is."""
        names = ("map", "table", "vectors", "figure", "report")
        paths = {name: getattr(self, name) for name in names}
        return {name: path for name, path in paths.items() if path is not None}


def check_slab(
    files: Files,
    *,
    search: bool,
    strict: bool,
    rate: float,
    memory: str | None,
    threads: int | None,
    cluster: str | None,
) -> None:
    """Raise ValueError for what a job that makes one slab of a map cannot give, or must be told.

    `search` is whether it would look for a transform, `strict` whether to judge the map, and
    `rate` the one of false discoveries, in the answer. The threads of a `cluster` are known where
    it was begun.
    """
    more = [f"--{'plot' if name == 'figure' else name}" for name in files.written()]
    more.remove("--map")
    told = ("--strict", strict), ("--json", VOICE.json), ("--fdr", rate != RATE)
    more.extend(option for option, on in told if on)
    if more:
        raise ValueError(f"{', '.join(more)}: of the whole map; give that with --join, not --slab")
    if search:
        raise ValueError(
            "each slab would look for the transform anew: find it once (local-ncc register ... -o "
            "T.json), and give every slab --transform T.json"
        )
    needed = {"--memory": memory, "--threads": threads if cluster is None else cluster}
    if absent := [option for option, value in needed.items() if value is None]:
        raise ValueError(
            f"--slab needs {' and '.join(absent)}, the same for all: they decide about blocks, and "
            "neither free memory nor cores are the same everywhere"
        )


def tell_slab(slab: Slab, output: Path) -> None:
    """Print that a slab is finished, and what is next."""
    tell(f"slab     {slab} is finished; once all are: the same command with --join for --slab")
    tell(f"map      {output} (unfinished)")


@dataclass(frozen=True)
class Answer:
    """A comparison that is done, and how it is told.

    Parameters
    ----------
    result : RunResult
        What was found.
    plan : str
        What was compared.
    model : str
        What moving was registered by.
    rate : float
        The false discovery rate to accept pixels at.
    files : Files
        Where results go; the map is there already.
    """

    result: RunResult
    plan: str
    model: str
    rate: float
    files: Files

    @cached_property
    def frames(self) -> FrameTable | None:
        """Return the NCC frame by frame, if it was asked for."""
        if self.result.frames is None:
            return None
        from napari_local_ncc.reports.tables import frame_table

        return frame_table(self.result.frames, self.result.map.grid)

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Judge each frame: whether both images show the same place."""
        from napari_local_ncc.batch.compare import judge_frames

        return judge_frames(self.result.comparison, searched=self.model != UNREGISTERED)

    def tell(self) -> None:
        """Print what was found."""
        result = self.result
        tell(f"compare  {self.plan}")
        if result.refinement is not None:
            tell(f"refine   {result.refinement}")
        if len(result.map.parameters.bands) > 1 or self.model != UNREGISTERED:
            from napari_local_ncc.reports.headline import headline

            in_short = headline(result.registration, result.tally)
            tell(f"in short {in_short}")
            if in_short.next_step is not None:
                tell(f"next     {in_short.next_step.advice}")
        found = result.registration if self.model != UNREGISTERED else None
        report(found, result.tally.lines(self.rate))
        frames = self.frames
        if frames is not None and result.comparison.grid.series_shape:
            for line in frames.lines():
                tell(f"frame    {line}")

    def write(self, regions: SpatialImage | None) -> None:
        """Write what is wanted beside the map, which is read back."""
        writers = {
            "map": lambda path: None,
            "table": lambda path: self._write_table(path, regions),
            "vectors": self._write_vectors,
            "figure": self._write_figure,
            "report": self._write_report,
        }
        for name, path in self.files.written().items():
            writers[name](path)
            tell(f"{name:8} {path}")

    def facts(self) -> dict[str, Any]:
        """Return the document of the comparison."""
        from napari_local_ncc.batch.compare import with_verdicts
        from napari_local_ncc.reports.document import comparison_facts

        facts = comparison_facts(
            self.result.comparison,
            self.result.tally,
            outputs=self.files.written(),
            **self._facts_in_common(),
        )
        return with_verdicts(facts, self.verdicts)

    def _facts_in_common(self) -> dict[str, Any]:
        """Return what the document and the page both say."""
        return {
            "plan": self.plan,
            "rate": self.rate,
            "refinement": self.result.refinement,
            "frames": self.frames,
        }

    def doubts(self) -> Iterator[str]:
        """Say what there is to doubt in a map: of its transform, its null, or all of it."""
        result = self.result
        yield from doubts_of(result.registration)
        if result.refinement is not None and result.refinement.doubt:
            yield result.refinement.doubt
        calibration = result.map.calibration
        if calibration is not None and calibration.fallback:
            yield calibration.fallback
        if not result.tally.summary.defined:
            yield "no pixel is defined"

    def _write_table(self, path: Path, regions: SpatialImage | None) -> None:
        from napari_local_ncc.io.writing import read_map
        from napari_local_ncc.reports.tables import iter_label_table, write_csv

        frames = self.frames
        if regions is not None:
            found = follow(iter_label_table(read_map(self.files.map), regions))
            write_csv(found, path, overwrite=self.files.overwrite)
        elif frames is not None:
            write_csv(frames, path, overwrite=self.files.overwrite)

    def _write_vectors(self, path: Path) -> None:
        from napari_local_ncc.io.writing import read_map
        from napari_local_ncc.reports.tables import write_csv
        from napari_local_ncc.reports.vectors import vector_table

        vectors = vector_table(read_map(self.files.map), stride=self.files.stride)
        write_csv(vectors, path, overwrite=self.files.overwrite)

    def _write_figure(self, path: Path) -> None:
        from napari_local_ncc.files.whole import whole_file
        from napari_local_ncc.io.writing import read_map
        from napari_local_ncc.reports.figures import comparison_figure

        comparison = self.result.comparison
        pair = {"fixed": comparison.fixed, "moving": comparison.moving}
        figure = comparison_figure(pair, {"local NCC": read_map(self.files.map).image("ncc")})
        with whole_file(path, overwrite=self.files.overwrite) as partial:
            figure.savefig(partial, dpi=150)

    def _write_report(self, path: Path) -> None:
        from napari_local_ncc.batch.compare import plain_document, with_verdicts
        from napari_local_ncc.io.writing import read_map
        from napari_local_ncc.reports.document import pair_facts
        from napari_local_ncc.reports.html_report import write_pair_report

        comparison = self.result.comparison
        facts = pair_facts(
            comparison,
            self.result.tally,
            read_map(self.files.map),
            outputs={"map": self.files.map},
            **self._facts_in_common(),
        )
        names = {"fixed": comparison.fixed.name, "moving": comparison.moving.name}
        facts |= {"name": f"{names['moving']} on {names['fixed']}", "files": names}
        document = plain_document(with_verdicts(facts, self.verdicts))
        write_pair_report(document, path, overwrite=self.files.overwrite)
