"""What TIFF dialects say of pixel sizes, times and positions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from napari_local_ncc.geometry.units import PIXEL, unit_factor, unit_symbol
from napari_local_ncc.io.stored import pixel_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

    from tifffile import TiffFile

Sizes = dict[str, tuple[float, str]]
MOVED = 0.5  # pixels by which planes of one image may differ in place without a word
UNFIT = (
    "its OME-XML describes no image with as many rows and columns as its pages have; pixel size, "
    "names and position are not used"
)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Pixel size and place of one image of a file.

    Parameters
    ----------
    sizes : dict of str to (float, str)
        Distance of two samples and its unit, by axis letter.
    origin : dict of str to float
        World position of the first sample, in the unit of the size, by axis letter.
    channels : tuple of str
        Names of the channels.
    notes : tuple of str
        What of it could not be used.
    """

    sizes: Sizes = field(default_factory=dict)
    origin: dict[str, float] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def calibration_of(tif: TiffFile, scene: int) -> Calibration:
    """Return what a file says of the place of one of its images.

    Resolution tags alone are dots per inch for printing, not the size of a pixel.
    """
    if tif.ome_metadata:
        return _of_ome(tif, scene)
    if tif.imagej_metadata:
        return Calibration(_of_imagej(tif))
    if tif.is_svs:
        return Calibration(_in_plane(_svs_size(tif), "um"))
    if tif.is_ndpi:
        return Calibration(_of_ndpi(tif))
    if tif.lsm_metadata:
        return Calibration(_of_lsm(tif.lsm_metadata))
    return Calibration()


def _of_ome(tif: TiffFile, scene: int) -> Calibration:
    images = list(_ome_images(tif))
    if scene >= len(images):
        return Calibration(notes=(UNFIT,))
    image = images[scene]
    pixels = image.find("{*}Pixels")
    if pixels is None:
        return Calibration()
    sizes = {
        axis: pixel_size(
            pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
        )
        for axis in "ZYX"
    }
    sizes["T"] = pixel_size(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
    channels = tuple(c.get("Name", "") for c in pixels.findall("{*}Channel"))
    origin, notes = _ome_origin(image, pixels, sizes)
    return Calibration(sizes, origin, channels, notes)


def _ome_images(tif: TiffFile) -> Iterator[Element]:
    """Yield the Image element of every series: tifffile leaves out those without pixels."""
    elements = ElementTree.fromstring(tif.ome_metadata or "<OME/>").findall("{*}Image")
    waiting = iter(elements)
    for series in tif.series:
        sides = {n for axis, n in zip(series.axes, series.shape, strict=True) if axis in "YX"}
        for element in waiting:
            pixels = element.find("{*}Pixels")
            if pixels is not None and {int(pixels.get(f"Size{k}", 0)) for k in "YX"} == sides:
                yield element
                break


def _ome_origin(
    image: Element, pixels: Element, sizes: Sizes
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return the stage position of the first plane, where it is told in a length."""
    planes = sorted(
        pixels.findall("{*}Plane"), key=lambda p: [int(p.get(f"The{k}", 0)) for k in "TCZ"]
    )
    origin: dict[str, float] = {}
    unusable, moved = [], []
    for axis in "ZYX":
        told, unit = [], ""
        labels = [(label, axis) for label in image.findall("{*}StageLabel")]
        for holder, name in [(p, f"Position{axis}") for p in planes] or labels:
            if holder.get(name) is not None:
                told.append(float(holder.get(name, "nan")))
                unit = holder.get(f"{name}Unit", "reference frame")
        if not told or not math.isfinite(told[0]):
            continue
        size, size_unit = sizes[axis]
        factor = None if size_unit == PIXEL else _factor(unit, size_unit)
        if factor is None:
            unusable.append(f"{axis} {told[0]:g} {unit}")
            continue
        origin[axis] = told[0] * factor
        if axis != "Z" and (max(told) - min(told)) * factor > MOVED * size:
            moved.append(f"{axis.lower()} {min(told):g} to {max(told):g} {unit}")
    notes = []
    if unusable:
        notes.append(
            f"its stage position ({', '.join(unusable)}) is in no length that its pixel size "
            "shares; it is not used"
        )
    if moved:
        notes.append(
            f"its planes were taken at several stage positions ({', '.join(moved)}); all are "
            "laid at the first"
        )
    return origin, tuple(notes)


def _factor(unit: str, wanted: str) -> float | None:
    from napari_local_ncc.geometry.units import unit_name

    try:
        named = unit_name(unit)
        return None if named == PIXEL else unit_factor(named, wanted)
    except ValueError:
        return None


def describe_origin(origin: dict[str, float], sizes: Sizes) -> str:
    """Say where a stage stood, axis by axis."""
    return ", ".join(
        f"{axis.lower()} {value:g} {unit_symbol(sizes[axis][1])}" for axis, value in origin.items()
    )


def _of_imagej(tif: TiffFile) -> Sizes:
    metadata: dict[str, Any] = tif.imagej_metadata or {}
    unit = metadata.get("unit", "")
    if unit == "inch":  # ImageJ's reading of a printing resolution
        return {}
    across, down = _resolution(tif)
    return {
        "X": pixel_size(_per(across), unit),
        "Y": pixel_size(_per(down), metadata.get("yunit", unit)),
        "Z": pixel_size(metadata.get("spacing"), metadata.get("zunit", unit)),
        "T": pixel_size(metadata.get("finterval"), metadata.get("tunit", "s")),
    }


def _svs_size(tif: TiffFile) -> object:
    from tifffile import tifffile

    return tifffile.svs_description_metadata(tif.pages[0].description).get("MPP")


def _of_ndpi(tif: TiffFile) -> Sizes:
    # unlike others, this scanner writes the size of a pixel into the resolution tags
    unit = tif.pages[0].tags.valueof("ResolutionUnit", 0)
    across, down = _resolution(tif)
    if unit != 3:  # centimetre
        return {}
    return {"X": pixel_size(_per(across), "cm"), "Y": pixel_size(_per(down), "cm")}


def _of_lsm(metadata: dict[str, Any]) -> Sizes:
    sizes = {axis: pixel_size(metadata.get(f"VoxelSize{axis}"), "m") for axis in "ZYX"}
    return {**sizes, "T": pixel_size(metadata.get("TimeIntervall"), "s")}


def _in_plane(size: object, unit: str) -> Sizes:
    return {axis: pixel_size(size, unit) for axis in "YX"}


def _resolution(tif: TiffFile) -> tuple[tuple[int, int], tuple[int, int]]:
    tags = tif.pages[0].tags
    return tags.valueof("XResolution", (0, 1)), tags.valueof("YResolution", (0, 1))


def _per(resolution: tuple[int, int]) -> float:
    pixels, length = resolution
    return length / pixels if pixels else math.nan
