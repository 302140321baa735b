"""Many pairs in a row: resumed where it ended, and not stopped by a bad one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from napari_local_ncc.batch.compare import Settings, compare_files
from napari_local_ncc.files.whole import write_text
from napari_local_ncc.progress import MENDABLE, Progress, stepwise
from napari_local_ncc.reports.document import as_json, document

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from napari_local_ncc.batch.pairs import FilePair

ERROR = "error"  # in place of a verdict


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
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, pair in enumerate(pairs, start=1):
        path, key = folder / f"{pair.name}.json", settings.key(pair)
        known = None if fresh else _known(path, key)
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


def _known(path: Path, key: str) -> dict[str, Any] | None:
    """Return what an earlier run found, if it is of the same files and settings."""
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    is_same = found.get("key") == key
    return found if is_same and found["verdict"]["judgement"] != ERROR else None


def _failure(pair: FilePair, error: BaseException) -> dict[str, Any]:
    """Tell of a pair that could not be compared."""
    said = " ".join(str(error).split()) or type(error).__name__
    verdict = {"judgement": ERROR, "reason": said}
    return document(
        "pair", {"name": pair.name, "files": asdict(pair), "verdict": verdict, "error": said}
    )
