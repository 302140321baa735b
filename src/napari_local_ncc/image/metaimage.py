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


def check_axes(path: Path) -> None:
    """Raise ReadError where a header names more axes than MetaIO holds: the process would end.

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
