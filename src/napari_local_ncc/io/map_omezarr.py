"""Maps as OME-Zarr 0.5: bands as channels, and a pyramid."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from dask.array.core import normalize_chunks, slices_from_chunks
from yaozarrs import v05
from yaozarrs.write.v05 import prepare_image
from zarr.codecs import BloscCodec, Crc32cCodec

from napari_local_ncc.chunked.blocks import block_edges
from napari_local_ncc.geometry.units import PIXEL
from napari_local_ncc.image.pyramid import SMALLEST_PLANE, reduce_by
from napari_local_ncc.image.read_guard import check_claim
from napari_local_ncc.io.map_document import (
    KEY,
    UNFINISHED,
    check_samples,
    describe,
    missing_document,
    restore,
)
from napari_local_ncc.io.map_layout import OmeLayout, OmeTarget
from napari_local_ncc.io.readers.ome_zarr.chunks import ZarrSamples
from napari_local_ncc.io.stored import lazy
from napari_local_ncc.maps.bands import bands_on
from napari_local_ncc.progress import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.maps.pipeline import ConfidenceMap


# lossless and the fastest to write that was measured: docs/scale.md; and a sum, by which whoever
# reads a chunk notices that a bit of it is another
COMPRESSORS = (BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle"), Crc32cCodec())
CLASSES = "classes"  # the band that is written as labels too
SMALLER = 4  # times: how much smaller than those of the map the chunks of coarse levels may be


@contextmanager
def create(confidence_map: ConfidenceMap, path: Path) -> Iterator[OmeTarget]:
    """Make an OME-Zarr group to write tiles into; what of its pyramid they leave out follows."""
    target = _open_map(confidence_map, path)
    with _completed(target, path, describe(confidence_map)):
        yield target
        if CLASSES in confidence_map.band_names:
            from napari_local_ncc.io.class_labels import write_class_labels

            layout = target.layout
            write_class_labels(path, target.levels[0], layout, _pyramid(layout))


def begin(confidence_map: ConfidenceMap, path: Path, aside: Path) -> OmeTarget:
    """Make an OME-Zarr group to write tiles into, or open what another run has made; unfinished.

    Several runs may do so at once: each makes a group of its own in a folder `aside`, and the
    first brings it to its place.
    """
    shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed here
    if not path.exists():
        _open_map(confidence_map, aside / path.name)
        try:
            os.rename(aside / path.name, path)
        except OSError:
            if not path.exists():
                raise
        shutil.rmtree(aside, ignore_errors=True)
    return _open_map(confidence_map, path)


def _open_map(confidence_map: ConfidenceMap, path: Path) -> OmeTarget:
    layout = OmeLayout.of(confidence_map)
    blocks = layout.in_file_order(block_edges(confidence_map.bands))
    rendering, document = _rendering(layout, confidence_map), describe(confidence_map)
    return _open_group(
        layout, path, np.dtype(np.float32), layout.chunks, blocks, rendering, document
    )


@contextmanager
def create_group(
    layout: OmeLayout, path: Path, dtype: np.dtype[Any], chunks: tuple[int, ...]
) -> Iterator[OmeTarget]:
    """Make an OME-Zarr group of any dtype, marked as unfinished until the context ends.

    Parameters
    ----------
    layout : OmeLayout
        Axes and their order.
    path : Path
        Where to.
    dtype : dtype
        Of the samples; those never written are NaN, or 0.
    chunks : tuple of int
        Edges of the chunks, in the file's order; tiles are whole ones.
    """
    target = _open_group(layout, path, dtype, chunks, chunks)
    with _completed(target, path):
        yield target


def _open_group(
    layout: OmeLayout,
    path: Path,
    dtype: np.dtype[Any],
    chunks: tuple[int, ...],
    blocks: tuple[int, ...],
    rendering: v05.Omero | None = None,
    document: dict[str, Any] | None = None,
) -> OmeTarget:
    """Make a group, marked as unfinished, or open it.

    `blocks` are the edges of the tiles that will be written, `rendering` is how to show the
    channels, `document` what a map says beside its pixels.
    """
    with uninterrupted():  # or Zarr's own thread would go on
        levels = (
            _open_levels(path)
            if path.exists()  # it is resumed
            else _create_levels(layout, path, dtype, chunks, blocks, rendering, document)
        )
    return OmeTarget(levels, layout, _covered(levels, blocks))


@contextmanager
def _completed(
    target: OmeTarget, path: Path, document: dict[str, Any] | None = None
) -> Iterator[None]:
    """Complete a group where the context ends: coarse levels that tiles left out, and its mark."""
    yield
    levels = target.levels
    for fine, coarse in itertools.pairwise(levels[target.covered :]):
        _reduce(fine, coarse)
    for level in levels:
        _check_chunks(level)
    with uninterrupted():
        attributes = zarr.open_group(path, mode="r+").attrs
        if document is None:
            del attributes[KEY]
        else:
            attributes[KEY] = document
    _check_metadata(path, levels, document)


def _create_levels(
    layout: OmeLayout,
    path: Path,
    dtype: np.dtype[Any],
    chunks: tuple[int, ...],
    blocks: tuple[int, ...],
    rendering: v05.Omero | None,
    document: dict[str, Any] | None,
) -> list[zarr.Array[Any]]:
    """Make a group, marked as unfinished, and the arrays of its levels."""
    factors = _pyramid(layout)
    shapes = [_level_shape(layout.shape, level) for level in factors]
    edges = iter(_level_chunks(chunks, blocks, factors, shapes))

    def create_level(
        path: Path,
        shape: tuple[int, ...],
        dtype: Any,
        chunks: tuple[int, ...],
        *,
        dimension_names: list[str] | None,
        **_: Any,
    ) -> zarr.Array[Any]:
        return _create_level(path, shape, dtype, next(edges), dimension_names)

    _, arrays = prepare_image(
        path,
        _metadata(layout, factors, path.name, rendering),
        [(shape, dtype) for shape in shapes],
        extra_attributes={KEY: {**(document or {}), UNFINISHED: True}},
        chunks=chunks,
        writer=create_level,
    )
    return list(arrays.values())


def _open_levels(path: Path) -> list[zarr.Array[Any]]:
    """Open the levels of a group that is to be continued."""
    with zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.open_group(path, mode="r+")
        return [group[str(level)] for level in range(len(list(group.array_keys())))]


def _create_level(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    chunks: tuple[int, ...],
    dimension_names: list[str] | None,
) -> zarr.Array[Any]:
    """Make the array of a level, in which what was never written is undefined."""
    return zarr.create_array(
        path,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        compressors=COMPRESSORS,
        fill_value=np.nan if dtype.kind == "f" else 0,
        dimension_names=dimension_names,
        # a chunk that is left out is no sample to whoever reads it
        config={"write_empty_chunks": True},
    )


def _level_chunks(
    chunks: tuple[int, ...],
    blocks: tuple[int, ...],
    factors: list[tuple[int, ...]],
    shapes: list[tuple[int, ...]],
) -> list[tuple[int, ...]]:
    """Return the edges of every level's chunks: whole ones for each tile that is written."""
    whole = [c if b % c == 0 else b for c, b in zip(chunks, blocks, strict=True)]
    return [
        tuple(
            max(1, min(n, c, max(b // f, c // SMALLER)))
            for n, c, b, f in zip(shape, whole, blocks, level, strict=True)
        )
        for shape, level in zip(shapes, factors, strict=True)
    ]


def _covered(levels: list[zarr.Array[Any]], blocks: tuple[int, ...]) -> int:
    """Return up to which level every tile fills whole chunks by itself."""
    for number, level in enumerate(levels):
        factors = _level_shape(levels[0].shape, level.shape)
        for n, block, factor, chunk in zip(
            levels[0].shape, blocks, factors, level.chunks, strict=True
        ):
            if block < n and block % (factor * chunk):
                return number - 1
    return len(levels) - 1


def _check_chunks(level: zarr.Array[Any]) -> None:
    """Raise FileNotFoundError if part of what was written is not there any more."""
    if level.nchunks_initialized != level.nchunks:
        raise FileNotFoundError(
            f"{level.nchunks - level.nchunks_initialized} chunks of {level.store_path} that were "
            "written are not there any more"
        )


def _check_metadata(
    path: Path, levels: list[zarr.Array[Any]], document: dict[str, Any] | None
) -> None:
    """Raise OSError if the store does not give back what was written to it beside pixels."""
    found = zarr.open_group(path, mode="r")
    kept = json.dumps(found.attrs.get(KEY)) == json.dumps(document)
    for name, level in enumerate(levels):
        there: Any = found.get(str(name))
        # as texts, since what is undefined is a NaN, which is no other
        kept &= there is not None and str(there.metadata) == str(level.metadata)
    if not kept:
        raise OSError(f"{path}: what was written to its zarr.json is not what is there now")


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
    pixels: Any = group["0"]
    check_samples(pixels.shape, layout.shape)
    check_claim(math.prod(pixels.chunks) * pixels.dtype.itemsize, pixels.nbytes_stored(), "a chunk")
    counts = [-(-n // edge) for n, edge in zip(pixels.shape, pixels.chunks, strict=True)]
    samples = ZarrSamples(pixels, np.broadcast_to(np.True_, counts))  # all are written
    return restore(document, layout.bands(lazy(samples, pixels.chunks)))


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
    steps = np.array(layout.steps)
    origin = np.array(layout.per_axis(layout.grid.origin, 0.0))
    axes: list[Any] = [
        {"name": axis.name, "type": axis.kind, "unit": None if unit == PIXEL else unit}
        for axis, unit in zip(layout.axes, units, strict=True)
    ]
    datasets = [
        v05.Dataset(
            path=str(level),
            coordinateTransformations=[
                v05.ScaleTransformation(scale=list(steps * factor)),
                # a coarse pixel's centre is the middle of those it averages
                v05.TranslationTransformation(
                    translation=list(origin + steps * (np.array(factor) - 1) / 2)
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
        with uninterrupted():
            coarse[location] = reduce_by(fine[source], factors)
