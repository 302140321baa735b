"""Where the samples of a NIfTI lie: ITK takes NaN, and what a cut file lacks, as 0."""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from napari_local_ncc.image.read_guard import ReadError
from napari_local_ncc.io.readers.raw_samples import RawSamples

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MILLIMETERS = {1: 1e3, 3: 1e-3}  # by codes of the field xyzt_units: meter, micron
SPACE_UNITS = 7  # bits of that field
FLOATS = {16: "f4", 64: "f8"}  # codes of the field datatype


@dataclass(frozen=True, slots=True)
class Layout:
    """Place and type of the samples in one file (nifti.nimh.nih.gov, NIfTI-1 and -2).

    Parameters
    ----------
    offset : int
        Byte of the first sample.
    dtype : dtype or None
        Of a sample where it is floating; None of other types.
    bits : int
        Of one sample.
    slope, intercept : float
        What samples are multiplied by, and what is added.
    sform : ndarray, shape (3, 4), or None
        Where voxels lie by the field of that name, in mm, as of ITK; None where it is not given.
    is_placed : bool
        Whether one of its two codes says that it tells where voxels lie.
    """

    offset: int
    dtype: np.dtype[Any] | None
    bits: int
    slope: float
    intercept: float
    sform: NDArray[np.float64] | None
    is_placed: bool

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Read the header of a single-file NIfTI; None of another file."""
        start = _start(path)
        order: Literal["<", ">"] = "<" if start[:4] in (b"\x5c\x01\0\0", b"\x1c\x02\0\0") else ">"

        def number(kind: str, place: int) -> Any:
            return np.frombuffer(start, np.dtype(kind).newbyteorder(order), 1, place)[0]

        if start[344:347] == b"n+1":
            code, bits, scale = number("i2", 70), number("i2", 72), ("f4", 112, 116)
            offset, sform_at = number("f4", 108), ("i2", 254, "f4", 280)
            qform_code = number("i2", 252)
            units = start[123]
        elif start[4:7] == b"n+2":
            code, bits, scale = number("i2", 12), number("i2", 14), ("f8", 176, 184)
            offset, sform_at = number("i8", 168), ("i4", 348, "f8", 400)
            qform_code = number("i4", 344)
            units = int(number("i4", 500))
        else:
            return None
        slope, intercept = number(scale[0], scale[1]), number(scale[0], scale[2])
        if not slope or not np.isfinite(slope):
            slope, intercept = 1.0, 0.0
        kind = FLOATS.get(int(code))
        dtype = None if kind is None else np.dtype(kind).newbyteorder(order)
        sform = None
        if number(*sform_at[:2]) > 0:
            rows = np.dtype(sform_at[2]).newbyteorder(order)
            sform = np.frombuffer(start, rows, 12, sform_at[3]).reshape(3, 4).astype(np.float64)
            sform *= np.array([[-1.0], [-1.0], [1.0]]) * MILLIMETERS.get(units & SPACE_UNITS, 1.0)
        is_placed = sform is not None or qform_code > 0
        return cls(int(offset), dtype, int(bits), float(slope), float(intercept), sform, is_placed)

    def distance(self, matrix: NDArray[np.float64], size: Sequence[int]) -> float:
        """Return by how much another place of the voxels is away from the sform, in mm at most.

        Parameters
        ----------
        matrix : ndarray, shape (ndim + 1, ndim + 1)
            The other, of indices to mm.
        size : sequence of int
            Voxels along each axis, of which the first three are space.
        """
        if self.sform is None or len(size) < 3:
            return 0.0
        other = matrix[np.ix_([0, 1, 2], [0, 1, 2, -1])]
        ends = [(0, n - 1) for n in size[:3]]
        corners = np.stack(np.meshgrid(*ends, 1, indexing="ij"), axis=-1).reshape(-1, 4)
        apart = corners @ (self.sform - other).T
        return float(np.linalg.norm(apart, axis=1).max())

    def check_length(self, path: Path, samples: int) -> None:
        """Raise ReadError where a file that is not compressed is cut off."""
        is_packed = path.suffix.lower() == ".gz"
        if not is_packed and path.stat().st_size < self.offset + samples * self.bits // 8:
            raise ReadError("cannot read all of it: the file is cut off; copy it again")

    def floats(self, path: Path, size: Sequence[int], components: int) -> Floats | None:
        """Return floating samples as they are, NaN too; None of other types.

        Parameters
        ----------
        path : Path
            The file.
        size : sequence of int
            Voxels along each axis, x first.
        components : int
            Samples per voxel, which come last in the array, and first in the file.
        """
        if self.dtype is None:
            return None
        shape, order = tuple(size[::-1]), tuple(range(len(size)))
        if components > 1:
            shape, order = (components, *shape), (*(k + 1 for k in order), 0)
        if path.suffix.lower() == ".gz":
            content = unpacked(path)[self.offset :]
            stored = np.frombuffer(content, self.dtype, math.prod(shape)).reshape(shape)
            return Floats(stored.transpose(order), self.slope, self.intercept)
        raw = RawSamples(str(path), self.dtype, self.offset, shape, order)
        return Floats(raw, self.slope, self.intercept)


@dataclass(frozen=True, slots=True, eq=False)
class Floats:
    """Floating samples, scaled where they are read.

    Parameters
    ----------
    stored : array_like
        As they are in the file.
    slope, intercept : float
        As of `Layout`.
    """

    stored: NDArray[Any] | RawSamples
    slope: float
    intercept: float

    def __getitem__(self, index: Any) -> NDArray[Any]:
        samples = np.asarray(self.stored[index])
        if (self.slope, self.intercept) == (1.0, 0.0):
            return samples
        scaled: NDArray[Any] = samples * samples.dtype.type(self.slope) + self.intercept
        return scaled


def is_nifti_2(path: Path) -> bool:
    """Return whether a file is a NIfTI of the second version."""
    try:
        return _start(path)[4:7] in (b"n+2", b"ni2")
    except (OSError, EOFError, zlib.error):
        return False


def _start(path: Path) -> bytes:
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        return file.read(544)


def unpacked(path: Path) -> bytes:
    """Return what a compressed file holds.

    Raises
    ------
    ReadError
        If it ends too early or is broken.
    """
    try:
        with gzip.open(path) as stream:
            return stream.read()
    except (EOFError, OSError, zlib.error) as error:
        raise ReadError(f"{path} is cut off or broken ({error}); copy it again") from error
