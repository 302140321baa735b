"""One writer alone: what is not finished lies in a folder beside the output, under a lock.

The system releases the lock when its holder ends, however that is: a folder without a holder is
what a killed run left.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from napari_local_ncc.files.lock import lock_file, used
from napari_local_ncc.files.move import move_new
from napari_local_ncc.progress import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDING = ".unfinished"
LOCK, OLD = "claim", "replaced "
REMOVALS = 50
FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


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
            lock_file(file, target)
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
    overwrite : bool, default True
        Whether it may replace what is in its place by then.
    beside : tuple of str
        Names of files and folders that belong to it and do not begin with its name.
    left : bool, default False
        Whether an earlier run, which was killed, had left something of it.
    """

    target: Path
    folder: Path
    lock: IO[bytes]
    overwrite: bool = True
    beside: tuple[str, ...] = ()
    left: bool = False

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
        """Bring what was made to its place: all files of it, or none.

        The target itself comes last, and goes first where it is replaced: while it is there, so is
        what belongs to it, whenever a run is killed.

        Raises
        ------
        FileExistsError
            If something is there that must not be replaced.
        """
        self.check()
        made = [each for each in self.folder.iterdir() if self._is_output(each.name)]
        made.sort(key=lambda each: (each == self.path, each.name))
        places = [self.target.with_name(each.name) for each in made]
        if self.overwrite and len(made) == 1 and not places[0].is_dir():
            made[0].replace(places[0])
            return
        aside = []
        if self.overwrite:
            old = [place for place in reversed(places) if place.exists()]
            aside = [(place, self.folder / f"{OLD}{place.name}") for place in old]
        moves = aside + list(zip(made, places, strict=True))
        move = os.rename if self.overwrite else move_new
        done: list[tuple[Path, Path]] = []
        try:
            with uninterrupted():
                for source, to in moves:  # neither a folder nor two files are replaced in one step
                    move(source, to)
                    done.append((source, to))
        except BaseException:
            for source, to in reversed(done):
                os.rename(to, source)
            raise

    def _is_output(self, name: str) -> bool:
        return name in self.beside or name.startswith(self.target.name)

    def put_back(self) -> None:
        """Return what a run had moved aside that was killed before all of its own was in place.

        What it had brought to its place by then goes back, too: all files of it, or none.
        """
        names = os.listdir(self.folder)
        is_cut_short = any(map(self._is_output, names))
        for name in names:
            if not name.startswith(OLD):
                continue
            place = self.target.with_name(name.removeprefix(OLD))
            if os.path.lexists(place):
                if not is_cut_short:
                    continue
                os.rename(place, self.folder / place.name)
            os.rename(self.folder / name, place)

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
            aside = self.folder
        self.lock.close()  # or NFS keeps it under another name
        _remove_folder(aside)


@contextmanager
def claim(
    target: Path, *, resume: bool = False, overwrite: bool = True, beside: tuple[str, ...] = ()
) -> Iterator[Claim]:
    """Claim an output; what is made stands in its place once the context ends without an error.

    Parameters
    ----------
    target : Path
        The output.
    resume : bool, default False
        Whether to keep what an earlier run left unfinished, and what this one leaves if it
        ends early. Otherwise both are removed.
    overwrite : bool, default True
        Whether to replace what is in its place by the end.
    beside : tuple of str
        Names of files and folders that belong to it and do not begin with its name.

    Yields
    ------
    Claim
        Its `path` is where to write.

    Raises
    ------
    FileExistsError
        If another run is making it, or it is there and must not be replaced; if the folder in
        which it would be made holds what is none of ours.
    OSError
        If there is no room for it; names it.
    """
    folder = unfinished(target)
    _remove_left_aside(folder, target)
    held: Claim | None = None
    finished = False
    try:  # a signal may come between any two lines
        folder.mkdir(exist_ok=True)
        with _open_lock(folder, target) as lock:
            try:
                lock_file(lock, target)
                if not _is_same(lock, folder / LOCK):
                    raise FileExistsError(used(target))  # it has just been finished
                left = os.listdir(folder) != [LOCK]
                held = Claim(target, folder, lock, overwrite, beside, left)
                held.put_back()
                if not resume:
                    held.clear()
                with _full_disk_named(held):
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
        if not finished:
            _remove_empty(folder, target)


@contextmanager
def claim_part(target: Path, part: str) -> Iterator[Claim]:
    """Claim a part of an output, beside runs that make its other parts; none of them finishes it.

    What is made is kept, however the run ends: `claim` with `resume` goes on with all parts. Where
    nothing is made, and no other part is, nothing is left.

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
    finished = False
    try:
        folder.mkdir(exist_ok=True)
        with _open_lock(folder, target) as lock, open(folder / f"{LOCK} {part}", "ab+") as own:
            lock_file(lock, target, shared=True)
            lock_file(own, target)
            held = Claim(target, folder, lock)
            held.check()
            yield held
        finished = True
    finally:
        if not finished:
            _remove_empty(folder, target)


def _open_lock(folder: Path, target: Path) -> IO[bytes]:
    """Open what is locked in the folder where an output is made."""
    try:
        names = os.listdir(folder)
        if names and LOCK not in names:
            raise FileExistsError(
                f"{folder} holds what no run of local-ncc left: {target.name} would be made there; "
                "rename it, or choose another name"
            )
        return open(folder / LOCK, "ab+")
    except FileNotFoundError as error:
        raise FileExistsError(used(target)) from error  # it has just been finished


@contextmanager
def _full_disk_named(held: Claim) -> Iterator[None]:
    """Say of what there is no room for that it is the output."""
    try:
        yield
    except OSError as error:
        where = error.filename
        if error.errno in FULL and (where is None or str(where).startswith(str(held.folder))):
            raise OSError(error.errno, error.strerror, str(held.target)) from error
        raise


def _remove_left_aside(folder: Path, target: Path) -> None:
    """Remove what runs left that were killed while they removed their folder: `Claim.remove`."""
    for old in folder.parent.glob(f"{_escaped(folder.name)}-*"):
        if not re.fullmatch(r"-\d+", old.name.removeprefix(folder.name)):
            continue
        try:
            with open(old / LOCK, "rb+") as file:
                lock_file(file, target)
        except OSError:  # it is none of ours, or another run's that removes it now
            continue
        _remove_folder(old)


def _remove_folder(folder: Path) -> None:
    """Remove a folder, into which others may still write for a while.

    Its lock goes last: it tells whose the folder is, if this is cut short.
    """
    for _ in range(REMOVALS):
        with suppress(OSError):  # what cannot go yet may go the next time
            for each in folder.iterdir():
                if each.is_dir():
                    shutil.rmtree(each, ignore_errors=True)
                elif each.name != LOCK:
                    each.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(0.02)


def _remove_empty(folder: Path, target: Path) -> None:
    """Remove a folder in which there are at most locks that nobody holds: of all, and of parts."""
    with suppress(OSError):
        names = os.listdir(folder)
        if LOCK in names and all(f"{name} ".startswith(f"{LOCK} ") for name in names):
            with open(folder / LOCK, "rb+") as file:
                lock_file(file, target)
                if sys.platform == "win32":  # which removes nothing that is open, another's neither
                    file.close()
                for name in sorted(names, reverse=True):  # that of all goes last
                    (folder / name).unlink()
        folder.rmdir()


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _is_same(file: IO[bytes], path: Path) -> bool:
    try:
        return not file.closed and os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
