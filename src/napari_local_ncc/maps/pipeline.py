"""The one way from two images to a map: pair, resample, compare."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_local_ncc.confidence.estimate import iter_calibrate
from napari_local_ncc.image.foreign import has_place
from napari_local_ncc.image.pairing import Pair, pair_images, stage_advice
from napari_local_ncc.image.spatial_image import SpatialImage, as_spatial_image, map_chunks
from napari_local_ncc.maps.bands import bands_on
from napari_local_ncc.maps.compute_bands import compute_bands, frame_numbers
from napari_local_ncc.ncc.dispatch import local_ncc
from napari_local_ncc.parameters import NCCParameters
from napari_local_ncc.progress import stepwise
from napari_local_ncc.transforms.overlap import overlap_box, overlap_share
from napari_local_ncc.transforms.resampling import mask_on, matrices_of, resample

if TYPE_CHECKING:
    from collections.abc import Generator

    import xarray
    from numpy.typing import ArrayLike

    from napari_local_ncc.confidence.calibration import Calibration
    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.pairing import Unitless
    from napari_local_ncc.progress import Progress
    from napari_local_ncc.transforms.registration import Registration

DEFAULTS = NCCParameters()


@dataclass(frozen=True, slots=True, eq=False)
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

        return as_data_array(self)


@stepwise
def confidence_map(
    fixed: SpatialImage | ArrayLike | da.Array,
    moving: SpatialImage | ArrayLike | da.Array,
    *,
    parameters: NCCParameters = DEFAULTS,
    registration: Registration | None = None,
    mask: SpatialImage | ArrayLike | da.Array | None = None,
    unitless: Unitless | None = None,
    calibration: Calibration | None = None,
) -> Generator[Progress, None, ConfidenceMap]:
    """Compare two images window by window on the fixed image's grid.

    `iter_confidence_map` does the same step by step: it yields the `Progress` of the calibration,
    and closing it cancels.

    Parameters
    ----------
    fixed, moving : SpatialImage or array_like
        The images; for plain arrays the world is the pixel grid and every axis is space.
        An image without a time or channel axis is compared with every frame of the other.
    parameters : NCCParameters
        Window, limits and bands.
    registration : Registration, optional
        Transform to apply to `moving`, from `register`. Default: already aligned.
    mask : SpatialImage or array_like, optional
        Non-zero where samples may be used; a plain array has the fixed image's shape.
    unitless : {"numbers", "pixels"}, optional
        What the coordinates of an image without physical units mean beside one that has
        them; see `napari_local_ncc.image.pairing.pair_images`.
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
    """
    fixed, moving = as_spatial_image(fixed, "fixed"), as_spatial_image(moving, "moving")
    pair = pair_images(fixed, moving, unitless=unitless)
    grid = pair.fixed.grid
    if registration is not None:
        registration.check_fits(grid)
    check_overlap(pair, registration)
    box = _computed_box(pair, registration, parameters.radius_on(grid))
    compared = grid.crop(box)
    registered = moving_in(box, pair, registration, parameters.interpolation)
    a, b = pair.fixed.data[box].rechunk(registered.data.chunks), registered.data
    allowed = None if mask is None else mask_on(mask, pair.fixed)[box]
    frames = None
    if "confidence" not in parameters.bands:
        calibration = None
    elif calibration is not None:
        radius = parameters.radius_on(grid)
        calibration.check_map(grid.shape, radius, parameters.weights)
        if len(calibration.nulls) > 1:
            frames = frame_numbers(grid.shape, radius, box, a)
    else:
        calibration = yield from iter_calibrate(
            a,
            b,
            radius=parameters.radius_on(grid),
            weights=parameters.weights,
            mask=allowed,
            min_std=parameters.min_std,
            min_valid=parameters.min_valid,
            read=partial(_read_part, box, pair, registration, parameters.interpolation, allowed),
        )
    bands = compute_bands(
        [a, b] if allowed is None else [a, b, allowed],
        grid=compared,
        parameters=parameters,
        calibration=calibration,
        frames=frames,
    )
    provenance = {
        "software": f"napari-local-ncc {version('napari-local-ncc')}",
        "fixed": _origin(fixed),
        "moving": _origin(moving),
        "mask": None if mask is None else _origin(_placed(mask, grid)),
        "unitless": unitless,
        "parameters": asdict(parameters),
        "registration": None if registration is None else registration.to_dict(),
        "calibration": None if calibration is None else calibration.to_dict(),
    }
    return ConfidenceMap(
        _uncropped(bands, box, grid),
        tuple(band.name for band in bands_on(parameters, grid)),
        grid,
        parameters,
        registration,
        provenance,
        calibration,
    )


iter_confidence_map = confidence_map.steps


def _placed(mask: SpatialImage | ArrayLike | da.Array, grid: Grid) -> SpatialImage:
    """Return a mask where it lies: a plain array has the fixed image's grid."""
    image = as_spatial_image(mask, "mask")
    return image if isinstance(mask, SpatialImage) or has_place(mask) else image.replace(grid=grid)


def _origin(image: SpatialImage) -> dict[str, Any]:
    """Say which image it is, where it lies, and where its samples came from."""
    source = None if image.source is None else image.source.to_dict()
    return {"name": image.name, "grid": image.grid.to_dict(), "source": source}


def moving_in(
    box: tuple[slice, ...], pair: Pair, registration: Registration | None, interpolation: str
) -> SpatialImage:
    """Sample the moving image in a box of the fixed grid, lazily, from what that needs of it."""
    frames = box[: len(pair.fixed.grid.series_shape)]
    return resample(
        pair.moving.crop((*frames, *(slice(None),) * pair.moving.grid.spatial_ndim)),
        pair.fixed.grid.crop(box),
        None if registration is None else registration.frames(frames),
        interpolation=interpolation,
    )


def _read_part(
    box: tuple[slice, ...],
    pair: Pair,
    registration: Registration | None,
    interpolation: str,
    allowed: da.Array | None,
    place: tuple[slice, ...],
) -> list[da.Array]:
    """Return both images and the mask at a place in the box.

    Slices of the whole registered image would cost all of the chunks that they lie in.
    """
    there = tuple(
        slice(part.start + at.start, part.start + at.stop)
        for part, at in zip(box, place, strict=True)
    )
    images = [pair.fixed.data[there], moving_in(there, pair, registration, interpolation).data]
    return images if allowed is None else [*images, allowed[place]]


def load_kernel() -> None:
    """Load the compiled kernel; the first time after an installation, compile it.

    Any map does so by itself. Calling it before lets a program say what the user waits
    for: a few seconds once, a fraction of one later.
    """
    local_ncc(np.eye(4), np.eye(4), radius=1)


def _computed_box(
    pair: Pair, registration: Registration | None, radius: tuple[int, ...]
) -> tuple[slice, ...]:
    """Return the box of the fixed grid that is worth computing, along all of its axes."""
    fixed, moving = pair.fixed.grid.space(), pair.moving.grid.space()
    series = pair.fixed.grid.series_shape
    matrices = matrices_of(registration, pair.fixed.grid)
    margin = np.array(radius[len(series) :])
    if registration is not None:  # a flow brings in what lies that far outside
        reach = np.abs(registration.grid.space().pixel_to_world[:-1, :-1]) @ registration.reach
        to_px = np.abs(np.linalg.inv(fixed.pixel_to_world[:-1, :-1]))
        margin = margin + np.ceil(to_px @ reach).astype(int)
    return tuple(slice(0, n) for n in series) + overlap_box(
        fixed, moving, matrices, margin.tolist()
    )


def _uncropped(bands: da.Array, box: tuple[slice, ...], grid: Grid) -> da.Array:
    """Put the box back into its place, undefined around it."""
    if bands.shape[1:] == grid.shape:
        return bands
    margins = [(part.start, n - part.stop) for part, n in zip(box, grid.shape, strict=True)]
    padded = da.pad(bands, [(0, 0), *margins], mode="constant", constant_values=np.float32(np.nan))
    return padded.rechunk((len(bands), *map_chunks(grid)))


def check_overlap(pair: Pair, registration: Registration | None = None) -> float:
    """Return the share of fixed pixels inside the moving image, at its best frame.

    Raises
    ------
    ValueError
        If no pixel of `fixed` lies inside `moving` in any frame; both extents are named.
    """
    share = overlap_of(pair, registration)
    if share == 0:
        fixed, moving = pair.fixed.grid.space(), pair.moving.grid.space()
        raise ValueError(
            f"the images do not overlap: fixed ({pair.fixed.name}) covers {fixed.extent_text()}; "
            f"moving ({pair.moving.name}) covers {moving.extent_text()}"
            + ("" if registration is None else " before the registration moved it")
            + stage_advice(pair.fixed, pair.moving)
        )
    return share


def overlap_of(pair: Pair, registration: Registration | None = None) -> float:
    """Return the share of fixed pixels inside the moving image, at its best frame."""
    fixed, moving = pair.fixed.grid.space(), pair.moving.grid.space()
    matrices = matrices_of(registration, pair.fixed.grid)
    return max(
        overlap_share(
            fixed,
            moving,
            matrices[index],
            None if registration is None else registration.displacement_of(index),
        )
        for index in np.ndindex(pair.fixed.grid.series_shape)
    )
