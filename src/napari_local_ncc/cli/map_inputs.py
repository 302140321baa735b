"""What `local-ncc map` reads: images, a mask, labels, a transform; each where it is said to lie."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_local_ncc.cli.image_options import AS_LABELS, laid_over, say_stages

if TYPE_CHECKING:
    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.transforms.registration import Registration


@dataclass(frozen=True)
class Choice:
    """Which image of which file is meant.

    Parameters
    ----------
    path : str
        The file.
    scene : str, optional
        Which of several images of it.
    select : str
        Indices of axes, as ``c=0,t=3``.
    level : int
        Of its pyramid.
    grid : str
        Where it lies, as JSON; empty where its file says.
    """

    path: str
    scene: str | None = None
    select: str = ""
    level: int = 0
    grid: str = ""


@dataclass(frozen=True)
class Inputs:
    """The images of a comparison, opened and not yet read.

    Parameters
    ----------
    fixed, moving : SpatialImage
        What is compared.
    mask : SpatialImage or None
        Non-zero where samples may be used.
    regions : SpatialImage or None
        Labels to sum the map up in.
    """

    fixed: SpatialImage
    moving: SpatialImage
    mask: SpatialImage | None
    regions: SpatialImage | None


def open_inputs(
    fixed: Choice,
    moving: Choice,
    mask: Choice | None,
    labels: str | None,
    *,
    ndim: int | None,
    stretch: bool,
    how: dict[str, Any],
) -> Inputs:
    """Open the images of a comparison, mask and labels on fixed's grid if `stretch`.

    `how` are further arguments of `read_image`; indices of axes chosen of fixed hold for the
    mask, too, where it has those axes.
    """
    from napari_local_ncc.image.spatial_image import parse_selection
    from napari_local_ncc.io.reading import read_image

    def opened(choice: Choice, **more: Any) -> SpatialImage:
        return read_image(
            choice.path,
            scene=choice.scene,
            select=parse_selection(choice.select),
            level=choice.level,
            **how | more,
        )

    a, b = (_place(opened(choice), choice.grid, ndim) for choice in (fixed, moving))
    say_stages(a, b)
    allowed = None
    if mask is not None:
        allowed = opened(mask, **AS_LABELS).select_known(parse_selection(fixed.select))
        allowed = laid_over(_place(allowed, mask.grid, ndim), a.grid, stretch)
    regions = None
    if labels is not None:
        regions = opened(Choice(labels), **AS_LABELS).with_spatial_ndim(ndim)
        regions = laid_over(regions, a.grid, stretch)
    return Inputs(a, b, allowed, regions)


def is_json(text: str | None) -> bool:
    """Say whether a transform is given as its JSON text rather than as a file."""
    return text is not None and text.lstrip().startswith("{")


def open_transform(text: str, grid: Grid) -> Registration:
    """Return the transform of a file, or of a JSON text, for images on a grid."""
    from napari_local_ncc.transforms.registration import Registration
    from napari_local_ncc.transforms.transform_file import read_transform

    if not is_json(text):
        return read_transform(text, grid)
    try:
        return Registration.from_dict(json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"cannot read the JSON of --transform: {error!r}") from error


def _place(image: SpatialImage, grid: str, ndim: int | None) -> SpatialImage:
    """Put an image on the grid of a JSON text; without one, count its spatial axes."""
    from napari_local_ncc.geometry.grid import Grid

    if not grid:
        return image.with_spatial_ndim(ndim)
    try:
        place = Grid.from_dict(json.loads(grid))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"cannot read the grid of {image.name}: {error}") from error
    return image.replace(grid=place)
