"""Carry other layers along a transform: channels, labels and points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc._napari.results.allocate import blank_levels
from napari_local_ncc._napari.results.job import Outcome, fill
from napari_local_ncc._napari.results.result_spec import Product
from napari_local_ncc.progress import Step
from napari_local_ncc.transforms.apply import apply_to_image, apply_to_labels, apply_to_points

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator

    from napari.layers import Points
    from napari.viewer import Viewer

    from napari_local_ncc._napari.results.job import Message
    from napari_local_ncc._napari.results.result_spec import Output
    from napari_local_ncc.image.pairing import Unitless
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.transforms.registration import Registration


@dataclass(frozen=True, slots=True, eq=False)
class Application:
    """A transform to be applied to an image or to labels.

    Parameters
    ----------
    registration : Registration
        Its grid is where the result will lie.
    image : SpatialImage
        What to bring there, from where the moving image lies.
    is_labels : bool
        Whether samples are labels, which are not interpolated.
    interpolation : str
        How to sample an image.
    unitless : {"numbers", "pixels"}
        What the coordinates of a layer without units mean.
    output : Output
        Where the result goes.
    """

    registration: Registration
    image: SpatialImage
    is_labels: bool
    interpolation: str
    unitless: Unitless
    output: Output


def run_application(
    application: Application, cancelled: threading.Event
) -> Generator[Message, None, Outcome]:
    """Resample a layer by a transform; yield as `run_job` does."""
    registration, image = application.registration, application.image
    result = _apply(application)
    grid, lazy = result.grid, result.data
    product = Product(
        "labels" if application.is_labels else "registered",
        f"{image.name} by {registration.model}",
        blank_levels(grid, lazy.dtype, multiscale=False, budget=application.output.budget),
        grid,
        application.output.place_on(grid, registration.grid),
        application.output.style,
        {"registration": registration.to_dict(), "layers": application.output.layers},
        registration,
    )
    yield product
    yield from fill(product, lazy, Step.RESAMPLE, application.output, cancelled)
    return Outcome(registration)


def _apply(application: Application) -> SpatialImage:
    """Return the lazy result, where it lies."""
    if application.is_labels:
        return apply_to_labels(
            application.image, application.registration, unitless=application.unitless
        )
    return apply_to_image(
        application.image,
        application.registration,
        interpolation=application.interpolation,
        unitless=application.unitless,
    )


def add_moved_points(viewer: Viewer, layer: Points, registration: Registration) -> int:
    """Add the points of a layer of the moving image where the fixed image shows them.

    Returns
    -------
    int
        How many there are.

    Raises
    ------
    ValueError
        If there are none, or they have another number of axes than the transform.
    """
    grid = registration.grid
    if layer.ndim != grid.ndim:
        raise ValueError(
            f"{layer.name} has {layer.ndim} axes, but the transform has "
            f"{grid.ndim}: {grid.axis_labels}"
        )
    if not len(layer.data):
        raise ValueError(f"{layer.name} holds no points")
    world = np.stack([layer.data_to_world(point) for point in layer.data])
    viewer.add_points(
        apply_to_points(world, registration),
        name=f"{layer.name} by {registration.model}",
        units=grid.units,
        axis_labels=grid.axis_labels,
        size=layer.size * layer.scale[-1],
        face_color=layer.face_color,
    )
    return len(world)
