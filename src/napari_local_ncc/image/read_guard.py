"""One place for whatever reading a file may come to: what it claims, and what libraries raise."""

from __future__ import annotations

import os
import re
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_local_ncc.progress import Note

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from os import PathLike

LARGEST_PART = 2**29  # bytes that a part of a file may take at once, however small it is packed
PACKING = 100  # times that images are packed at most, unless they say next to nothing
ZARR_DOCUMENTS = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
LIMIT = "LNCC_READ_LIMIT"  # environment variable: bytes instead of LARGEST_PART
LONGEST = 300  # characters of another library's reason
TOLD_BY_SYSTEM = (FileNotFoundError, PermissionError, FileExistsError)  # not what derives of them
FEWER = ("cannot reshape array", "Failed to read all data for array")
# what Python says of parts of a document that are not what our code takes them for
WORDS_OF_PYTHON = re.compile(
    r"argument|\bobject\b|attribute|indices must|out of range|NoneType|operand|__|not iterable|"
    r"not subscriptable|real number, not"
)
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b|\b(?:itk|sitk|gdcm)::\S*")


class ReadError(ValueError):
    """A file that cannot be read as asked; the message says how to mend it."""


class ReadNote(Note):
    """What is read is not all that a reader might think; the message says what it is."""


@contextmanager
def guard_reading(
    path: str | PathLike[str], part: str = "", *, remedy: str = "", whole: str = ""
) -> Iterator[None]:
    """Turn what a file that is not as it should be makes libraries raise into a `ReadError`.

    Parameters
    ----------
    path : path_like
        The file, folder or address.
    part : str
        What of it is read, "its samples [0:16, 0:16]"; default: all of it.
    remedy : str
        What else to say where the file is broken.
    whole : str
        What it would be if it were in order, for the message where no part is named.

    Raises
    ------
    ReadError
        Names the file, the part and the reason.
    FileNotFoundError, PermissionError, ImportError
        As they are: they name the file and the remedy themselves.
    """
    import numpy as np  # bad words are said before anything heavy is loaded

    try:
        with np.errstate(all="ignore"):  # of numbers in a header that are none
            yield
    except ReadError as error:
        told = str(error)
        raise ReadError(told if str(path) in told else f"{path}: {told}") from error
    except ImportError:
        raise
    except MemoryError as error:
        raise ReadError(
            f"{path}: {part or 'its samples'} do not fit into memory; read a coarser level, or "
            "save it as a tiled TIFF or as OME-Zarr, which are read in parts"
        ) from error
    except Exception as error:  # a broken file makes the format libraries raise anything
        if type(error) in TOLD_BY_SYSTEM:
            raise
        reason = reason_of(error)
        if part:
            raise ReadError(f"{path}: {part} cannot be read ({reason}){remedy}") from error
        raise ReadError(f"cannot read {whole}{path} ({reason}){remedy}") from error


def reason_of(error: BaseException) -> str:
    """Return in a few words why something could not be read, without addresses of objects."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    first = ADDRESS.sub("", first).strip() or type(error).__name__
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if any(words in first for words in FEWER):
        return "it holds fewer samples than it claims"
    if isinstance(error, KeyError) and len(error.args) == 1:
        return f"it lacks {error.args[0]!r}"[:LONGEST]
    if isinstance(error, AttributeError | IndexError | TypeError | AssertionError):
        told = "" if WORDS_OF_PYTHON.search(first) else f": {first}"
        return f"its parts do not fit together{told}"[:LONGEST]
    return first[:LONGEST]


def describe_part(index: Any, shape: Sequence[int]) -> str:
    """Say which samples an index takes: "its samples [0:16, 3]"."""
    parts = index if isinstance(index, tuple) else (index,)
    where = ", ".join(
        f"{part.start or 0}:{n if part.stop is None else part.stop}"
        if isinstance(part, slice)
        else str(part)
        for part, n in zip(parts, shape, strict=False)
    )
    return f"its samples [{where}]"


def check_file(path: str | PathLike[str]) -> Path:
    """Return a path that can be read as often as is needed.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    ReadError
        If it, or the document of a Zarr in it, is a pipe or a device, which ends or waits when it
        is read.
    """
    if not os.fspath(path):  # of which Path makes the current folder
        raise FileNotFoundError("the name of a file is empty")
    file = Path(path)
    try:
        mode = file.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"there is no file {file}") from None
    except (OSError, ValueError) as error:  # a name that is too long, or holds a zero byte
        raise ReadError(f"cannot read {file} ({reason_of(error)})") from error
    documents = [file / name for name in ZARR_DOCUMENTS] if stat.S_ISDIR(mode) else []
    for part in (file, *documents):
        _check_no_pipe(part)
    return file


def _check_no_pipe(file: Path) -> None:
    """Raise ReadError where reading would wait for somebody to write."""
    if os.path.exists(file) and not (os.path.isfile(file) or os.path.isdir(file)):
        raise ReadError(
            f"{file} is a pipe or a device, not a file, and is read more than once; write it to a "
            "file first"
        )


def check_beside(path: str | PathLike[str], names: Iterable[str]) -> None:
    """Raise ReadError where a file names another, outside its folder, that would be read.

    Parameters
    ----------
    path : path_like
        The file.
    names : iterable of str
        What it names, as it stands there.
    """
    folder = Path(path).absolute().parent
    for name in names:
        place = folder / name.strip()
        known = folder.resolve() in place.resolve().parents
        if place != folder and not known and os.path.exists(place):
            raise ReadError(
                f"{path}: it names samples elsewhere ({name.strip()}), which are not read; put "
                "them beside it, and their bare name into it"
            )
        _check_no_pipe(place)


def check_claim(claimed: int, held: int, what: str, *, most: float | None = None) -> None:
    """Compare what a part of a file claims to be with the bytes it has, before it is read.

    Parameters
    ----------
    claimed : int
        Bytes that must be held in memory at once.
    held : int
        Bytes in the file.
    what : str
        The part, to be named: "its tile 3".
    most : float, optional
        How many times its compression can pack at most; 1 where there is none.

    Raises
    ------
    ReadError
        If the file cannot hold that much, or so much of next to nothing that it would
        rather fill the memory than be an image.
    """
    if most is not None and claimed > most * held + PACKING:
        raise ReadError(
            f"{what} claims {_size(claimed)}, more than its {_size(held)} in the file can hold; "
            "the file is cut off or damaged"
        )
    limit = read_limit()
    if claimed > limit and claimed > PACKING * held:
        raise ReadError(
            f"{what} would need {_size(claimed)} at once, of {_size(held)} in the file; save it in "
            f"tiles or chunks, or set {LIMIT}={claimed} if you trust it"
        )


def read_limit() -> int:
    """Return how many bytes a part of a file may take where it is packed beyond measure."""
    told = os.environ.get(LIMIT, "")
    if not told:
        return LARGEST_PART
    if not told.isdecimal():
        raise ValueError(f"{LIMIT} must be a number of bytes, got {told!r}")
    return int(told)


def _size(count: int) -> str:
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
