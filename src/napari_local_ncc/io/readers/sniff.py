"""Which reader a file needs: told by its content, not by its name."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from napari_local_ncc.image.read_guard import ReadError

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

READERS = "napari_local_ncc.io.readers"
NPY = b"\x93NUMPY"
TIFFS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
ZIP = b"PK\x03\x04"
HDF5 = b"\x89HDF\r\n\x1a\n"
MRC, NRRD, DICOM, GZIP = b"MAP", b"NRRD", b"DICM", b"\x1f\x8b"
PACKED = (GZIP, b"BZh")
NIFTI = (b"n+1", b"ni1", b"n+2", b"ni2")
ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".npy", ".jp2")
MOST_LOOKED_AT = 1000  # files of a folder
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
    if isinstance(path, str):
        return f"{READERS}.ome_zarr.store"
    if path.is_dir():
        return f"{READERS}.{_kind_of_folder(path)}"
    if is_pattern(path):
        return f"{READERS}.planes"
    start = _first_bytes(path)
    if start.startswith(NPY):
        return f"{READERS}.npy"
    if start.startswith(TIFFS):
        return f"{READERS}.tiff.series"
    if start.startswith(ZIP) and _is_zipped_zarr(path):
        return f"{READERS}.ome_zarr.store"
    if start.startswith(HDF5):
        return f"{READERS}.hdf5"
    if _is_mrc(path, start):
        return f"{READERS}.mrc"
    if _is_volume(path, start):
        return f"{READERS}.volume"
    return f"{READERS}.{'picture' if _is_picture(path) else 'proprietary'}"


def _is_picture(path: Path) -> bool:
    """Say whether Pillow knows the format."""
    from PIL import Image, UnidentifiedImageError

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # large images are no attacks
    try:
        with Image.open(path):
            return True
    except UnidentifiedImageError:
        return False
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def is_pattern(path: Path) -> bool:
    """Return whether a path is a pattern of files, such as ``scan_*.tif``."""
    return any(sign in path.name for sign in "*?[") and not path.exists()


def _is_mrc(path: Path, start: bytes) -> bool:
    """Say whether a file is MRC, be it packed: databanks of maps give .map.gz."""
    if start.startswith(PACKED) and path.suffix.lower() in (".gz", ".bz2"):
        from napari_local_ncc.io.readers.mrc import start_of

        start = start_of(path)
    return start[208:211] == MRC


def _is_volume(path: Path, start: bytes) -> bool:
    """Say whether a file is NIfTI, NRRD, MetaImage or DICOM."""
    is_nifti = start[344:347] in NIFTI or start[4:7] in NIFTI
    is_packed = start.startswith(GZIP) and path.name.lower().endswith(".nii.gz")
    is_meta = b"NDims" in start and b"ElementType" in start
    return is_nifti or is_packed or is_meta or start.startswith(NRRD) or start[128:132] == DICOM


def _kind_of_folder(folder: Path) -> str:
    if any((folder / name).exists() for name in ZARR_NAMES):
        return "ome_zarr.store"
    files = [path for path in islice(folder.iterdir(), MOST_LOOKED_AT) if path.is_file()]
    if any(_is_dicom(path) for path in files[:3]):
        return "volume"
    return "planes" if any(path.suffix.lower() in ENDINGS for path in files) else "ome_zarr.store"


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == DICOM


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
