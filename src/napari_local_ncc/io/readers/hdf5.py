"""HDF5: every dataset of numbers is a scene; Imaris files as the image they hold."""

from __future__ import annotations

import json
import math
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_local_ncc.image.fill_value import hide_fill_values
from napari_local_ncc.image.read_guard import ReadError, check_beside, check_claim, guard_reading
from napari_local_ncc.io.file_array import FileArray
from napari_local_ncc.io.readers.partial_array import PartialArray
from napari_local_ncc.io.readers.scene import Scene
from napari_local_ncc.io.stored import (
    Axis,
    StoredImage,
    check_level,
    named_axes,
    numbered_axes,
    pixel_size,
    stored_image,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_local_ncc.io.readers.scene import Absent, Request

IMARIS = "DataSet"
ELEMENT_SIZE = "element_size_um"  # of Fiji's and ilastik's HDF5: z, y, x
AXIS_TAGS = "axistags"  # of vigra's and ilastik's: JSON, an object for each axis


def scenes(path: Path) -> list[Scene]:
    """List the datasets that can be images; an Imaris file holds one."""
    with _h5py().File(path) as file:
        if _is_imaris(file):
            return [Scene("", _imaris_shape(file), "tczyx")]
        found = [Scene(name, tuple(dataset.shape)) for name, dataset in _datasets(file)]
    if not found:
        raise ReadError("it holds no array of numbers with two or more axes")
    return found


def holds_transform(path: Path) -> bool:
    """Return whether a file is a transform of ITK, not an image."""
    with guard_reading(path), _h5py().File(path) as file:
        return "TransformGroup" in file


def read(path: Path, scene: int, request: Request) -> StoredImage:
    """Read a dataset lazily."""
    with _h5py().File(path) as file:
        if _is_imaris(file):
            return _read_imaris(path, file, request.level)
        check_level(request.level, 1)
        name, dataset = list(_datasets(file))[scene]
        stored = _read_dataset(path, name, dataset, request.absent)
        return replace(stored, data=hide_fill_values(stored.data, dataset.attrs))


def open_dataset(path: str, key: str) -> Any:
    """Open a dataset of a file."""
    file = _h5py().File(path)
    dataset = file[key]
    weakref.finalize(dataset, file.close)
    return dataset


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ReadError(
            "HDF5 and Imaris are read by h5py: pip install 'napari-local-ncc[formats]'"
        ) from error
    return h5py


def _samples(path: Path, name: str, dataset: Any) -> FileArray:
    sources = _sources(path, name, dataset)
    piece = math.prod(dataset.chunks or dataset.shape) * dataset.dtype.itemsize
    check_claim(piece, dataset.id.get_storage_size(), f"a chunk of its dataset {name}")
    shape = tuple(dataset.shape)
    parts = _parts(dataset, path, sources)
    return FileArray.at(open_dataset, path, name, shape, dataset.dtype, sources, parts)


def _parts(dataset: Any, path: Path, files: list[Path]) -> NDArray[np.intp] | None:
    """Return where the samples in each of other files begin and end; None where any may be."""
    if not dataset.is_virtual:
        return None
    ndim, number = dataset.ndim, {file: k for k, file in enumerate(files)}
    parts = np.tile(np.array([dataset.shape, (0,) * ndim]), (len(files), 1, 1))
    for source in dataset.virtual_sources():
        k = number.get(path.parent / source.file_name)
        if k is not None:
            first, last = _bounds(source.vspace, dataset.shape)
            parts[k, 0] = np.minimum(parts[k, 0], first)
            parts[k, 1] = np.maximum(parts[k, 1], np.add(last, 1))
    return parts


def _bounds(space: Any, shape: tuple[int, ...]) -> Any:
    """Return the first and the last index of what is selected; of all where it has no end."""
    if space.get_select_type() == _h5py().h5s.SEL_HYPERSLABS and space.is_regular_hyperslab():
        _, _, counts, blocks = space.get_regular_hyperslab()
        if _h5py().h5s.UNLIMITED in (*counts, *blocks):
            return np.zeros(len(shape), np.intp), np.subtract(shape, 1)
    return space.get_select_bounds()


def _read_dataset(path: Path, name: str, dataset: Any, policy: Absent | None) -> StoredImage:
    """Wrap a dataset; chunks that were never written are undefined, but in masks."""
    source, axes = _samples(path, name, dataset), _axes(dataset)
    present = _present_chunks(dataset)
    if present is None or present.all():
        return stored_image(source, axes, dataset.chunks)
    text = f"{(~present).sum()} of {present.size} chunks were never written"
    if policy == "fill" or dataset.dtype.kind == "b":
        return stored_image(source, axes, dataset.chunks).noting(
            f"{text}; they are taken as {dataset.fillvalue}"
        )
    partial = PartialArray(source, dataset.chunks or dataset.shape, ~present)
    return stored_image(partial, axes, dataset.chunks).noting(
        f"{text}; they are undefined (absent_chunks='fill', --absent-chunks fill, takes them as "
        f"{dataset.fillvalue})"
    )


def _present_chunks(dataset: Any) -> NDArray[np.bool_] | None:
    """Return which chunks are in the file; None where they are in others."""
    if dataset.is_virtual or dataset.external:
        return None
    edges = dataset.chunks or dataset.shape
    counts = [-(-n // edge) for n, edge in zip(dataset.shape, edges, strict=True)]
    if dataset.chunks is None:
        return np.full(counts, dataset.id.get_storage_size() > 0)
    if dataset.id.get_num_chunks() == math.prod(counts):
        return np.ones(counts, bool)
    present = np.zeros(counts, bool)

    def note(chunk: Any) -> None:
        present[tuple(np.floor_divide(chunk.chunk_offset, edges))] = True

    dataset.id.chunk_iter(note)  # in one go: to ask for each takes time by the square of them
    return present


def _sources(path: Path, name: str, dataset: Any) -> list[Path]:
    """Return the files beside this one that hold samples, or ReadError where one is not there.

    HDF5 reads the fill value for those of a file that is not there.
    """
    sources = [source.file_name for source in dataset.virtual_sources()] if (
        dataset.is_virtual) else []  # fmt: skip
    sources += [file for file, *_ in dataset.external or ()]
    check_beside(path, sources)
    files = {path.parent / source: source for source in sources if source != "."}
    for file, source in files.items():
        if not file.exists():
            raise ReadError(f"its dataset {name} has samples in {source}, which is not there")
    return list(files)


def _datasets(file: Any) -> Iterator[tuple[str, Any]]:
    names: list[str] = []
    file.visit(names.append)
    for name in names:
        node = file.get(name)
        if hasattr(node, "dtype") and node.dtype.kind in "biuf" and len(node.shape) > 1:
            yield name, node


def _axes(dataset: Any) -> list[Axis]:
    labels = _labels(dataset)
    axes = named_axes(labels) if labels else numbered_axes(dataset.ndim)
    size = dataset.attrs.get(ELEMENT_SIZE)
    if size is None or len(size) != 3:
        return axes
    names = labels or [*(axis.label for axis in axes[:-3]), *"zyx"[-dataset.ndim :]]
    sizes = dict(zip("zyx", size, strict=True))
    return [
        Axis(name, True, *_placed(*pixel_size(sizes[name], "um"))) if name in sizes else axis
        for name, axis in zip(names, axes, strict=True)
    ]


def _labels(dataset: Any) -> list[str]:
    """Return what axes are called: by HDF5 itself, or by vigra, as ilastik does; or nothing."""
    labels = [str(dim.label).lower() for dim in dataset.dims]
    if all(labels):
        return labels
    try:
        told = json.loads(dataset.attrs.get(AXIS_TAGS, "{}"))
        keys = [str(axis["key"]).lower() for axis in told["axes"]]
    except (ValueError, TypeError, KeyError):  # not vigra's
        return []
    return keys if len(keys) == dataset.ndim else []


def _placed(step: float, unit: str) -> tuple[float, float, str]:
    return step, 0.0, unit


# ---------------------------------------------------------------- Imaris


def _is_imaris(file: Any) -> bool:
    return IMARIS in file and f"{IMARIS}/ResolutionLevel 0" in file


def _told(group: Any, name: str) -> str:
    """Read an attribute that is stored as an array of characters."""
    return b"".join(np.asarray(group.attrs[name]).astype("S1").tolist()).decode()


def _imaris_shape(file: Any) -> tuple[int, ...]:
    return _level_shape(file, 0)


def _level_shape(file: Any, level: int) -> tuple[int, ...]:
    times = file[f"{IMARIS}/ResolutionLevel {level}"]
    channels = times["TimePoint 0"]
    first = channels["Channel 0"]
    # chunks are filled up; the size of the image is in the attributes
    size = tuple(int(_told(first, f"ImageSize{axis}")) for axis in "ZYX")
    return (len(times), len(channels), *size)


def _read_imaris(path: Path, file: Any, level: int) -> StoredImage:
    check_level(level, len(file[IMARIS]))
    shape = _level_shape(file, level)
    places = [
        [
            f"{IMARIS}/ResolutionLevel {level}/TimePoint {t}/Channel {c}/Data"
            for c in range(shape[1])
        ]
        for t in range(shape[0])
    ]
    info = file["DataSetInfo/Image"]
    unit = _told(info, "Unit") if "Unit" in info.attrs else "um"
    axes = [Axis("t", spatial=False), Axis("c", spatial=False)]
    for k, name in zip((2, 1, 0), "zyx", strict=True):
        low, high = float(_told(info, f"ExtMin{k}")), float(_told(info, f"ExtMax{k}"))
        step, its = pixel_size((high - low) / shape[4 - k], unit)
        # extents are outer edges of pixels
        axes.append(Axis(name, True, step, low + step / 2 if its != "pixel" else 0.0, its))
    inside = tuple(slice(n) for n in shape[2:])
    blocks = [
        [
            stored_image(_samples(path, name, file[name]), axes[2:], file[name].chunks).data[inside]
            for name in row
        ]
        for row in places
    ]
    data = da.stack([da.stack(row) for row in blocks])
    names = [_told(file[f"DataSetInfo/Channel {c}"], "Name") for c in range(shape[1])
             if f"DataSetInfo/Channel {c}" in file]  # fmt: skip
    stored = StoredImage(data, tuple(axes))
    return stored.noting(channels=", ".join(names)) if names else stored
