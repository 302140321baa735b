"""The two windows behind one pixel of a map: their samples, and what ncc makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.chunked.blocks import compute_here
from napari_local_ncc.confidence.samples import effective_samples
from napari_local_ncc.confidence.texture_windows import margin
from napari_local_ncc.maps.comparison import DEFAULTS, Comparison
from napari_local_ncc.ncc.dispatch import local_ncc
from napari_local_ncc.shift.dispatch import local_shift, shift_depth

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dask.array as da
    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.pairing import Unitless
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.parameters import NCCParameters
    from napari_local_ncc.transforms.registration import Registration


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
    effective : float
        How many independent samples the window is worth; see
        `napari_local_ncc.confidence.effective_samples`.
    best, gain : float
        The highest ncc within the search, and what it exceeds `ncc` by; NaN where undefined.
    shift : tuple of float
        Where that is, in pixels along each axis that has a window; see
        `napari_local_ncc.local_shift`.
    axes : tuple of int
        The axes that have a window, along which the shift is.
    """

    fixed: NDArray[Any]
    moving: NDArray[Any]
    weights: NDArray[np.float64]
    centre: tuple[int, ...]
    grid: Grid
    ncc: float
    slope: float
    offset: float
    effective: float
    best: float
    gain: float
    shift: tuple[float, ...]
    axes: tuple[int, ...]

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

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> from napari_local_ncc import window_pair
    >>> fixed = rng.normal(size=(40, 50))
    >>> pair = window_pair(fixed, 3 * fixed + 7, (20, 25))
    >>> pair.fixed.shape, round(pair.ncc, 3), round(pair.slope, 3), round(pair.offset, 3)
    ((9, 9), 1.0, 3.0, 7.0)
    """
    comparison = Comparison(fixed, moving, mask, parameters, registration, unitless)
    return windows_at(comparison, index)


def windows_at(comparison: Comparison, index: Sequence[int]) -> WindowPair:
    """Read the two windows of a comparison around one pixel; see `window_pair`."""
    grid, parameters = comparison.grid, comparison.parameters
    if len(index) != grid.ndim or not all(
        0 <= i < n for i, n in zip(index, grid.shape, strict=True)
    ):
        raise IndexError(f"there is no pixel {tuple(index)} in a map of shape {grid.shape}")
    series = len(grid.series_shape)
    region = _region(comparison, tuple(index))
    radius = comparison.radius[series:]
    window: dict[str, Any] = {
        "radius": radius,
        "weights": parameters.weights,
        "mask": region.usable,
    }
    limits: dict[str, Any] = {"min_std": parameters.min_std, "min_valid": parameters.min_valid}
    all_fixed, all_moving = region.fixed, region.moving
    ncc = local_ncc(all_fixed, all_moving, **window, **limits)[region.centre]
    search = parameters.search_on(grid)[series:]
    best, gain, *shift = local_shift(all_fixed, all_moving, search=search, **window, **limits)[
        (slice(None), *region.centre)
    ]
    at_centre = tuple(slice(i, i + 1) for i in region.centre)
    effective = effective_samples(all_fixed, all_moving, **window, region=at_centre)

    box = tuple(slice(max(i - r, 0), i + r + 1) for i, r in zip(region.centre, radius, strict=True))
    ours, theirs, usable = region.fixed[box], region.moving[box], region.usable[box]
    centre = tuple(i - part.start for i, part in zip(region.centre, box, strict=True))
    taps = _taps(radius, centre, ours.shape, parameters.weights)
    weights = np.where(usable & np.isfinite(ours) & np.isfinite(theirs), taps, 0.0)
    weights /= weights.sum() or 1.0
    slope, offset = _line(ours, theirs, weights)
    return WindowPair(
        fixed=ours,
        moving=theirs,
        weights=weights,
        centre=centre,
        grid=region.grid.crop(box),
        ncc=float(ncc),
        slope=slope,
        offset=offset,
        effective=float(effective.item()),
        best=float(best),
        gain=float(gain),
        shift=tuple(map(float, shift)),
        axes=tuple(axis for axis, r in enumerate(radius) if r),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Region:
    """The samples around a pixel that any of its numbers depends on."""

    fixed: NDArray[Any]
    moving: NDArray[Any]
    usable: NDArray[np.bool_]
    centre: tuple[int, ...]
    grid: Grid


def _region(comparison: Comparison, index: tuple[int, ...]) -> _Region:
    """Read both images around a pixel, as the map reads them."""
    grid, radius = comparison.grid, comparison.radius
    search = comparison.parameters.search_on(grid)
    reach = map(max, zip(margin(radius), shift_depth(radius, search), strict=True))
    box = tuple(
        slice(max(i - r, 0), min(i + r + 1, n))
        for i, r, n in zip(index, reach, grid.shape, strict=True)
    )
    # napari's cache of dask results must not see a computation of another thread
    samples = compute_here(*comparison.images_in(box))
    series = len(grid.series_shape)
    ours, theirs, *masks = (array[(0,) * series] for array in samples)
    usable = masks[0] if masks else np.ones(ours.shape, bool)
    centre = tuple(i - part.start for i, part in zip(index, box, strict=True))[series:]
    return _Region(ours, theirs, usable, centre, grid.crop(box).space())


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
