"""The one door to SimpleITK, which is optional."""

from __future__ import annotations

import gzip
import re
import zlib
from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.files.head import check_room

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

    from numpy.typing import NDArray

NIFTI_HEAD = 348  # bytes
CLASS = re.compile(r"^.*?(?:\(0x[0-9a-f]+\)|ERROR):\s*(?:\w+\(0x[0-9a-f]+\):\s*)?")


def simpleitk() -> ModuleType:
    """Import SimpleITK, or say how to get it."""
    try:
        import SimpleITK
    except ImportError:
        raise ImportError(
            "rigid, similarity and affine models and ITK's files need SimpleITK; install it with: "
            "pip install 'napari-local-ncc[registration]'"
        ) from None
    # starts without overlap are no news, but ITK would print them past every logger
    SimpleITK.ProcessObject_SetGlobalWarningDisplay(False)
    return SimpleITK


def last_words(error: RuntimeError) -> str:
    """Return what ITK says last, without the names and addresses of its classes."""
    return CLASS.sub("", str(error).strip().splitlines()[-1]).strip()


def write_image(image: Any, path: Path, *, compress: bool = False) -> None:
    """Write an image of ITK, and read it back: of a full disk, ITK does not always tell.

    Raises
    ------
    OSError
        If it is not all there.
    """
    itk = simpleitk()
    values = image.GetNumberOfPixels() * image.GetNumberOfComponentsPerPixel()
    size = values * image.GetSizeOfPixelComponent()
    check_room(path, size)
    with _failure_told(path):
        itk.WriteImage(image, str(path), useCompression=compress)
        if path.name.lower().endswith((".nii", ".nii.gz")):  # ITK reads NaN of these as 0
            whole = _length(path) >= size + NIFTI_HEAD
        else:
            whole = itk.Hash(itk.ReadImage(str(path))) == itk.Hash(image)
        if not whole:
            raise OSError(f"{path.name} is not what was written into it; is its disk full?")


def _length(path: Path) -> int:
    """Return how many bytes a file holds, unpacked; 0 where it is cut off."""
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opened(path, "rb") as file:
            return sum(len(part) for part in iter(lambda: file.read(2**20), b""))
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return 0


def write_transform(transform: Any, path: Path) -> None:
    """Write a transform of ITK, and read it back; raise OSError if it is not all there."""
    itk = simpleitk()
    check_room(path, 8 * transform.GetNumberOfParameters())
    with _failure_told(path):
        itk.WriteTransform(transform, str(path))
        if not _is_same(transform, itk.ReadTransform(str(path))):
            raise OSError(f"{path.name} is not what was written into it; is its disk full?")


def _is_same(transform: Any, found: Any) -> bool:
    """Tell whether all numbers of two transforms are the same, but for rounding to float32."""
    pairs = zip_longest(_numbers(transform), _numbers(found), fillvalue=np.empty(0))
    return all(
        told.shape == read.shape and np.allclose(read, told, rtol=1e-6, atol=0)
        for told, read in pairs
    )


def _numbers(transform: Any) -> Iterator[NDArray[np.float64]]:
    """Yield the parameters, and the fixed ones, of a transform or of each part of a composite."""
    if transform.GetName() == "CompositeTransform":  # ITK gives those of its last part only
        for number in range(transform.GetNumberOfTransforms()):
            yield from _numbers(transform.GetNthTransform(number))
    else:
        yield np.array(transform.GetParameters())
        yield np.array(transform.GetFixedParameters())


@contextmanager
def _failure_told(path: Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise OSError(f"{path.name} cannot be written ({last_words(error)})") from error
