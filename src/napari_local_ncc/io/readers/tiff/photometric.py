"""What a TIFF's photometric interpretation and extra samples say of its pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.image.luminance import weigh_rgb
from napari_local_ncc.image.read_guard import ReadError
from napari_local_ncc.io.readers.colour import (
    CMYK,
    Colour,
    Lab,
    YCbCr,
    full_scale,
    invert,
    one_grey,
    palette_of,
)
from napari_local_ncc.io.stored import COLOUR

if TYPE_CHECKING:
    from tifffile import TiffPage

    from napari_local_ncc.io.stored import StoredImage

# values of the tag PhotometricInterpretation
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, MASK, SEPARATED, YCBCR = range(7)
CIELAB, ICCLAB, ITULAB, CFA, LINEAR_RAW = 8, 9, 10, 32803, 34892
LOG_L, LOG_LUV = 32844, 32845
COLOURS = {RGB: 3, YCBCR: 3, SEPARATED: 4, LINEAR_RAW: 3, CIELAB: 3, ICCLAB: 3, ITULAB: 3}
ASSOCIATED, UNASSOCIATED = 1, 2  # kinds of alpha, of the tag ExtraSamples
# compressions whose decoders give red, green and blue whatever they store: JPEG, WebP, JPEG XL
DECODED_TO_RGB = {6, 7, 33007, 34892, 50001, 50002, 52546}


def photometric_of(page: TiffPage) -> int:
    """Return what a page says its samples mean; without a word, 0 is black."""
    is_array_of_bool = page.bitspersample == 1 and page.software.startswith("tifffile")
    if "PhotometricInterpretation" not in page.tags or is_array_of_bool:
        return BLACK_IS_ZERO  # tifffile says "0 is white" of arrays of bool, and means the values
    return int(page.photometric)


def samples_label(page: TiffPage) -> str:
    """Return the label of the axis of samples: a colour's, or channels."""
    return COLOUR if colour_of(page) is not None else "c"


def colour_of(page: TiffPage) -> Colour | None:
    """Return what the samples of a page's pixels are; None where each is an intensity.

    Raises
    ------
    ReadError
        If it stores logarithms, which no decoder here knows.
    """
    photometric, samples = photometric_of(page), page.samplesperpixel
    if photometric in (LOG_L, LOG_LUV):
        raise ReadError(
            f"its PhotometricInterpretation {photometric} (LogL, LogLuv) is not known; save it "
            "with 32-bit floating samples"
        )
    if photometric == PALETTE and page.colormap is not None and samples == 1:
        return _palette(page)
    extras = dict(enumerate(page.extrasamples, samples - len(page.extrasamples)))
    alpha = next((k for k, kind in extras.items() if kind in (ASSOCIATED, UNASSOCIATED)), None)
    kind = None if alpha is None else extras[alpha]
    opacity: dict[str, Any] = {"alpha": alpha}
    full = full_scale(page.dtype) if page.dtype.kind == "f" else 2.0**page.bitspersample - 1
    if kind == ASSOCIATED:
        opacity["opaque"] = full
    known = COLOURS.get(photometric, 1)
    if photometric in (CIELAB, ICCLAB, ITULAB):
        known = 3 if samples >= 3 else 1
    if samples < known:
        return None
    if known > 1 or photometric in (CIELAB, ICCLAB):
        inkset = page.tags.valueof("InkSet", 1)
        if photometric == SEPARATED and inkset != 1:
            return None  # inks of any kind are channels
        return Colour(_luminance(page, photometric, full), known, **opacity)
    others = [k for k in range(samples) if k != alpha]
    if alpha is not None and len(others) == 1:
        return Colour(one_grey, 1, **opacity)
    return None


def apply_photometric(stored: StoredImage, page: TiffPage) -> StoredImage:
    """Turn what says 0 is white into what says 0 is black; say what is left out."""
    photometric = photometric_of(page)
    if photometric == WHITE_IS_ZERO:
        bits = page.bitspersample
        if stored.colour is not None and stored.colour.alpha is not None:
            k = next(k for k, axis in enumerate(stored.axes) if axis.label == COLOUR)
            stored = replace(stored, data=_invert_all_but(stored, k, page))
        else:
            stored = replace(stored, data=invert(stored.data, bits))
        return stored.noting(samples="0 is white in the file; turned")
    if photometric == CFA:
        return stored.noting(
            "its samples are a mosaic of colour filters (PhotometricInterpretation 32803), "
            "compared as they are; a program that knows the camera makes colours of them"
        )
    if stored.colour is not None:
        extras = page.samplesperpixel - max(stored.colour.samples, 1)
        extras -= stored.colour.alpha is not None
        if extras > 0:
            return stored.noting(
                f"of its {page.samplesperpixel} samples per pixel {extras} "
                f"{'is' if extras == 1 else 'are'} neither colour nor opacity, and not used; "
                "select one by c"
            )
    return stored


def _invert_all_but(stored: StoredImage, axis: int, page: TiffPage) -> Any:
    import dask.array as da

    alpha = stored.colour.alpha if stored.colour is not None else None
    before = (slice(None),) * axis
    planes = [stored.data[(*before, k)] for k in range(stored.data.shape[axis])]
    turned = [p if k == alpha else invert(p, page.bitspersample) for k, p in enumerate(planes)]
    return da.stack(turned, axis)


def describe_samples(page: TiffPage) -> str:
    """Say what a page's samples are: bits, meaning, opacity."""
    photometric = photometric_of(page)
    names = {
        WHITE_IS_ZERO: "grey, 0 is white",
        BLACK_IS_ZERO: "grey",
        RGB: "red, green, blue",
        PALETTE: "colour table",
        MASK: "mask",
        SEPARATED: "inks",
        YCBCR: "YCbCr",
        CIELAB: "CIE L*a*b*",
        ICCLAB: "ICC L*a*b*",
        ITULAB: "ITU L*a*b*",
        CFA: "colour filter mosaic",
        LINEAR_RAW: "linear raw",
    }
    kind = names.get(photometric, f"PhotometricInterpretation {photometric}")
    colour = colour_of(page)
    opacity = "" if colour is None or colour.alpha is None else ", opacity"
    return f"{page.bitspersample} bits, {page.samplesperpixel} per pixel: {kind}{opacity}"


def _palette(page: TiffPage) -> Colour | None:
    table = np.asarray(page.colormap)
    luminance = weigh_rgb(table.astype(np.float32))
    if page.is_imagej and (np.diff(luminance) >= 0).all():
        return None  # a look-up table for display: the indices are the intensities
    return palette_of(table)


def _luminance(page: TiffPage, photometric: int, full: float) -> Any:
    if photometric == SEPARATED:
        return CMYK(full)
    if photometric == YCBCR and page.compression not in DECODED_TO_RGB:
        tags = page.tags
        weights = _fractions(tags.valueof("YCbCrCoefficients", ()))
        reference = _fractions(tags.valueof("ReferenceBlackWhite", ()))
        return YCbCr(full, weights or (0.299, 0.587, 0.114), reference)
    if photometric in (CIELAB, ITULAB):
        return Lab(full, (full + 1) / 256, 0.0)
    if photometric == ICCLAB:
        white = full if page.bitspersample == 8 else float(255 << (page.bitspersample - 8))
        return Lab(white, (full + 1) / 256, (full + 1) / 2)
    return weigh_rgb


def _fractions(values: tuple[Any, ...]) -> tuple[float, ...]:
    """Read numbers that TIFF stores as numerators and denominators in turn."""
    flat = [float(v) for v in np.ravel(values)]
    return tuple(a / b for a, b in zip(flat[::2], flat[1::2], strict=True))
