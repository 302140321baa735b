"""Sample a moving image on the fixed grid, lazily; outside it there is no sample."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import dask.array as da
import numpy as np
from dask.array.core import normalize_chunks

from napari_local_ncc.chunked.blocks import compute_block, lazy_blocks
from napari_local_ncc.geometry.affine import invert_affine, whole_pixel_offset
from napari_local_ncc.image.pairing import check_place, pair_images
from napari_local_ncc.image.spatial_image import SpatialImage, as_spatial_image, map_chunks
from napari_local_ncc.ncc.device import namespace_of, namespace_on, ndimage_of
from napari_local_ncc.parameters import is_cupy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.transforms.registration import Registration
    from napari_local_ncc.transforms.warp import FlowMotion

    Box = tuple[slice, ...]

ORDERS = {"nearest": 0, "linear": 1, "cubic": 3}
# px, past which a sample counts less than rounding, by the bytes of a sample
SPLINE_MARGIN = {4: 24, 8: 40, 16: 40}
SPLINE_REACH = 3
# how far from the outermost samples an image holds, in pixels: a label fills its pixel
ROUNDING, HALF_PIXEL = 1e-6, 0.5 + 1e-6


def resample(
    moving: SpatialImage,
    grid: Grid,
    registration: Registration | None = None,
    *,
    interpolation: str = "linear",
) -> SpatialImage:
    """Sample an image on another grid.

    Where the transform makes the samples of both grids coincide (identity or a shift by
    whole pixels), pixels are taken as they are. Elsewhere they are interpolated once.

    Parameters
    ----------
    moving : SpatialImage
        The image, with the same independent axes as `grid` and in its units; see
        `napari_local_ncc.image.pairing.pair_images`.
    grid : Grid
        Where to sample: the fixed image's grid.
    registration : Registration, optional
        Transform of fixed world to moving world, a flow too. Default: the identity.
    interpolation : {"nearest", "linear", "cubic"}, default "linear"
        Nearest is for masks and labels.

    Returns
    -------
    SpatialImage
        Lazy samples on `grid`, NaN outside the moving image and next to its invalid
        samples (within 4 px of them, if cubic); its own dtype where nothing is outside
        and nothing is interpolated.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import Grid, SpatialImage, resample
    >>> moving = SpatialImage.from_array(np.arange(12.0).reshape(3, 4))
    >>> resample(moving, Grid.from_spacing((2, 2), spacing=2.0)).data.compute().tolist()
    [[0.0, 2.0], [8.0, 10.0]]
    """
    data = sample_lazily(moving, grid, registration, interpolation=interpolation)
    return moving.replace(data=data, grid=grid)


def sample_lazily(
    moving: SpatialImage,
    grid: Grid,
    registration: Registration | None = None,
    box: Box | None = None,
    *,
    interpolation: str = "linear",
) -> da.Array:
    """Do as `resample` in a box of the grid, chunk by chunk, each from what it needs.

    Returns
    -------
    dask array
        Of the box's shape, in chunks of a map. A pixel is the same in every box.
    """
    sampling = Sampling.of(moving, grid, registration, interpolation)
    whole = tuple(slice(0, n) for n in grid.shape) if box is None else tuple(box)
    chunks = normalize_chunks(map_chunks(grid.crop(whole)), tuple(b.stop - b.start for b in whole))
    return lazy_blocks(sampling, whole, chunks, sampling.dtype)


def mask_on(
    mask: SpatialImage | ArrayLike | da.Array, image: SpatialImage, name: str = "mask"
) -> da.Array:
    """Bring a mask onto an image's grid.

    Parameters
    ----------
    mask : SpatialImage or array_like
        Greater than 0 where samples may be used. A plain array must have the image's shape;
        where only the mask or only the image has physical units, the mask lies on its pixels.
    image : SpatialImage
        The image it belongs to.
    name : str
        What to call the mask in messages.

    Returns
    -------
    dask array of bool
        True where samples may be used; False outside the mask's own grid.

    Raises
    ------
    ValueError
        If a plain array has another shape, or the grids cannot be paired.
    """
    return _nearest_on(place_mask(mask, image, name), image, name) > 0


def place_mask(
    mask: SpatialImage | ArrayLike | da.Array, image: SpatialImage, name: str = "mask"
) -> SpatialImage:
    """Return a mask as an image: a plain array lies on the pixels of the image it belongs to.

    Raises
    ------
    ValueError
        If a plain array has another shape than the image.
    """
    from napari_local_ncc.image.foreign import has_place

    plain = as_spatial_image(mask, name)
    if isinstance(mask, SpatialImage) or has_place(mask):
        return plain
    if plain.grid.shape != image.grid.shape:
        raise ValueError(
            f"{name} has shape {plain.grid.shape} but {image.name} has {image.grid.shape}"
        )
    return plain.replace(grid=image.grid)


def whole_labels(labels: SpatialImage) -> SpatialImage:
    """Return labels as whole numbers, 0 where they are undefined.

    Samples that a file calls none (``_FillValue``) make floating numbers of labels. Those are
    read here, to see that all are whole. Labels raise ValueError, when computed, where float64
    cannot hold one.

    Raises
    ------
    TypeError
        If the labels are no whole numbers.
    """
    data, name = labels.data, labels.name
    is_floating = data.dtype.kind == "f"
    if data.dtype.kind not in "buif" or (is_floating and _has_fractions(data)):
        raise TypeError(f"{name} holds {data.dtype} values; labels are whole numbers")
    if data.dtype.itemsize >= 8:
        data = data.map_blocks(_check_countable, name, dtype=data.dtype, meta=data._meta)
    if is_floating:
        data = da.where(da.isnan(data), 0, data).astype(np.int64)
    return labels.replace(data=data)


def _has_fractions(labels: da.Array) -> bool:
    from napari_local_ncc.chunked.tiles import compute_array

    return bool(compute_array((~da.isnan(labels) & (labels != da.rint(labels))).any()))


def _check_countable(block: NDArray[Any], name: str) -> NDArray[Any]:
    if ((block > LARGEST_LABEL) | (block < -LARGEST_LABEL)).any():
        raise ValueError(
            f"{name} has labels beyond 2**53, which would be taken for others; number them anew "
            "(skimage.segmentation.relabel_sequential)"
        )
    return block


def labels_on(labels: ArrayLike | SpatialImage, grid: Grid) -> da.Array:
    """Bring the regions of a segmentation onto a grid.

    Parameters
    ----------
    labels : array_like or SpatialImage
        Whole numbers; 0, and what is undefined, is no region. Where only they or only the grid
        has physical units, they lie on its pixels.
    grid : Grid
        The grid; the labels hold for all frames that they do not tell apart.

    Returns
    -------
    dask array of int64, shape grid.shape
        The nearest label; 0 outside.

    Raises
    ------
    TypeError
        If the labels are no whole numbers.
    ValueError
        If the grids cannot be paired.
    """
    labels = whole_labels(as_spatial_image(labels, "labels"))
    nothing = da.zeros(grid.shape, dtype=np.uint8, chunks=map_chunks(grid))
    # float64 holds the labels beside the NaN of what is outside
    whole = labels.replace(data=labels.data.astype(np.float64))
    found = _nearest_on(whole, SpatialImage(nothing, grid, "the map"), "labels")
    return da.nan_to_num(found).astype(np.int64)


def pair_marks(marks: SpatialImage, image: SpatialImage, name: str) -> SpatialImage:
    """Return an image of marks on the axes of another image, in its units, where it lies.

    Raises
    ------
    ValueError
        If they cannot be paired, or the marks have independent axes that the image lacks.
    """
    pair = pair_images(image, marks, unitless=check_place(marks, image, name))
    if pair.fixed.grid.shape != image.grid.shape:
        raise ValueError(
            f"{name} has the axes {marks.grid.axis_labels} of shape {marks.grid.shape}, more than "
            f"{image.name} with {image.grid.axis_labels} of shape {image.grid.shape}"
        )
    return _beside(image.grid, pair.fixed.grid, pair.moving)


def _beside(grid: Grid, laid: Grid, marks: SpatialImage) -> SpatialImage:
    """Return marks as they lie beside a grid, which was laid into a world of their own units."""
    ours, theirs = grid.space().pixel_to_world, laid.space().pixel_to_world
    if np.array_equal(ours, theirs):
        return marks
    first = len(marks.grid.series_shape)
    matrix = marks.grid.pixel_to_world.copy()
    matrix[first:, first:] = ours @ invert_affine(theirs) @ matrix[first:, first:]
    units = marks.grid.units[:first] + grid.space().units
    return marks.replace(grid=marks.grid.replace(pixel_to_world=matrix, units=units))


def _nearest_on(marks: SpatialImage, image: SpatialImage, name: str) -> da.Array:
    """Sample an image of marks on another image's grid; NaN outside."""
    return resample(pair_marks(marks, image, name), image.grid, interpolation="nearest").data


def matrices_of(registration: Registration | None, grid: Grid) -> NDArray[np.float64]:
    """Return fixed world to moving world for every frame of `grid`, or the identity."""
    ndim = grid.spatial_ndim
    matrix = np.eye(ndim + 1) if registration is None else registration.matrix
    return np.broadcast_to(matrix, (*grid.series_shape, ndim + 1, ndim + 1))


LARGEST_LABEL = 2**53  # up to which float64 has every whole number


@dataclass(frozen=True, slots=True, eq=False)
class Sampling:
    """How the pixels of a grid are sampled from an image: a task of its own for any box.

    Parameters
    ----------
    moving : SpatialImage
        The image.
    grid : Grid
        Where to sample.
    to_moving : ndarray, shape (*series, ndim + 1, ndim + 1)
        Pixels of a frame of the grid to pixels of moving, without a flow.
    motions : dict
        Of the frames that a flow moves, by index.
    order : int
        Of the spline: 0, 1 or 3.
    dtype : dtype
        Of the samples: moving's own where none is interpolated and none outside.
    """

    moving: SpatialImage
    grid: Grid
    to_moving: NDArray[np.float64]
    motions: dict[tuple[int, ...], FlowMotion]
    order: int
    dtype: np.dtype[Any]

    @classmethod
    def of(
        cls,
        moving: SpatialImage,
        grid: Grid,
        registration: Registration | None,
        interpolation: str,
    ) -> Self:
        """Find out how an image is sampled on a grid; see `resample`."""
        matrices, space, own = matrices_of(registration, grid), grid.space(), moving.grid.space()
        to_moving = invert_affine(own.pixel_to_world) @ matrices @ space.pixel_to_world
        motions: dict[tuple[int, ...], FlowMotion] = {}
        for index in np.ndindex(grid.series_shape):
            flow = None if registration is None else registration.displacement_of(index)
            if flow is not None:
                from napari_local_ncc.transforms.warp import FlowMotion

                motions[index] = FlowMotion.from_grids(space, flow, matrices[index], own)
        found = cls(
            moving, grid, to_moving, motions, ORDERS[interpolation], np.dtype(moving.data.dtype)
        )
        if all(found._is_copy(index) for index in np.ndindex(grid.series_shape)):
            return found
        return replace(found, dtype=np.result_type(moving.data.dtype, np.float32))

    def __call__(self, box: Box, device: str | None = None) -> NDArray[Any]:
        """Return the samples in a box of the grid; in the memory of a device if one is given."""
        first = len(self.grid.series_shape)
        xp = namespace_on(device)
        out: NDArray[Any] = xp.empty([part.stop - part.start for part in box], self.dtype)
        frames = [range(part.start, part.stop) for part in box[:first]]
        for place in np.ndindex(out.shape[:first]):
            index = tuple(numbers[k] for numbers, k in zip(frames, place, strict=True))
            self._sample(index, box[first:], out[place])
        return out

    def _offset(self, index: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return by how many pixels a frame is shifted, if that is all."""
        if index in self.motions:
            return None
        return whole_pixel_offset(self.to_moving[index], _frame_shape(self.grid))

    def _is_copy(self, index: tuple[int, ...]) -> bool:
        offset = self._offset(index)
        return offset is not None and all(
            o >= 0 and o + n <= size
            for o, n, size in zip(
                offset, _frame_shape(self.grid), _frame_shape(self.moving.grid), strict=True
            )
        )

    def _sample(self, index: tuple[int, ...], box: Box, out: NDArray[Any]) -> None:
        """Fill `out` with a box of one frame."""
        offset, shape = self._offset(index), _frame_shape(self.moving.grid)
        if offset is not None:
            self._copy(index, box, offset, out)
            return
        motion = self.motions.get(index)
        source = (
            _source_box(self.to_moving[index], box, shape)
            if motion is None
            else motion.crop_field(box).source_box(box, shape)
        )
        margin = SPLINE_MARGIN[self.dtype.itemsize] if self.order > 1 else 0
        source = tuple(
            slice(max(s.start - margin, 0), min(s.stop + margin, n))
            for s, n in zip(source, shape, strict=True)
        )
        if any(part.start >= part.stop for part in source):
            out[...] = np.nan
            return
        xp = namespace_of(out)
        samples = xp.asarray(self._read(index, source)).astype(self.dtype, copy=False)
        is_linear = motion is None and self.order == 1
        if is_linear and not is_cupy(out):
            _sample_affinely(samples, source, shape, self.to_moving[index], box, out)
            return
        if self.order > 1:
            samples, source = _spline_coefficients(samples, source, shape)
        positions = motion.sources if motion is not None else _positions(self.to_moving[index])
        reach = HALF_PIXEL if self.order == 0 and motion is None else ROUNDING
        _sample_at(
            positions, samples, source, shape, box, self.order, reach, out, is_exact=is_linear
        )

    def _copy(
        self, index: tuple[int, ...], box: Box, offset: tuple[int, ...], out: NDArray[Any]
    ) -> None:
        """Take pixels as they are; NaN where there is none."""
        shape = _frame_shape(self.moving.grid)
        source = tuple(
            slice(min(max(b.start + o, 0), n), min(max(b.stop + o, 0), n))
            for b, o, n in zip(box, offset, shape, strict=True)
        )
        there = tuple(
            slice(s.start - o - b.start, s.stop - o - b.start)
            for s, o, b in zip(source, offset, box, strict=True)
        )
        if any(s.stop - s.start < b.stop - b.start for s, b in zip(source, box, strict=True)):
            out[...] = np.nan
        if all(s.start < s.stop for s in source):
            xp = namespace_of(out)
            out[there] = xp.asarray(self._read(index, source))

    def _read(self, index: tuple[int, ...], box: Box) -> NDArray[Any]:
        return compute_block(self.moving.data, (*index, *box))


def _frame_shape(grid: Grid) -> tuple[int, ...]:
    return grid.shape[grid.ndim - grid.spatial_ndim :]


def _source_box(to_moving: NDArray[np.float64], box: Box, shape: Sequence[int]) -> Box:
    """Return the box of an image of `shape` from which an affine samples a box of pixels."""
    from napari_local_ncc.transforms.displacement_field import transform_pixels

    ends = [np.array([part.start, part.stop - 1], float) for part in box]
    corners = transform_pixels(to_moving, np.stack(np.meshgrid(*ends, indexing="ij")))
    corners = corners.reshape(len(box), -1)
    low, high = np.floor(corners.min(axis=1)) - 1, np.floor(corners.max(axis=1)) + 3
    return tuple(
        slice(int(np.clip(a, 0, n)), int(np.clip(b, 0, n)))
        for a, b, n in zip(low, high, shape, strict=True)
    )


def _positions(
    to_moving: NDArray[np.float64],
) -> Callable[[Box, ModuleType], NDArray[np.float64]]:
    """Return the function of a box of pixels to where they lie in the image."""
    from napari_local_ncc.transforms.displacement_field import pixels_of, transform_pixels

    return lambda box, xp: transform_pixels(to_moving, pixels_of(box, xp))


def _sample_affinely(
    samples: NDArray[Any],
    source: Box,
    shape: tuple[int, ...],
    to_moving: NDArray[np.float64],
    box: Box,
    out: NDArray[Any],
) -> None:
    """Fill `out` by linear interpolation; up to 3 axes."""
    from napari_local_ncc.transforms.linear_kernel import sample_linearly

    lacking = 3 - len(box)
    matrix = np.eye(3, 4)
    matrix[lacking:, lacking:] = to_moving[:-1]
    before = (0,) * lacking
    index = (np.newaxis,) * lacking
    sample_linearly(
        samples[index],
        (*before, *(part.start for part in source)),
        ((1,) * lacking + shape),
        matrix,
        (*before, *(part.start for part in box)),
        ROUNDING,
        out[index],
    )


def _sample_at(
    positions: Callable[[Box, ModuleType], NDArray[np.float64]],
    samples: NDArray[Any],
    source: Box,
    shape: tuple[int, ...],
    box: Box,
    order: int,
    reach: float,
    out: NDArray[Any],
    *,
    is_exact: bool,
) -> None:
    """Fill `out` slab by slab, since coordinates take more room than pixels."""
    from napari_local_ncc.image.spline import read_spline
    from napari_local_ncc.transforms.displacement_field import slabs

    xp = namespace_of(out)
    low, last = (xp.array(v).reshape(-1, *(1,) * len(box)) for v in
                 ([part.start for part in source], [n - 1 for n in shape]))  # fmt: skip
    step = np.spacing(2.0 * (max(shape) + max(SPLINE_MARGIN.values())))
    for slab in slabs(out.shape):
        rows = slice(slab[0].start + box[0].start, slab[0].stop + box[0].start)
        at = positions((rows, *box[1:]), xp)
        inside = ((at >= -reach) & (at <= last + reach)).all(axis=0)
        if order > 1:  # what is read begins elsewhere in each box: no digit is to depend on it
            at = xp.rint(at / step) * step
        # a test of our own, since rounding puts border samples outside
        values = read_spline(samples, at - low, out.dtype, order, is_exact=is_exact)
        out[slab] = xp.where(inside, values, np.nan)


def _spline_coefficients(
    samples: NDArray[Any], source: Box, shape: tuple[int, ...]
) -> tuple[NDArray[Any], Box]:
    """Return cubic spline coefficients, and the box that they fill.

    The image is mirrored at its borders. The filter's memory of a sample fades by 0.27 a
    pixel. Past SPLINE_REACH from an invalid one it is below 1 %, and what is nearer is
    invalid too.
    """
    xp, ndimage = namespace_of(samples), ndimage_of(samples)
    margin = SPLINE_MARGIN[samples.dtype.itemsize]
    margins = [
        (min(margin, n - 1) if s.start == 0 else 0, min(margin, n - 1) if s.stop == n else 0)
        for s, n in zip(source, shape, strict=True)
    ]
    known = xp.isfinite(samples)
    filled = xp.pad(xp.where(known, samples, samples.dtype.type(0)), margins, mode="reflect")
    coefficients = ndimage.spline_filter(filled, order=3, output=np.float64, mode="mirror")
    if not known.all():
        unknown = xp.pad(~known, margins, mode="reflect")
        for _ in range(SPLINE_REACH):  # CuPy has no iterations
            unknown = ndimage.binary_dilation(unknown)
        coefficients[unknown] = np.nan
    grown = tuple(
        slice(s.start - before, s.stop + after)
        for s, (before, after) in zip(source, margins, strict=True)
    )
    return coefficients.astype(samples.dtype, copy=False), grown
