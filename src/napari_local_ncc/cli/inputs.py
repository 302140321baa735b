"""What commands read: images, masks, labels, a transform; each where it is said to lie."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_local_ncc.cli.console import say

if TYPE_CHECKING:
    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.transforms.registration import Registration

# Zarr's writers leave out chunks that are all 0
AS_LABELS: dict[str, Any] = {"absent_chunks": "fill"}


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
    say_channels(a, b)
    allowed = None
    if mask is not None:
        allowed = opened(mask, **AS_LABELS).select_known(parse_selection(fixed.select))
        allowed = laid_over(_place(allowed, mask.grid, ndim), a.grid, stretch)
    regions = None
    if labels is not None:
        regions = opened(Choice(labels), **AS_LABELS).with_spatial_ndim(ndim)
        regions = laid_over(regions, a.grid, stretch)
    return Inputs(a, b, allowed, regions)


def laid_over(marks: SpatialImage, grid: Grid, stretch: bool) -> SpatialImage:
    """Lay a mask or labels over the whole of a grid where that is wanted, and say so."""
    if not stretch or marks.grid.space().shape == grid.space().shape:
        return marks
    sizes = ["x".join(map(str, g.space().shape)) for g in (marks.grid, grid)]
    say(f"{marks.name} ({sizes[0]}) is laid over the whole image ({sizes[1]})")
    return marks.stretch_over(grid)


def say_stages(fixed: SpatialImage, moving: SpatialImage) -> None:
    """Say that stage positions lay the images, where they lay them apart."""
    from napari_local_ncc.image.pairing import stage_advice

    stages = {image.source.stage for image in (fixed, moving) if image.source is not None}
    if len(stages) > 1:
        say(stage_advice(fixed, moving).removeprefix("; "))


def say_channels(fixed: SpatialImage, moving: SpatialImage) -> None:
    """Say that channels of other names are compared, where the files have them in other orders."""
    from napari_local_ncc.image.pairing import channel_advice

    if advice := channel_advice(fixed, moving):
        say(advice)


def is_json(text: str | None) -> bool:
    """Say whether a transform is given as its JSON text rather than as a file."""
    return text is not None and text.lstrip().startswith("{")


def open_transform(text: str, grid: Grid) -> Registration:
    """Return the transform of a file, or of a JSON text, for images on a grid."""
    from napari_local_ncc.transforms.formats.json_file import values_of_text
    from napari_local_ncc.transforms.registration import Registration
    from napari_local_ncc.transforms.transform_file import read_transform

    if not is_json(text):
        return read_transform(text, grid)
    try:
        return Registration.from_dict(values_of_text(text))
    except ValueError as error:
        raise ValueError(f"cannot read the JSON of --transform: {error}") from error


def _place(image: SpatialImage, grid: str, ndim: int | None) -> SpatialImage:
    """Put an image on the grid of a JSON text; without one, count its spatial axes."""
    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.read_guard import reason_of

    if not grid:
        return image.with_spatial_ndim(ndim)
    try:
        place = Grid.from_dict(json.loads(grid))
    except Exception as error:  # whatever a text that is no grid makes of it
        reason = reason_of(error)
        raise ValueError(f"cannot read the grid of {image.name}: {reason}") from error
    return image.replace(grid=place)
