"""Maps as OME-Zarr 0.5: bands as channels, and a pyramid."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from dask.array.core import normalize_chunks, slices_from_chunks
from yaozarrs import v05
from yaozarrs.write.v05 import prepare_image

from napari_local_ncc.geometry.units import PIXEL
from napari_local_ncc.image.pyramid import SMALLEST_PLANE, reduce_by
from napari_local_ncc.io.map_document import KEY, describe, missing_document, restore
from napari_local_ncc.io.map_layout import OmeLayout, OmeTarget
from napari_local_ncc.io.stored import lazy
from napari_local_ncc.maps.bands import bands_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.maps.pipeline import ConfidenceMap


@contextmanager
def create(confidence_map: ConfidenceMap, path: Path) -> Iterator[OmeTarget]:
    """Make an OME-Zarr group to write tiles into; its pyramid is built when it closes."""
    layout = OmeLayout.of(confidence_map)
    with create_group(
        layout,
        path,
        np.dtype(np.float32),
        layout.in_file_order(confidence_map.bands.chunksize),
        _rendering(layout, confidence_map),
        {KEY: describe(confidence_map)},
    ) as target:
        yield target


@contextmanager
def create_group(
    layout: OmeLayout,
    path: Path,
    dtype: np.dtype[Any],
    chunks: tuple[int, ...],
    rendering: v05.Omero | None = None,
    attributes: dict[str, Any] | None = None,
) -> Iterator[OmeTarget]:
    """Make an OME-Zarr group of any dtype."""
    factors = _pyramid(layout)
    # a chunk that is left out is no sample to whoever reads it, and 0 is one
    with zarr.config.set({"array.write_empty_chunks": True}):
        _, arrays = prepare_image(
            path,
            _metadata(layout, factors, path.name, rendering),
            [(_level_shape(layout.shape, level), dtype) for level in factors],
            extra_attributes=attributes or {},
            chunks=chunks,
            writer="zarr",
        )
    levels = list(arrays.values())
    yield OmeTarget(levels[0], layout)
    for fine, coarse in itertools.pairwise(levels):
        _reduce(fine, coarse)


def check_axes(grid: Grid, band_names: tuple[str, ...]) -> None:
    """Raise ValueError where OME has no place for the axes of a map."""
    OmeLayout(grid, band_names)


def read(path: Path) -> ConfidenceMap:
    """Open a map written as OME-Zarr, lazily."""
    group = zarr.open_group(path.absolute(), mode="r")
    if KEY not in group.attrs:
        raise missing_document()
    document: Any = group.attrs[KEY]
    layout = OmeLayout.of_document(document)
    pixels = group["0"]
    return restore(document, layout.bands(lazy(pixels, pixels.chunks)))


def _pyramid(layout: OmeLayout) -> list[tuple[int, ...]]:
    """Return by how much every level is reduced along every stored axis."""
    reducible = layout.per_axis(layout.grid.spatial, band_value=False)
    reducible[-2:] = (True, True)  # the plane, even where a row or column is no space
    levels = [(1,) * len(layout.shape)]
    while max(_level_shape(layout.shape, levels[-1])[-2:]) >= SMALLEST_PLANE:
        halved = (
            2 * f if reduce and n > f else f
            for n, f, reduce in zip(layout.shape, levels[-1], reducible, strict=True)
        )
        levels.append(tuple(halved))
    return levels


def _level_shape(shape: tuple[int, ...], factors: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-(-n // f) for n, f in zip(shape, factors, strict=True))


def _metadata(
    layout: OmeLayout, factors: list[tuple[int, ...]], name: str, omero: v05.Omero | None
) -> v05.Image:
    units = layout.per_axis(layout.grid.units, PIXEL)
    spacing = np.array(layout.per_axis(layout.grid.spacing, 1.0))
    origin = np.array(layout.per_axis(layout.grid.origin, 0.0))
    axes: list[Any] = [
        {"name": axis.name, "type": axis.kind, "unit": None if unit == PIXEL else unit}
        for axis, unit in zip(layout.axes, units, strict=True)
    ]
    datasets = [
        v05.Dataset(
            path=str(level),
            coordinateTransformations=[
                v05.ScaleTransformation(scale=list(spacing * factor)),
                # a coarse pixel's centre is the middle of those it averages
                v05.TranslationTransformation(
                    translation=list(origin + spacing * (np.array(factor) - 1) / 2)
                ),
            ],
        )
        for level, factor in enumerate(factors)
    ]
    multiscale = v05.Multiscale(name=name, axes=axes, datasets=datasets, type="mean of defined")
    return v05.Image(multiscales=[multiscale], omero=omero)


def _rendering(layout: OmeLayout, confidence_map: ConfidenceMap) -> v05.Omero | None:
    """Return how to show every channel; None where an axis of another kind takes their place."""
    if not any(axis.kind == "channel" for axis in layout.axes):
        return None
    bands = bands_on(confidence_map.parameters, confidence_map.grid)
    if len(bands) == 1:  # the channels are the map's own
        bands *= len(layout.channel_names)
    windows = [
        v05.OmeroWindow(start=low, min=low, end=high, max=high)
        for low, high in (band.limits for band in bands)
    ]
    return v05.Omero(
        channels=[
            v05.OmeroChannel(window=window, label=label, color=color, active=k == 0)
            for k, (label, color, window) in enumerate(
                zip(layout.channel_names, layout.channel_colors, windows, strict=True)
            )
        ]
    )


def _reduce(fine: zarr.Array[Any], coarse: zarr.Array[Any]) -> None:
    """Fill a level with the means of the level before, chunk by chunk."""
    factors = _level_shape(fine.shape, coarse.shape)
    for location in slices_from_chunks(normalize_chunks(coarse.chunks, coarse.shape)):
        source = tuple(
            slice(part.start * f, part.stop * f) for part, f in zip(location, factors, strict=True)
        )
        coarse[location] = reduce_by(fine[source], factors)
