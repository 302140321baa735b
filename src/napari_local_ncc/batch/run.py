"""Many pairs in a row: resumed where it ended, and not stopped by a bad one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from napari_local_ncc.batch.compare import MAP_ENDING, Settings, compare_files
from napari_local_ncc.batch.results import FRAMES, RESULTS
from napari_local_ncc.files.claim import claim
from napari_local_ncc.files.whole import write_text
from napari_local_ncc.io.outputs import files_of_input
from napari_local_ncc.io.readers.sniff import is_address
from napari_local_ncc.io.writing import is_map
from napari_local_ncc.progress import MENDABLE, Progress, stepwise
from napari_local_ncc.reports.document import as_json, document

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from napari_local_ncc.batch.pairs import FilePair

ERROR = "error"  # in place of a verdict
CLAIM = "batch"  # while a run works in a folder, batch.unfinished lies there, locked


@dataclass(frozen=True, slots=True)
class PairBegun:
    """A pair is about to be compared, or is found done.

    Parameters
    ----------
    pair : FilePair
        Its files.
    number, total : int
        Which of how many it is, from 1.
    is_done : bool
        Whether an earlier run compared these very files in the same way.
    """

    pair: FilePair
    number: int
    total: int
    is_done: bool


@stepwise
def run_batch(
    pairs: Sequence[FilePair], settings: Settings, folder: Path, *, fresh: bool = False
) -> Generator[PairBegun | Progress, None, list[dict[str, Any]]]:
    """Compare pairs of files one after the other, and write what each gives.

    `iter_run_batch` does the same step by step: it yields `PairBegun` and `Progress`, and
    closing it ends the batch; a later run goes on where it ended.

    Parameters
    ----------
    pairs : sequence of FilePair
        The files.
    settings : Settings
        How they are compared.
    folder : Path
        Where to: for each pair ``NAME.json`` (its document, see `compare_files`), and the map.
    fresh : bool, default False
        Whether to compare again what an earlier run has compared.

    Returns
    -------
    list of dict
        The documents, in the order of the pairs. Where a pair could not be compared, its
        verdict is "error", and "error" says why.

    Raises
    ------
    FileExistsError
        If another run works in the folder, or something lies there that is no result of a batch
        and would be replaced.
    ValueError
        If a result would replace an input.

    Examples
    --------
    >>> import numpy as np
    >>> from pathlib import Path
    >>> scene = np.random.default_rng(0).normal(size=(108, 108))
    >>> np.save("a.npy", scene[4:104, 4:104])
    >>> np.save("b.npy", scene[9:, 1:][:100, :100])
    >>> from napari_local_ncc import NCCParameters
    >>> from napari_local_ncc.batch import FilePair, Settings, run_batch
    >>> settings = Settings(NCCParameters(), model="translation", keep_maps=False)
    >>> pairs = [FilePair("one", "a.npy", "b.npy"), FilePair("two", "a.npy", "none.npy")]
    >>> [found["verdict"]["judgement"] for found in run_batch(pairs, settings, Path("results"))]
    ['good', 'error']
    """
    check_folder(pairs, folder, keep_maps=settings.keep_maps)
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    with claim(folder / CLAIM):
        for number, pair in enumerate(pairs, start=1):
            path, key = _document(folder, pair), settings.key(pair)
            known = None if fresh else _known(path, key)
            if settings.keep_maps and not is_map(_map(folder, pair)):
                known = None
            yield PairBegun(pair, number, len(pairs), known is not None)
            if known is None:
                try:
                    known = yield from compare_files(pair, settings, folder)
                except MENDABLE as error:
                    known = _failure(pair, error)
                known["key"] = key
                write_text(path, as_json(known))
            found.append(known)
    return found


iter_run_batch = run_batch.steps


def check_folder(pairs: Sequence[FilePair], folder: Path, *, keep_maps: bool) -> None:
    """Raise an error where what a batch writes would replace an input, or what is none of its own.

    Parameters
    ----------
    pairs, folder
        As for `run_batch`.
    keep_maps : bool
        Whether maps are written, too.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; the results of a batch need a folder")
    written = {_document(folder, pair).resolve(): _is_document for pair in pairs}
    written |= {(folder / name).resolve(): _is_table for name in (RESULTS, FRAMES)}
    if keep_maps:
        written |= {_map(folder, pair).resolve(): is_map for pair in pairs}
    around = {folder.resolve(), *folder.resolve().parents}
    for source in _inputs(pairs):
        if source in around or written.keys() & {source, *source.parents}:
            raise ValueError(
                f"results in {folder} would replace the input {source.name}; choose another folder"
            )
    for path, is_own in written.items():
        if path.exists() and not is_own(path):
            raise FileExistsError(
                f"{path} is no result of a batch; remove it, or choose another folder"
            )


def _inputs(pairs: Sequence[FilePair]) -> Iterator[Path]:
    for pair in pairs:
        for path in (pair.fixed, pair.moving, pair.mask, pair.transform):
            if path and not is_address(path):
                yield from (file.resolve() for file in files_of_input(path))


def _document(folder: Path, pair: FilePair) -> Path:
    return folder / f"{pair.name}.json"


def _map(folder: Path, pair: FilePair) -> Path:
    return folder / f"{pair.name}{MAP_ENDING}"


def _is_table(path: Path) -> bool:
    if not path.is_file():  # a pipe would be waited for
        return False
    with path.open("rb") as file:
        head = file.readline()
    return head.startswith(b"name,") and b",verdict," in head  # which a table of pairs has not


def _is_document(path: Path) -> bool:
    return _known(path) is not None


def _known(path: Path, key: str | None = None) -> dict[str, Any] | None:
    """Return what an earlier run found, with a key if it is of the same files and settings."""
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        judgement = found["verdict"]["judgement"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if key is None:
        return found
    return found if found.get("key") == key and judgement != ERROR else None


def _failure(pair: FilePair, error: BaseException) -> dict[str, Any]:
    """Tell of a pair that could not be compared."""
    said = " ".join(str(error).split()) or type(error).__name__
    verdict = {"judgement": ERROR, "reason": said}
    return document(
        "pair", {"name": pair.name, "files": asdict(pair), "verdict": verdict, "error": said}
    )
