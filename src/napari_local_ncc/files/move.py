"""Files and folders to where nothing is, and nothing over what another has put there."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)  # what systems say where something is


def move_new(source: Path, to: Path) -> None:
    """Move a file or folder to where nothing is.

    Raises
    ------
    FileExistsError
        If something is there. Only an empty folder that another has made just then is replaced.
    """
    try:
        if source.is_dir():
            if os.path.lexists(to):
                raise FileExistsError(errno.EEXIST, "File exists", str(to))
            os.rename(source, to)
        else:
            _move_file(source, to)
    except OSError as error:
        if error.errno not in TAKEN:
            raise
        raise FileExistsError(
            f"{to} was made by another meanwhile, and is kept; choose another name, or "
            "overwrite it (--overwrite, overwrite=True)"
        ) from error


def _move_file(source: Path, to: Path) -> None:
    try:
        os.link(source, to)
    except FileExistsError:
        raise
    except (OSError, AttributeError):  # of file systems and Pythons without links
        os.close(os.open(to, os.O_CREAT | os.O_EXCL))
        try:
            os.replace(source, to)
        except OSError:
            to.unlink()
            raise
    else:
        source.unlink()
