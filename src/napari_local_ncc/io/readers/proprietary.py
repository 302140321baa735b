"""CZI, LIF, ND2 and what else an installed reader of bioio opens: the last door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_local_ncc.geometry.units import PIXEL
from napari_local_ncc.image.read_guard import ReadError
from napari_local_ncc.io.readers.colour import BY_SAMPLES
from napari_local_ncc.io.readers.scene import Scene
from napari_local_ncc.io.stored import (
    COLOUR,
    READABLE,
    Axis,
    StoredImage,
    check_level,
    pixel_size,
    reduction,
)

if TYPE_CHECKING:
    from pathlib import Path

    from napari_local_ncc.io.readers.scene import Request

SAMPLES = "S"  # bioio's axis of the samples of a colour
SPACE = "ZYX"


def scenes(path: Path) -> list[Scene]:
    """List the scenes of a file."""
    image = _open(path)
    found = []
    for name in image.scenes:
        image.set_scene(name)
        found.append(Scene(str(name), tuple(image.dims.shape), str(image.dims.order)))
    return found


def read(path: Path, scene: int, request: Request) -> StoredImage:
    """Read one scene lazily, with the pixel sizes and channel names that its reader gives."""
    image = _open(path)
    image.set_scene(image.scenes[scene])
    levels = list(getattr(image, "resolution_levels", (0,)))
    check_level(request.level, len(levels))
    full, order = image.dask_data.shape, str(image.dims.order)
    sizes = {letter: getattr(image.physical_pixel_sizes, letter, None) for letter in order}
    if len(levels) > 1:  # some readers tell the pixel size of the level that is set
        image.set_resolution_level(levels[request.level])
    data = image.dask_data
    axes = [
        _axis(letter, sizes[letter], reduction(n, reduced))
        for letter, n, reduced in zip(order, full, data.shape, strict=True)
    ]
    colour = BY_SAMPLES.get(data.shape[order.index(SAMPLES)]) if SAMPLES in order else None
    names = ", ".join(str(name) for name in image.channel_names or ())
    stored = StoredImage(data, tuple(axes), colour)
    return stored.noting(channels=names) if names else stored


def _axis(letter: str, size: float | None, factor: float) -> Axis:
    if letter == SAMPLES:
        return Axis(COLOUR, spatial=False)
    if letter not in SPACE:
        return Axis(letter.lower(), spatial=False)
    spacing, unit = (1.0, PIXEL) if size is None else pixel_size(size, "um")  # bioio's unit
    return Axis(letter.lower(), True, spacing * factor, spacing * (factor - 1) / 2, unit)


def _open(path: Path) -> Any:
    try:
        from bioio import BioImage
        from bioio_base.exceptions import UnsupportedFileFormatError
    except ImportError as error:
        raise ReadError(
            f"its format is not known; readable are {READABLE}, and by "
            "pip install 'napari-local-ncc[bioio]' and a reader of bioio others"
        ) from error
    try:
        return BioImage(path)
    except UnsupportedFileFormatError as error:
        raise ReadError(
            "no installed reader of bioio takes it; pip install the one for its format "
            "(bioio-czi, bioio-lif, bioio-nd2, ...), or give --reader PLUGIN; otherwise readable "
            f"are {READABLE}"
        ) from error
