"""The one way from two images to a map: pair, resample, compare."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.array.core import normalize_chunks

from napari_local_ncc.chunked.blocks import compute_here, lazy_blocks
from napari_local_ncc.image.spatial_image import SpatialImage, map_chunks
from napari_local_ncc.maps.bands import bands_on
from napari_local_ncc.maps.block.plan import EXPOSED, JUDGED, plan_bands
from napari_local_ncc.maps.block.task import BandTask
from napari_local_ncc.maps.comparison import DEFAULTS, Comparison
from napari_local_ncc.progress import stepwise

if TYPE_CHECKING:
    from collections.abc import Generator

    import dask.array as da
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
        from napari_local_ncc.image.data_array import as_data_array

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
    comparison: Comparison,
    *,
    calibration: Calibration | None = None,
    blocks: tuple[int, ...] | None = None,
    device: str | None = None,
) -> Generator[Progress, None, ConfidenceMap]:
    """Make the map of a comparison; yield and return as `iter_confidence_map` does.

    `blocks` are the edges of the chunks, each of which is computed by a task of its own;
    default: those of `map_chunks`. `device` is what they are computed on, if not the processor;
    see `ncc.device`.
    """
    if device is not None:
        from napari_local_ncc.ncc.device import check_device

        check_device(device)
    comparison.check_overlap()
    parameters, grid, radius = comparison.parameters, comparison.grid, comparison.radius
    kinds = set(parameters.bands)
    images = comparison.images_in(comparison.box)
    exposure = exposure_of(comparison, images[0].shape) if EXPOSED & kinds else None
    is_given = calibration is not None
    if not JUDGED & kinds:
        calibration = None
    elif calibration is None:
        calibration = yield from calibrated(comparison, images)
    else:
        calibration.check_map(grid.shape, radius, parameters.weights, parameters.alternative)
    names = tuple(band.name for band in bands_on(parameters, grid))
    plan = plan_bands(grid, parameters, calibration, exposure, device=device)
    task = BandTask(comparison, plan, names)
    chunks = normalize_chunks(blocks or map_chunks(grid), grid.shape)
    whole = tuple(slice(0, n) for n in grid.shape)
    measured = None if exposure is None else exposure.to_dict()
    return ConfidenceMap(
        lazy_blocks(task, whole, chunks, np.dtype(np.float32), ((len(names),),)),
        names,
        grid,
        parameters,
        comparison.registration,
        comparison.provenance(calibration)
        | {"exposure": measured, "calibration_given": is_given and calibration is not None}
        | ({} if device is None else {"device": device}),
        calibration,
    )


def calibrated(
    comparison: Comparison, images: list[da.Array]
) -> Generator[Progress, None, Calibration]:
    """Calibrate on what the images in the box of a comparison hold in even light."""
    from napari_local_ncc.confidence.estimate import iter_calibrate

    parameters = comparison.parameters
    fixed, moving, *masks = images
    return (
        yield from iter_calibrate(
            fixed,
            moving,
            radius=comparison.radius,
            weights=parameters.weights,
            mask=masks[0] if masks else None,
            min_valid=parameters.min_valid,
            per_frame=parameters.per_frame,
            alternative=parameters.alternative,
            in_even_light=True,
            read=partial(_read_flat, comparison, fixed.shape),
        )
    )


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
        is_signed=parameters.alternative == "greater",
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
    """Return both images as in even light, and the mask, at a place in the box."""
    from napari_local_ncc.confidence.background import background_radius
    from napari_local_ncc.confidence.even_light import structure_in_even_light

    # Less than a block of the map reads, for the sake of time: farther away little counts.
    grown = tuple(
        slice(max(part.start - 2 * r, 0), min(part.stop + 2 * r, n))
        for part, r, n in zip(place, background_radius(comparison.radius), shape, strict=True)
    )
    here = tuple(
        slice(part.start - g.start, part.stop - g.start)
        for part, g in zip(place, grown, strict=True)
    )
    origin = [part.start + g.start for part, g in zip(comparison.box, grown, strict=True)]
    read = compute_here(*_read(comparison, grown))
    fixed, moving, *masks = read
    mask = masks[0] if masks else None
    even = [
        structure_in_even_light(image, radius=comparison.radius, mask=mask, origin=origin)
        for image in (fixed, moving)
    ]
    faint = _is_faint(fixed, moving, mask, comparison)
    parts = [np.where(faint, np.float32(np.nan), image)[here] for image in even]
    return [*parts, *(usable[here] for usable in masks)]


def _is_faint(
    fixed: NDArray[Any],
    moving: NDArray[Any],
    mask: NDArray[np.bool_] | None,
    comparison: Comparison,
) -> NDArray[np.bool_] | bool:
    """Return where windows of either image vary no more than the floor that a map is given.

    In even light there is no telling: the floor is in units of the images.
    """
    from napari_local_ncc.ncc.moments import window_moments

    parameters = comparison.parameters
    if not parameters.min_std:
        return False
    variances = window_moments(
        fixed, moving, radius=comparison.radius, weights=parameters.weights, mask=mask
    ).variance
    return np.asarray(np.minimum(*variances) <= parameters.min_std**2)


def load_kernel(comparison: Comparison | None = None) -> None:
    """Load the compiled kernel; the first time after an installation, compile it.

    Any map does so by itself. Calling it before lets a program say what the user waits
    for: a few seconds once, a fraction of one later.

    Parameters
    ----------
    comparison : Comparison, optional
        What will be compared, as code is compiled for its dtypes; default: float32.
    """
    from napari_local_ncc.ncc.kernels.driver import ncc_of_pieces

    some = np.square(np.arange(16, dtype=np.float32)).reshape(4, 4)
    whole = (slice(0, 4), slice(0, 4))
    dtypes = (np.float32, np.float32) if comparison is None else comparison.dtypes
    fixed, moving = ([(whole, some.astype(dtype))] for dtype in dtypes)
    ncc_of_pieces(
        fixed, moving, region=whole, radius=(1, 1), weights="box", min_std=0.0, min_valid=0.5
    )
