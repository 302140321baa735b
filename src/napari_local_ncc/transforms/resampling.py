"""Sample a moving image on the fixed grid, lazily; outside it there is no sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dask.array as da
import numpy as np

from napari_local_ncc.geometry.affine import invert_affine, whole_pixel_offset
from napari_local_ncc.image.pairing import check_place, pair_images
from napari_local_ncc.image.spatial_image import SpatialImage, as_spatial_image, map_chunks

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.transforms.registration import Registration
    from napari_local_ncc.transforms.warp import FlowMotion


ORDERS = {"nearest": 0, "linear": 1, "cubic": 3}
SPLINE_MARGIN = 12
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
    order = ORDERS[interpolation]
    matrices = matrices_of(registration, grid)
    space, moving_space = grid.space(), moving.grid.space()
    frames = []
    for index in np.ndindex(grid.series_shape):
        fixed_px_to_moving_px = (
            invert_affine(moving_space.pixel_to_world) @ matrices[index] @ space.pixel_to_world
        )
        flow = None if registration is None else registration.displacement_of(index)
        if flow is None:
            frames.append(_sample_frame(moving.data[index], fixed_px_to_moving_px, space, order))
        else:
            from napari_local_ncc.transforms.warp import FlowMotion

            motion = FlowMotion.from_grids(space, flow, matrices[index], moving_space)
            frames.append(_sample_flow(moving.data[index], motion, space, order))
    data = frames[0] if not grid.series_shape else da.stack(frames).reshape(grid.shape)
    return moving.replace(data=data.rechunk(map_chunks(grid)), grid=grid)


def mask_on(
    mask: SpatialImage | ArrayLike | da.Array, image: SpatialImage, name: str = "mask"
) -> da.Array:
    """Bring a mask onto an image's grid.

    Parameters
    ----------
    mask : SpatialImage or array_like
        Non-zero where samples may be used. A plain array must have the image's shape;
        a mask without physical units lies on the image's pixels.
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


def labels_on(labels: SpatialImage, grid: Grid) -> da.Array:
    """Bring the regions of a segmentation onto a grid.

    Parameters
    ----------
    labels : SpatialImage
        Whole numbers; 0 is no region. One without physical units lies on the pixels.
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
    if labels.data.dtype.kind not in "biu":
        raise TypeError(f"{labels.name} holds {labels.data.dtype} values; labels are whole numbers")
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
    check_place(marks, image, name)
    pair = pair_images(image, marks, unitless="pixels")
    if pair.fixed.grid.shape != image.grid.shape:
        raise ValueError(
            f"{name} has the axes {marks.grid.axis_labels} of shape {marks.grid.shape}, more than "
            f"{image.name} with {image.grid.axis_labels} of shape {image.grid.shape}"
        )
    return pair.moving


def _nearest_on(marks: SpatialImage, image: SpatialImage, name: str) -> da.Array:
    """Sample an image of marks on another image's grid; NaN outside."""
    return resample(pair_marks(marks, image, name), image.grid, interpolation="nearest").data


def matrices_of(registration: Registration | None, grid: Grid) -> NDArray[np.float64]:
    """Return fixed world to moving world for every frame of `grid`, or the identity."""
    ndim = grid.spatial_ndim
    matrix = np.eye(ndim + 1) if registration is None else registration.matrix
    return np.broadcast_to(matrix, (*grid.series_shape, ndim + 1, ndim + 1))


def _sample_frame(
    data: da.Array, to_moving: NDArray[np.float64], space: Grid, order: int
) -> da.Array:
    offset = whole_pixel_offset(to_moving, space.shape)
    if offset is not None:
        return _shift_by_pixels(data, offset, space.shape)
    dtype = np.result_type(data.dtype, np.float32)
    samples, matrix = data.astype(dtype), to_moving
    if order > 1:
        samples, matrix = _spline_coefficients(samples, to_moving)
    from dask_image.ndinterp import affine_transform

    # "nearest" and a test of our own, since rounding puts border samples outside.
    sampled = affine_transform(
        samples,
        matrix,
        order=order,
        output_shape=space.shape,
        output_chunks=map_chunks(space),
        mode="nearest",
    )
    return sampled.map_blocks(
        _blank_outside,
        to_moving=to_moving,
        shape=data.shape,
        reach=HALF_PIXEL if order == 0 else ROUNDING,
        dtype=dtype,
        meta=np.empty((0,) * space.ndim, dtype),
    )


def _sample_flow(data: da.Array, motion: FlowMotion, space: Grid, order: int) -> da.Array:
    from napari_local_ncc.transforms.warp import sample_through

    samples, margin = data, np.zeros(data.ndim)
    if order > 1:
        samples = data.astype(np.result_type(data.dtype, np.float32))
        samples, padded = _spline_coefficients(samples, np.eye(data.ndim + 1))
        margin = padded[:-1, -1]
    inside = [(int(m), int(m) + n - 1) for m, n in zip(margin, data.shape, strict=True)]
    return sample_through(samples, motion.shift_moving(margin), space, order=order, inside=inside)


def _spline_coefficients(
    samples: da.Array, to_moving: NDArray[np.float64]
) -> tuple[da.Array, NDArray[np.float64]]:
    """Return cubic spline coefficients on a mirrored margin, and the transform to them.

    The filter's memory of a sample fades by 0.27 a pixel. Past SPLINE_REACH from an
    invalid one it is below 1 %, and what is nearer is invalid too.
    """
    from dask_image.ndinterp import spline_filter
    from scipy import ndimage

    margin = [min(SPLINE_MARGIN, n - 1) for n in samples.shape]
    mirrored = da.pad(samples, [(m, m) for m in margin], mode="reflect")
    reach = dict(enumerate([SPLINE_REACH] * samples.ndim))
    near_invalid = da.map_overlap(
        ndimage.binary_dilation,
        ~da.isfinite(mirrored),
        depth={k: min(r, mirrored.shape[k] - 1) for k, r in reach.items()},
        boundary="none",
        dtype=bool,
        iterations=SPLINE_REACH,
    )
    finite = da.where(da.isfinite(mirrored), mirrored, mirrored.dtype.type(0))
    coefficients = spline_filter(finite, order=3, mode="mirror")
    matrix = to_moving.copy()
    matrix[:-1, -1] += margin
    return da.where(near_invalid, np.nan, coefficients).astype(samples.dtype), matrix


def _shift_by_pixels(data: da.Array, offset: tuple[int, ...], shape: tuple[int, ...]) -> da.Array:
    """Return data[p + offset] for every p of `shape`, NaN where there is no such sample."""
    starts = [min(max(o, 0), n) for o, n in zip(offset, data.shape, strict=True)]
    stops = [min(max(o + size, 0), n) for o, size, n in zip(offset, shape, data.shape, strict=True)]
    inside = data[tuple(slice(a, max(a, b)) for a, b in zip(starts, stops, strict=True))]
    if inside.shape == tuple(shape):
        return inside
    floating = inside.astype(np.result_type(data.dtype, np.float32))
    if 0 in inside.shape:
        return da.full(shape, np.nan, dtype=floating.dtype)
    before = [a - o for a, o in zip(starts, offset, strict=True)]
    padding = [(b, size - b - n) for b, size, n in zip(before, shape, inside.shape, strict=True)]
    return da.pad(floating, padding, mode="constant", constant_values=np.nan)


def _blank_outside(
    block: NDArray[Any],
    to_moving: NDArray[np.float64],
    shape: tuple[int, ...],
    reach: float,
    block_info: Any = None,
) -> NDArray[Any]:
    """Set to NaN what lies more than `reach` outside the samples of an image of `shape`."""
    places = block_info[None]["array-location"]
    pixels = np.ogrid[tuple(slice(start, stop) for start, stop in places)]
    outside = np.zeros(block.shape, bool)
    for row, n in zip(to_moving[:-1], shape, strict=True):
        partner = sum((m * p for m, p in zip(row[:-1], pixels, strict=True)), start=row[-1])
        outside |= (partner < -reach) | (partner > n - 1 + reach)
    return np.where(outside, np.nan, block)
