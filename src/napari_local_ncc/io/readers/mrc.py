"""MRC, the format of electron microscopy, through mrcfile."""

from __future__ import annotations

import bz2
import gzip
import math
import os
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.image.read_guard import ReadError, check_claim
from napari_local_ncc.io.file_array import FileArray
from napari_local_ncc.io.readers.raw_samples import RawSamples
from napari_local_ncc.io.readers.scene import Scene
from napari_local_ncc.io.stored import Axis, StoredImage, check_level, pixel_size, stored_image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_local_ncc.io.readers.scene import Request

VOLUME = ("z", "y", "x")
PACKED = (".gz", ".bz2")
# of the part of a header that IMOD uses: bio3d.colorado.edu/imod/doc/mrc_format.txt
IMOD_STAMP, IMOD_STAMP_AT = 1146047817, 40
HEADER = 1024  # bytes, of which those are two
EXTENDED_AT, ORDER_AT = 92, 212  # where it gives its extension's length, and its byte order
SIGNED_BYTES, ORIGIN_AS_OTHERS = 1, 4  # bits of its flags


def scenes(path: Path) -> list[Scene]:
    """List the one image, stack or volume of a file."""
    _check_extension(path)
    with _mrcfile().open(path, header_only=True) as mrc:
        return [Scene("", _shape(mrc))]


def read(path: Path, scene: int, request: Request) -> StoredImage:
    """Read a file lazily; voxels are in angstrom."""
    check_level(request.level, 1)
    _check_extension(path)
    with _mrcfile().open(path, header_only=True) as mrc:
        sizes = {axis: pixel_size(getattr(mrc.voxel_size, axis), "angstrom") for axis in "xyz"}
        sign = _sign_of_origin(mrc.header)
        origin = {axis: sign * float(getattr(mrc.header.origin, axis)) for axis in "xyz"}
        is_stack = int(mrc.header.ispg) == 0  # of images, not a volume
        order = _axis_order(mrc.header)
        is_unsigned = _is_unsigned(mrc.header)
    if path.name.lower().endswith(PACKED):
        claimed = math.prod(scenes(path)[0].shape) * 8
        check_claim(claimed, path.stat().st_size, "its samples")
    array = open_mrc(str(path), is_unsigned)
    labels = ("q", "z", "y", "x")[-array.ndim :]
    if is_stack and array.ndim == 3:
        labels = ("q", "y", "x")
    elif array.ndim == 3:
        labels = order
    axes = [
        Axis(k, True, sizes[k][0], origin[k] if sizes[k][1] != "pixel" else 0.0, sizes[k][1])
        if k in sizes
        else Axis(k, spatial=False)
        for k in labels
    ]
    source = FileArray.at(open_mrc, path, is_unsigned, array.shape, array.dtype)
    stored = stored_image(source, axes)
    if labels != order or labels == VOLUME:
        return stored
    turn = [labels.index(label) for label in VOLUME]
    return replace(stored, data=stored.data.transpose(turn), axes=tuple(axes[k] for k in turn))


def open_mrc(path: str, is_unsigned: bool) -> NDArray[Any] | RawSamples:
    """Return where the samples of a file lie; those of a compressed one are read."""
    mrcfile = _mrcfile()
    if path.lower().endswith(PACKED):
        with mrcfile.open(path) as mrc:
            samples: NDArray[Any] = np.asarray(mrc.data)
        return samples.view(np.uint8) if is_unsigned else samples
    with mrcfile.open(path, header_only=True) as mrc:
        dtype = mrcfile.utils.data_dtype_from_header(mrc.header)
        shape = mrcfile.utils.data_shape_from_header(mrc.header)
        begin = HEADER + int(mrc.header.nsymbt)
    if os.stat(path).st_size < begin + math.prod(shape) * dtype.itemsize:
        raise ReadError("cannot read all of it: the file is cut off; copy it again")
    return RawSamples(path, np.dtype(np.uint8) if is_unsigned else dtype, begin, shape)


def _check_extension(path: Path) -> None:
    """Raise ReadError where a header claims an extension that is not there: mrcfile reads it all.

    mrcfile says what else is wrong with a header.
    """
    start = start_of(path)
    if len(start) < HEADER:
        raise ReadError("cannot read all of it: the file is cut off; copy it again")
    order = ">" if start[ORDER_AT : ORDER_AT + 1] == b"\x11" else "<"
    claimed = int(np.frombuffer(start, f"{order}i4", 1, EXTENDED_AT)[0])
    if claimed < 0:
        raise ReadError(f"its header is damaged: its extension has {claimed} bytes")
    held = path.stat().st_size
    check_claim(claimed, held, "its header", most=None if path.name.lower().endswith(PACKED) else 1)


def start_of(path: Path) -> bytes:
    """Return the header of a file, or what there is of it; of a packed one, as it was before."""
    name = path.name.lower()
    opened = gzip.open if name.endswith(".gz") else bz2.open if name.endswith(".bz2") else open
    try:
        with opened(path, "rb") as file:
            start: bytes = file.read(HEADER)
    except (EOFError, OSError, zlib.error) as error:  # cut off, or not what its name says
        if getattr(error, "errno", None) is not None:  # the system's word, not of what is packed
            raise
        return b""
    return start


def _imod_flags(header: Any) -> int | None:
    """Return what IMOD says of a file, as bits; None where it did not write it."""
    whole = np.dtype("i4").newbyteorder(header.mode.dtype.byteorder)
    stamp, flags = np.frombuffer(header.extra2.tobytes(), whole, 2, IMOD_STAMP_AT)
    return int(flags) if stamp == IMOD_STAMP else None


def _is_unsigned(header: Any) -> bool:
    """Say whether bytes are 0 to 255: those of IMOD unless it says else, and what exceeds 127.

    By the format they are signed, which IMOD's are not by default, nor were those of old.
    """
    flags = _imod_flags(header)
    told = flags is not None and not flags & SIGNED_BYTES
    return int(header.mode) == 0 and (told or float(header.dmax) > 127)


def _sign_of_origin(header: Any) -> int:
    """Return the sign of the place of the first voxel: IMOD keeps its negative, by default."""
    flags = _imod_flags(header)
    is_negative = flags is not None and not flags & ORIGIN_AS_OTHERS and int(header.nversion) <= 0
    return -1 if is_negative else 1


def _axis_order(header: Any) -> tuple[str, ...]:
    """Return which axis of the world sections, rows and columns are."""
    told = [int(value) for value in (header.maps, header.mapr, header.mapc)]
    return tuple("xyz"[k - 1] for k in told) if sorted(told) == [1, 2, 3] else VOLUME


def _mrcfile() -> Any:
    try:
        import mrcfile
    except ImportError as error:
        raise ReadError(
            "MRC is read by mrcfile: pip install 'napari-local-ncc[formats]'"
        ) from error
    return mrcfile


def _shape(mrc: Any) -> tuple[int, ...]:
    header = mrc.header
    shape = (int(header.nz), int(header.ny), int(header.nx))
    return shape[1:] if shape[0] == 1 else shape
