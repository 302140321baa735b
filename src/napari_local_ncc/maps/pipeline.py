"""The one way from two images to a map: pair, resample, compare."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np

from napari_local_ncc.image.spatial_image import SpatialImage, map_chunks
from napari_local_ncc.maps.bands import bands_on
from napari_local_ncc.maps.comparison import DEFAULTS, Comparison
from napari_local_ncc.maps.compute_bands import EXPOSED, JUDGED, compute_bands, frame_numbers
from napari_local_ncc.ncc.dispatch import local_ncc
from napari_local_ncc.progress import stepwise

if TYPE_CHECKING:
    from collections.abc import Generator

    import xarray
    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.confidence.calibration import Calibration
    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.pairing import Unitless
    from napari_local_ncc.maps.exposure import Exposure
    from napari_local_ncc.parameters import NCCParameters
    from napari_local_ncc.progress import Progress
    from napari_local_ncc.transforms.foreign import TransformLike
    from napari_local_ncc.transforms.registration import Registration

    Slices = tuple[slice, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ConfidenceMap:
    """Bands of a comparison of two images, on the fixed image's grid.

    Parameters
    ----------
    bands : dask array of float32, shape (len(band_names), *grid.shape)
        The values, lazy; NaN where undefined.
    band_names : tuple of str
        What each band is.
    grid : Grid
        Where the samples lie.
    parameters : NCCParameters
        What they were computed with.
    registration : Registration or None
        The transform that was applied to the moving image.
    provenance : dict
        Plain JSON values: names, grids and sources of the images and the mask, parameters,
        transform and software version; see `napari_local_ncc.reports.recipe`.
    calibration : Calibration or None
        What turned NCC into confidence, if that is among the bands.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> from napari_local_ncc import NCCParameters, confidence_map
    >>> fixed = rng.normal(size=(40, 50))
    >>> parameters = NCCParameters(bands=("ncc", "shift"), search=1)
    >>> result = confidence_map(fixed, np.roll(fixed, 1, axis=1), parameters=parameters)
    >>> result.band_names
    ('ncc', 'ncc_best', 'gain', 'shift_y', 'shift_x')
    """

    bands: da.Array
    band_names: tuple[str, ...]
    grid: Grid
    parameters: NCCParameters
    registration: Registration | None
    provenance: dict[str, Any]
    calibration: Calibration | None = None

    def __getitem__(self, band: str) -> da.Array:
        """Return one band by its name, shape `grid.shape`."""
        if band not in self.band_names:
            raise KeyError(f"no band {band!r}; the map has {self.band_names}")
        return self.bands[self.band_names.index(band)]

    def __repr__(self) -> str:
        from napari_local_ncc.image.thumbnail import describe_grid

        return f"ConfidenceMap({', '.join(self.band_names)}: {describe_grid(self.grid)})"

    def _repr_html_(self) -> str:
        """Return a thumbnail of its first band with the same line, for notebooks."""
        from napari_local_ncc.image.thumbnail import html_of

        limits = bands_on(self.parameters, self.grid)[0].limits
        return html_of(repr(self), self.bands[0], limits)

    def to_xarray(self) -> xarray.DataArray:
        """Return the bands with their names, axes, coordinates and units.

        Returns
        -------
        xarray.DataArray
            Lazy, of dimensions ``("band", *grid.axis_labels)``. Where the grid is turned,
            dimensions count pixels and the attribute ``pixel_to_world`` places them.

        Raises
        ------
        ImportError
            If xarray is not installed.
        """
        from napari_local_ncc.maps.data_array import as_data_array

        software = self.provenance.get("software", "")
        return as_data_array(self.bands, self.band_names, self.grid, software=software)

    def image(self, band: str) -> SpatialImage:
        """Return one band by its name, with its place in the world."""
        return SpatialImage(self[band], self.grid, band)


@stepwise
def confidence_map(
    fixed: SpatialImage | ArrayLike | da.Array,
    moving: SpatialImage | ArrayLike | da.Array,
    *,
    parameters: NCCParameters = DEFAULTS,
    registration: TransformLike | None = None,
    mask: SpatialImage | ArrayLike | da.Array | None = None,
    unitless: Unitless | None = None,
    calibration: Calibration | None = None,
) -> Generator[Progress, None, ConfidenceMap]:
    """Compare two images window by window on the fixed image's grid.

    `iter_confidence_map` does the same, yielding the `Progress` of the calibration.

    Parameters
    ----------
    fixed, moving, parameters, registration, mask, unitless
        What is compared; see `Comparison`.
    calibration : Calibration, optional
        For the band "confidence": from an earlier map of such images with the same window,
        or from `calibrate(..., per_frame=True)` of this series.
        Default: calibrate on a sample of these two, all frames of a series together.

    Returns
    -------
    ConfidenceMap
        Lazy: its bands are computed when asked for. Only the calibration, where one is
        needed and not given, is done at once.

    Raises
    ------
    TypeError
        If an image is complex or not numeric.
    ValueError
        If the images cannot be paired or do not overlap, a radius does not fit, or the
        calibration holds for other windows, or another number of frames.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import confidence_map
    >>> fixed = np.random.default_rng(0).normal(size=(40, 50))
    >>> result = confidence_map(fixed, 3 * fixed + 7)
    >>> result.band_names, result["ncc"].shape
    (('ncc',), (40, 50))
    >>> result["ncc"].min().compute().round(3).item()
    1.0
    """
    comparison = Comparison(fixed, moving, mask, parameters, registration, unitless)
    return (yield from map_of(comparison, calibration=calibration))


iter_confidence_map = confidence_map.steps


def map_of(
    comparison: Comparison, *, calibration: Calibration | None = None
) -> Generator[Progress, None, ConfidenceMap]:
    """Make the map of a comparison; yield and return as `iter_confidence_map` does."""
    comparison.check_overlap()
    parameters, grid, radius = comparison.parameters, comparison.grid, comparison.radius
    images, frames = comparison.images_in(comparison.box), None
    kinds = set(parameters.bands)
    exposure = exposure_of(comparison, images[0].shape) if EXPOSED & kinds else None
    if not JUDGED & kinds:
        calibration = None
    elif calibration is None:
        calibration = yield from calibrated(comparison, images)
    else:
        calibration.check_map(grid.shape, radius, parameters.weights, parameters.alternative)
    if calibration is not None and len(calibration.nulls) > 1:
        frames = frame_numbers(grid.shape, radius, comparison.box, images[0])
    bands = compute_bands(
        images,
        grid=grid.crop(comparison.box),
        parameters=parameters,
        calibration=calibration,
        exposure=exposure,
        frames=frames,
    )
    names = tuple(band.name for band in bands_on(parameters, grid))
    classes = names.index("classes") if "classes" in names else None
    measured = None if exposure is None else exposure.to_dict()
    return ConfidenceMap(
        _pad_box(bands, comparison.box, grid, classes),
        names,
        grid,
        parameters,
        comparison.registration,
        comparison.provenance(calibration) | {"exposure": measured},
        calibration,
    )


def calibrated(
    comparison: Comparison, images: list[da.Array]
) -> Generator[Progress, None, Calibration]:
    """Calibrate on what the images in the box of a comparison hold above a smooth background."""
    from napari_local_ncc.confidence.estimate import iter_calibrate

    parameters = comparison.parameters
    fixed, moving, *masks = images
    found = yield from iter_calibrate(
        fixed,
        moving,
        radius=comparison.radius,
        weights=parameters.weights,
        mask=masks[0] if masks else None,
        min_std=parameters.min_std,
        min_valid=parameters.min_valid,
        per_frame=parameters.per_frame,
        alternative=parameters.alternative,
        read=partial(_read_flat, comparison, fixed.shape),
    )
    return replace(found, above_background=True)


def exposure_of(comparison: Comparison, shape: tuple[int, ...]) -> Exposure:
    """Measure the noise, typical contrast and common motion of a comparison's images."""
    from napari_local_ncc.maps.exposure import measure_exposure

    parameters = comparison.parameters
    searches = "classes" in parameters.bands
    return measure_exposure(
        partial(_read, comparison),
        shape,
        comparison.pair.moving.data,
        radius=comparison.radius,
        weights=parameters.weights,
        search=parameters.search_on(comparison.grid) if searches else (),
    )


def _read(comparison: Comparison, place: Slices) -> list[da.Array]:
    """Return the images at a place in the comparison's box.

    Slices of the whole registered image would cost all of the chunks that they lie in.
    """
    return comparison.images_in(
        tuple(
            slice(part.start + at.start, part.start + at.stop)
            for part, at in zip(comparison.box, place, strict=True)
        )
    )


def _read_flat(comparison: Comparison, shape: tuple[int, ...], place: Slices) -> list[NDArray[Any]]:
    """Return both images above a smooth background, and the mask, at a place in the box."""
    from napari_local_ncc.confidence.background import (
        background_radius,
        without_smooth_background,
    )

    radius = comparison.radius
    grown = tuple(
        slice(max(part.start - r, 0), min(part.stop + r, n))
        for part, r, n in zip(place, background_radius(radius), shape, strict=True)
    )
    here = tuple(
        slice(part.start - g.start, part.stop - g.start)
        for part, g in zip(place, grown, strict=True)
    )
    read = dask.compute(*_read(comparison, grown), scheduler="synchronous", callbacks=[])
    fixed, moving, *masks = read
    mask = masks[0] if masks else None
    flat = [
        without_smooth_background(image, radius=radius, mask=mask)[here]
        for image in (fixed, moving)
    ]
    return [*flat, *(usable[here] for usable in masks)]


def load_kernel() -> None:
    """Load the compiled kernel; the first time after an installation, compile it.

    Any map does so by itself. Calling it before lets a program say what the user waits
    for: a few seconds once, a fraction of one later.
    """
    local_ncc(np.eye(4), np.eye(4), radius=1)


def _undefined_class(bands: NDArray[np.float32], classes: int) -> NDArray[np.float32]:
    """Of the classes, which are numbers, undefined is 0."""
    is_class = (np.arange(len(bands)) == classes).reshape(-1, *(1,) * (bands.ndim - 1))
    return np.where(is_class & np.isnan(bands), np.float32(0), bands)


def _pad_box(bands: da.Array, box: Slices, grid: Grid, classes: int | None) -> da.Array:
    """Put the box back into its place, undefined around it; `classes` is the place of that band."""
    if bands.shape[1:] == grid.shape:
        return bands
    margins = [(part.start, n - part.stop) for part, n in zip(box, grid.shape, strict=True)]
    padded = da.pad(bands, [(0, 0), *margins], mode="constant", constant_values=np.float32(np.nan))
    padded = padded.rechunk((len(bands), *map_chunks(grid)))
    return padded if classes is None else padded.map_blocks(_undefined_class, classes)
