"""Maps as OME-TIFF: bands as channels, everything else as an annotation."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from napari_local_ncc.files.head import headless, restore_head
from napari_local_ncc.geometry.units import PIXEL, unit_symbol
from napari_local_ncc.io.file_array import FileArray
from napari_local_ncc.io.map_document import KEY, check_samples, describe, missing_document, restore
from napari_local_ncc.io.map_layout import OmeLayout, OmeTarget
from napari_local_ncc.io.readers.tiff.series import contiguous_samples, open_file
from napari_local_ncc.io.stored import lazy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.io.readers.raw_samples import RawSamples
    from napari_local_ncc.maps.pipeline import ConfidenceMap


@contextmanager
def create(confidence_map: ConfidenceMap, path: Path) -> Iterator[OmeTarget]:
    """Make a memory-mapped OME-TIFF to write tiles into."""
    annotation = {"Namespace": KEY, "Value": json.dumps(describe(confidence_map))}
    layout = OmeLayout.of(confidence_map)
    with create_tiff(layout, path, np.dtype(np.float32), CommentAnnotation=annotation) as target:
        yield target


@contextmanager
def create_tiff(
    layout: OmeLayout, path: Path, dtype: np.dtype[Any], **metadata: Any
) -> Iterator[OmeTarget]:
    """Make a memory-mapped OME-TIFF of any dtype."""
    told = {
        "axes": "".join(_letters(layout)),
        "Channel": {
            "Name": layout.channel_names,
            "Color": [_ome_color(color) for color in layout.channel_colors],
        },
        **metadata,
        **_physical_sizes(layout),
        **_positions(layout),
    }
    if path.exists():  # it is resumed
        restore_head(path)
        pixels = tifffile.memmap(path, mode="r+").reshape(layout.shape)
    else:
        pixels = tifffile.memmap(
            path, shape=layout.shape, dtype=dtype, ome=True, photometric="minisblack", metadata=told
        )
    with headless(path):
        yield OmeTarget([pixels], layout)
        pixels.flush()


def check_axes(grid: Grid, band_names: tuple[str, ...]) -> None:
    """Raise ValueError where OME has no place for the axes of a map."""
    OmeLayout(grid, band_names)


def read(path: Path) -> ConfidenceMap:
    """Open a map written as OME-TIFF, lazily."""
    with open_file(path) as tif:
        document = _document(tif)
        layout = OmeLayout.of_document(document)
        told = [n for n in layout.shape if n > 1]
        check_samples([n for n in tif.series[0].shape if n > 1], told)
    pixels = FileArray.at(open_ometiff_map, path, 0, layout.shape, np.dtype(np.float32))
    return restore(document, layout.bands(lazy(pixels, layout.chunks)))


def open_ometiff_map(path: str, level: int = 0) -> RawSamples | NDArray[Any]:
    """Return the stored array; tifffile alone would leave out axes of length 1."""
    with open_file(path) as tif:
        shape = OmeLayout.of_document(_document(tif)).shape
        samples = contiguous_samples(tif.series[0], shape)
        if samples is not None:
            return samples
        # another program has compressed it: tifffile unpacks it into a file of its own
        unpacked: NDArray[Any] = tif.series[0].asarray(out="memmap")
        return unpacked.reshape(shape)


def _document(tif: tifffile.TiffFile) -> dict[str, Any]:
    root = ElementTree.fromstring(tif.ome_metadata or "<OME/>")
    for annotation in root.findall(".//{*}CommentAnnotation"):
        if annotation.get("Namespace") == KEY:
            document: dict[str, Any] = json.loads(annotation.findtext("{*}Value", ""))
            return document
    raise missing_document()


def _ome_color(color: str) -> int:
    """Return a colour ``"RRGGBB"``, opaque, as the signed number that OME-XML wants."""
    return int.from_bytes(bytes.fromhex(color + "FF"), "big", signed=True)


def _letters(layout: OmeLayout) -> list[str]:
    kinds = [axis.kind for axis in layout.axes]
    space = iter("ZYX"[-kinds.count("space") :])
    letters = {"time": "T", "channel": "C", "custom": "C"}
    return [letters.get(kind) or next(space) for kind in kinds]


def _physical_sizes(layout: OmeLayout) -> dict[str, Any]:
    sizes: dict[str, Any] = {}
    spacings = layout.per_axis(layout.grid.spacing, 1.0)
    units = layout.per_axis(layout.grid.units, PIXEL)
    for letter, spacing, unit in zip(_letters(layout), spacings, units, strict=True):
        name = "TimeIncrement" if letter == "T" else f"PhysicalSize{letter}"
        if letter != "C" and unit != PIXEL:
            sizes |= {name: float(spacing), f"{name}Unit": unit_symbol(unit)}
    return sizes


def _positions(layout: OmeLayout) -> dict[str, Any]:
    """Return where the first pixel of every plane lies; nothing where that is 0, or in no unit."""
    grid = layout.grid
    units = layout.per_axis(grid.units, PIXEL)
    origin = layout.per_axis(grid.origin, 0.0)
    planes = np.indices(layout.shape[:-2]).reshape(len(layout.shape) - 2, -1)
    told: dict[str, list[Any]] = {}
    for k, (letter, unit) in enumerate(zip(_letters(layout), units, strict=True)):
        if (
            letter in "ZYX"
            and unit != PIXEL
            and grid.is_axis_parallel
            and grid.space().origin.any()
        ):
            away = layout.steps[k] * planes[k] if letter == "Z" else np.zeros(planes.shape[1])
            told[f"Position{letter}"] = (origin[k] + away).tolist()
            told[f"Position{letter}Unit"] = [unit_symbol(unit)] * len(away)
    return {"Plane": told} if told else {}
