"""Which blocks of an output are finished: a line for each, written after its data."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

RECORD = "blocks"  # how the files are named, of which every run that makes a part has its own
NAMES = re.compile(rf"{RECORD}( \d+ of \d+)?")


class Record:
    """Which blocks of an output are finished; what other records of its folder say counts, too.

    Parameters
    ----------
    path : Path
        The file of this run, `RECORD` or beginning so.
    heading : str
        What is being made, in one line.

    Raises
    ------
    FileExistsError
        If there is such a file, and its blocks are of something else.

    Attributes
    ----------
    finished : frozenset of tuple of int
        Where the blocks begin that were finished when it was opened.
    """

    def __init__(self, path: Path, heading: str) -> None:
        records = sorted(each for each in path.parent.iterdir() if NAMES.fullmatch(each.name))
        known = {each: _read(each, heading) for each in records}
        own = known.get(path, [])
        self.finished = frozenset(
            tuple(map(int, line.split())) for lines in known.values() for line in lines
        )
        anew = path.with_name(f"new {path.name}")  # or a run that is killed here loses it
        try:
            anew.write_text("\n".join([heading, *own, ""]), encoding="utf-8")
            os.replace(anew, path)
        finally:
            anew.unlink(missing_ok=True)
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115

    def add(self, start: tuple[int, ...]) -> None:
        """Note that a block is finished."""
        self._file.write(" ".join(map(str, start)) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _read(path: Path, heading: str) -> list[str]:
    """Return the whole lines of a record of something: what is after the last was being written."""
    first, *lines = path.read_text(encoding="utf-8").split("\n")
    if first != heading:
        raise FileExistsError(
            f"{path.parent} was begun with other images, options or blocks than now: give the "
            "same ones, --memory and --threads too (they decide about blocks; without them, what "
            "is free and the number of cores do), or remove that folder to begin anew"
        )
    return lines[:-1]
