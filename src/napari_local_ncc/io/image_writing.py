"""Images to files, completely or not at all."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.chunked.tiles import compute_tiles
from napari_local_ncc.files.claim import claim
from napari_local_ncc.files.head import headless
from napari_local_ncc.geometry.units import PIXEL
from napari_local_ncc.io.map_layout import OmeLayout
from napari_local_ncc.io.map_omezarr import create_group
from napari_local_ncc.io.map_tiff import create_tiff
from napari_local_ncc.io.map_volume import ENDINGS as VOLUME_ENDINGS
from napari_local_ncc.io.map_volume import create_image_volume
from napari_local_ncc.io.outputs import check_output, check_unchanged
from napari_local_ncc.io.sinks import check_space
from napari_local_ncc.progress import Progress, Step

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from os import PathLike
    from pathlib import Path

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.spatial_image import SpatialImage


def iter_write_image(
    image: SpatialImage,
    path: str | PathLike[str],
    *,
    overwrite: bool = False,
    inputs: Mapping[str, Any] | None = None,
) -> Generator[Progress, None, None]:
    """Compute an image and write it tile by tile.

    Parameters
    ----------
    image : SpatialImage
        The image, of any real dtype that the format knows.
    path : path_like
        Where to; endings as of `write_map`. A ``.npy`` keeps the samples alone.
    overwrite : bool, default False
        Whether to replace an existing file, once the new one is complete.
    inputs : mapping of str to object, optional
        What `states_of` tells of the files that it is computed from: if one changed meanwhile,
        nothing is written.

    Yields
    ------
    Progress
        Tiles done and to do. The file is complete when the generator is exhausted; closing
        it before leaves what was there.

    Raises
    ------
    FileExistsError
        If there is such a file already.
    ValueError
        If the ending is unknown, or its format has no place for the image's axes, or for where
        they lie.
    OSError
        If the folder does not exist or cannot be written to.
    """
    target = check_output(path, overwrite)
    check_space(target, image.data.nbytes)
    with (
        claim(target, overwrite=overwrite) as held,
        _create(image, held.path) as pixels,
        closing(compute_tiles(image.data[np.newaxis])) as tiles,
    ):
        for tile in tiles:
            pixels[tile.location] = tile.data
            yield Progress(Step.WRITE, tile.done, tile.total)
        check_unchanged(dict(inputs or {}), "image")


@contextmanager
def _create(image: SpatialImage, path: Path) -> Iterator[Any]:
    """Make a file that takes tiles of the image, with an axis of length 1 before its own."""
    if path.suffix.lower() == ".npy":
        pixels = np.lib.format.open_memmap(path, "w+", image.data.dtype, image.grid.shape)
        with headless(path):
            yield pixels[np.newaxis]
            pixels.flush()
        return
    if path.name.lower().endswith(VOLUME_ENDINGS):
        with create_image_volume(image.grid, image.data.dtype, path) as samples:
            yield samples
        return
    layout = OmeLayout(image.grid, (image.name,))
    _check_place(image.grid, path)
    if path.suffix.lower() == ".zarr":
        chunks = layout.in_file_order((1, *image.data.chunksize))
        with create_group(layout, path, image.data.dtype, chunks) as target:
            yield target
    else:
        with create_tiff(layout, path, image.data.dtype) as target:
            yield target


def _check_place(grid: Grid, path: Path) -> None:
    """Raise ValueError where an OME file cannot say where a grid lies."""
    space = grid.space()
    if not space.is_axis_parallel:
        raise ValueError(
            f"the axes of the image are turned against the world's, which {path.name} cannot say; "
            "write .nii.gz, .nrrd or .mha"
        )
    if path.suffix.lower() == ".zarr":
        return
    is_flipped = (np.diagonal(space.pixel_to_world) < 0).any()
    is_bare = PIXEL in space.units
    if is_flipped or (is_bare and not np.array_equal(space.pixel_to_world, np.eye(space.ndim + 1))):
        lies = "flipped" if is_flipped else "of another size than 1, or away from 0, in no unit"
        raise ValueError(f"the pixels are {lies}, which {path.name} cannot say; write .ome.zarr")
