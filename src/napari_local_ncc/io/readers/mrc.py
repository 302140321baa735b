"""MRC, the format of electron microscopy, through mrcfile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.image.read_guard import ReadError, check_claim
from napari_local_ncc.io.file_array import FileArray
from napari_local_ncc.io.readers.scene import Scene
from napari_local_ncc.io.stored import Axis, StoredImage, check_level, pixel_size, stored_image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_local_ncc.io.readers.scene import Request


def scenes(path: Path) -> list[Scene]:
    """List the one image, stack or volume of a file."""
    with _mrcfile().open(path, header_only=True) as mrc:
        return [Scene("", _shape(mrc))]


def read(path: Path, scene: int, request: Request) -> StoredImage:
    """Memory-map a file; voxels are in angstrom."""
    check_level(request.level, 1)
    with _mrcfile().open(path, header_only=True) as mrc:
        sizes = {axis: pixel_size(getattr(mrc.voxel_size, axis), "angstrom") for axis in "xyz"}
        origin = {axis: float(getattr(mrc.header.origin, axis)) for axis in "xyz"}
        is_stack = int(mrc.header.ispg) == 0  # of images, not a volume
    if path.name.lower().endswith((".gz", ".bz2")):
        claimed = math.prod(scenes(path)[0].shape) * 8
        check_claim(claimed, path.stat().st_size, "its samples")
    array = open_mrc(str(path), 0)
    labels = ("q", "z", "y", "x")[-array.ndim :]
    if is_stack and array.ndim == 3:
        labels = ("q", "y", "x")
    axes = [
        Axis(k, True, sizes[k][0], origin[k] if sizes[k][1] != "pixel" else 0.0, sizes[k][1])
        if k in sizes
        else Axis(k, spatial=False)
        for k in labels
    ]
    return stored_image(FileArray.at(open_mrc, path, 0, array.shape, array.dtype), axes)


def open_mrc(path: str, key: int) -> NDArray[Any]:
    """Memory-map the samples of a file; a compressed one is read."""
    mrcfile = _mrcfile()
    if path.lower().endswith((".gz", ".bz2")):
        with mrcfile.open(path) as mrc:
            return np.asarray(mrc.data)
    with mrcfile.mmap(path, mode="r") as mrc:
        samples: NDArray[Any] = mrc.data
    return samples


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
