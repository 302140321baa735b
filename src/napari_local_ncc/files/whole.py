"""Small files that are whole or what they were."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a place to write a file or folder to, of the same name; then it replaces `path`.

    Where writing fails, as on a full disk, `path` stays what it was and nothing is left.
    """
    target = Path(path)
    folder = Path(mkdtemp(prefix=f".{target.name[:100]}-", dir=target.parent))
    try:
        yield folder / target.name
        if target.is_dir():
            shutil.rmtree(target)  # a folder cannot be replaced in one step
        os.replace(folder / target.name, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_text(path: str | os.PathLike[str], text: str, *, newline: str | None = None) -> None:
    r"""Write a text in UTF-8, completely or not at all; as `Path.write_text` otherwise.

    A byte of a file's name that is no UTF-8 is written out, as ``\udcff``, which JSON reads back.
    """
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline=newline)
