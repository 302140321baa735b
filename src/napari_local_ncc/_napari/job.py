"""One run of the plugin: what was asked for, and the way to the answer, off the GUI thread."""

from __future__ import annotations

from concurrent.futures import CancelledError
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.execution import compute_tiles
from napari_local_ncc.pairing import pair_images
from napari_local_ncc.pipeline import confidence_map, load_kernel
from napari_local_ncc.progress import Progress
from napari_local_ncc.pyramid import pyramid
from napari_local_ncc.registration import iter_register
from napari_local_ncc.resampling import resample
from napari_local_ncc.summary import Summary, Tally

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator

    import dask.array as da
    from numpy.typing import NDArray

    from napari_local_ncc.geometry import Grid
    from napari_local_ncc.image import SpatialImage
    from napari_local_ncc.pairing import Unitless
    from napari_local_ncc.parameters import NCCParameters
    from napari_local_ncc.pipeline import ConfidenceMap
    from napari_local_ncc.registration import Registration

# What a user can mend; anything else that is raised is a defect of ours.
BAD_INPUT = (ValueError, TypeError, MemoryError, OSError, ImportError)


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What the user asked for, taken from the widget when Run was pressed.

    Parameters
    ----------
    fixed, moving : SpatialImage
        The two layers.
    mask : SpatialImage or None
        Non-zero where samples may be used.
    model : str
        Registration model; "none" where the layers are aligned.
    parameters : NCCParameters
        Window and limits.
    add_registered : bool
        Whether the registered moving image is wanted too.
    placement : dict
        How to put a layer exactly where the fixed image lies.
    unitless : {"numbers", "pixels"}
        What the coordinates of a layer without units mean beside one that has them.
    multiscale : bool
        Whether the result is to be a pyramid, as the fixed layer is.
    """

    fixed: SpatialImage
    moving: SpatialImage
    mask: SpatialImage | None
    model: str
    parameters: NCCParameters
    add_registered: bool
    placement: dict[str, Any]
    unitless: Unitless
    multiscale: bool


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a job gave.

    Parameters
    ----------
    job : Job
        What was asked for.
    map : ConfidenceMap
        The lazy map: grid, registration, provenance.
    levels : list of ndarray of float32
        Its computed values, and coarser copies if a pyramid was asked for.
    registered : ndarray or None
        The moving image on the fixed grid, if it was asked for.
    summary : Summary
        The map in numbers.
    """

    job: Job
    map: ConfidenceMap
    levels: list[NDArray[np.float32]]
    registered: NDArray[Any] | None
    summary: Summary

    @property
    def grid(self) -> Grid:
        """Where the results lie."""
        return self.map.grid


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """What went wrong in a job.

    Parameters
    ----------
    error : Exception
        As it was raised.
    """

    error: Exception


def run_job(job: Job, cancelled: threading.Event) -> Generator[Progress, None, Outcome]:
    """Register, resample and compare, yielding progress.

    Closing the generator cancels; so does setting `cancelled`, from any thread.
    """
    registration = None
    if job.model != "none":
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
    yield Progress("load", 0, 1)
    load_kernel()
    tally = Tally()
    ncc = yield from _compute(result["ncc"], "compare", cancelled, tally)
    registered = None
    if job.add_registered:
        lazy = _registered(job, result.grid, registration)
        registered = yield from _compute(lazy, "resample", cancelled)
    levels = pyramid(ncc, result.grid.spatial) if job.multiscale else [ncc]
    return Outcome(job, result, levels, registered, tally.summary)


def attempt(
    job: Job, cancelled: threading.Event
) -> Generator[Progress, None, Outcome | Failure | None]:
    """Run a job for a worker thread: nothing is raised there, and nothing left running.

    Returns
    -------
    Outcome, Failure or None
        What the job gave, what went wrong, or None where it was cancelled. A failure is
        returned since napari 0.9.2 stumbles over a worker's own error signal.
    """
    steps = run_job(job, cancelled)
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


def _registered(job: Job, grid: Grid, registration: Registration | None) -> da.Array:
    moving = pair_images(job.fixed, job.moving, unitless=job.unitless).moving
    interpolation = job.parameters.interpolation
    return resample(moving, grid, registration, interpolation=interpolation).data


def _compute(
    array: da.Array, step: str, cancelled: threading.Event, tally: Tally | None = None
) -> Generator[Progress, None, NDArray[Any]]:
    """Compute an array tile by tile into memory."""
    values = np.empty(array.shape, array.dtype)
    yield Progress(step, 0, array.npartitions)
    with closing(compute_tiles(array, cancelled=cancelled)) as tiles:
        for tile in tiles:
            values[tile.location] = tile.data
            if tally is not None:
                tally.add(tile.data)
            yield Progress(step, tile.done, tile.total)
    return values
