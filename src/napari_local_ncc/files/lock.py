"""A lock on a file, which the system releases when its holder ends."""

from __future__ import annotations

import secrets
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BYTES = 2**30  # of a file that a lock spans, in Windows: of any length, and need not be there


def used(target: Path) -> str:
    """Say that another run makes an output."""
    return f"{target} is being written by another run; wait for it, or choose another name"


def lock_file(file: IO[bytes], target: Path, *, shared: bool = False) -> None:
    """Lock a file until it is closed; raise FileExistsError if another has.

    `shared`, with others that share it, against those that do not.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            # no lock of a byte is shared there: whoever shares has one byte, others have all
            file.seek(secrets.randbelow(BYTES) if shared else 0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1 if shared else BYTES)
        else:
            import fcntl

            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        raise FileExistsError(used(target)) from error
