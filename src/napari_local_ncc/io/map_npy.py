"""Maps as ``.npy``, any axes, with a JSON file beside it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.files.head import headless, restore_head
from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.image.spatial_image import map_chunks
from napari_local_ncc.io.map_document import check_samples, describe, missing_document, restore
from napari_local_ncc.io.map_formats import sidecar
from napari_local_ncc.io.readers.npy import npy_array
from napari_local_ncc.io.stored import lazy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_local_ncc.maps.pipeline import ConfidenceMap


@contextmanager
def create(confidence_map: ConfidenceMap, path: Path) -> Iterator[NDArray[np.float32]]:
    """Make a memory-mapped ``.npy`` to write tiles of the bands array into.

    Its shape is that of the grid, with an axis of bands before it if there are several.
    """
    bands = confidence_map.bands
    shape = bands.shape if len(bands) > 1 else bands.shape[1:]
    if path.exists():  # it is resumed
        restore_head(path)
        pixels: NDArray[Any] = np.lib.format.open_memmap(path, "r+")
    else:
        pixels = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    with headless(path):
        yield pixels.reshape(bands.shape)
        pixels.flush()  # type: ignore[attr-defined]  # a memmap
    sidecar(path).write_text(json.dumps(describe(confidence_map), indent=2), encoding="utf-8")


def read(path: Path) -> ConfidenceMap:
    """Open a map written as ``.npy``, lazily."""
    if not sidecar(path).exists():
        raise missing_document()
    document = json.loads(sidecar(path).read_text(encoding="utf-8"))
    pixels = npy_array(path)
    grid, count = Grid.from_dict(document["grid"]), len(document["band_names"])
    check_samples(pixels.shape, grid.shape if count == 1 else (count, *grid.shape))
    chunks = map_chunks(grid)
    if count == 1:
        return restore(document, lazy(pixels, chunks)[np.newaxis])
    return restore(document, lazy(pixels, (1, *chunks)))


def check_axes(grid: Grid, band_names: tuple[str, ...]) -> None:
    """Do nothing: a ``.npy`` has a place for any axes."""
