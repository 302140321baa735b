"""The header of a MetaImage, looked at before ITK reads it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_local_ncc.image.read_guard import ReadError

if TYPE_CHECKING:
    from pathlib import Path

MOST_AXES = 10  # that MetaIO has room for: it writes the others beyond
LONGEST_HEADER = 2**16  # bytes that are looked at
AXES = re.compile(rb"^\s*NDims\s*[:=][ \t]*([^\r\n]*)", re.MULTILINE)
SAMPLES = re.compile(rb"^\s*ElementDataFile\s*[:=][ \t]*([^\r\n]*)", re.MULTILINE)


def check_header(path: Path) -> None:
    """Raise ReadError where MetaIO would end the process.

    By more axes than it holds, by a header that does not end with where the samples are, or by a
    pattern of file names: it divides by the step of their numbers, 0 too, and gives the pattern to
    C's `sprintf` as it is.

    Parameters
    ----------
    path : Path
        Of any format; others have no such line.
    """
    with path.open("rb") as file:
        start = file.read(LONGEST_HEADER)
    if not start.lstrip().startswith((b"ObjectType", b"NDims", b"Comment")):
        return
    for told in AXES.findall(start):
        number = told.strip()
        if not (number.isdigit() and 1 <= int(number) <= MOST_AXES):
            raise ReadError(
                f"its NDims is {number.decode('ascii', 'replace')[:40]!r}, not a number of axes; "
                "the file is damaged, write it anew"
            )
    samples = SAMPLES.search(start)
    if samples is None or b"\0" in start[: samples.end()]:
        raise ReadError("its header does not say where its samples are; the file is damaged")
    if any(b"%" in told for told in SAMPLES.findall(start)):
        raise ReadError(
            "its samples are in files whose names it gives as a pattern (%d), which is not read "
            "of a MetaImage; give them as a LIST, or convert it into one file"
        )
