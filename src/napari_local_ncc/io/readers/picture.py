"""PNG, JPEG, BMP, GIF and whatever else Pillow opens."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.image.read_guard import ReadError, check_claim
from napari_local_ncc.io.readers.colour import BY_SAMPLES
from napari_local_ncc.io.readers.orientation import TAG, upright
from napari_local_ncc.io.readers.scene import Scene
from napari_local_ncc.io.stored import (
    COLOUR,
    Axis,
    StoredImage,
    check_level,
    stored_image,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

    from napari_local_ncc.io.readers.scene import Request

NEEDED = "it has 16 bits per sample, of which Pillow reads 8; pip install imagecodecs"
SAMPLES = {  # by their number
    1: "grey",
    2: "grey, opacity",
    3: "red, green, blue",
    4: "red, green, blue, opacity",
}
MOST_PACKED: dict[str, float] = {"PNG": 1040}
# Pillow's modes that are not grey, red, green and blue, and what they are turned into
TURNED = {
    "P": "RGB",
    "PA": "RGBA",
    "La": "LA",
    "RGBa": "RGBA",
    "RGBX": "RGB",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
}


def scenes(path: Path) -> list[Scene]:
    """List the one image of a picture."""
    with _opened(path) as picture:
        return [Scene("", (picture.height, picture.width), "YX")]


def read(path: Path, scene: int, request: Request) -> StoredImage:
    """Read a picture into memory; it has one level and no calibration."""
    check_level(request.level, 1)
    with _opened(path) as picture:
        needed, most = _needed(picture), MOST_PACKED.get(picture.format or "")
        if most is not None:
            most = most * needed / max(1, _claimed(picture))
        check_claim(needed, path.stat().st_size, "it", most=most)
        orientation = picture.getexif().get(TAG, 1)
        deep = _deep_samples(path, picture)
        samples = _samples(picture) if deep is None else deep
        count = getattr(picture, "n_frames", 1)
    plane = [Axis("y", spatial=True), Axis("x", spatial=True)]
    is_colour = samples.ndim - (count > 1) > 2
    colour = [Axis(COLOUR, spatial=False)] if is_colour else []
    frames = [Axis("q", spatial=False)] * (samples.ndim - 2 - len(colour))
    stored = stored_image(
        samples,
        frames + plane + colour,
        colour=BY_SAMPLES[samples.shape[-1]] if is_colour else None,
    )
    bits = 1 if samples.dtype == bool else 8 * samples.dtype.itemsize
    depth = samples.shape[-1] if is_colour else 1
    stored = stored.noting(samples=f"{bits} bits, {depth} per pixel: {SAMPLES[depth]}")
    if orientation in range(2, 9):
        stored = stored.noting(orientation=f"{orientation}; turned upright")
    return upright(stored, orientation)


def _claimed(picture: ImageFile) -> int:
    """Return the bytes that all frames of a picture take in a file at least, not packed."""
    frames = getattr(picture, "n_frames", 1)
    wide = {"I": 4, "F": 4, "I;16": 2, "I;16B": 2, "1": 0.125, "P": 0.125, "L": 0.25}
    samples = picture.width * picture.height * frames * len(picture.getbands())
    return int(samples * wide.get(picture.mode, 1))


def _needed(picture: ImageFile) -> int:
    """Return the bytes that are held at once while a picture becomes an array.

    Pillow's own (1, 2 or 4 bytes per pixel; of 1 bit, 1 byte), those of what they are turned
    into, and the samples twice; those of several frames are put together at the end.
    """
    mode, shown = picture.mode, _shown_mode(picture)
    samples = _stored(shown) if shown[0] in "IF" else len(shown)  # a letter for each
    one = _stored(mode) + (_stored(shown) if shown != mode else 0) + 2 * samples
    frames = getattr(picture, "n_frames", 1)
    return picture.width * picture.height * (one + (2 * frames * samples if frames > 1 else 0))


def _stored(mode: str) -> int:
    """Return the bytes of a pixel in Pillow's memory."""
    return 2 if mode.startswith("I;16") else 1 if mode in ("1", "L", "P") else 4


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile]:
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # large images are no attacks
    try:
        with Image.open(path) as picture:
            yield picture
    except OSError as error:
        if "truncated" not in str(error):
            raise
        raise ReadError("cannot read all of it: the file is cut off; copy it again") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _samples(picture: ImageFile) -> NDArray[Any]:
    """Return the samples of all frames: (frames,) rows, columns (, samples)."""
    count = getattr(picture, "n_frames", 1)
    frames = []
    for k in range(count):
        picture.seek(k)
        frames.append(_frame(picture))
    return frames[0] if count == 1 else np.stack(_alike(frames))


def _alike(frames: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Give all frames as many samples as the richest has: some of a GIF are opaque."""
    most = max(frames, key=lambda frame: frame.ndim and frame.size)
    if all(frame.shape == most.shape for frame in frames):
        return frames
    from PIL import Image

    return [np.asarray(Image.fromarray(frame).convert("RGBA")) for frame in frames]


def _shown_mode(picture: ImageFile) -> str:
    """Return the mode of Pillow's that a picture is turned into."""
    mode = TURNED.get(picture.mode, picture.mode)
    if "transparency" in picture.info and mode in ("1", "L", "RGB"):  # of a table too
        mode = "RGBA" if mode == "RGB" else "LA"
    return mode


def _frame(picture: ImageFile) -> NDArray[Any]:
    mode = _shown_mode(picture)
    shown = picture if mode == picture.mode else picture.convert(mode)
    samples = np.asarray(shown)
    if picture.mode.startswith("I;16") and isinstance(picture.info.get("transparency"), int):
        floating = samples.astype(np.float32)
        floating[samples == picture.info["transparency"]] = np.nan
        return floating
    return samples


def _deep_samples(path: Path, picture: ImageFile) -> NDArray[Any] | None:
    """Return the samples of a picture that Pillow would cut down to 8 bits; else None."""
    kind = picture.format
    if picture.mode.startswith("I;16") or _depth(path, picture) <= 8:
        return None
    if kind == "PNG":
        return _without_key(_decoded(path, "png_decode"), picture.info.get("transparency"))
    if kind in ("JPEG2000", "AVIF"):
        return _decoded(path, "jpeg2k_decode" if kind == "JPEG2000" else "avif_decode")
    if kind == "PPM" and path.read_bytes()[:2] == b"P6":
        shape = (picture.height, picture.width, 3)
        return np.fromfile(path, ">u2", offset=picture.tile[0][2]).reshape(shape)
    raise ReadError("it has 16 bits per sample, of which Pillow reads 8; save it as TIFF or PNG")


def _depth(path: Path, picture: ImageFile) -> int:
    """Return the bits per sample that a file says it has."""
    with path.open("rb") as file:
        start = file.read(4096)
    if picture.format == "PNG":
        bits, colour_type = start[24], start[25]
        return 8 if colour_type == 0 else bits
    if picture.format == "JPEG2000" and (size := start.find(b"\xff\x51")) >= 0:
        return (start[size + 40] & 0x7F) + 1
    if picture.format == "AVIF" and (pixels := start.find(b"pixi")) >= 0:
        return start[pixels + 9]
    told = [part for tile in picture.tile for part in np.atleast_1d(tile[3] or "").tolist()]
    if picture.format == "PPM" and picture.mode == "RGB" and str(told[-1]).isdigit():
        return int(told[-1]).bit_length()
    return 16 if any(";16" in str(part) for part in told) and "16" not in picture.mode else 8


def _decoded(path: Path, decoder: str) -> NDArray[Any]:
    """Return the samples that a decoder of imagecodecs, or SimpleITK, finds."""
    try:
        import imagecodecs
    except ImportError:
        pass
    else:
        samples: NDArray[Any] = getattr(imagecodecs, decoder)(path.read_bytes())
        return samples
    try:
        import SimpleITK as sitk
    except ImportError as error:
        raise ReadError(NEEDED) from error
    try:
        return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    except RuntimeError as error:
        raise ReadError(NEEDED) from error


def _without_key(samples: NDArray[Any], key: object) -> NDArray[Any]:
    """Add the opacity that a PNG gives by naming a transparent colour."""
    if not isinstance(key, tuple) or samples.shape[-1] != 3:
        return samples
    opaque = (samples != np.asarray(key, samples.dtype)).any(axis=-1)
    alpha = opaque * np.iinfo(samples.dtype).max
    return np.concatenate([samples, alpha[..., np.newaxis].astype(samples.dtype)], axis=-1)
