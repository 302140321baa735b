"""The classes of a map as a label image of OME-Zarr, beside its bands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from dask.array.core import normalize_chunks, slices_from_chunks
from yaozarrs import v05

from napari_local_ncc.geometry.units import PIXEL
from napari_local_ncc.io.map_layout import BAND_AXIS, OmeLayout
from napari_local_ncc.maps.bands import CLASS_COLORS
from napari_local_ncc.progress import uninterrupted
from napari_local_ncc.shift.interpret import CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

NAME = "classes"  # of the band, and of the label image


def write_class_labels(
    path: Path, bands: zarr.Array[Any], layout: OmeLayout, levels: Sequence[tuple[int, ...]]
) -> None:
    """Write the band "classes" of a stored map to its group ``labels``, with a pyramid.

    A coarse pixel is one of those that it stands for: classes have no mean. Nothing is written
    where the map has no such band on an axis of bands.

    Parameters
    ----------
    path : path
        The group of the map.
    bands : zarr array
        Its finest level, complete.
    layout : OmeLayout
        The axes of that.
    levels : sequence of tuple of int
        By how much every level is reduced along each of them.
    """
    if NAME not in layout.band_names or BAND_AXIS not in layout.order:
        return
    axis = layout.order.index(BAND_AXIS)
    with uninterrupted():  # or Zarr's own thread would go on
        arrays, factors = _create_levels(path, bands, layout, levels, axis)
    for array, factor in zip(arrays, factors, strict=True):
        _fill(array, bands, axis, layout.band_names.index(NAME), factor)


def _create_levels(
    path: Path,
    bands: zarr.Array[Any],
    layout: OmeLayout,
    levels: Sequence[tuple[int, ...]],
    axis: int,
) -> tuple[list[zarr.Array[Any]], list[tuple[int, ...]]]:
    """Make the arrays of all levels, and return by how much each is reduced."""
    group = zarr.open_group(path, mode="r+").create_group("labels", overwrite=True)
    group.attrs["ome"] = {"version": "0.5", "labels": [NAME]}
    image = group.create_group(NAME)
    shape, chunks = _without(bands.shape, axis), _without(bands.chunks, axis)
    factors = [_without(level, axis) for level in levels]
    image.attrs["ome"] = _metadata(layout, axis, factors)
    names = [a.name for k, a in enumerate(layout.axes) if k != axis]
    arrays = [
        image.create_array(
            str(level),
            shape=tuple(-(-n // f) for n, f in zip(shape, factor, strict=True)),
            chunks=chunks,
            dtype=np.uint8,
            dimension_names=names,
        )
        for level, factor in enumerate(factors)
    ]
    return arrays, factors


def _fill(
    labels: zarr.Array[Any],
    bands: zarr.Array[Any],
    axis: int,
    band: int,
    factor: tuple[int, ...],
) -> None:
    """Write every chunk of a level from the samples of the band that it keeps."""
    for location in slices_from_chunks(normalize_chunks(labels.chunks, labels.shape)):
        source: list[Any] = [
            slice(part.start * f, min(part.stop * f, n), f)
            for part, f, n in zip(location, factor, _without(bands.shape, axis), strict=True)
        ]
        source.insert(axis, band)
        codes: NDArray[Any] = np.asarray(bands[tuple(source)])
        with uninterrupted():
            labels[location] = np.nan_to_num(codes).astype(np.uint8)


def _metadata(layout: OmeLayout, axis: int, factors: list[tuple[int, ...]]) -> dict[str, Any]:
    steps = np.array(_without(layout.steps, axis))
    origin = list(_without(layout.per_axis(layout.grid.origin, 0.0), axis))
    units = _without(layout.per_axis(layout.grid.units, PIXEL), axis)
    axes: list[Any] = [
        {"name": a.name, "type": a.kind, "unit": None if unit == PIXEL else unit}
        for a, unit in zip(_without(layout.axes, axis), units, strict=True)
    ]
    datasets = [
        v05.Dataset(
            path=str(level),
            coordinateTransformations=[
                v05.ScaleTransformation(scale=list(steps * factor)),
                v05.TranslationTransformation(translation=origin),  # of the sample that is kept
            ],
        )
        for level, factor in enumerate(factors)
    ]
    known = list(enumerate(CLASSES))[1:]  # 0 is what labels call no label
    scales = v05.Multiscale(name=NAME, axes=axes, datasets=datasets, type="nearest")
    described = v05.LabelImage.model_validate(
        {
            "version": "0.5",
            "multiscales": [scales],
            "image-label": {
                "version": "0.5",
                "colors": [
                    {"label-value": code, "rgba": [*bytes.fromhex(CLASS_COLORS[name][1:]), 255]}
                    for code, name in known
                ],
                "source": {"image": "../../"},
            },
        }
    )
    document = described.model_dump(mode="json", by_alias=True, exclude_none=True)
    # yaozarrs leaves out what the specification calls arbitrary, and makes whole numbers floats,
    # which ome-zarr-py refuses
    image_label = document["image-label"]
    image_label["properties"] = [{"label-value": code, "class": name} for code, name in known]
    for color in image_label["colors"]:
        color["label-value"] = int(color["label-value"])
    return document


def _without(values: Any, axis: int) -> tuple[Any, ...]:
    return tuple(value for k, value in enumerate(values) if k != axis)
