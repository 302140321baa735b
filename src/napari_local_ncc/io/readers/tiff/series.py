"""TIFF in its dialects: plain, ImageJ, OME, whole slides; every series is a scene."""

from __future__ import annotations

import json
import math
import os
import struct
import weakref
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import dask.array as da
import numpy as np
import zarr
from tifffile import TIFF, TiffFile

from napari_local_ncc.image.read_guard import ReadError, check_beside, check_claim
from napari_local_ncc.io.file_array import FileArray
from napari_local_ncc.io.readers.orientation import TAG, upright
from napari_local_ncc.io.readers.partial_array import PartialArray
from napari_local_ncc.io.readers.raw_samples import RawSamples
from napari_local_ncc.io.readers.scene import Scene
from napari_local_ncc.io.readers.tiff.calibration import (
    Calibration,
    calibration_of,
    describe_origin,
)
from napari_local_ncc.io.readers.tiff.photometric import (
    apply_photometric,
    colour_of,
    describe_samples,
    samples_label,
)
from napari_local_ncc.io.stored import (
    COLOUR,
    Axis,
    StoredImage,
    check_level,
    pixel_size,
    reduction,
    stored_image,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from tifffile import TiffPage, TiffPageSeries

    from napari_local_ncc.io.readers.scene import Absent, Request

MAGICS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
REDUCED, MASK_OF = 1, 4  # bits of the tag NewSubfileType
# how many times LZW, deflate and PackBits can pack at most
MOST_PACKED = {1: 1, 5: 2800, 8: 1040, 32946: 1040, 32773: 64}
NODATA = 42113  # GDAL's tag: the value of samples that are none
MOST_PLANES = 2**20  # that OME-XML may promise whatever the file holds
MODULO = {"Start": 0.0, "End": 0.0, "Step": 1.0}  # of OME's ModuloAlong, and what is meant without
LEAST_PLANE = 100  # bytes that a plane takes in a TIFF at least
MOST_LOST = 1000  # planes promised for each that is there, where a run may have been stopped


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One image of a file: its series at every resolution, and the mask that belongs to it."""

    levels: tuple[TiffPageSeries, ...]
    index: int  # of the first level's series in the file
    mask: TiffPageSeries | None = None


def scenes(path: Path) -> list[Scene]:
    """List the images of a file; reduced copies and masks of one are no images of their own."""
    with open_file(path) as tif:
        return [
            Scene(p.levels[0].name, tuple(p.levels[0].shape), p.levels[0].axes)
            for p in pictures(tif)
        ]


def read(path: Path, scene: int, request: Request) -> StoredImage:
    """Read one image of a TIFF file lazily."""
    with open_file(path) as tif:
        found = pictures(tif)
        if not found:
            raise ReadError("it holds no image")
        picture = found[scene]
        check_level(request.level, len(picture.levels))
        full, series = picture.levels[0], picture.levels[request.level]
        page = series.keyframe
        _check_complete(series)
        _check_codec(page)
        _check_claims(series)
        calibration = calibration_of(tif, picture.index)
        axes = _axes(series, full.shape, calibration, request.positions)
        missing = _missing_chunks(series)
        key = scene, request.level
        beside = _companions(tif)
        parts = _parts_of(series, beside)
        shape, dtype = series.shape, series.dtype
        source: Any = FileArray.at(open_level, path, key, shape, dtype, beside, parts)
        lost = _lost_planes(tif, series)
        mask = None
        if picture.mask is not None and request.level == 0:
            shape, dtype = picture.mask.shape, picture.mask.dtype
            mask = FileArray.at(open_mask, path, scene, shape, dtype)
        nodata, orientation = _nodata(page), page.tags.valueof(TAG, 1)
        chunks = getattr(source.array, "chunks", None)
        if missing is not None and request.absent != "fill":
            source = PartialArray(source, missing.edges, missing.where)
        stored = stored_image(source, axes, chunks, colour=colour_of(page))
        hidden = None if nodata is None else _is_nodata(stored, nodata)
        stored = apply_photometric(stored, page).noting(samples=describe_samples(page))
    if missing is not None:
        stored = stored.noting(missing.text(request.absent))
    if hidden is not None:
        stored = _hiding(stored, hidden).noting(nodata=f"{nodata:g}")
    if lost is not None:
        stored = _with_lost_planes(stored, *lost, request.absent)
    if mask is not None:
        stored = _masked(stored, mask)
    stored = upright(stored, orientation)
    return _described(stored, calibration, orientation, request.positions)


def open_file(path: Any) -> TiffFile:
    """Open a file; where it lacks planes that a description promises, as the pages it has."""
    tif = TiffFile(path)
    try:
        _check_chain(tif)
        _check_companions(tif)
    except ReadError:
        tif.close()
        raise
    promised = _promised_shape(tif)
    is_shaped = promised is not None and tif.is_shaped and bool(tif.series)
    if is_shaped and math.prod(promised or ()) != math.prod(tif.series[0].shape):
        tif.close()
        return TiffFile(path, is_shaped=False)
    if tif.is_imagej and _lacks_pages(tif):
        tif.close()
        tif = TiffFile(path, is_imagej=False)
        if tif.series:  # which are kept: all else is told by ImageJ's description
            tif.is_imagej = True
    return tif


def _lacks_pages(tif: TiffFile) -> bool:
    """Say whether tifffile takes a file of packed pages for one of more than it has."""
    if not tif.series or tif.series[0].dataoffset is not None:
        return False
    first = tif.series[0]
    outer = first.shape[: len(first.shape) - len(first.keyframe.shape)]
    return bool(first.kind == "imagej" and math.prod(outer) > len(tif.pages))


def _check_chain(tif: TiffFile) -> None:
    """Raise ReadError where pages follow one another in a circle: tifffile would go on for ever."""
    form, file = tif.tiff, tif.filehandle
    offset = tif.pages.first.offset
    seen: set[int] = set()
    while 0 < offset < file.size:
        if offset in seen:
            raise ReadError(
                f"its page {len(seen)} is followed by an earlier one, without an end; the file is "
                "damaged, write it anew"
            )
        seen.add(offset)
        try:
            file.seek(offset)
            (tags,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
            file.seek(offset + form.tagnosize + tags * form.tagsize)
            (offset,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
        except (struct.error, OSError):  # it ends here, as tifffile says itself
            return


def _check_companions(tif: TiffFile) -> None:
    """Raise ReadError where an OME-TIFF of several files names one elsewhere."""
    try:
        root = ElementTree.fromstring(tif.ome_metadata or "<OME/>")
    except ElementTree.ParseError as error:
        raise ReadError(f"its OME-XML is broken ({error})") from error
    check_beside(tif.filehandle.path, _named(root))
    _check_promise(root, tif)


def _named(root: ElementTree.Element) -> list[str]:
    return [each.get("FileName", "") for each in root.iterfind(".//{*}UUID")]


def _companions(tif: TiffFile) -> list[str]:
    """Return the other files of an OME-TIFF of several that are there."""
    root = ElementTree.fromstring(tif.ome_metadata or "<OME/>")
    own = os.path.abspath(tif.filehandle.path)
    named = {os.path.join(os.path.dirname(own), name.strip()) for name in _named(root)}
    return sorted(file for file in named - {own} if os.path.isfile(file))


def _parts_of(series: TiffPageSeries, files: list[str]) -> NDArray[np.intp] | None:
    """Return where the planes in each of other files begin and end; None where that is not told."""
    frame = series.keyframe.shape
    outer = series.shape[: len(series.shape) - len(frame)]
    if not files or math.prod(outer) != len(series):
        return None
    parts = np.tile(
        np.array([[*outer, *frame], [0] * (len(outer) + len(frame))]), (len(files), 1, 1)
    )
    number = {file: k for k, file in enumerate(files)}
    for place, page in zip(np.ndindex(outer), series, strict=True):
        k = None if page is None else number.get(os.path.abspath(page.parent.filehandle.path))
        if k is not None:
            parts[k, 0] = np.minimum(parts[k, 0], (*place, *(0 for _ in frame)))
            parts[k, 1] = np.maximum(parts[k, 1], (*(n + 1 for n in place), *frame))
    return parts


def _check_promise(root: ElementTree.Element, tif: TiffFile) -> None:
    """Raise ReadError where OME-XML promises so many planes that listing them fills the memory."""
    for pixels in root.iterfind(".//{*}Pixels"):
        data = pixels.findall("{*}TiffData")
        told = [_count(each.get(key)) for each in data for key in ("PlaneCount", "NumPlanes")]
        counts = {axis: _count(pixels.get(f"Size{axis}")) for axis in "ZCTXY"}
        sizes = math.prod(counts.values())
        # tifffile cuts sides that are no page's into planes, too
        area = _area_of_page(data, root, tif)
        planes = max([sizes // max(area, 1), *told, *map(_modulo_length, root.iter())])
        if planes > MOST_PLANES and planes > tif.filehandle.size // LEAST_PLANE:
            raise ReadError(
                f"its OME-XML promises {planes} planes, far more than the file can hold; the file "
                "is damaged, write it anew"
            )


def _is_own(data: ElementTree.Element, root: ElementTree.Element, tif: TiffFile) -> bool:
    """Say whether planes of OME-XML lie in the file itself, as tifffile sees it."""
    told, own = data.find("{*}UUID"), root.get("UUID")
    if told is None or told.text == own:
        return True
    return own is None and told.get("FileName", "").lower() == tif.filename.lower()


def _area_of_page(data: list[ElementTree.Element], root: ElementTree.Element, tif: TiffFile) -> int:
    """Return the samples of the page that an image of OME-XML begins with, be it in a file beside.

    That is the first of the file itself where there is no such page.
    """
    own = next((each for each in data if _is_own(each, root, tif)), None)
    if own is None and data:
        named = os.path.join(os.path.dirname(tif.filehandle.path), _file_name(data[0]))
        if os.path.isfile(named):
            with TiffFile(named) as beside:
                _check_chain(beside)
                return _area(beside, data[0])
    return _area(tif, own)


def _file_name(data: ElementTree.Element) -> str:
    told = data.find("{*}UUID")
    return "" if told is None else told.get("FileName", "").strip()


def _area(tif: TiffFile, data: ElementTree.Element | None) -> int:
    """Return the samples of the page of a file that OME-XML counts, or of its first."""
    try:
        page = tif.pages[int("0" if data is None else data.get("IFD", "0"))].keyframe
    except (IndexError, ValueError):
        page = tif.pages.first
    return int(page.size)


def _modulo_length(element: ElementTree.Element) -> int:
    """Return how many positions an OME element ``ModuloAlongT`` (Z, C) counts; 0 of others."""
    if not element.tag.rpartition("}")[2].startswith("ModuloAlong"):
        return 0
    start, end, step = (float(element.get(key, told)) for key, told in MODULO.items())
    return int(min(abs(end - start) / abs(step), 1e18)) if step else 0


def _count(told: str | None) -> int:
    return int(told) if told is not None and told.isdecimal() else 1


def pictures(tif: TiffFile) -> list[Picture]:
    """Put the series of a file together: an image, its reduced copies, its mask."""
    found: list[Picture] = []
    for index, series in enumerate(tif.series):
        kind = int(series.keyframe.subfiletype or 0)
        last = found[-1] if found else None
        if kind & MASK_OF and last is not None:
            if series.shape == last.levels[0].shape[: len(series.shape)] and last.mask is None:
                found[-1] = replace(last, mask=series)
        elif kind & REDUCED and last is not None and _reduces(series, last.levels[-1]):
            found[-1] = replace(last, levels=(*last.levels, series))
        else:
            found.append(Picture(tuple(series.levels), index))
    return found


def open_level(path: str, key: tuple[int, int]) -> Any:
    """Open a level of an image: as it lies in the file where TIFF allows, else as Zarr."""
    scene, level = key
    with ExitStack() as stack:
        series = pictures(stack.enter_context(open_file(path)))[scene].levels[level]
        return _open_series(series, stack)


def open_mask(path: str, scene: int) -> Any:
    """Open the mask that belongs to an image."""
    with ExitStack() as stack:
        mask = pictures(stack.enter_context(open_file(path)))[scene].mask
        return _open_series(mask, stack)


def _open_series(series: Any, stack: ExitStack) -> Any:
    samples = contiguous_samples(series, tuple(series.shape))
    if samples is not None:
        return samples
    # two workers make tifffile decode outside Zarr's one event loop thread
    array = zarr.open_array(series.aszarr(level=0, maxworkers=2), mode="r")
    weakref.finalize(array, stack.pop_all().close)
    return array


def contiguous_samples(series: TiffPageSeries, shape: tuple[int, ...]) -> RawSamples | None:
    """Return the samples of a series where they lie together in its file, without compression."""
    tif = series.parent
    together = series.dataoffset is not None and series.keyframe.is_memmappable
    if tif is None or not together or series.transform is not None:
        return None
    dtype = series.dtype.newbyteorder(tif.byteorder)
    return RawSamples(tif.filehandle.path, dtype, series.dataoffset, shape)


def _reduces(series: TiffPageSeries, larger: TiffPageSeries) -> bool:
    return (
        series.axes == larger.axes
        and series.dtype == larger.dtype
        and all(a <= b for a, b in zip(series.shape, larger.shape, strict=True))
    )


# ---------------------------------------------------------------- what is not there


@dataclass(frozen=True, slots=True, eq=False)
class Missing:
    """The chunks of a series that the file does not hold."""

    where: NDArray[np.bool_]  # one entry per chunk
    edges: tuple[int, ...]  # of the chunks
    pages: tuple[int, int]  # how many planes are missing as a whole, of how many

    def text(self, absent: Absent | None) -> str:
        """Say what is missing, and what is done about it."""
        planes, of = self.pages
        gone = int(self.where.sum())
        what = f"{planes} of {of} planes" if planes else f"{gone} of {self.where.size} tiles"
        return missing_text(what, "file", absent)


def missing_text(what: str, place: str, absent: Absent | None) -> str:
    """Say that a part of an image is not there, and what is done about it."""
    done = "they are undefined" if absent != "fill" else "they are taken as 0"
    return f"{what} are not in the {place}; {done}"


def _missing_chunks(series: TiffPageSeries) -> Missing | None:
    """Return which chunks have no samples; None where all are there."""
    if series.dataoffset is not None:
        return None
    frame = series.keyframe
    pages = list(series)
    lost = np.zeros((len(pages), *frame.chunked), bool)
    for gone, page in zip(lost, pages, strict=True):
        if page is None:
            gone[...] = True
        else:
            counts = np.reshape(page.databytecounts, -1)
            gone[...] = (counts == 0).reshape(frame.chunked) if counts.size == gone.size else False
    if not lost.any():
        return None
    outer = series.shape[: len(series.shape) - len(frame.shape)]
    if math.prod(outer) != len(pages):
        raise ReadError("planes are missing from an order of axes that is not known")
    whole = int(lost.reshape(len(pages), -1).all(axis=1).sum())
    edges = (1,) * len(outer) + tuple(frame.chunks)
    return Missing(lost.reshape(outer + lost.shape[1:]), edges, (whole, len(pages)))


def _promised_shape(tif: TiffFile) -> tuple[int, ...] | None:
    """Return the shape that a description by tifffile or ImageJ promises."""
    told = tif.pages[0].description
    if told.startswith('{"shape":'):
        try:
            return tuple(int(n) for n in json.loads(told)["shape"])
        except (ValueError, KeyError, TypeError):
            return None
    metadata = tif.imagej_metadata
    if not metadata:
        return None
    counts = [int(metadata.get(name, 1)) for name in ("frames", "slices", "channels")]
    if math.prod(counts) != int(metadata.get("images", 1)):
        counts = [int(metadata.get("images", 1)), 1, 1]
    return (*counts, *tif.pages[0].shape)


def _lost_planes(tif: TiffFile, series: TiffPageSeries) -> tuple[tuple[int, ...], str] | None:
    """Return the leading axes that a description promises where their last planes lack."""
    promised = _promised_shape(tif)
    if promised is None or series.kind not in ("generic", "uniform"):
        return None
    outer = promised[: len(promised) - len(series.keyframe.shape)]
    there = math.prod(series.shape[: len(series.shape) - len(series.keyframe.shape)])
    if math.prod(outer) <= there:
        return None
    if math.prod(outer) > MOST_LOST * there:
        raise ReadError(
            f"its description promises {math.prod(outer)} planes, of which the file has {there}; "
            "it is damaged, or was hardly begun: write it anew with the planes that there are"
        )
    letters = "TZC" if tif.imagej_metadata else "Q" * len(outer)
    kept = [k for k, n in enumerate(outer) if n > 1]
    return tuple(outer[k] for k in kept), "".join(letters[k] for k in kept)


def _with_lost_planes(
    stored: StoredImage, outer: tuple[int, ...], letters: str, absent: Absent | None
) -> StoredImage:
    """Add the planes at the end that were promised, and give the planes their axes."""
    frame_axes = [k for k, axis in enumerate(stored.axes) if axis.label not in ("q", "i")]
    frame = tuple(stored.data.shape[k] for k in frame_axes)
    data = stored.data.reshape(-1, *frame)
    lacking = math.prod(outer) - len(data)
    dtype, fill = data.dtype, 0.0
    if absent != "fill":
        dtype, fill = np.result_type(data.dtype, np.float32), math.nan
    padding = da.full((lacking, *frame), dtype.type(fill), dtype=dtype, chunks=(1, *frame))
    data = da.concatenate([data.astype(dtype), padding]).reshape(*outer, *frame)
    labels = [_label(letter, letters[:k], None) for k, letter in enumerate(letters)]
    axes = [Axis(label, label == "z") for label in labels]
    what = missing_text(f"{lacking} of {math.prod(outer)} planes", "file", absent)
    return replace(stored, data=data, axes=(*axes, *(stored.axes[k] for k in frame_axes))).noting(
        what
    )


def _nodata(page: TiffPage) -> float | None:
    text = page.tags.valueof(NODATA)
    try:
        return None if text is None else float(str(text).strip("\x00 "))
    except ValueError:
        return None


def _is_nodata(stored: StoredImage, value: float) -> da.Array:
    """Return where all samples of a pixel have a value, as they are in the file."""
    colours = [k for k, axis in enumerate(stored.axes) if axis.label == COLOUR]
    hidden = stored.data == value
    if colours:
        hidden = hidden.all(axis=colours[0], keepdims=True)
    return hidden


def _masked(stored: StoredImage, mask: FileArray) -> StoredImage:
    """Take pixels as none where the mask of the file is 0."""
    axes = [Axis("y", spatial=True), Axis("x", spatial=True)]
    there = stored_image(mask, axes, getattr(mask.array, "chunks", None)).data != 0
    labels = [axis.label for axis in stored.axes]
    places = tuple(slice(None) if label in ("y", "x") else np.newaxis for label in labels)
    return _hiding(stored, ~there[places]).noting(mask="of the file; undefined where it is 0")


def _hiding(stored: StoredImage, hidden: da.Array) -> StoredImage:
    floating = np.result_type(stored.data.dtype, np.float32)
    data = da.where(hidden, floating.type(np.nan), stored.data.astype(floating))
    return replace(stored, data=data)


# ---------------------------------------------------------------- checks and axes


def _check_complete(series: TiffPageSeries) -> None:
    size = series.keyframe.parent.filehandle.size
    end = 0 if series.dataoffset is None else series.dataoffset + series.nbytes
    for page in series:
        if page is not None:
            ends = map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))
            end = max(end, *ends, 0)
    if end > size:
        raise ReadError(
            "cannot read all of it: the file is cut off, pixels lie beyond its end; copy it again"
        )


def _check_claims(series: TiffPageSeries) -> None:
    """Compare what tiles and strips claim with their bytes, before anything is allocated."""
    if series.dataoffset is not None:
        return  # one block without compression, whose end was looked at
    frame = series.keyframe
    pieces, samples = math.prod(frame.chunked), math.prod(frame.chunks)
    what = "tile" if frame.is_tiled else "strip"
    most = MOST_PACKED.get(frame.compression)
    for k, page in enumerate(series):
        if page is None:
            continue
        counts = page.databytecounts
        if len(counts) < pieces:
            raise ReadError(
                f"its plane {k} claims {pieces} {what}s, but lists {len(counts)}; it is damaged"
            )
        if held := max(counts):
            part = f"a {what} of its plane {k}"
            check_claim(samples * frame.bitspersample // 8, held, part, most=most)
            check_claim(samples * frame.dtype.itemsize, held, part)


def _check_codec(page: TiffPage) -> None:
    if page.compression != 1:
        from napari_local_ncc.io.readers.tiff.pillow_codecs import provide_decoders

        provide_decoders()
    try:
        TIFF.DECOMPRESSORS[page.compression]
        TIFF.UNPREDICTORS[page.predictor]
    except KeyError as error:
        raise ReadError(f"{error.args[0]}; pip install --upgrade imagecodecs tifffile") from error
    if page.subsampling not in (None, (1, 1)) and page.compression == 1:
        raise ReadError(
            "its YCbCr samples are subsampled and not compressed, which no decoder here knows; "
            "save it as RGB"
        )
    is_packed = page.bitspersample not in (1, 8, 16, 32, 64, 128) and page.compression == 1
    if is_packed:
        try:
            import imagecodecs  # noqa: F401
        except ImportError as error:
            raise ReadError(
                f"it has {page.bitspersample} bits per sample; pip install imagecodecs"
            ) from error


def _axes(
    series: TiffPageSeries, full_shape: tuple[int, ...], calibration: Calibration, placed: bool
) -> list[Axis]:
    axes = []
    for k, (letter, n, full) in enumerate(zip(series.axes, series.shape, full_shape, strict=True)):
        spacing, unit = calibration.sizes.get(letter, pixel_size(1, ""))
        factor = reduction(full, n)
        # the first sample of a reduced level stands for the middle of `factor` full ones
        origin = spacing * (factor - 1) / 2
        origin += calibration.origin.get(letter, 0.0) if placed else 0.0
        label = _label(letter, series.axes[:k], series.keyframe)
        axes.append(Axis(label, letter in "ZYX", spacing * factor, origin, unit))
    return axes


def _label(letter: str, before: str, page: TiffPage | None) -> str:
    if letter == "S" and page is not None:
        return samples_label(page)
    label = "q" if letter in "IQ" else letter.lower()
    repeated = sum(other in "IQ" if label == "q" else other == letter for other in before)
    return f"{label}{repeated + 1}" if repeated else label


def _described(
    stored: StoredImage, calibration: Calibration, orientation: object, placed: bool
) -> StoredImage:
    if orientation in range(2, 9):
        stored = stored.noting(orientation=f"{orientation}; turned upright")
    if calibration.origin:
        where = describe_origin(calibration.origin, calibration.sizes)
        stored = stored.noting(position=where if placed else f"{where}; not used")
    if any(calibration.channels):
        stored = stored.noting(channels=", ".join(name or "?" for name in calibration.channels))
    return stored.noting(*(calibration.notes if placed else ()))
