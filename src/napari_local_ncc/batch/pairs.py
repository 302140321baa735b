"""Which files make a pair: by a table, or by their names."""

from __future__ import annotations

import csv
import glob
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from napari_local_ncc.image.read_guard import check_file, guard_reading
from napari_local_ncc.io.readers.sniff import is_address

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

HIDDEN = "."
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')  # in the name of a file, on any system
NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class FilePair:
    """Two image files that are compared.

    Parameters
    ----------
    name : str
        What the pair is called, and its files.
    fixed, moving : str
        Paths or addresses.
    mask, transform : str
        Those of a mask and of a transform to apply; empty for none.

    Examples
    --------
    >>> from napari_local_ncc.batch import FilePair
    >>> FilePair("s1", "s1_ch0.tif", "s1_ch1.tif", mask="tissue.tif").transform
    ''
    """

    name: str
    fixed: str
    moving: str
    mask: str = ""
    transform: str = ""


COLUMNS = tuple(each.name for each in fields(FilePair))
NEEDED = ("fixed", "moving")


def read_pairs(table: str | os.PathLike[str]) -> list[FilePair]:
    r"""Read the pairs of a CSV.

    Parameters
    ----------
    table : path_like
        Its first row names the columns: ``fixed`` and ``moving``, and, if wanted, ``name``,
        ``mask`` and ``transform``; any others are ignored. Paths are relative to its folder.

    Raises
    ------
    ValueError
        If a column or a cell is missing, or two pairs have one name.

    Examples
    --------
    >>> from pathlib import Path
    >>> from napari_local_ncc.batch import read_pairs
    >>> _ = Path("pairs.csv").write_text("fixed,moving\na.tif,b.tif\n", encoding="utf-8")
    >>> read_pairs("pairs.csv")
    [FilePair(name='b', fixed='a.tif', moving='b.tif', mask='', transform='')]
    """
    with guard_reading(table), check_file(table).open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        known = reader.fieldnames or []
        rows = [{name: (row.get(name) or "").strip() for name in COLUMNS} for row in reader]
    missing = [name for name in NEEDED if name not in known]
    if missing:
        raise ValueError(
            f"{table} has no column {' or '.join(missing)}; its first row names them: "
            f"{','.join(COLUMNS)}"
        )
    for number, row in enumerate(rows, start=2):
        empty = [name for name in NEEDED if not row[name]]
        if empty:
            raise ValueError(f"{table}, row {number}: {' and '.join(empty)} is empty")
    base = Path(table).parent
    files = [{k: v if k == "name" else _placed(base, v) for k, v in row.items()} for row in rows]
    return _named([FilePair(**row) for row in files], str(table))


def _placed(base: Path, path: str) -> str:
    return path if not path or is_address(path) else str(base / path)


def pair_by_name(fixed: str, moving: str) -> list[FilePair]:
    """Pair the files of two folders, or of two patterns, by their names.

    Parameters
    ----------
    fixed, moving : str
        A folder, a pattern such as ``"scans/*_ch0.tif"``, or, of fixed, one file that all of
        moving are compared with.

    Returns
    -------
    list of FilePair
        Files of equal names; if there are none, files whose names are equal but for what all
        names of their side begin and end with.

    Raises
    ------
    FileNotFoundError
        If a side has no file.
    ValueError
        If a file has no partner, or several.

    Examples
    --------
    >>> from pathlib import Path
    >>> from napari_local_ncc.batch import pair_by_name
    >>> for name in ("s1_ch0.tif", "s1_ch1.tif", "s2_ch0.tif", "s2_ch1.tif"):
    ...     Path(name).touch()
    >>> [(pair.fixed, pair.moving) for pair in pair_by_name("*_ch0.tif", "*_ch1.tif")]
    [('s1_ch0.tif', 's1_ch1.tif'), ('s2_ch0.tif', 's2_ch1.tif')]
    """
    sides = [_files(fixed), _files(moving)]
    if len(sides[0]) == 1:
        pairs = [FilePair("", str(sides[0][0]), str(each)) for each in sides[1]]
        return _named(pairs, moving)
    keys = [{path.name: path for path in side} for side in sides]
    if not set(keys[0]) & set(keys[1]):
        keys = [_by_difference(side) for side in sides]
    alone = sorted(set(keys[0]) ^ set(keys[1]))
    if alone:
        files = [str(key.get(name)) for name in alone for key in keys if name in key]
        raise ValueError(
            f"{len(alone)} files have no partner, {', '.join(files[:3])} for one; "
            "give a table of pairs instead"
        )
    pairs = [FilePair("", str(keys[0][name]), str(keys[1][name])) for name in sorted(keys[0])]
    return _named(pairs, f"{fixed} and {moving}")


def _files(side: str) -> list[Path]:
    if not side:
        raise FileNotFoundError("the name of a file is empty")
    path = Path(side)
    if path.is_dir() and path.suffix.lower() != ".zarr":
        found = [each for each in path.iterdir() if not each.name.startswith(HIDDEN)]
    else:
        found = [path] if path.exists() else [Path(each) for each in glob.glob(side)]
    if not found:
        raise FileNotFoundError(f"there is no file {side}")
    return sorted(found)


def _by_difference(files: Sequence[Path]) -> dict[str, Path]:
    """Name files by what of their names is not common to all; numbers are not cut."""
    names = [path.name for path in files]
    start, end = _common(names), _common([name[::-1] for name in names])
    keys = {path.name[start : max(start, len(path.name) - end)]: path for path in files}
    if len(keys) < len(names):
        raise ValueError(f"files such as {names[0]} cannot be told by name; give a table of pairs")
    return keys


def _common(names: Sequence[str]) -> int:
    """Return how many characters all names begin with, up to a number that goes on."""
    together = zip(*names, strict=False)
    unlike = (k for k, signs in enumerate(together) if len(set(signs)) > 1)
    length = next(unlike, min(map(len, names)))
    while length and any(
        name[length - 1].isdigit() and name[length : length + 1].isdigit() for name in names
    ):
        length -= 1
    return length


def _named(pairs: Iterable[FilePair], source: str) -> list[FilePair]:
    """Give each pair a name that a file can have, and no two the same."""
    made, taken = [], dict[str, FilePair]()
    for pair in pairs:
        name = FORBIDDEN.sub("_", pair.name or _stem(pair.moving)).strip(". ") or "pair"
        if name.lower() in taken:
            raise ValueError(
                f"{source}: two pairs are called {name} ({taken[name.lower()].moving} and "
                f"{pair.moving}); name them in the column name"
            )
        taken[name.lower()] = pair
        made.append(FilePair(name, pair.fixed, pair.moving, pair.mask, pair.transform))
    if not made:
        raise ValueError(f"{source} holds no pair")
    return made


def _stem(path: str) -> str:
    name = path.rstrip("/").rpartition("/")[2] if is_address(path) else Path(path).name
    return re.sub(r"(\.ome)?\.\w+(\.gz)?$", "", name) or name
