"""A lock on a file, which the system releases when its holder ends."""

from __future__ import annotations

import errno
import secrets
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)  # what systems say of it
BYTES = 2**30  # of a file that a lock spans, in Windows: of any length, and need not be there


def used(target: Path) -> str:
    """Say that another run makes an output."""
    return f"{target} is being written by another run; wait for it, or choose another name"


def lock_file(file: IO[bytes], target: Path, *, shared: bool = False) -> None:
    """Lock a file until it is closed.

    Parameters
    ----------
    file : file
        What is locked; open.
    target : Path
        The output that errors name.
    shared : bool, default False
        With others that share it, against those that do not.

    Raises
    ------
    FileExistsError
        If another has it.
    OSError
        If files cannot be locked there.
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
        if error.errno in TAKEN:
            raise FileExistsError(used(target)) from error
        raise OSError(
            f"{target} cannot be written safely: its file system has no locks ({error.strerror}); "
            "write it to another disk, or have this one mounted with flock"
        ) from error
