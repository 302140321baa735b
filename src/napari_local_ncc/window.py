"""The two windows behind one pixel of a map: their samples, and what ncc makes of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask
import numpy as np

from napari_local_ncc.image import as_spatial_image
from napari_local_ncc.ncc import local_ncc
from napari_local_ncc.pairing import pair_images
from napari_local_ncc.pipeline import DEFAULTS
from napari_local_ncc.resampling import mask_on, resample

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dask.array as da
    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.geometry import Grid
    from napari_local_ncc.image import SpatialImage
    from napari_local_ncc.pairing import Unitless
    from napari_local_ncc.parameters import NCCParameters
    from napari_local_ncc.registration import Registration


@dataclass(frozen=True, slots=True, eq=False)
class WindowPair:
    """The samples of both images in the window around one pixel, as they were compared.

    Parameters
    ----------
    fixed, moving : ndarray, shape (spatial axes,)
        The samples; the window is clipped at the border of the fixed image. `moving` is
        resampled on the fixed grid, NaN outside.
    weights : ndarray of float64
        The window's weight of each sample, 0 where it is invalid in either image; their
        sum is 1 if any is valid.
    centre : tuple of int
        The pixel in these arrays.
    grid : Grid
        Where the samples lie.
    ncc : float
        The map's value here; NaN where undefined.
    slope, offset : float
        Weighted least squares ``moving = slope * fixed + offset``; NaN where undefined.
    """

    fixed: NDArray[Any]
    moving: NDArray[Any]
    weights: NDArray[np.float64]
    centre: tuple[int, ...]
    grid: Grid
    ncc: float
    slope: float
    offset: float

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Which samples count."""
        return self.weights > 0

    @property
    def size(self) -> NDArray[np.float64]:
        """Length of the window along each axis, in world units."""
        return np.asarray(self.grid.shape) * self.grid.spacing


def window_pair(
    fixed: SpatialImage | ArrayLike | da.Array,
    moving: SpatialImage | ArrayLike | da.Array,
    index: Sequence[int],
    *,
    parameters: NCCParameters = DEFAULTS,
    registration: Registration | None = None,
    mask: SpatialImage | ArrayLike | da.Array | None = None,
    unitless: Unitless | None = None,
) -> WindowPair:
    """Read the two windows around one pixel, through the same steps as the map.

    Parameters
    ----------
    fixed, moving, parameters, registration, mask, unitless
        As for `napari_local_ncc.confidence_map`.
    index : sequence of int
        The pixel, along all axes of the map's grid.

    Returns
    -------
    WindowPair
        The samples. Only what lies in the window is read.

    Raises
    ------
    IndexError
        If there is no such pixel.
    ValueError
        If the images cannot be paired, or a radius does not fit.
    """
    fixed, moving = as_spatial_image(fixed, "fixed"), as_spatial_image(moving, "moving")
    pair = pair_images(fixed, moving, unitless=unitless)
    grid = pair.fixed.grid
    if len(index) != grid.ndim or not all(
        0 <= i < n for i, n in zip(index, grid.shape, strict=True)
    ):
        raise IndexError(f"there is no pixel {tuple(index)} in a map of shape {grid.shape}")
    radius = parameters.radius_on(grid)
    box = tuple(
        slice(max(i - r, 0), min(i + r + 1, n))
        for i, r, n in zip(index, radius, grid.shape, strict=True)
    )
    series = len(grid.series_shape)
    frame = tuple(index[:series])
    space = grid.space().crop(box[series:])
    registered = resample(
        pair.moving.frame(frame),
        space,
        None if registration is None else _of_frame(registration, frame),
        interpolation=parameters.interpolation,
    )
    allowed = np.True_ if mask is None else mask_on(mask, pair.fixed)[box].reshape(space.shape)
    centre = tuple(i - part.start for i, part in zip(index, box, strict=True))[series:]
    # napari's cache of dask results must not see a computation of another thread
    ours, theirs, usable = dask.compute(
        pair.fixed.data[box].reshape(space.shape),
        registered.data,
        allowed,
        scheduler="synchronous",
        callbacks=[],
    )
    usable = np.broadcast_to(usable, space.shape)
    ncc = local_ncc(
        ours,
        theirs,
        radius=radius[series:],
        weights=parameters.weights,
        mask=usable,
        min_std=parameters.min_std,
        min_valid=parameters.min_valid,
    )[centre]
    taps = _taps(radius[series:], centre, space.shape, parameters.weights)
    weights = np.where(usable & np.isfinite(ours) & np.isfinite(theirs), taps, 0.0)
    weights /= weights.sum() or 1.0
    slope, offset = _line(ours, theirs, weights)
    return WindowPair(ours, theirs, weights, centre, space, float(ncc), slope, offset)


def _of_frame(registration: Registration, frame: tuple[int, ...]) -> Registration:
    """Return the transform of one frame of a series."""
    if not registration.grid.series_shape:
        return registration
    return replace(
        registration,
        matrix=registration.matrix[frame],
        grid=registration.grid.space(),
        ncc_before=registration.ncc_before[frame],
        ncc_after=registration.ncc_after[frame],
        overlap=registration.overlap[frame],
    )


def _taps(
    radius: Sequence[int], centre: Sequence[int], shape: Sequence[int], weights: str
) -> NDArray[np.float64]:
    """Return the window's weights around a centre, clipped at the border."""
    taps = np.ones(tuple(shape))
    if weights == "gaussian":
        for axis, (r, middle, n) in enumerate(zip(radius, centre, shape, strict=True)):
            steps = (np.arange(n) - middle) / (r / 3) if r else np.zeros(n)
            profile = np.exp(-0.5 * steps**2)
            taps *= profile.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return taps


def _line(
    fixed: NDArray[Any], moving: NDArray[Any], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Fit moving = slope * fixed + offset over the valid samples, by weighted least squares."""
    valid = weights > 0
    a, b, w = fixed[valid].astype(float), moving[valid].astype(float), weights[valid]
    if len(np.unique(a)) < 2:
        return np.nan, np.nan
    a_mean, b_mean = w @ a, w @ b
    slope = (w @ ((a - a_mean) * (b - b_mean))) / (w @ (a - a_mean) ** 2)
    return float(slope), float(b_mean - slope * a_mean)
