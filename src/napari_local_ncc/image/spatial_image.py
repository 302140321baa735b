"""An image that knows where it lies: lazy pixels on a grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array

from napari_local_ncc.chunked.blocks import take
from napari_local_ncc.chunked.windows import as_lazy, without_masks
from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.parameters import as_samples, check_real, is_cupy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from napari_local_ncc.image.source import Source

# Large enough that little of the work is on overlaps and tasks, small enough to show progress.
PLANE_CHUNK = 1024
VOLUME_CHUNK = 128


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SpatialImage:
    """Scalar pixels, lazily, with their grid.

    Parameters
    ----------
    data : dask array
        Real-valued samples: bool, integer or floating. NaN and inf are "no sample".
    grid : Grid
        Where the samples lie; the same shape.
    name : str
        What to call the image in messages.
    source : Source, optional
        Where the samples came from; ``None`` where nothing is known of it.

    Raises
    ------
    TypeError
        If the samples are complex or no numbers.
    ValueError
        If `data` and `grid` differ in shape.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import SpatialImage
    >>> image = SpatialImage.from_array(np.zeros((3, 40, 50)), axis_labels=("t", "y", "x"))
    >>> image.select({"t": 1}).grid.shape
    (40, 50)
    """

    data: da.Array
    grid: Grid
    name: str = "image"
    source: Source | None = None

    def __repr__(self) -> str:
        from napari_local_ncc.image.thumbnail import describe_grid

        return f"SpatialImage({self.name!r}, {self.data.dtype}: {describe_grid(self.grid)})"

    def _repr_html_(self) -> str:
        """Return a thumbnail with the same line, for notebooks."""
        from napari_local_ncc.image.thumbnail import html_of

        return html_of(repr(self), self.data)

    def __post_init__(self) -> None:
        if is_cupy(meta_from_array(self.data)):  # a map is computed on the host
            copied = self.data.map_blocks(as_samples, dtype=self.data.dtype, meta=np.empty(0))
            object.__setattr__(self, "data", copied)
        object.__setattr__(self, "data", without_masks(self.data))
        check_real(self.data.dtype, self.name)
        if np.isnan(self.data.shape).any():
            raise ValueError(
                f"{self.name} is a dask array of unknown chunk sizes; "
                "call its compute_chunk_sizes() first"
            )
        if tuple(self.data.shape) != self.grid.shape:
            raise ValueError(
                f"{self.name}: data has shape {self.data.shape} but its grid {self.grid.shape}"
            )

    @classmethod
    def from_array(cls, array: ArrayLike | da.Array, name: str = "image", **fields: Any) -> Self:
        """Wrap an array; without `spacing` or `units` its world is the pixel grid.

        Parameters
        ----------
        array : array_like or dask array
            The samples.
        name : str
            What to call the image in messages.
        **fields
            `spacing`, `origin`, `units`, `axis_labels`, `spatial` of `Grid.from_spacing`.

        Returns
        -------
        SpatialImage
            The image.
        """
        samples = array if isinstance(array, da.Array) else as_samples(array, name)
        check_real(samples.dtype, name)
        if any(size != size for size in samples.shape):  # NaN, of dask
            raise ValueError(
                f"{name} is a dask array whose size is not known; call its compute_chunk_sizes()"
            )
        grid = Grid.from_spacing(samples.shape, **fields)
        if not isinstance(samples, da.Array):
            samples = as_lazy(samples, map_chunks(grid))
        return cls(samples, grid, name)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed; new data are no longer the source's."""
        if "data" in changes:
            changes = {"source": None} | changes
        return replace(self, **changes)

    def with_spatial_ndim(self, ndim: int | None) -> Self:
        """Take only the last `ndim` axes as space; ``None`` changes nothing."""
        return self.replace(grid=self.grid.with_spatial_ndim(ndim))

    def select(self, chosen: Mapping[str, int]) -> Self:
        """Take one index of some axes, named by their labels.

        Parameters
        ----------
        chosen : mapping of str to int
            Index by axis label, upper or lower case.

        Returns
        -------
        SpatialImage
            The image without these axes.

        Raises
        ------
        ValueError
            If there is no such axis or index.
        """
        labels = [label.lower() for label in self.grid.axis_labels]
        index: list[slice | int] = [slice(None)] * self.grid.ndim
        taken = {}
        for label, position in chosen.items():
            axes = ", ".join(f"{a}: {n}" for a, n in zip(labels, self.grid.shape, strict=True))
            if label.lower() not in labels:
                raise ValueError(f"{self.name} has no axis {label!r}; its axes are {axes}")
            axis = labels.index(label.lower())
            if not -self.grid.shape[axis] <= position < self.grid.shape[axis]:
                raise ValueError(
                    f"{self.name} has no index {label}={position}; its axes are {axes}"
                )
            index[axis] = taken[label.lower()] = position % self.grid.shape[axis]
        kept = [axis for axis, part in enumerate(index) if isinstance(part, slice)]
        source = self.source
        if source is not None and taken:
            source = source.selecting(taken, kept)
        return self.replace(data=take(self.data, index), grid=self.grid.take(kept), source=source)

    def select_known(self, chosen: Mapping[str, int]) -> Self:
        """Do the same as `select` for those axes only that the image has."""
        labels = {label.lower() for label in self.grid.axis_labels}
        return self.select({k: index for k, index in chosen.items() if k.lower() in labels})

    def where(self, mask: da.Array) -> Self:
        """Return the image with NaN where `mask` is False."""
        floating = np.result_type(self.data.dtype, np.float32).type
        return self.replace(data=da.where(mask, self.data.astype(floating), floating(np.nan)))

    def crop(self, box: Sequence[slice]) -> Self:
        """Return a box of the image, one slice per axis, in its place; a step thins it out."""
        return self.replace(data=take(self.data, box), grid=self.grid.crop(box))

    def stretch_over(self, grid: Grid) -> Self:
        """Lay an image of another size, as of a binned copy, over the whole of a grid.

        Parameters
        ----------
        grid : Grid
            With as many spatial axes, or more.

        Returns
        -------
        SpatialImage
            The same samples; their outer edges are those of the grid.
        """
        own, whole = self.grid.space(), grid.space()
        whole = whole.take(range(whole.ndim - own.ndim, whole.ndim))
        factors = np.divide(whole.shape, own.shape)
        to_whole_px = np.diag([*factors, 1.0])
        to_whole_px[:-1, -1] = (factors - 1) / 2
        first = len(self.grid.series_shape)
        matrix = self.grid.pixel_to_world.copy()
        matrix[first:, first:] = whole.pixel_to_world @ to_whole_px
        units = self.grid.units[:first] + whole.units
        return self.replace(grid=self.grid.replace(pixel_to_world=matrix, units=units))

    def frame(self, index: Sequence[int]) -> Self:
        """Return the spatial image at one position along the independent axes."""
        return self.replace(data=take(self.data, index), grid=self.grid.space())


def parse_selection(text: str) -> dict[str, int]:
    """Read a selection such as ``"c=0, t=3"``; an empty text selects nothing.

    Raises
    ------
    ValueError
        If it is not written like that.
    """
    chosen = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        label, _, index = item.partition("=")
        try:
            chosen[label.strip()] = int(index)
        except ValueError:
            raise ValueError(f"cannot read the selection {text!r}; write it like c=0,t=3") from None
    return chosen


def as_spatial_image(image: Any, name: str) -> SpatialImage:
    """Take what is an image to somebody.

    Parameters
    ----------
    image : SpatialImage, xarray.DataArray, SimpleITK.Image, image of nibabel or array_like
        Each with its place; an array lies on the pixel grid.
    name : str
        What to call it in messages.

    Returns
    -------
    SpatialImage
        The same samples.

    Raises
    ------
    TypeError
        If it is no image: files, layers of napari and others are named with what takes them.
    """
    if isinstance(image, SpatialImage):
        return image
    from napari_local_ncc.image.foreign import lazy_parts

    parts = lazy_parts(image, name, map_chunks)
    return SpatialImage.from_array(image, name) if parts is None else SpatialImage(*parts, name)


def map_chunks(grid: Grid) -> tuple[int, ...]:
    """Return the chunk edges that a map on `grid` is computed in."""
    edge = VOLUME_CHUNK if grid.spatial_ndim > 2 else PLANE_CHUNK
    return tuple(min(n, edge) if s else 1 for n, s in zip(grid.shape, grid.spatial, strict=True))
