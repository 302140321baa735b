"""LZW and JPEG inside of TIFF by Pillow's decoders, where imagecodecs is not installed."""

from __future__ import annotations

import io
import struct
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.image.read_guard import ReadError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NEEDED = "pip install imagecodecs"
LZW = 5  # value of the tag Compression
LONG = 4  # type of a tag's value
START = b"\xff\xd8"  # of a JPEG stream; its end has as many bytes
GREY, RGB, YCBCR = 1, 2, 6  # values of the tag PhotometricInterpretation


@cache
def provide_decoders() -> None:
    """Give tifffile what its own stand-in for imagecodecs lacks; once."""
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        pass
    else:
        return
    from tifffile import _imagecodecs  # no public way to add a decoder

    for decoder in (lzw_decode, jpeg_decode):
        if not hasattr(_imagecodecs, decoder.__name__):
            setattr(_imagecodecs, decoder.__name__, decoder)


def lzw_decode(data: bytes, out: int | None = None) -> bytes:
    """Decode a strip or tile to its bytes, by a TIFF around it of one row of bytes.

    Parameters
    ----------
    data : bytes
        The strip.
    out : int
        How many bytes it holds.
    """
    if out is None:
        raise ReadError(f"its LZW cannot be read by Pillow; {NEEDED}")
    tags = {256: out, 257: 1, 258: 8, 259: LZW, 262: GREY, 277: 1, 278: 1, 279: len(data)}
    return _decoded(_tiff_around(data, tags)).tobytes()


def jpeg_decode(
    data: bytes,
    bitspersample: int = 8,
    tables: bytes | None = None,
    header: bytes | None = None,
    colorspace: Any = None,
    outcolorspace: Any = None,
    shape: Sequence[int] = (),
) -> NDArray[np.uint8]:
    """Decode a JPEG stream of a strip or tile, with the tables that all of them share.

    Parameters
    ----------
    data : bytes
        The stream.
    bitspersample : int
        Of a sample; Pillow knows 8.
    tables : bytes, optional
        The tag JPEGTables.
    header : bytes, optional
        Of slides of NDPI, which Pillow does not know.
    colorspace, outcolorspace : optional
        Of the stream (its photometric interpretation), and of the result.
    shape : sequence of int
        Rows and columns.
    """
    if bitspersample != 8 or header is not None:
        raise ReadError(f"its JPEG cannot be read by Pillow; {NEEDED}")
    # what a stream without a marker of Adobe means, Pillow would guess
    kind = getattr(colorspace, "value", colorspace)
    adobe = b""
    if kind in (RGB, YCBCR):
        adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes([int(kind == YCBCR)])
    shared = b"" if tables is None else tables[len(START) : -len(START)]
    return _decoded(START + adobe + shared + data[len(START) :])


def _decoded(content: bytes) -> NDArray[np.uint8]:
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # checked by its claims
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.mode not in ("L", "RGB"):
                raise ReadError(f"its samples ({picture.mode}) need another decoder; {NEEDED}")
            return np.asarray(picture)
    except OSError as error:
        raise ReadError(f"Pillow cannot decode it ({error}); {NEEDED}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _tiff_around(strip: bytes, tags: dict[int, int]) -> bytes:
    """Return a TIFF of one strip, with these tags and the strip's place."""
    known = dict(sorted({**tags, 273: 0}.items()))
    known[273] = 8 + 2 + 12 * len(known) + 4
    entries = b"".join(struct.pack("<HHII", tag, LONG, 1, value) for tag, value in known.items())
    return b"II*\0" + struct.pack("<IH", 8, len(known)) + entries + struct.pack("<I", 0) + strip
