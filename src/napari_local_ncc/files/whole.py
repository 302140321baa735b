"""Small files that are whole or what they were."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from napari_local_ncc.files.claim import claim
from napari_local_ncc.progress import Note

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator


@contextmanager
def whole_file(
    path: str | os.PathLike[str], *, overwrite: bool = True, beside: tuple[str, ...] = ()
) -> Iterator[Path]:
    """Give a place to write a file or folder to, of the same name; then it stands at `path`.

    Where writing fails, as on a full disk, `path` stays what it was and nothing is left.

    Parameters
    ----------
    path : path_like
        The file or folder.
    overwrite : bool, default True
        Whether to replace what is there by the end.
    beside : tuple of str
        Names of files and folders that belong to it.

    Yields
    ------
    Path
        Where to write it, and what lies beside it.

    Raises
    ------
    FileNotFoundError
        If there is no such folder to write into.
    FileExistsError
        If another run is writing it just now, or it is there and must not be replaced.
    """
    target = Path(path)
    if not target.parent.is_dir():  # else the error would name a file that nobody asked for
        raise FileNotFoundError(f"there is no folder {target.parent} to write {target.name} into")
    with claim(target, overwrite=overwrite, beside=beside) as held:
        if held.left:
            warnings.warn(
                f"{held.folder.name}, which a run that was cut short left, is removed",
                Note,
                stacklevel=3,
            )
        yield held.path


def write_text(
    path: str | os.PathLike[str],
    text: str,
    *,
    newline: str | None = None,
    overwrite: bool = True,
) -> None:
    r"""Write a text in UTF-8, completely or not at all; as `Path.write_text` otherwise.

    A byte of a file's name that is no UTF-8 is written out, as ``\udcff``, which JSON reads back.
    """
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline=newline)
