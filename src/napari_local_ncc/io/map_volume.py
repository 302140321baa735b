"""Maps and images as NIfTI, NRRD or MetaImage, through SimpleITK; maps with a JSON file beside."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.geometry.units import PIXEL, unit_factor
from napari_local_ncc.image.spatial_image import map_chunks
from napari_local_ncc.io.file_array import FileArray
from napari_local_ncc.io.map_document import check_samples, describe, missing_document, restore
from napari_local_ncc.io.map_formats import sidecar
from napari_local_ncc.io.readers.volume import header_of, load_simpleitk, open_volume
from napari_local_ncc.io.stored import lazy
from napari_local_ncc.transforms.formats.simpleitk import write_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_local_ncc.maps.pipeline import ConfidenceMap

MILLIMETER = "millimeter"  # what these formats and their programs take lengths to be in
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")


def check_axes(grid: Grid, band_names: Sequence[str]) -> None:
    """Raise ValueError where such a file has no place for a grid and its bands."""
    space = grid.space()
    linear = space.pixel_to_world[:-1, :-1] / space.spacing
    fits = space.ndim in (2, 3) and grid.ndim - space.ndim <= 1
    if not fits or (len(band_names) > 1 and grid.ndim > space.ndim):
        raise ValueError(
            "NIfTI, NRRD and MHA hold 2 or 3 space axes, and either a series or several bands, "
            f"but the map has bands {tuple(band_names)} on axes {grid.axis_labels}; write "
            ".ome.zarr, .ome.tif or .npy"
        )
    if not np.allclose(linear.T @ linear, np.eye(space.ndim), atol=1e-6):
        raise ValueError(
            "the axes of the grid are sheared, which NIfTI, NRRD and MHA cannot say; write "
            ".ome.zarr, .ome.tif or .npy"
        )


@contextmanager
def create(confidence_map: ConfidenceMap, path: Path) -> Iterator[NDArray[np.float32]]:
    """Give an array in memory to write tiles of the bands into; the file follows."""
    check_axes(confidence_map.grid, confidence_map.band_names)
    bands = np.full(confidence_map.bands.shape, np.nan, np.float32)
    yield bands
    write_volume(bands, confidence_map.grid, path)
    sidecar(path).write_text(json.dumps(describe(confidence_map), indent=2), encoding="utf-8")


@contextmanager
def create_image_volume(grid: Grid, dtype: np.dtype[Any], path: Path) -> Iterator[NDArray[Any]]:
    """Give an array in memory to write an image into, an axis of length 1 before its own."""
    check_axes(grid, ("image",))
    samples = np.zeros((1, *grid.shape), _written(dtype))
    yield samples
    write_volume(samples, grid, path)


def write_volume(bands: NDArray[Any], grid: Grid, path: Path) -> None:
    """Write samples where they lie, lengths in mm; several bands are a vector per voxel.

    Parameters
    ----------
    bands : ndarray, shape (bands, *grid.shape)
        The samples.
    grid : Grid
        Where they lie: z, y, x of ITK's left, posterior, superior.
    path : Path
        Where to.
    """
    sitk = load_simpleitk()
    space = grid.space()
    known = [MILLIMETER if unit != PIXEL else PIXEL for unit in space.units]
    placed = space.in_units(known)
    spacing, origin = placed.spacing[::-1].tolist(), placed.origin[::-1].tolist()
    direction = (placed.pixel_to_world[:-1, :-1] / placed.spacing)[::-1, ::-1]
    if len(bands) > 1:
        image = sitk.GetImageFromArray(np.moveaxis(bands, 0, -1), isVector=True)
    else:
        image = sitk.GetImageFromArray(bands[0], isVector=False)
    extra = grid.ndim - space.ndim
    if extra:  # time is ITK's last axis
        step = grid.spacing[0] * _seconds(grid.units[0])
        whole = np.eye(grid.ndim)
        whole[: space.ndim, : space.ndim] = direction
        spacing, origin = [*spacing, float(step)], [*origin, 0.0]
        direction = whole
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(np.ravel(direction).tolist())
    write_image(image, path, compress=path.suffix.lower() != ".nii")


def read(path: Path) -> ConfidenceMap:
    """Open a map written as a volume."""
    if not sidecar(path).exists():
        raise missing_document()
    document = json.loads(sidecar(path).read_text(encoding="utf-8"))
    grid, count = Grid.from_dict(document["grid"]), len(document["band_names"])
    shape = grid.shape if count == 1 else (*grid.shape, count)
    check_samples(header_of(path).shape, shape)
    chunks = map_chunks(grid) if count == 1 else (*map_chunks(grid), count)
    stored = lazy(FileArray.at(open_volume, path, 0, shape, np.dtype(np.float32)), chunks)
    bands = stored[np.newaxis] if count == 1 else stored.transpose((-1, *range(grid.ndim)))
    return restore(document, bands)


def _written(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type that such a file has for samples."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def _seconds(unit: str) -> float:
    try:
        return unit_factor(unit, "second") if unit != PIXEL else 1.0
    except ValueError:
        return 1.0
