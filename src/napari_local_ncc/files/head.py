"""Files that no reader knows until they are complete, and whose room is taken before."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAD = 8  # bytes


@contextmanager
def headless(path: Path) -> Iterator[None]:
    """Keep from a file the first bytes, by which every reader knows it, until it is complete.

    Its room on the disk is taken at once: a disk that is full when memory is written to it ends
    the program without a word.
    """
    kept = path.with_name("head")
    with open(path, "rb+") as file:
        take_room(file, os.fstat(file.fileno()).st_size)
        head = file.read(HEAD)
        kept.write_bytes(head)
        file.seek(0)
        file.write(bytes(len(head)))
    yield
    restore_head(path)


def take_room(file: IO[bytes], size: int) -> None:
    """Raise OSError if the disk has no room for a file of a size, in bytes; else it has it."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # of file systems without it
            raise


def check_room(path: Path, size: int) -> None:
    """Raise OSError if the disk has no room for a file that a library is to write, of a size."""
    probe = path.with_name("room")
    try:
        with open(probe, "wb") as file:
            take_room(file, size)
    finally:
        probe.unlink(missing_ok=True)


def restore_head(path: Path) -> None:
    """Give a file its first bytes, that it may be opened."""
    with open(path, "rb+") as file:
        file.write(path.with_name("head").read_bytes())
