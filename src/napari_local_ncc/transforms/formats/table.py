"""The formats of transforms of other programs: how each is known, read and written.

What reads and writes is imported when a file needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.transforms.frame_transform import FrameTransform

LARGEST = 2**24  # bytes of a text that are looked at
HDF5, NUMPY, GZIP = b"\x89HDF\r\n\x1a\n", b"\x93NUMPY", b"\x1f\x8b"
PICTURES = (b"NRRD000", b"ObjectType", b"NDims", GZIP)


@dataclass(frozen=True, slots=True)
class Content:
    """What a file is known by."""

    path: Path
    start: bytes

    @property
    def text(self) -> str:
        """Its text; empty where it is none."""
        return "" if b"\0" in self.start else self.start.decode("utf-8-sig", errors="replace")


@dataclass(frozen=True, slots=True)
class Options:
    """What a file does not say itself: the order of a matrix's axes, the model of landmarks."""

    order: str = "zyx"
    model: str = "affine"


@dataclass(frozen=True, slots=True)
class TransformFormat:
    """A kind of file.

    Parameters
    ----------
    name : str
        What people call it.
    endings : tuple of str
        Of its files' names, for writing, and where the content says nothing.
    knows : callable
        Whether a file is of this kind, by its `Content`.
    read : callable
        Takes the path, the fixed image's spatial grid and `Options`.
    write : callable or None
        Takes a transform of one frame, the path and `Options`; None: it is not written.
    holds_flows : bool
        Whether a displacement can be written, too.
    """

    name: str
    endings: tuple[str, ...]
    knows: Callable[[Content], bool]
    read: Callable[[Path, Grid, Options], FrameTransform]
    write: Callable[[FrameTransform, Path, Options], None] | None = None
    holds_flows: bool = False


def content_of(path: Path) -> Content:
    """Read what a file is known by; of a folder nothing."""
    if path.is_dir():
        return Content(path, b"")
    with path.open("rb") as file:
        return Content(path, file.read(LARGEST))


def format_of(content: Content) -> TransformFormat | None:
    """Return the format of a file by its content, or else by its ending; None: not known."""
    known = known_by_content(content)
    named = format_named(content.path)
    if known or named is None:
        return known
    # a folder says what it is, and a .txt, as which texts of all kinds end
    tells = content.path.is_dir() or (content.path.suffix.lower() == ".txt" and content.text)
    return None if tells and named is not OME_ZARR else named


def known_by_content(content: Content) -> TransformFormat | None:
    """Return the format that a file's content shows; None: none."""
    return next((one for one in FORMATS if one.knows(content)), None)


def format_named(path: Path) -> TransformFormat | None:
    """Return the format that a file's name stands for; None: not known."""
    name = path.name.lower()
    if name.startswith("transformparameters.") and name.endswith(".txt"):
        return ELASTIX
    return next((one for one in FORMATS if name.endswith(one.endings)), None)


def _read_itk(path: Path, space: Grid, options: Options) -> FrameTransform:
    from napari_local_ncc.transforms.formats.itk import read_itk

    return read_itk(path, space)


def _write_itk(found: FrameTransform, path: Path, options: Options) -> None:
    from napari_local_ncc.transforms.formats.itk import write_itk

    write_itk(found, path)


def _read_field(path: Path, space: Grid, options: Options) -> FrameTransform:
    from napari_local_ncc.transforms.formats.itk import read_field

    return read_field(path, space)


def _write_field(found: FrameTransform, path: Path, options: Options) -> None:
    from napari_local_ncc.transforms.formats.itk import write_field

    write_field(found, path)


def _is_elastix(content: Content) -> bool:
    return "(TransformParameters" in content.text and "(Transform " in content.text


def _read_elastix(path: Path, space: Grid, options: Options) -> FrameTransform:
    from napari_local_ncc.transforms.formats.elastix import read_elastix

    return read_elastix(path, space)


def _write_elastix(found: FrameTransform, path: Path, options: Options) -> None:
    from napari_local_ncc.transforms.formats.elastix import write_elastix

    write_elastix(found, path)


def _is_landmarks(content: Content) -> bool:
    from napari_local_ncc.transforms.formats.landmarks import is_landmarks

    return is_landmarks(content.text)


def _read_landmarks(path: Path, space: Grid, options: Options) -> FrameTransform:
    from napari_local_ncc.transforms.formats.landmarks import read_landmark_fit

    return read_landmark_fit(path, space, options.model)


def _is_omezarr(content: Content) -> bool:
    names = ("zarr.json", ".zgroup")
    return content.path.is_dir() and any((content.path / name).exists() for name in names)


def _read_omezarr(path: Path, space: Grid, options: Options) -> FrameTransform:
    from napari_local_ncc.transforms.formats.omezarr import read_omezarr

    return read_omezarr(path, space)


def _write_omezarr(found: FrameTransform, path: Path, options: Options) -> None:
    from napari_local_ncc.transforms.formats.omezarr import write_omezarr

    write_omezarr(found, path)


def _is_matrix(content: Content) -> bool:
    from napari_local_ncc.transforms.formats.matrix import is_matrix

    return content.start.startswith(NUMPY) or is_matrix(content.text)


def _read_matrix(path: Path, space: Grid, options: Options) -> FrameTransform:
    from napari_local_ncc.transforms.formats.matrix import read_matrix

    return read_matrix(path, space, options.order)


def _write_matrix(found: FrameTransform, path: Path, options: Options) -> None:
    from napari_local_ncc.transforms.formats.matrix import write_matrix

    write_matrix(found, path, options.order)


ELASTIX = TransformFormat(
    "elastix", ("TransformParameters.0.txt",), _is_elastix, _read_elastix, _write_elastix
)
OME_ZARR = TransformFormat(
    "OME-Zarr", (".ome.zarr",), _is_omezarr, _read_omezarr, _write_omezarr, holds_flows=True
)
FORMATS = (
    TransformFormat(
        "ITK",
        (".h5", ".hdf5"),
        lambda content: content.start.startswith(HDF5),
        _read_itk,
        _write_itk,
        holds_flows=True,
    ),
    TransformFormat(
        "ITK",
        (".tfm", ".txt", ".mat"),
        lambda content: content.text.startswith("#Insight Transform File"),
        _read_itk,
        _write_itk,
    ),
    ELASTIX,
    TransformFormat(
        "field of displacements",
        (".nii", ".nii.gz", ".mha", ".nrrd"),
        lambda content: content.start.startswith(PICTURES),
        _read_field,
        _write_field,
        holds_flows=True,
    ),
    TransformFormat("landmarks of BigWarp", (), _is_landmarks, _read_landmarks),
    TransformFormat("matrix", (".npy", ".csv"), _is_matrix, _read_matrix, _write_matrix),
    OME_ZARR,
)
