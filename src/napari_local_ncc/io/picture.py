"""PNG, JPEG, BMP and whatever else Pillow opens, through scikit-image's imageio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_local_ncc.io.stored import (
    COLOUR,
    READABLE,
    Axis,
    ReadError,
    StoredImage,
    check_level,
    stored_image,
)

if TYPE_CHECKING:
    from pathlib import Path

OTHER_COLOURS = ("CMYK", "YCbCr", "LAB", "HSV")  # of Pillow: samples that are not red, green, blue


def read_picture(path: Path, level: int) -> StoredImage:
    """Read a picture into memory; it has one level and no calibration."""
    from imageio.core.request import InitializationError
    from imageio.v3 import imopen

    check_level(level, 1)
    try:
        # left to guess, imageio tries legacy plugins on any file and opens the first of an npz
        with imopen(path, "r", plugin="pillow") as file:
            mode = "RGB" if file.metadata()["mode"] in OTHER_COLOURS else None
            samples = file.read(mode=mode)
    except OSError as error:
        if isinstance(error.__cause__, InitializationError):
            raise ReadError(f"its format is not known; readable are {READABLE}") from error
        raise
    plane = [Axis("y", spatial=True), Axis("x", spatial=True)]
    colour = [Axis(COLOUR, spatial=False)] if samples.ndim > 2 and samples.shape[-1] <= 4 else []
    frames = [Axis("q", spatial=False)] * (samples.ndim - 2 - len(colour))
    return stored_image(samples, frames + plane + colour)
