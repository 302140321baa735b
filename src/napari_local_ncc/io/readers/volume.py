"""NIfTI, NRRD, MetaImage and DICOM through SimpleITK: spacing, origin and direction kept."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.geometry.units import PIXEL
from napari_local_ncc.image.metaimage import check_header
from napari_local_ncc.image.read_guard import ReadError, check_beside, check_claim
from napari_local_ncc.io.file_array import FileArray, check_version, version_of
from napari_local_ncc.io.readers.colour import RGB
from napari_local_ncc.io.readers.nifti import Floats, Layout, is_nifti_2, unpacked
from napari_local_ncc.io.readers.scene import Scene
from napari_local_ncc.io.stored import COLOUR, Axis, StoredImage, check_level, stored_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.io.readers.scene import Request

MILLIMETER = "millimeter"
PHOTOMETRIC = "0028|0004"  # DICOM tags
BITS_STORED, DESCRIPTION = "0028|0101", "0008|103e"
LONGEST_HEADER = 2**16  # bytes that are looked at
UNLIKE = 0.01  # mm, by which two places of a NIfTI may differ without a word
UNEVEN = 0.01  # of the distance of slices, by which it may vary without a word
LABELS = ("x", "y", "z", "t")
APART = (".mhd", ".nhdr", ".hdr")  # their samples are another file
PACKED = (".gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".zraw")


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """What a file says of its samples, axes as of ITK: x first.

    Parameters
    ----------
    size : tuple of int
        Samples along each axis.
    matrix : ndarray, shape (ndim + 1, ndim + 1)
        Index to world.
    components : int
        Samples per pixel.
    dtype : dtype
        Of a sample.
    tags : dict of str to str
        Everything else.
    """

    size: tuple[int, ...]
    matrix: NDArray[np.float64]
    components: int
    dtype: np.dtype[Any]
    tags: dict[str, str]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array: x last, then components."""
        return (*self.size[::-1], *([self.components] if self.components > 1 else []))


def scenes(path: Path) -> list[Scene]:
    """List the one volume of a file, or the series of a folder of DICOM files."""
    if not path.is_dir():
        header = header_of(path)
        return [Scene("", header.shape, _letters(header))]
    return [
        Scene(_series_name(files[0]), (len(files), *header_of(files[0]).size[1::-1]), "zyx")
        for files in _series(path)
    ]


def read(path: Path, scene: int, request: Request) -> StoredImage:
    """Read a volume lazily: plane by plane where the file is not compressed."""
    check_level(request.level, 1)
    if path.is_dir():
        return _read_series(_series(path)[scene])
    header = header_of(path)
    layout = Layout.of(path)
    samples = math.prod(header.size) * header.components
    if layout is not None:
        layout.check_length(path, samples)
    _check_length(path, samples * header.dtype.itemsize)
    beside = _beside(path)
    parts = None
    if len(beside) == header.shape[0] > 1:  # a plane each
        first = np.arange(len(beside))
        parts = np.zeros((len(beside), 2, len(header.shape)), np.intp)
        parts[:, 0, 0], parts[:, 1, 0], parts[:, 1, 1:] = first, first + 1, header.shape[1:]
    source = FileArray.at(open_volume, path, 0, header.shape, header.dtype, beside, parts)
    outer = len(header.size) - 2
    native = (1,) * outer + header.shape[outer:]
    stored = stored_image(source, _axes(header, path), native, colour=_colour(header))
    stored = replace(stored, directions=_directions(header))
    if layout is not None and not layout.is_placed:
        stored = stored.noting(
            "its header does not say where it lies (its qform and sform codes are 0): pixel sizes "
            "alone are known, its first voxel is taken to lie at 0"
        )
    away = 0.0 if layout is None else layout.distance(header.matrix, header.size)
    if away > UNLIKE:
        stored = stored.noting(
            f"its qform and its sform do not agree; it lies where ITK lays it, which is up to "
            f"{away:g} mm from where its sform does, as images of nibabel do"
        )
    return _as_told(stored, header)


def _check_length(path: Path, needed: int) -> None:
    """Raise ReadError where the samples of a volume, so many bytes of them, cannot be there.

    SimpleITK says of them that there is "no such file", or writes to the terminal.
    """
    parts = _parts(path)
    if not parts and path.suffix.lower() in APART:
        return
    held = sum(part.stat().st_size for part in parts or [path])
    if held < (needed if _is_raw(path) else _packed_length(path)):
        raise ReadError("cannot read all of it: the file is cut off; copy it again")
    check_claim(needed, held, "its samples")


def _check_parts(path: Path) -> None:
    """Raise ReadError where other files that a volume needs are elsewhere, or are missing."""
    check_beside(path, named_files(path))
    for part in _parts(path):
        if not part.is_file():
            raise ReadError(
                f"its samples should be in the file {part.name}, which is not beside it; put both "
                "into one folder"
            )


def _parts(path: Path) -> list[Path]:
    """Return the other files that hold the samples of a NRRD or MetaImage.

    None where they are a pattern of names.
    """
    names = [name.strip() for name in named_files(path)]
    return [] if any("%" in name for name in names) else [path.parent / name for name in names]


def _beside(path: Path) -> list[Path]:
    """Return the other files of a volume that are there: its header may outlive them."""
    twins = [path.with_suffix(".img")] if path.suffix.lower() == ".hdr" else []
    return [part for part in (*_parts(path), *twins) if part.is_file()]


def _is_raw(path: Path) -> bool:
    """Say whether the samples of a NRRD or MetaImage are stored as they are."""
    with path.open("rb") as file:
        start = file.read(LONGEST_HEADER)
    if start.startswith(b"NRRD"):
        return re.search(rb"^encoding: *raw\s*$", start, re.MULTILINE | re.IGNORECASE) is not None
    fields = dict(re.findall(rb"^(\w+) *= *(\w+)", start, re.MULTILINE))
    told = [fields.get(name, b"F")[:1].upper() for name in (b"BinaryData", b"CompressedData")]
    return told in ([b"T", b"F"], [b"1", b"F"], [b"T", b"0"], [b"1", b"0"])


def _packed_length(path: Path) -> int:
    """Return how many bytes a MetaImage says that its samples take, packed; 0: it does not say."""
    with path.open("rb") as file:
        start = file.read(LONGEST_HEADER)
    told = re.search(rb"^CompressedDataSize *= *(\d{1,18})\s*$", start, re.MULTILINE)
    if told is None or b"ObjectType" not in start:
        return 0
    local = re.search(rb"^ElementDataFile *= *LOCAL[ \r]*\n", start, re.MULTILINE | re.IGNORECASE)
    return int(told[1]) + (local.end() if local else 0)


def _read_series(files: list[Path]) -> StoredImage:
    headers = [header_of(file) for file in files]
    header = headers[0]
    places = np.array([each.matrix[:3, -1] for each in headers])
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    matrix = header.matrix.copy()
    if len(files) > 1:
        matrix[:3, 2] = (places[-1] - places[0]) / (len(files) - 1)
    # whole numbers that a slice scales are floating: each may have a scale of its own
    dtype = np.result_type(*(each.dtype for each in headers))
    header = replace(header, size=(*header.size[:2], len(files)), matrix=matrix, dtype=dtype)
    key = tuple((str(file), version_of(file)) for file in files)
    source = FileArray.at(open_series, files[0], key, header.shape, header.dtype)
    native = (1, *header.shape[1:])
    stored = stored_image(source, _axes(header, files[0]), native, colour=_colour(header))
    stored = replace(stored, directions=_directions(header))
    if len(steps) and np.ptp(steps) > UNEVEN * np.median(steps):
        stored = stored.noting(
            f"its slices lie {steps.min():g} to {steps.max():g} mm apart, as if some were "
            f"missing; they are taken as {np.linalg.norm(matrix[:3, 2]):g} mm apart"
        )
    return _as_told(stored, header)


class Volume:
    """Samples of one file, read plane by plane; a compressed one whole, once.

    Parameters
    ----------
    path : str
        The file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._header = header_of(Path(path))
        layout = Layout.of(Path(path))
        self._whole: NDArray[Any] | Floats | None = None
        if layout is not None:
            header = self._header
            self._whole = layout.floats(Path(path), header.size, header.components)
        if self._whole is None and path.lower().endswith(".gz"):
            unpacked(Path(path))  # whole, or an error

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        size = self._header.size
        if self._whole is not None or len(size) < 3 or self._path.lower().endswith(PACKED):
            if self._whole is None:
                self._whole = _pixels(_reader(self._path))
            part: NDArray[Any] = self._whole[index]
            return part
        planes = range(size[-1])[index[0]]
        chosen = [planes] if isinstance(planes, int) else list(planes)
        reader = _reader(self._path)
        reader.SetExtractIndex([0] * (len(size) - 1) + [min(chosen)])
        reader.SetExtractSize([*size[:-1], max(chosen) - min(chosen) + 1])
        slab = _pixels(reader)[[k - min(chosen) for k in chosen]][(slice(None), *index[1:])]
        return slab[0] if isinstance(planes, int) else slab


class Slices:
    """Samples of a series of files, a slice each.

    Parameters
    ----------
    files : tuple of (str, (int, int))
        The files in order, and what `version_of` tells of each.
    """

    def __init__(self, files: tuple[tuple[str, tuple[int, int]], ...]) -> None:
        self._files = files

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        chosen = range(len(self._files))[index[0]]
        if isinstance(chosen, int):
            plane: NDArray[Any] = self._plane(chosen)[index[1:]]
            return plane
        return np.stack([self._plane(k)[index[1:]] for k in chosen])

    def _plane(self, k: int) -> NDArray[Any]:
        path, version = self._files[k]
        pixels = _pixels(_reader(path))
        check_version(path, version)
        return pixels[0] if pixels.shape[0] == 1 else pixels


def open_volume(path: str, key: int) -> Volume:
    """Open a file."""
    return Volume(path)


def open_series(path: str, key: tuple[tuple[str, tuple[int, int]], ...]) -> Slices:
    """Open a series of files."""
    return Slices(key)


def load_simpleitk() -> Any:
    """Import SimpleITK, or say what to install."""
    try:
        import SimpleITK as sitk
    except ImportError as error:
        raise ReadError(
            "NIfTI, NRRD, MetaImage and DICOM are read by SimpleITK: pip install "
            "'napari-local-ncc[registration]'"
        ) from error
    return sitk


def _reader(path: str) -> Any:
    reader = load_simpleitk().ImageFileReader()
    reader.SetFileName(path)
    return reader


def _pixels(reader: Any) -> NDArray[Any]:
    try:
        return np.asarray(load_simpleitk().GetArrayFromImage(reader.Execute()))
    except RuntimeError as error:
        raise ReadError(_reason(error)) from error


def header_of(path: Path) -> Header:
    """Return what a file says of its samples."""
    sitk, reader = load_simpleitk(), _reader(str(path))
    _check_parts(path)
    check_header(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        if is_nifti_2(path):
            raise ReadError(
                "it is NIfTI-2, which this SimpleITK does not read; save it as NIfTI-1, or give "
                "nibabel.load(path)"
            ) from error
        raise ReadError(_reason(error)) from error
    ndim = reader.GetDimension()
    matrix = np.eye(ndim + 1)
    matrix[:-1, :-1] = np.reshape(reader.GetDirection(), (ndim, ndim)) * reader.GetSpacing()
    matrix[:-1, -1] = reader.GetOrigin()
    components = reader.GetNumberOfComponents()
    several = [components] if components > 1 else []
    sample = sitk.Image([1] * ndim, reader.GetPixelID(), *several)
    dtype = sitk.GetArrayFromImage(sample).dtype
    tags = {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()}
    return Header(tuple(reader.GetSize()), matrix, components, dtype, tags)


def _reason(error: RuntimeError) -> str:
    """Return what went wrong, without C++ names, addresses and places in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not re.search(r"0x|\.[ch]xx|sitk::|itk::|^Reason:", line)]
    if not told:  # a file that is there, whose errno ITK reports: "No such file or directory"
        return "SimpleITK cannot read it: it is cut off or damaged; copy it again"
    return f"SimpleITK cannot read it ({re.sub(r'^.nrrd. [_a-zA-Z]+: *', '', told[-1])})"


def named_files(path: Path) -> list[str]:
    """Return the names of other files that the header of a NRRD or MetaImage gives."""
    with path.open("rb") as file:
        start = file.read(LONGEST_HEADER)
    found = re.search(rb"^\s*(?:ElementDataFile|data ?file)\s*[:=] *([^\r\n]*)", start,
                      re.MULTILINE | re.IGNORECASE)  # fmt: skip
    if found is None or found[1].strip().upper() == b"LOCAL":
        return []
    names = [found[1]]
    if found[1].upper().startswith(b"LIST"):
        names = [line for line in start[found.end() :].splitlines() if line.strip()]
    return [name.decode("utf-8", "replace") for name in names]


def _series(folder: Path) -> list[list[Path]]:
    """Return the files of every series of a folder, in the order of their positions."""
    reader = load_simpleitk().ImageSeriesReader
    names = reader.GetGDCMSeriesIDs(str(folder))
    return [[Path(f) for f in reader.GetGDCMSeriesFileNames(str(folder), name)] for name in names]


def _series_name(file: Path) -> str:
    return header_of(file).tags.get(DESCRIPTION, "")


def _axes(header: Header, path: Path) -> list[Axis]:
    unit = MILLIMETER if _is_dicom(header) or ".nii" in path.name.lower() else PIXEL
    spacing = np.linalg.norm(header.matrix[:-1, :-1], axis=0)
    axes = []
    for k in reversed(range(len(header.size))):
        is_space = k < 3
        name = LABELS[k] if k < len(LABELS) else f"c{k - 2}"
        its = unit if is_space else "second" if name == "t" and unit == MILLIMETER else PIXEL
        origin = float(header.matrix[k, -1])
        axes.append(Axis(name, is_space, float(spacing[k]), origin, its))
    if header.components > 1:
        axes.append(Axis(COLOUR if _colour(header) else "c", spatial=False))
    return axes


def _directions(header: Header) -> NDArray[np.float64] | None:
    linear = header.matrix[:-1, :-1]
    ndim = len(header.size)
    directions = np.eye(ndim + (header.components > 1))
    directions[:ndim, :ndim] = (linear / np.linalg.norm(linear, axis=0))[::-1, ::-1]
    return directions


def _is_dicom(header: Header) -> bool:
    return any("|" in key for key in header.tags)


def _colour(header: Header) -> Any:
    return RGB if header.components == 3 and header.dtype == np.uint8 else None


def _as_told(stored: StoredImage, header: Header) -> StoredImage:
    """Say what the samples are; ITK turns DICOM's "0 is white" and scales it by itself."""
    kind = header.tags.get(PHOTOMETRIC, "")
    bits = header.tags.get(BITS_STORED) or 8 * header.dtype.itemsize
    return stored.noting(samples=f"{bits} bits {kind}".strip())


def _letters(header: Header) -> str:
    return "".join(LABELS[: len(header.size)][::-1]) + ("c" if header.components > 1 else "")
