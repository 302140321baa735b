"""One writer alone: what is not finished lies in a folder beside the output, under a lock.

The system releases the lock when its holder ends, however that is: a folder without a holder is
what a killed run left.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from napari_local_ncc.progress import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDING = ".unfinished"
LOCK, OLD = "claim", "replaced "
REMOVALS = 50
HEAD = 8  # bytes
BYTES = 2**30  # of a file that a lock spans, in Windows: of any length, and need not be there


def unfinished(target: Path) -> Path:
    """Return the folder in which an output is made."""
    return target.with_name(target.name + ENDING)


def check_unclaimed(target: Path, *, continues: bool) -> None:
    """Raise FileExistsError where a run makes an output now, or left it unfinished.

    Parameters
    ----------
    target : Path
        The output.
    continues : bool
        Whether what was left is of use, or may go.
    """
    folder = unfinished(target)
    try:
        with open(folder / LOCK, "rb+") as file:
            _lock(file, target)
    except FileNotFoundError:
        if not folder.is_dir():
            return
    if not continues:
        raise FileExistsError(
            f"{folder} is what a run that was cut short left of {target.name}: continue it "
            "(--resume, resume=True) or begin anew (--overwrite, overwrite=True)"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """An output that this run alone makes.

    Parameters
    ----------
    target : Path
        The output.
    folder : Path
        Where it is made.
    lock : file
        What is locked; open.
    """

    target: Path
    folder: Path
    lock: IO[bytes]

    @property
    def path(self) -> Path:
        """Where the output is until it is finished."""
        return self.folder / self.target.name

    def check(self) -> None:
        """Raise FileNotFoundError if somebody removed what this run has written."""
        if not _is_same(self.lock, self.folder / LOCK):
            raise FileNotFoundError(
                f"{self.folder}, in which {self.target.name} is made, was removed during the run"
            )

    def clear(self, *names: str) -> None:
        """Remove what was made, but for files of some names."""
        for each in self.folder.iterdir():
            if each.name in (LOCK, *names):
                continue
            if each.is_dir():
                shutil.rmtree(each)
            else:
                each.unlink()

    def finish(self) -> None:
        """Bring what was made to its place: all files of it, or none."""
        self.check()
        made = sorted(
            each
            for each in self.folder.iterdir()
            if each.name.startswith(self.target.name) and not each.name.startswith(OLD)
        )
        places = [self.target.with_name(each.name) for each in made]
        if len(made) == 1 and not places[0].is_dir():
            made[0].replace(places[0])
            return
        aside = [(p, self.folder / f"{OLD}{p.name}") for p in places if p.exists()]
        moves = aside + list(zip(made, places, strict=True))
        try:
            with uninterrupted():
                for source, to in moves:  # neither a folder nor two files are replaced in one step
                    os.rename(source, to)
        except BaseException:
            for source, to in reversed(moves):
                if to.exists() and not source.exists():
                    os.rename(to, source)
            raise

    def remove(self) -> None:
        """Remove what this run has written, unless the folder is another's by now.

        If somebody removed the folder, writing has made it anew, without a lock.
        """
        aside = self.folder.with_name(f"{self.folder.name}-{os.getpid()}")
        if (self.folder / LOCK).exists() and not _is_same(self.lock, self.folder / LOCK):
            return
        try:
            os.rename(self.folder, aside)
        except FileNotFoundError:
            return
        except OSError:  # not where a file of it is open, in Windows
            self.lock.close()
            aside = self.folder
        _remove_folder(aside)


@contextmanager
def claim(target: Path, *, resume: bool = False) -> Iterator[Claim]:
    """Claim an output; what is made stands in its place once the context ends without an error.

    Parameters
    ----------
    target : Path
        The output.
    resume : bool, default False
        Whether to keep what an earlier run left unfinished, and what this one leaves if it
        ends early. Otherwise both are removed.

    Yields
    ------
    Claim
        Its `path` is where to write.

    Raises
    ------
    FileExistsError
        If another run is making it.
    """
    folder = unfinished(target)
    for old in target.parent.glob(f"{_escaped(folder.name)}-*"):
        shutil.rmtree(old, ignore_errors=True)
    held: Claim | None = None
    finished = False
    try:  # a signal may come between any two lines
        folder.mkdir(exist_ok=True)
        with open(folder / LOCK, "ab+") as lock:
            try:
                _lock(lock, target)
                if not _is_same(lock, folder / LOCK):
                    raise FileExistsError(_used(target))  # it has just been finished
                held = Claim(target, folder, lock)
                if not resume:
                    held.clear()
                yield held
                held.finish()
                finished = True
            finally:
                if held is not None and (finished or not resume):
                    try:
                        with uninterrupted():
                            held.remove()
                    except KeyboardInterrupt:  # raised on the threshold, or after it
                        held.remove()
                        raise
    finally:
        if held is None:
            _remove_empty(folder, target)


@contextmanager
def claim_part(target: Path, part: str) -> Iterator[Claim]:
    """Claim a part of an output, beside runs that make its other parts; none of them finishes it.

    What is made is kept, however the run ends: `claim` with `resume` goes on with all parts.

    Parameters
    ----------
    target : Path
        The output.
    part : str
        Which.

    Yields
    ------
    Claim
        Its `path` is where all parts are written.

    Raises
    ------
    FileExistsError
        If another run is making the same part, or the whole.
    """
    folder = unfinished(target)
    folder.mkdir(exist_ok=True)
    with open(folder / LOCK, "ab+") as lock, open(folder / f"{LOCK} {part}", "ab+") as own:
        _lock(lock, target, shared=True)
        _lock(own, target)
        held = Claim(target, folder, lock)
        held.check()
        yield held


@contextmanager
def headless(path: Path) -> Iterator[None]:
    """Keep from a file the first bytes, by which every reader knows it, until it is complete.

    Its room on the disk is taken at once: a disk that is full when memory is written to it ends
    the program without a word.
    """
    kept = path.with_name("head")
    with open(path, "rb+") as file:
        _take_room(file)
        head = file.read(HEAD)
        kept.write_bytes(head)
        file.seek(0)
        file.write(bytes(len(head)))
    yield
    restore_head(path)


def _take_room(file: IO[bytes]) -> None:
    """Raise OSError if the disk has no room for a file that has its length already."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # of file systems without it
            raise


def restore_head(path: Path) -> None:
    """Give a file its first bytes, that it may be opened."""
    with open(path, "rb+") as file:
        file.write(path.with_name("head").read_bytes())


def _remove_folder(folder: Path) -> None:
    """Remove a folder, into which others may still write for a while."""
    for _ in range(REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(0.02)


def _remove_empty(folder: Path, target: Path) -> None:
    """Remove a folder in which there is at most a lock that nobody holds."""
    with suppress(OSError):
        if os.listdir(folder) == [LOCK]:
            with open(folder / LOCK, "rb+") as file:
                _lock(file, target)
                (folder / LOCK).unlink()
        folder.rmdir()


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _is_same(file: IO[bytes], path: Path) -> bool:
    try:
        return not file.closed and os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _used(target: Path) -> str:
    return f"{target} is being written by another run; wait for it, or choose another name"


def _lock(file: IO[bytes], target: Path, *, shared: bool = False) -> None:
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
        raise FileExistsError(_used(target)) from error
