"""Maps to files, completely or not at all, and back."""

from __future__ import annotations

import shutil
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_local_ncc.chunked.tiles import Tile, compute_tiles
from napari_local_ncc.files.claim import ENDING, claim
from napari_local_ncc.image.read_guard import ReadError, check_file, guard_reading
from napari_local_ncc.io.map_document import unfinished_map
from napari_local_ncc.io.map_formats import FORMATS, ending_of, map_format
from napari_local_ncc.io.outputs import check_output
from napari_local_ncc.maps.bands import bands_on
from napari_local_ncc.progress import stepwise

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Iterator
    from contextlib import AbstractContextManager

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.maps.pipeline import ConfidenceMap
    from napari_local_ncc.parameters import NCCParameters


@stepwise
def write_map(
    confidence_map: ConfidenceMap,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    workers: int | None = None,
) -> Generator[Tile, None, Path]:
    """Compute a map and write it to a file, completely or not at all.

    `iter_write_map` does the same tile by tile: it yields every `Tile` of the bands once it is
    written, and closing it leaves what was there.

    Parameters
    ----------
    confidence_map : ConfidenceMap
        What to write, with its grid, parameters, registration and provenance.
    path : path_like
        Where to. The ending tells the format: ``.ome.zarr`` or ``.zarr`` (OME-Zarr 0.5
        with a pyramid, bands as channels), ``.ome.tif``, ``.tif`` or ``.tiff``
        (OME-TIFF), ``.npy``, ``.nii.gz``, ``.nii``, ``.nrrd`` or ``.mha`` (with a
        ``.json`` beside it; the latter by SimpleITK, lengths in mm).
    overwrite : bool, default False
        Whether to replace an existing file, once the new one is complete.
    workers : int, optional
        Number of threads; default: one per core.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileExistsError
        If there is such a file already.
    ValueError
        If the ending is unknown, or its format has no place for the map's axes.
    OSError
        If the folder does not exist or cannot be written to.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> from napari_local_ncc import confidence_map, write_map
    >>> fixed = rng.normal(size=(40, 50))
    >>> write_map(confidence_map(fixed, fixed), "same.ome.zarr").name
    'same.ome.zarr'
    """
    tiles = compute_tiles(confidence_map.bands, workers=workers)
    with map_sink(path, overwrite=overwrite)(confidence_map) as pixels, closing(tiles):
        for tile in tiles:
            pixels[tile.location] = tile.data
            yield tile
    return Path(path)


iter_write_map = write_map.steps


def map_sink(
    path: str | os.PathLike[str], *, overwrite: bool = False
) -> Callable[[ConfidenceMap], AbstractContextManager[Any]]:
    """Return what takes the tiles of a map into a file, for `run_comparison`.

    Parameters
    ----------
    path, overwrite
        As for `write_map`.

    Returns
    -------
    callable
        A map to a context that takes its tiles by item assignment, shape (bands, ...). The
        file is complete once that closes without an error; otherwise it is what it was.
    """

    @contextmanager
    def opened(confidence_map: ConfidenceMap) -> Iterator[Any]:
        target = check_output(path, overwrite)
        check_space(target, confidence_map.bands.nbytes)
        with claim(target) as held:
            check_output(path, overwrite, claimed=True)  # another may just have finished it
            with map_format(target).module.create(confidence_map, held.path) as pixels:
                yield pixels

    return opened


def read_map(path: str | os.PathLike[str]) -> ConfidenceMap:
    """Open a map that `write_map` wrote.

    Parameters
    ----------
    path : path_like
        The file.

    Returns
    -------
    ConfidenceMap
        The map; its bands are read when computed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not such a map, or one that was never finished.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> from napari_local_ncc import confidence_map, read_map, write_map
    >>> fixed = rng.normal(size=(40, 50))
    >>> path = write_map(confidence_map(fixed, -fixed), "opposite.npy")
    >>> read_map(path)["ncc"].mean().compute().round(3).item()
    -1.0
    """
    source = Path(path)
    module = map_format(source).module
    check_file(source)
    if source.absolute().parent.name.endswith(ENDING):
        raise unfinished_map(source)
    with guard_reading(source, whole="the map "):
        return module.read(source)


def is_map(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a map that `write_map` wrote, rather than an image or nothing."""
    source = Path(path)
    kind = FORMATS.get(ending_of(source))
    if kind is None or not all(file.exists() for file in kind.files(source)):
        return False
    try:
        read_map(source)
    except ReadError:
        return False
    return True


def check_layout(path: str | os.PathLike[str], grid: Grid, parameters: NCCParameters) -> None:
    """Raise ValueError where the format of `path` has no place for the axes of a map."""
    names = tuple(band.name for band in bands_on(parameters, grid))
    map_format(path).module.check_axes(grid, names)


def check_space(target: Path, needed: int) -> None:
    """Raise OSError where a file would fill its disk.

    A Zarr is packed, but has a pyramid of a third more.
    """
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise OSError(
            f"{target} needs {needed / 1e9:.1f} GB, but its disk has {free / 1e9:.1f} GB free"
        )
