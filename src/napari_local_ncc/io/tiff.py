"""TIFF in its dialects: plain, ImageJ, OME."""

from __future__ import annotations

import math
import weakref
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import zarr
from tifffile import TIFF, TiffFile

from napari_local_ncc.io.file_array import FileArray
from napari_local_ncc.io.stored import (
    COLOUR,
    Axis,
    ReadError,
    StoredImage,
    calibrated,
    check_level,
    stored_image,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tifffile import TiffPage, TiffPageSeries

MAGICS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
RGB, YCBCR = 2, 6  # TIFF PhotometricInterpretation
ALPHAS = (1, 2)  # TIFF ExtraSamples: associated and unassociated alpha


def read_tiff(path: Path, level: int) -> StoredImage:
    """Read the first series of a TIFF file lazily."""
    with TiffFile(path) as tif:
        if not tif.series:
            raise ReadError("it holds no image")
        full = tif.series[0]
        check_level(level, len(full.levels))
        series = full.levels[level]
        _check_complete(series)
        _check_codec(series.keyframe)
        axes = _axes(series, full.shape, _calibration(tif))
        source = FileArray.at(open_tiff, path, level, series.shape, series.dtype)
    return stored_image(source, axes, getattr(source.array, "chunks", None))


def open_tiff(path: str, level: int) -> Any:
    """Open a level of the first series: memory-mapped where TIFF allows, else as Zarr."""
    with ExitStack() as stack:
        series = stack.enter_context(TiffFile(path)).series[0]
        stored = series.levels[level]
        contiguous = stored.dataoffset is not None and stored.keyframe.is_memmappable
        if contiguous and stored.transform is None:
            return stored.asarray(out="memmap")
        # two workers make tifffile decode outside Zarr's one event loop thread
        array = zarr.open_array(series.aszarr(level=level, maxworkers=2), mode="r")
        weakref.finalize(array, stack.pop_all().close)
    return array


def _check_complete(series: TiffPageSeries) -> None:
    for page in series:
        if page is not None:
            ends = map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))
            if max(ends, default=0) > page.parent.filehandle.size:
                raise ReadError("the file is cut off: pixels lie beyond its end; copy it again")


def _check_codec(page: TiffPage) -> None:
    try:
        TIFF.DECOMPRESSORS[page.compression]
        TIFF.UNPREDICTORS[page.predictor]
    except KeyError as error:
        raise ReadError(f"{error.args[0]}; pip install imagecodecs") from error


def _axes(
    series: TiffPageSeries, full_shape: tuple[int, ...], calibration: dict[str, tuple[float, str]]
) -> list[Axis]:
    axes = []
    for k, (letter, n, full) in enumerate(zip(series.axes, series.shape, full_shape, strict=True)):
        spacing, unit = calibration.get(letter, calibrated(1, ""))
        factor = _reduction(full, n)
        # the first sample of a reduced level stands for the middle of `factor` full ones
        origin = spacing * (factor - 1) / 2
        label = _label(letter, series.axes[:k], series.keyframe)
        axes.append(Axis(label, letter in "ZYX", spacing * factor, origin, unit))
    return axes


def _label(letter: str, before: str, page: TiffPage) -> str:
    if letter == "S":
        return COLOUR if _is_colour(page) else "c"
    label = "q" if letter in "IQ" else letter.lower()
    repeated = sum(other in "IQ" if label == "q" else other == letter for other in before)
    return f"{label}{repeated + 1}" if repeated else label


def _is_colour(page: TiffPage) -> bool:
    if page.samplesperpixel == 2:
        return page.extrasamples[0] in ALPHAS
    return page.photometric in (RGB, YCBCR) and page.samplesperpixel in (3, 4)


def _reduction(full: int, reduced: int) -> float:
    """Return how many full-resolution samples one reduced sample stands for."""
    factor = round(full / reduced)
    return factor if abs(full - factor * reduced) < factor else full / reduced


def _calibration(tif: TiffFile) -> dict[str, tuple[float, str]]:
    # resolution tags alone are dots per inch for printing, not the size of a pixel
    if tif.ome_metadata:
        return _ome_calibration(tif.ome_metadata)
    if tif.imagej_metadata:
        return _imagej_calibration(tif)
    return {}


def _ome_calibration(xml: str) -> dict[str, tuple[float, str]]:
    pixels = ElementTree.fromstring(xml).find(".//{*}Pixels")
    if pixels is None:
        return {}
    found = {
        axis: calibrated(
            pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
        )
        for axis in "ZYX"
    }
    time = calibrated(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
    return {**found, "T": time}


def _imagej_calibration(tif: TiffFile) -> dict[str, tuple[float, str]]:
    metadata = tif.imagej_metadata or {}
    unit = metadata.get("unit", "")
    if unit == "inch":  # ImageJ's reading of a printing resolution
        return {}
    tags = tif.pages[0].tags
    across, down = (tags.valueof(f"{axis}Resolution", (0, 1)) for axis in "XY")
    return {
        "X": calibrated(_per(across), unit),
        "Y": calibrated(_per(down), metadata.get("yunit", unit)),
        "Z": calibrated(metadata.get("spacing"), metadata.get("zunit", unit)),
        "T": calibrated(metadata.get("finterval"), metadata.get("tunit", "s")),
    }


def _per(resolution: tuple[int, int]) -> float:
    pixels, length = resolution
    return length / pixels if pixels else math.nan
