"""Which reader a file needs: told by its content, not by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_local_ncc.io.errors import ReadError

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

READERS = "napari_local_ncc.io.readers"
NPY = b"\x93NUMPY"
TIFFS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
ZIP = b"PK\x03\x04"
ZARR_NAMES = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def is_address(path: str | PathLike[str]) -> bool:
    """Return whether a text is an address (``https://``, ``s3://``, ``memory://``)."""
    return isinstance(path, str) and "://" in path


def format_of(path: Path | str) -> str:
    """Return the name of the module that reads a file.

    Raises
    ------
    ReadError
        If the file is empty.
    """
    if isinstance(path, str) or path.is_dir():
        return f"{READERS}.ome_zarr"
    start = _first_bytes(path)
    if start.startswith(NPY):
        return f"{READERS}.npy"
    if start.startswith(TIFFS):
        return f"{READERS}.tiff"
    if start.startswith(ZIP) and _is_zipped_zarr(path):
        return f"{READERS}.ome_zarr"
    return f"{READERS}.picture"


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        raise ReadError("it is empty (0 bytes)")
    return start


def _is_zipped_zarr(path: Path) -> bool:
    from zipfile import BadZipFile, ZipFile

    try:
        with ZipFile(path) as archive:
            return any(name in ZARR_NAMES for name in archive.namelist())
    except BadZipFile:
        return False
