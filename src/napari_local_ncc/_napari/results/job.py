"""One run of the plugin: what was asked for, and the way to the answer, off the GUI thread."""

from __future__ import annotations

from concurrent.futures import CancelledError
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_local_ncc._napari.results.allocate import blank_levels
from napari_local_ncc._napari.results.band_layers import Arrows, layers_of, product_of
from napari_local_ncc._napari.results.result_spec import Product
from napari_local_ncc.chunked.tiles import compute_tiles
from napari_local_ncc.geometry.affine import apply_affine, invert_affine
from napari_local_ncc.geometry.kind import UNREGISTERED
from napari_local_ncc.image.pairing import pair_images
from napari_local_ncc.image.pyramid import update_pyramid
from napari_local_ncc.maps.pipeline import iter_confidence_map, load_kernel
from napari_local_ncc.maps.refinement import iter_refine
from napari_local_ncc.progress import Progress, Step
from napari_local_ncc.registration.door import iter_register
from napari_local_ncc.reports.map_summary import MapTally
from napari_local_ncc.transforms.resampling import resample

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator

    import dask.array as da
    from numpy.typing import NDArray

    from napari_local_ncc._napari.results.result_spec import Output
    from napari_local_ncc.chunked.tiles import Tile
    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.pairing import Unitless
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.maps.pipeline import ConfidenceMap
    from napari_local_ncc.maps.refinement import Refinement
    from napari_local_ncc.parameters import NCCParameters
    from napari_local_ncc.transforms.registration import Registration


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What the user asked for, taken from the widget when a button was pressed.

    Parameters
    ----------
    fixed, moving : SpatialImage
        The two layers.
    mask : SpatialImage or None
        Non-zero where samples may be used.
    model : str
        Registration model; "none" where the layers are aligned.
    registration : Registration or None
        A transform that is there already, instead of a model.
    refines : bool
        Whether to let the residual shift refine the transform.
    parameters : NCCParameters
        Window, limits and bands.
    unitless : {"numbers", "pixels"}
        What the coordinates of a layer without units mean beside one that has them.
    compare : bool
        Whether the map is wanted.
    add_registered : bool
        Whether the registered moving image is wanted.
    output : Output
        Where the results go.
    """

    fixed: SpatialImage
    moving: SpatialImage
    mask: SpatialImage | None
    model: str
    registration: Registration | None
    refines: bool
    parameters: NCCParameters
    unitless: Unitless
    compare: bool
    add_registered: bool
    output: Output


@dataclass(frozen=True, slots=True, eq=False)
class Landed:
    """A finished part of some products.

    Parameters
    ----------
    products : tuple of Product
        Where it belongs.
    location : tuple of slice
        The part.
    progress : Progress
        How much of the products is finished.
    """

    products: tuple[Product, ...]
    location: tuple[slice, ...]
    progress: Progress


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a job gave, beside its products.

    Parameters
    ----------
    registration : Registration or None
        The transform that was found or given.
    lines : dict of str to str
        What the map says, by title; see `napari_local_ncc.reports.map_summary.MapTally`.
    refinement : Refinement or None
        How the transform was refined, if it was.
    arrows : Product or None
        The shift as arrows, if there is one.
    """

    registration: Registration | None
    lines: dict[str, str]
    refinement: Refinement | None = None
    arrows: Product | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """What went wrong in a job.

    Parameters
    ----------
    error : Exception
        As it was raised.
    """

    error: Exception


Message = Progress | Product | Landed


def run_job(job: Job, cancelled: threading.Event) -> Generator[Message, None, Outcome]:
    """Register, resample and compare; yield progress, products, and their parts as they land.

    Closing the generator cancels; so does setting `cancelled`, from any thread.
    """
    registration, refinement = yield from _found(job, cancelled)
    result = yield from iter_confidence_map(
        job.fixed,
        job.moving,
        parameters=job.parameters if job.compare else job.parameters.replace(bands="ncc"),
        registration=registration,
        mask=job.mask,
        unitless=job.unitless,
    )
    if job.compare:  # before there is a layer: imports keep Python's lock from its drawing
        yield Progress(Step.LOAD, 0, 1)
        load_kernel()
    registered, lines, arrows = None, dict[str, str](), None
    if job.add_registered:
        lazy = _registered(job, result.grid, registration)
        registered = _room(job, result, lazy)
        yield registered
    if job.compare:
        lines, arrows = yield from _compared(job, result, cancelled)
    if registered is not None:
        yield from fill(registered, lazy, Step.RESAMPLE, job.output, cancelled)
    return Outcome(registration, lines, refinement, arrows)


def _found(
    job: Job, cancelled: threading.Event
) -> Generator[Progress, None, tuple[Registration | None, Refinement | None]]:
    """Return the transform that is given or found, and how it was refined if asked for."""
    registration = job.registration
    if registration is None and job.model != UNREGISTERED:
        registration = yield from iter_register(
            job.fixed,
            job.moving,
            model=job.model,
            mask=job.mask,
            unitless=job.unitless,
            cancelled=cancelled,
        )
    if not job.refines:
        return registration, None
    refinement = yield from iter_refine(
        job.fixed,
        job.moving,
        parameters=job.parameters,
        registration=registration,
        mask=job.mask,
        unitless=job.unitless,
        cancelled=cancelled,
    )
    return refinement.registration, refinement


def _compared(
    job: Job, result: ConfidenceMap, cancelled: threading.Event
) -> Generator[Message, None, tuple[dict[str, str], Product | None]]:
    """Compute all bands in one pass; return what they say, and the arrows of a shift."""
    names = f"{job.fixed.name} vs {job.moving.name}"
    drawn = layers_of(result, job.output, job.fixed.grid, names)
    products = tuple(layer.product for layer in drawn)
    yield from products
    tally = MapTally(result.band_names, result.calibration)
    arrows = Arrows(result) if "gain" in result.band_names else None
    yield Progress(Step.COMPARE, 0, result.bands.npartitions)
    for tile in _nearest_first(result.bands, result.grid, job.output, cancelled):
        location = tile.location[1:]
        tally.add(tile.data)
        bands = dict(zip(result.band_names, tile.data, strict=True))
        for layer in drawn:
            _put(layer.product, location, layer.of(bands))
        if arrows is not None:
            arrows.add(bands, location)
        yield Landed(products, location, Progress(Step.COMPARE, tile.done, tile.total))
    if arrows is None:
        return tally.lines(), None
    return tally.lines(), arrows.product(result, job.output, job.fixed.grid, names)


def attempt(
    steps_of: Callable[[threading.Event], Generator[Message, None, Outcome]],
    cancelled: threading.Event,
) -> Generator[Message, None, Outcome | Failure | None]:
    """Run a job for a worker thread: nothing is raised there, and nothing left running.

    Returns
    -------
    Outcome, Failure or None
        What the job gave, what went wrong, or None where it was cancelled. A failure is
        returned since napari 0.9.2 stumbles over a worker's own error signal.
    """
    steps = steps_of(cancelled)
    try:
        while not cancelled.is_set():
            yield next(steps)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    except CancelledError:
        return None
    except Exception as error:  # delivered to the GUI thread, which says or raises it
        return Failure(error)
    finally:
        steps.close()
    return None


def _room(job: Job, result: ConfidenceMap, lazy: da.Array) -> Product:
    """Make room for the registered image."""
    output = job.output
    levels = blank_levels(
        result.grid, lazy.dtype, multiscale=output.multiscale, budget=output.budget
    )
    name = f"{job.moving.name} on {job.fixed.name}"
    return product_of(result, "registered", name, levels, output.style, output, job.fixed.grid)


def _registered(job: Job, grid: Grid, registration: Registration | None) -> da.Array:
    moving = pair_images(job.fixed, job.moving, unitless=job.unitless).moving
    interpolation = job.parameters.interpolation
    return resample(moving, grid, registration, interpolation=interpolation).data


def fill(
    product: Product, array: da.Array, step: Step, output: Output, cancelled: threading.Event
) -> Generator[Message, None, None]:
    """Compute a product tile by tile, what the user looks at first; yield as `run_job` does."""
    yield Progress(step, 0, array.npartitions)
    for tile in _nearest_first(array, product.grid, output, cancelled):
        _put(product, tile.location, tile.data)
        yield Landed((product,), tile.location, Progress(step, tile.done, tile.total))


def _nearest_first(
    array: da.Array, grid: Grid, output: Output, cancelled: threading.Event
) -> Generator[Tile, None, None]:
    """Compute an array on a grid, or bands of one, from the middle of the view on."""
    view = output.view[-grid.ndim :]
    centre = apply_affine(invert_affine(grid.pixel_to_world), view)
    first = (0,) * (array.ndim - grid.ndim) + tuple(centre)
    with closing(compute_tiles(array, cancelled=cancelled, first=first)) as tiles:
        yield from tiles


def _put(product: Product, location: tuple[slice, ...], values: NDArray[Any]) -> None:
    product.levels[0][location] = values
    update_pyramid(product.levels, location)
