"""A folder or a pattern of files as a series, in the order in which people count."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.chunked.blocks import compute_here
from napari_local_ncc.image.read_guard import ReadError
from napari_local_ncc.io.file_array import check_version, version_of
from napari_local_ncc.io.readers.scene import Scene
from napari_local_ncc.io.readers.sniff import ENDINGS, format_of
from napari_local_ncc.io.stored import Axis, StoredImage, lazy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.io.readers.scene import Request


def scenes(path: Path) -> list[Scene]:
    """List the one series of a folder or pattern."""
    return [Scene("", (len(_files(path)),), "q")]


def read(path: Path, scene: int, request: Request) -> StoredImage:
    """Read files lazily as frames of a series."""
    files = _files(path)
    first = _plane(files[0], request)
    for file in files[1:]:
        size = _reader(file).scenes(file)[0].shape
        if size != _reader(files[0]).scenes(files[0])[0].shape:
            raise ReadError(
                f"{file.name} has another size ({'x'.join(map(str, size))}) than {files[0].name}; "
                "give a pattern that leaves it out"
            )
    paths, versions = tuple(map(str, files)), tuple(map(version_of, files))
    frames = Frames(paths, versions, request, first.data.shape, first.data.dtype)
    data = lazy(frames, (1, *first.data.shape))
    axes = (Axis("q", spatial=False), *first.axes)
    told = f"{len(files)} files, {files[0].name} to {files[-1].name}, are taken as a series"
    jumps = _jumps(files)
    if jumps:
        told += f"; their numbers jump at {jumps}"
    return replace(first, data=data, axes=axes).noting(told)


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Samples of files of one size, a frame each."""

    paths: tuple[str, ...]
    versions: tuple[tuple[int, int], ...]  # of `version_of`
    request: Request
    frame_shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the samples: files first."""
        return (len(self.paths), *self.frame_shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        chosen = range(len(self.paths))[index[0]]
        if isinstance(chosen, int):
            return self._frame(chosen)[index[1:]]
        return np.stack([self._frame(k)[index[1:]] for k in chosen])

    def _frame(self, k: int) -> NDArray[Any]:
        frame = _read_frame(self.paths[k], self.versions[k], self.request)
        check_version(self.paths[k], self.versions[k])
        if frame.shape != self.frame_shape:
            raise ReadError(f"{self.paths[k]} has samples of another size than {self.paths[0]}")
        if not np.can_cast(frame.dtype, self.dtype):
            raise ReadError(
                f"{self.paths[k]} holds {frame.dtype} samples, which the {self.dtype} of "
                f"{Path(self.paths[0]).name} has no place for; give a pattern that leaves it out"
            )
        return frame.astype(self.dtype, copy=False)


@lru_cache(maxsize=4)
def _read_frame(path: str, version: tuple[int, int], request: Request) -> NDArray[Any]:
    # the version is part of the key only
    frame: NDArray[Any] = compute_here(_plane(Path(path), request).data)[0]
    return frame


def _plane(file: Path, request: Request) -> StoredImage:
    return _reader(file).read(file, 0, request).without_colour().sort_axes()


def _reader(file: Path) -> Any:
    return import_module(format_of(file))


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = [p for p in path.iterdir() if p.suffix.lower() in ENDINGS]
        if found:
            ending = Counter(p.suffix.lower() for p in found).most_common(1)[0][0]
            found = [p for p in found if p.suffix.lower() == ending]
    else:
        found = [p for p in path.parent.glob(path.name) if p.is_file()]
    if not found:
        raise ReadError("it holds no image, and is no Zarr")
    return sorted(found, key=_natural)


def _natural(path: Path) -> list[Any]:
    """Return a key that sorts plane_2 before plane_10."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in parts]


def _jumps(files: list[Path]) -> str:
    """Say where the last number of the names does not go on by the usual step."""
    numbers = [re.findall(r"\d+", file.stem) for file in files]
    if not all(numbers) or len(files) < 3:
        return ""
    last = np.array([int(found[-1]) for found in numbers])
    steps = np.diff(last)
    usual = int(np.median(steps))
    places = np.flatnonzero(steps != usual)
    return ", ".join(f"{last[k]} to {last[k + 1]}" for k in places[:5])
