"""One door to every registration engine: from images in the world to arrays and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, get_args

import dask.array as da
import numpy as np

from napari_local_ncc.geometry import CHANNEL_LABELS, Grid, apply_affine, invert_affine
from napari_local_ncc.image import SpatialImage, as_spatial_image
from napari_local_ncc.pairing import Pair, Unitless, pair_images
from napari_local_ncc.parameters import check_choice
from napari_local_ncc.progress import Progress, finished
from napari_local_ncc.registration import affine, flow
from napari_local_ncc.registration._dense import iter_dense
from napari_local_ncc.registration._itk import simpleitk
from napari_local_ncc.registration._result import Registration
from napari_local_ncc.registration.translation import estimate_translation
from napari_local_ncc.resampling import mask_on, resample
from napari_local_ncc.units import unit_factor

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import ArrayLike, NDArray

Model = Literal["none", "translation", "rigid", "similarity", "affine", "flow"]
MODELS: tuple[Model, ...] = get_args(Model)
NEED_SIMPLEITK = affine.MODELS
Metric = Literal["mutual information", "correlation"]


def register(
    fixed: SpatialImage | ArrayLike | da.Array,
    moving: SpatialImage | ArrayLike | da.Array,
    *,
    model: str = "translation",
    mask: SpatialImage | ArrayLike | da.Array | None = None,
    moving_mask: SpatialImage | ArrayLike | da.Array | None = None,
    unitless: Unitless | None = None,
    min_overlap: float = 0.3,
    metric: str = "mutual information",
    initial: Registration | str | None = None,
    method: str = "ilk",
) -> Registration:
    """Find the transform that brings `moving` onto `fixed`.

    Parameters
    ----------
    fixed, moving : SpatialImage or array_like
        The images. For plain arrays the world is the pixel grid and every axis is space.
    model : str, default "translation"
        Kind of transform, in world coordinates: "none", "translation", "rigid",
        "similarity", "affine", or "flow" (a displacement of its own for every pixel). A
        series gets one transform per time point; channels share it (it is estimated on
        their mean). Translation is for images of the same kind of contrast; rigid,
        similarity and affine need SimpleITK (extra `registration`).
    mask, moving_mask : SpatialImage or array_like, optional
        Where (non-zero) samples of `fixed` and of `moving` may be used. A plain array has
        its image's shape and lies on its grid.
    unitless : {"numbers", "pixels"}, optional
        What the coordinates of an image without physical units mean beside one that has
        them; see `napari_local_ncc.pairing.pair_images`.
    min_overlap : float, default 0.3
        Least overlap to consider, as a share of the smaller image's valid samples. Little
        overlap can look alike by chance, above all in smooth images. For translation.
    metric : {"mutual information", "correlation"}, default "mutual information"
        What rigid, similarity and affine maximise; mutual information is for images of any
        kinds of contrast.
    initial : Registration or str, optional
        For a flow: what to do before. A transform, or a model to register by first. The
        flow is found on moving as that moves it and composed with it, so that moving is
        never interpolated twice. Default, or "identity": nothing; then motions of more than
        a few px may be missed.
    method : {"ilk", "tvl1"}, default "ilk"
        For a flow: iterative Lucas-Kanade, or TV-L1; see `registration.flow.iter_flow`.

    Returns
    -------
    Registration
        Maps fixed world to moving world. For translation, the identity where nothing
        scores reliably better; the other models take the best they find, which chance may
        have made: look at the map. A frame of a series that cannot be registered (blank,
        say) moves as the nearest one that can; its NCC is NaN.

    Raises
    ------
    ImportError
        If the model needs SimpleITK and it is not installed.
    ValueError
        If the model is unknown, or the images cannot be paired or have no structure to
        register (in no frame, for a series).
    """
    return finished(
        iter_register(
            fixed,
            moving,
            model=model,
            mask=mask,
            moving_mask=moving_mask,
            unitless=unitless,
            min_overlap=min_overlap,
            metric=metric,
            initial=initial,
            method=method,
        )
    )


def iter_register(
    fixed: SpatialImage | ArrayLike | da.Array,
    moving: SpatialImage | ArrayLike | da.Array,
    *,
    model: str = "translation",
    mask: SpatialImage | ArrayLike | da.Array | None = None,
    moving_mask: SpatialImage | ArrayLike | da.Array | None = None,
    unitless: Unitless | None = None,
    min_overlap: float = 0.3,
    metric: str = "mutual information",
    initial: Registration | str | None = None,
    method: str = "ilk",
) -> Generator[Progress, None, Registration]:
    """Do the same as `register` frame by frame, yielding progress before each.

    Yields
    ------
    Progress
        Frames done and to do. Closing the generator cancels.

    Returns
    -------
    Registration
        The value that ends the generator.
    """
    if not 0 < min_overlap <= 1:
        raise ValueError(f"min_overlap must lie in (0, 1], got {min_overlap!r}")
    check_model(model)
    check_choice("metric", metric, get_args(Metric))
    check_choice("method", method, flow.METHODS)
    if initial is not None and model != "flow":
        raise ValueError(f"initial is for the model flow; {model} finds its own start")
    if model == "flow" and isinstance(initial, str) and initial != "identity":
        initial = yield from iter_register(
            fixed,
            moving,
            model=initial,
            mask=mask,
            moving_mask=moving_mask,
            unitless=unitless,
            min_overlap=min_overlap,
            metric=metric,
        )
    fixed, moving = as_spatial_image(fixed, "fixed"), as_spatial_image(moving, "moving")
    pair = pair_images(
        _masked(fixed, mask, "mask"),
        _masked(moving, moving_mask, "moving_mask"),
        unitless=unitless,
    )
    grid = pair.fixed.grid
    if model in NEED_SIMPLEITK and grid.spatial_ndim not in (2, 3):
        raise ValueError(f"{model} needs 2 or 3 spatial axes, but there are {grid.spatial_ndim}")
    if model == "none":
        nothing = np.full(grid.series_shape, np.nan)
        identity = np.broadcast_to(_shift(grid.space(), 0.0), (*grid.series_shape, *_square(grid)))
        return Registration(model, identity, grid, nothing, nothing, nothing)

    times = _channels_together(grid)
    if model == "flow":
        start = initial if isinstance(initial, Registration) else None
        return (yield from iter_dense(pair, times, start, method))
    estimate = partial(_translate, min_overlap=min_overlap)
    if model != "translation":
        estimate = partial(_fit_affine, model=model, metric=metric)
    found: list[_Fit | ValueError] = []
    for indices in times:
        yield Progress("register", len(found), len(times))
        try:
            found.append(estimate(pair, indices))
        except ValueError as error:  # a blank frame, say
            found.append(error)
    return _collected(model, grid, times, found)


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """What an engine found for one frame: fixed world to moving world, and its quality."""

    matrix: NDArray[np.float64]
    ncc_before: float
    ncc_after: float
    overlap: float


def _collected(
    model: str,
    grid: Grid,
    times: list[list[tuple[int, ...]]],
    found: list[_Fit | ValueError],
) -> Registration:
    """Put the frames together; one that failed moves as the nearest that did not."""
    known = {k: result for k, result in enumerate(found) if isinstance(result, _Fit)}
    if not known:
        raise next(result for result in found if isinstance(result, ValueError))
    matrix = np.empty((*grid.series_shape, *_square(grid)))
    quality = np.full((*grid.series_shape, 3), np.nan)
    for k, indices in enumerate(times):
        nearest = known[min(known, key=lambda other: abs(other - k))]
        for index in indices:
            matrix[index] = nearest.matrix
            if k in known:
                quality[index] = nearest.ncc_before, nearest.ncc_after, nearest.overlap
    return Registration(model, matrix, grid, *np.moveaxis(quality, -1, 0))


def check_model(model: str) -> None:
    """Raise ValueError unless `model` is known, and ImportError unless its engine is there."""
    check_choice("model", model, MODELS)
    if model in NEED_SIMPLEITK:
        simpleitk()


def _square(grid: Grid) -> tuple[int, int]:
    return (grid.spatial_ndim + 1, grid.spatial_ndim + 1)


def _masked(
    image: SpatialImage, mask: SpatialImage | ArrayLike | da.Array | None, name: str
) -> SpatialImage:
    """Return the image with NaN where a mask is zero or absent."""
    return image if mask is None else image.where(mask_on(mask, image, name))


def _channels_together(grid: Grid) -> list[list[tuple[int, ...]]]:
    """Return the series indices, those that differ only by channel in one list."""
    labels = grid.axis_labels[: len(grid.series_shape)]

    def time(index: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(
            k for k, label in zip(index, labels, strict=True) if label.lower() not in CHANNEL_LABELS
        )

    indices = sorted(np.ndindex(grid.series_shape), key=time)
    return [list(group) for _, group in groupby(indices, key=time)]


def _translate(pair: Pair, indices: list[tuple[int, ...]], min_overlap: float) -> _Fit:
    """Estimate one translation for some frames."""
    lattice, start = _moving_lattice(pair)
    fixed = _mean([pair.fixed.data[index] for index in indices])
    moving = _mean([resample(pair.moving.frame(index), lattice).data for index in indices])
    found = estimate_translation(fixed, moving, start=start.tolist(), min_overlap=min_overlap)
    matrix = _shift(pair.fixed.grid.space(), found.offset - start)
    return _Fit(matrix, found.ncc_before, found.ncc_after, found.overlap)


def _fit_affine(pair: Pair, indices: list[tuple[int, ...]], model: str, metric: str) -> _Fit:
    """Estimate one rigid, similarity or affine transform for some frames."""
    fixed, moving, to_common = _in_one_unit(pair)
    found = affine.estimate_affine(
        _mean([pair.fixed.data[index] for index in indices]),
        _mean([pair.moving.data[index] for index in indices]),
        model=model,
        fixed_to_world=fixed.pixel_to_world,
        moving_to_world=moving.pixel_to_world,
        metric=metric,
    )
    matrix = invert_affine(to_common) @ found.matrix @ to_common
    return _Fit(matrix, found.ncc_before, found.ncc_after, found.overlap)


def _in_one_unit(pair: Pair) -> tuple[Grid, Grid, NDArray[np.float64]]:
    """Return both spatial grids in one unit along all axes, and the map from fixed's units.

    A rotation mixes the axes, so that nm along one and um along another would shear.
    """
    fixed, moving = pair.fixed.grid.space(), pair.moving.grid.space()
    common = (fixed.units[-1],) * fixed.ndim
    factors = [unit_factor(unit, fixed.units[-1]) for unit in fixed.units]
    return fixed.in_units(common), moving.in_units(common), np.diag([*factors, 1.0])


def _mean(frames: list[da.Array]) -> NDArray[Any]:
    """Return the mean of some frames; of one, itself, in its own dtype."""
    return np.asarray(frames[0] if len(frames) == 1 else da.stack(frames).mean(axis=0))


def _moving_lattice(pair: Pair) -> tuple[Grid, NDArray[np.float64]]:
    """Return a grid of fixed's pixels that covers all of moving, and where fixed lies on it.

    Where both have the same pixels but for an offset, it is moving's own grid: nothing is
    interpolated, even where the offset is no whole number of pixels.
    """
    fixed, moving = pair.fixed.grid.space(), pair.moving.grid.space()
    to_moving = invert_affine(moving.pixel_to_world) @ fixed.pixel_to_world
    if np.allclose(to_moving[:-1, :-1], np.eye(fixed.ndim), rtol=0, atol=1e-9):
        return moving, to_moving[:-1, -1]
    corners = apply_affine(invert_affine(fixed.pixel_to_world), moving.corners())
    first = np.floor(corners.min(axis=0) + 1e-6)
    size = np.ceil(corners.max(axis=0) - 1e-6) - first + 1
    place = fixed.pixel_to_world.copy()
    place[:-1, -1] = apply_affine(fixed.pixel_to_world, first)
    return fixed.replace(shape=tuple(size.astype(int)), pixel_to_world=place), -first


def _shift(space: Grid, pixels: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return the world matrix of a displacement in pixels of `space`."""
    matrix = np.eye(space.ndim + 1)
    steps = np.broadcast_to(pixels, (space.ndim,))
    matrix[:-1, -1] = space.pixel_to_world[:-1, :-1] @ steps
    return matrix
