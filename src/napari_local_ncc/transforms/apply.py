"""Carry what belongs to the moving image onto the fixed one: channels, labels, points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dask.array as da

from napari_local_ncc.image.pairing import pair_images
from napari_local_ncc.image.spatial_image import SpatialImage, map_chunks
from napari_local_ncc.transforms.foreign import as_registration
from napari_local_ncc.transforms.registration import Registration
from napari_local_ncc.transforms.resampling import resample, whole_labels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.pairing import Unitless
    from napari_local_ncc.transforms.foreign import TransformLike


def apply_to_image(
    image: SpatialImage,
    registration: TransformLike,
    *,
    grid: Grid | None = None,
    interpolation: str = "linear",
    unitless: Unitless | None = None,
) -> SpatialImage:
    """Resample an image that lies where the moving image lies, such as another channel.

    Parameters
    ----------
    image : SpatialImage
        The image. Without a time or channel axis it is taken for every frame.
    registration : Registration, matrix, path or transform
        Fixed world to moving world; see `as_registration`.
    grid : Grid, optional
        Where to sample. Default: the registration's own grid, the fixed image's; a matrix, or
        an object or file of another program, needs it.
    interpolation : {"nearest", "linear", "cubic"}, default "linear"
        How to sample.
    unitless : {"numbers", "pixels"}, optional
        What the coordinates of an image without units mean; see
        `napari_local_ncc.image.pairing.pair_images`.

    Returns
    -------
    SpatialImage
        Lazy, on `grid`; NaN where the image has no sample.

    Raises
    ------
    ValueError
        If the image, the grid and the transform do not have the same axes and units.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import Grid, Registration, SpatialImage, apply_to_image
    >>> matrix = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> registration = Registration.from_matrix(matrix, Grid((3, 2)), "translation")
    >>> image = SpatialImage.from_array(np.arange(6.0).reshape(3, 2))
    >>> apply_to_image(image, registration).data.compute().tolist()
    [[2.0, 3.0], [4.0, 5.0], [nan, nan]]
    """
    if not isinstance(registration, Registration):
        if grid is None:
            raise ValueError("a transform without a grid needs the fixed image's: give grid=...")
        registration = as_registration(registration, grid)
    place = registration.grid if grid is None else grid
    where = SpatialImage(da.zeros(place.shape, chunks=map_chunks(place)), place, "the fixed image")
    pair = pair_images(where, image, unitless=unitless)
    registration.check_fits(pair.fixed.grid)
    moved = resample(pair.moving, pair.fixed.grid, registration, interpolation=interpolation)
    return moved.replace(name=image.name)


def apply_to_labels(
    labels: SpatialImage,
    registration: TransformLike,
    *,
    grid: Grid | None = None,
    unitless: Unitless | None = None,
) -> SpatialImage:
    """Resample labels: the nearest one is taken, in their own dtype, and 0 where there is none.

    Of floating numbers, which some are undefined in, int64 are returned.

    Parameters and errors are those of `apply_to_image`.

    Raises
    ------
    TypeError
        If the labels are no whole numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import Grid, Registration, SpatialImage, apply_to_labels
    >>> matrix = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> registration = Registration.from_matrix(matrix, Grid((3, 2)), "translation")
    >>> labels = SpatialImage.from_array(np.array([[0, 0], [7, 0], [7, 9]]))
    >>> apply_to_labels(labels, registration).data.compute().tolist()
    [[7, 0], [7, 9], [0, 0]]
    """
    labels = whole_labels(labels)
    dtype = labels.data.dtype
    moved = apply_to_image(
        labels, registration, grid=grid, interpolation="nearest", unitless=unitless
    )
    if moved.data.dtype == dtype:
        return moved
    known = da.where(da.isnan(moved.data), 0, moved.data)
    return moved.replace(data=known.astype(dtype))


def apply_to_points(points: ArrayLike, registration: Registration) -> NDArray[np.float64]:
    """Bring points of the moving image onto the fixed one, by the transform's inverse.

    (`Registration.transform_points` brings fixed points to moving.)

    Parameters
    ----------
    points : array_like, shape (..., registration.grid.ndim)
        World coordinates in the moving image, one for each axis of the fixed grid.
    registration : Registration
        Fixed world to moving world.

    Returns
    -------
    ndarray of float64, shape (..., registration.grid.ndim)
        World coordinates in the fixed image. That of a flow is numerical (see
        `Registration.inverse`).

    Raises
    ------
    ValueError
        If the points have another number of axes.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import Grid, Registration, apply_to_points
    >>> matrix = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> registration = Registration.from_matrix(matrix, Grid((3, 2)), "translation")
    >>> apply_to_points([[2.0, 1.0]], registration).tolist()
    [[1.0, 1.0]]
    """
    return registration.inverse().transform_points(points)
