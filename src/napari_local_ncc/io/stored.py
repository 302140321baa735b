"""From the axes of a file to a `SpatialImage`: what every reader has in common."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_local_ncc.chunked.blocks import take
from napari_local_ncc.geometry.grid import Grid, is_spatial
from napari_local_ncc.geometry.units import PIXEL, unit_name
from napari_local_ncc.image.read_guard import ReadError
from napari_local_ncc.image.spatial_image import SpatialImage, map_chunks
from napari_local_ncc.parameters import check_real

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.io.readers.colour import Colour

READABLE = (
    "TIFF (plain, ImageJ, OME, SVS, NDPI), OME-Zarr and Zarr arrays (.zip and .ozx, https:// and "
    "s3:// too), NIfTI, NRRD, MHA, DICOM, HDF5, Imaris, MRC, .npy, PNG, JPEG, BMP and other "
    "pictures, folders and patterns of them"
)
COLOUR = "colour samples"
MOST_PARTS = 2**23  # of an image, each of which has a place in a graph
MOST_SAMPLES = 2**24  # read at once, where the file's own chunks leave the choice


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a stored array.

    Parameters
    ----------
    label : str
        Its name; `COLOUR` for the samples of a colour.
    spatial : bool
        Whether it is space.
    spacing, origin : float
        World distance of two samples; world position of the first one.
    unit : str
        Unit of both, by its full name.
    """

    label: str
    spatial: bool
    spacing: float = 1.0
    origin: float = 0.0
    unit: str = PIXEL


@dataclass(frozen=True, slots=True, eq=False)
class StoredImage:
    """Lazy samples as a file holds them: axes in any order, colours not yet merged.

    Parameters
    ----------
    data : dask array
        The samples.
    axes : tuple of Axis
        One per axis of `data`.
    colour : Colour, optional
        What the samples of a pixel are, where they are not one intensity.
    directions : ndarray, shape (ndim, ndim), optional
        World direction of one step along each axis, as columns of unit length; default:
        each axis is one of the world.
    notes : tuple of str
        What whoever compares the image has to know of it, in sentences.
    facts : tuple of (str, str)
        What else the file says of its samples, by name: for `info`.
    """

    data: da.Array
    axes: tuple[Axis, ...]
    colour: Colour | None = None
    directions: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()

    def noting(self, *notes: str, **facts: str) -> StoredImage:
        """Return the same image with more said of it."""
        return replace(self, notes=self.notes + notes, facts=(*self.facts, *facts.items()))

    def select(self, select: Mapping[str, int]) -> StoredImage:
        """Take one index of each axis that `select` names, ignoring case.

        Raises
        ------
        ReadError
            If there is no such axis or index.
        """
        lengths = dict(zip(self.labels, self.data.shape, strict=True))
        index: list[int | slice] = [slice(None)] * len(self.axes)
        for label, position in select.items():
            if not 0 <= position < lengths.get(label.lower(), 0):
                axes = ", ".join(f"{name} ({n})" for name, n in lengths.items())
                raise ReadError(
                    f"cannot select {label}={position}; the axes and their lengths are {axes}, "
                    "and indices count from 0"
                )
            index[self.labels.index(label.lower())] = position
        colours = self._colour_axes()
        data, colour = self.data, self.colour
        for k in colours:
            if isinstance(sample := index[k], int) and colour is not None:
                data = da.expand_dims(colour.take(data, k, sample), k)
                index[k], colour = 0, None
        kept = [k for k, part in enumerate(index) if isinstance(part, slice)]
        return replace(self, data=data, colour=colour)._indexed(tuple(index), kept)

    @property
    def labels(self) -> tuple[str, ...]:
        """Lower-case labels; colours answer to "c" where no other axis does."""
        labels = [axis.label.lower() for axis in self.axes]
        return tuple("c" if label == COLOUR and "c" not in labels else label for label in labels)

    def without_colour(self) -> StoredImage:
        """Merge colour samples into their luminance."""
        if self.colour is None:
            return self
        k = next(iter(self._colour_axes()), None)
        axes = self.axes if k is None else self.axes[:k] + self.axes[k + 1 :]
        return replace(self, data=self.colour.merge(self.data, k), axes=axes, colour=None)

    def sort_axes(self) -> StoredImage:
        """Put independent axes first, and drop those of length 1 before the last two.

        One that a rotation mixes with others stays.
        """
        order = space_last(self.axes)
        lengths = self.data.shape
        kept = [
            k
            for place, k in enumerate(order)
            if lengths[k] > 1 or place >= len(order) - 2 or self._is_mixed(k)
        ]
        data = take(self.data, [slice(None) if k in kept else 0 for k in range(len(order))])
        if kept != sorted(kept):
            data = data.transpose([sorted(kept).index(k) for k in kept])
        return self._with_axes(data, kept)

    def image(self, name: str) -> SpatialImage:
        """Return the samples on their grid, in native byte order."""
        check_real(self.data.dtype, name)
        spacing = np.array([axis.spacing for axis in self.axes], float)
        fields: dict[str, Any] = {
            "units": tuple(axis.unit for axis in self.axes),
            "axis_labels": tuple(axis.label for axis in self.axes),
            "spatial": tuple(axis.spatial for axis in self.axes),
        }
        matrix = np.eye(len(self.axes) + 1)
        directions = np.eye(len(self.axes)) if self.directions is None else self.directions
        matrix[:-1, :-1] = directions * spacing
        matrix[:-1, -1] = [axis.origin for axis in self.axes]
        grid = Grid(self.data.shape, matrix, **fields)
        return SpatialImage(self.data.astype(self.data.dtype.newbyteorder("=")), grid, name)

    def _colour_axes(self) -> list[int]:
        return [k for k, axis in enumerate(self.axes) if axis.label == COLOUR]

    def _is_mixed(self, axis: int) -> bool:
        if self.directions is None:
            return False
        others = [k for k in range(len(self.axes)) if k != axis]
        mixed = np.abs([*self.directions[axis, others], *self.directions[others, axis]])
        return bool(mixed.max(initial=0) > 1e-9)

    def _indexed(self, index: tuple[int | slice, ...], kept: Sequence[int]) -> StoredImage:
        for k in set(range(len(self.axes))) - set(kept):
            if self._is_mixed(k):
                raise ReadError(
                    f"one index of {self.axes[k].label} is no plane of the world: the axes are "
                    "turned against it; compare the volume"
                )
        return self._with_axes(take(self.data, index), kept)

    def _with_axes(self, data: da.Array, kept: Sequence[int]) -> StoredImage:
        turned = self.directions
        return replace(
            self,
            data=data,
            axes=tuple(self.axes[k] for k in kept),
            directions=None if turned is None else turned[np.ix_(kept, kept)],
        )


def stored_image(
    source: Any,
    axes: Sequence[Axis],
    native_chunks: Sequence[int] | None = None,
    *,
    colour: Colour | None = None,
) -> StoredImage:
    """Wrap an array-like of a file lazily, in chunks that suit the file and the map.

    Parameters
    ----------
    source : array_like
        Has shape and dtype, and gives NumPy arrays for slices.
    axes : sequence of Axis
        One per axis of `source`.
    native_chunks : sequence of int, optional
        What the file must read at once, per axis. Default: any sample alone.
    colour : Colour, optional
        What the samples of a pixel are, where they are not one intensity.
    """
    native = [1] * len(axes) if native_chunks is None else list(native_chunks)
    data = lazy(source, reading_chunks(source.shape, axes, native))
    return StoredImage(data, tuple(axes), colour)


def lazy(source: Any, chunks: Sequence[int]) -> da.Array:
    """Wrap an array-like, without reading it or taking its name for what is in it."""
    parts = math.prod(-(-n // edge) for n, edge in zip(source.shape, chunks, strict=True))
    if parts > MOST_PARTS:
        raise ReadError(f"it claims {parts:,} parts of {'x'.join(map(str, chunks))} samples")
    meta = np.empty((0,) * len(chunks), source.dtype)
    return da.from_array(source, chunks=tuple(chunks), name=False, meta=meta, fancy=False)


def reading_chunks(
    shape: Sequence[int], axes: Sequence[Axis], native: Sequence[int]
) -> tuple[int, ...]:
    """Return whole multiples of the file's chunks, near those a map is computed in."""
    if not all(shape):
        raise ReadError(f"the image is empty: its shape is {tuple(shape)}")
    order = space_last(axes)
    grid = Grid(tuple(shape[k] for k in order), spatial=tuple(axes[k].spatial for k in order))
    edges = dict(zip(order, map_chunks(grid), strict=True))
    chunks = [
        n if axis.label == COLOUR else min(n, least)
        for n, least, axis in zip(shape, native, axes, strict=True)
    ]
    for k in reversed(order):
        room = MOST_SAMPLES * chunks[k] // math.prod(chunks)
        span = min(edges[k], room)
        whole = span // native[k] * native[k] if span < shape[k] else shape[k]
        chunks[k] = max(chunks[k], whole)
    return tuple(chunks)


def space_last(axes: Sequence[Axis]) -> list[int]:
    """Return the order of axes in which the spatial ones come last."""
    return sorted(range(len(axes)), key=lambda k: axes[k].spatial)


def pixel_size(size: object, unit: object) -> tuple[float, str]:
    """Return a pixel size and its unit; 1 pixel where the file gives nothing usable."""
    try:
        spacing, name = float(str(size)), unit_name(unit)
    except ValueError:
        return 1.0, PIXEL
    return (spacing, name) if 0 < spacing < math.inf and name != PIXEL else (1.0, PIXEL)


def named_axes(labels: Sequence[str]) -> list[Axis]:
    """Return uncalibrated axes; what is space is told by the labels."""
    return [Axis(label, is_spatial(label, PIXEL)) for label in labels]


def numbered_axes(ndim: int) -> list[Axis]:
    """Return the spatial axes of an array that names none, labelled as in napari."""
    return named_axes([str(k) for k in range(-ndim, 0)])


def reduction(full: int, reduced: int) -> float:
    """Return how many full-resolution samples one reduced sample stands for.

    A last sample that stands for fewer does not count: 1001 samples become 500 or 501 by 2.
    """
    factor = round(full / reduced)
    return factor if abs(full - factor * reduced) < factor else full / reduced


def check_level(level: int, count: int) -> None:
    """Raise ReadError unless there is a resolution `level`."""
    if not 0 <= level < count:
        raise ReadError(f"there is no level {level}; its levels are 0 to {count - 1}")
