"""One run of the plugin: what was asked for, and the way to the answer, off the GUI thread."""

from __future__ import annotations

from concurrent.futures import CancelledError
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_local_ncc._napari.blank import blank_levels
from napari_local_ncc._napari.layers import ncc_colors, placement_on
from napari_local_ncc.execution import compute_tiles
from napari_local_ncc.geometry import apply_affine, invert_affine
from napari_local_ncc.pairing import pair_images
from napari_local_ncc.pipeline import confidence_map, load_kernel
from napari_local_ncc.progress import Progress
from napari_local_ncc.pyramid import update_pyramid
from napari_local_ncc.registration import iter_register
from napari_local_ncc.resampling import resample
from napari_local_ncc.summary import Tally

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator

    import dask.array as da

    from napari_local_ncc.geometry import Grid
    from napari_local_ncc.image import SpatialImage
    from napari_local_ncc.pairing import Unitless
    from napari_local_ncc.parameters import NCCParameters
    from napari_local_ncc.pipeline import ConfidenceMap
    from napari_local_ncc.registration import Registration
    from napari_local_ncc.summary import Summary

BAD_INPUT = (ValueError, TypeError, MemoryError, OSError, ImportError)  # said, not raised
Kind = Literal["ncc", "registered", "labels"]


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """Where results go and how.

    Parameters
    ----------
    placement : dict
        How to put a layer exactly where the fixed image lies.
    multiscale : bool
        Whether results are to be pyramids, as the fixed layer is.
    view : tuple of float
        The middle of what the user looks at, in the viewer's world: it is computed first.
    budget : float
        Size in bytes up to which a result is kept in memory.
    layers : dict of str to str
        Ids of the layers that went in; what makes a result the successor of another.
    style : dict
        How to draw the registered image.
    """

    placement: dict[str, Any]
    multiscale: bool
    view: tuple[float, ...]
    budget: float
    layers: dict[str, str]
    style: dict[str, Any]

    def placed(self, grid: Grid, fixed: Grid) -> dict[str, Any]:
        """Return how to put a layer on `grid`, which may have more axes than `fixed`."""
        return self.placement if grid.ndim == fixed.ndim else placement_on(grid)


# What a user can mend; anything else that is raised is a defect of ours.
BAD_INPUT = (ValueError, TypeError, MemoryError, OSError, ImportError)


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
    parameters : NCCParameters
        Window and limits.
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
    parameters: NCCParameters
    unitless: Unitless
    compare: bool
    add_registered: bool
    output: Output


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """A result that is being computed: it is shown before it is complete.

    Parameters
    ----------
    kind : {"ncc", "registered", "labels"}
        What it is.
    name : str
        What to call its layer.
    levels : list of array
        Its values, filled tile by tile, and coarser copies if it is a pyramid.
    grid : Grid
        Where they lie.
    placement, style : dict
        The same, and how to draw them, as arguments of a layer.
    metadata : dict
        Plain JSON values: how it was made, of which layers.
    """

    kind: Kind
    name: str
    levels: list[Any]
    grid: Grid
    placement: dict[str, Any]
    style: dict[str, Any]
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Landed:
    """A finished part of a product.

    Parameters
    ----------
    product : Product
        Where it belongs.
    location : tuple of slice
        The part.
    progress : Progress
        How much of the product is finished.
    """

    product: Product
    location: tuple[slice, ...]
    progress: Progress


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a job gave, beside its products.

    Parameters
    ----------
    registration : Registration or None
        The transform that was found or given.
    summary : Summary or None
        The map in numbers, if there is one.
    """

    registration: Registration | None
    summary: Summary | None


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
    registration = job.registration
    if registration is None and job.model != "none":
        registration = yield from iter_register(
            job.fixed, job.moving, model=job.model, mask=job.mask, unitless=job.unitless
        )
    result = confidence_map(
        job.fixed,
        job.moving,
        parameters=job.parameters,
        registration=registration,
        mask=job.mask,
        unitless=job.unitless,
    )
    if job.compare:  # before there is a layer: imports keep Python's lock from its drawing
        yield Progress("load", 0, 1)
        load_kernel()
    registered = ncc = None
    if job.add_registered:
        lazy = _registered(job, result.grid, registration)
        registered = _product(job, result, "registered", lazy)
        yield registered
    tally = Tally()
    if job.compare:
        ncc = _product(job, result, "ncc", result["ncc"])
        yield ncc
        yield from fill(ncc, result["ncc"], "compare", job.output, cancelled, tally)
    if registered is not None:
        yield from fill(registered, lazy, "resample", job.output, cancelled)
    return Outcome(registration, tally.summary if job.compare else None)


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


def _product(job: Job, result: ConfidenceMap, kind: Kind, lazy: da.Array) -> Product:
    fixed, moving, output = job.fixed, job.moving, job.output
    return Product(
        kind,
        f"NCC {fixed.name} vs {moving.name}" if kind == "ncc" else f"{moving.name} on {fixed.name}",
        blank_levels(result.grid, lazy.dtype, multiscale=output.multiscale, budget=output.budget),
        result.grid,
        output.placed(result.grid, fixed.grid),
        ncc_colors() if kind == "ncc" else output.style,
        result.provenance | {"layers": {"kind": kind, **output.layers}},
    )


def _registered(job: Job, grid: Grid, registration: Registration | None) -> da.Array:
    moving = pair_images(job.fixed, job.moving, unitless=job.unitless).moving
    interpolation = job.parameters.interpolation
    return resample(moving, grid, registration, interpolation=interpolation).data


def fill(
    product: Product,
    array: da.Array,
    step: str,
    output: Output,
    cancelled: threading.Event,
    tally: Tally | None = None,
) -> Generator[Message, None, None]:
    """Compute a product tile by tile, what the user looks at first; yield as `run_job` does."""
    yield Progress(step, 0, array.npartitions)
    view = output.view[-product.grid.ndim :]
    first = apply_affine(invert_affine(product.grid.pixel_to_world), view)
    with closing(compute_tiles(array, cancelled=cancelled, first=tuple(first))) as tiles:
        for tile in tiles:
            product.levels[0][tile.location] = tile.data
            update_pyramid(product.levels, tile.location)
            if tally is not None:
                tally.add(tile.data)
            yield Landed(product, tile.location, Progress(step, tile.done, tile.total))
