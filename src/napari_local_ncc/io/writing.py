"""Maps to files, completely or not at all, and back."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from napari_local_ncc.chunked.tiles import Tile, compute_tiles
from napari_local_ncc.io.errors import ReadError
from napari_local_ncc.io.map_layout import OmeLayout
from napari_local_ncc.io.map_npy import create_npy, read_npy_map, sidecar
from napari_local_ncc.io.map_omezarr import create_omezarr, read_omezarr_map
from napari_local_ncc.io.map_tiff import create_ometiff, read_ometiff_map
from napari_local_ncc.io.map_volume import ENDINGS as VOLUME_ENDINGS
from napari_local_ncc.io.map_volume import check_volume, create_volume, read_volume_map
from napari_local_ncc.maps.bands import bands_on
from napari_local_ncc.progress import stepwise

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from contextlib import AbstractContextManager

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.maps.pipeline import ConfidenceMap
    from napari_local_ncc.parameters import NCCParameters


@dataclass(frozen=True, slots=True)
class MapFormat:
    """How one kind of map file is made and read.

    Parameters
    ----------
    create : callable
        ``(map, path)`` to a context that takes tiles by item assignment and completes
        the file when it closes without an error.
    read : callable
        Path to map.
    is_mapped : bool
        Whether the file is written through memory, where a full disk is a crash.
    check : callable, optional
        Grid and names of bands; raises where the format has no place for them.
    has_sidecar : bool
        Whether a JSON file lies beside it.
    """

    create: Callable[[ConfidenceMap, Path], AbstractContextManager[Any]]
    read: Callable[[Path], ConfidenceMap]
    is_mapped: bool = True
    check: Callable[[Grid, tuple[str, ...]], object] | None = OmeLayout
    has_sidecar: bool = False


OME_ZARR = MapFormat(create_omezarr, read_omezarr_map, is_mapped=False)
OME_TIFF = MapFormat(create_ometiff, read_ometiff_map)
NPY = MapFormat(create_npy, read_npy_map, check=None, has_sidecar=True)
VOLUME = MapFormat(create_volume, read_volume_map, check=check_volume, has_sidecar=True)
REMOVALS = 50
FORMATS = {".zarr": OME_ZARR, ".tif": OME_TIFF, ".tiff": OME_TIFF, ".npy": NPY}
FORMATS |= dict.fromkeys(VOLUME_ENDINGS, VOLUME)


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
        with (
            replacing(target) as partial,
            _format(partial).create(confidence_map, partial) as pixels,
        ):
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
        If it is not such a map.
    """
    source = Path(path)
    read = _format(source).read
    if not source.exists():
        raise FileNotFoundError(f"there is no file {source}")
    try:
        return read(source)
    except Exception as error:  # a broken file makes the format libraries raise anything
        raise ReadError(f"cannot read the map {source}: {error}") from error


def is_map(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a map that `write_map` wrote, rather than an image or nothing."""
    source = Path(path)
    if _ending(source) not in FORMATS or not source.exists():
        return False
    try:
        read_map(source)
    except ReadError:
        return False
    return True


def check_output(
    path: str | os.PathLike[str], overwrite: bool, inputs: Iterable[str | os.PathLike[str]] = ()
) -> Path:
    """Return `path` if a map can be written there.

    Parameters
    ----------
    path : path_like
        Where a map shall be written.
    overwrite : bool
        Whether it may replace what is there.
    inputs : iterable of path_like
        What the map is made from, which it must not replace.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    ValueError
        If the ending is unknown, or if it is or contains one of the inputs, or lies in one.
    FileExistsError
        If it exists and `overwrite` is False, or if it is a folder but no Zarr.
    FileNotFoundError, PermissionError
        If its folder does not exist or cannot be written to.
    """
    target = Path(path)
    inputs = list(inputs)
    has_sidecar = _format(target).has_sidecar
    check_free(target, overwrite, inputs)
    if has_sidecar:
        check_free(sidecar(target), overwrite, inputs)
    return target


def check_free(path: Path, overwrite: bool, inputs: Iterable[str | os.PathLike[str]] = ()) -> Path:
    """Do the same as `check_output` for a file of any ending."""
    place = path.resolve()
    for source in (Path(source).resolve() for source in inputs):
        linked = path.exists() and source.exists() and path.samefile(source)
        if linked or place == source or place in source.parents or source in place.parents:
            raise ValueError(f"{path} is the input {source.name}; choose another name")
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists; choose another name, or overwrite it (--overwrite, overwrite=True)"
        )
    if path.is_dir() and any(path.iterdir()) and not _is_zarr(path):
        raise FileExistsError(f"{path} is a folder with other things in it; choose another name")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}; create it first")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"the folder {path.parent} cannot be written to")
    return path


def check_layout(path: str | os.PathLike[str], grid: Grid, parameters: NCCParameters) -> None:
    """Raise ValueError where the format of `path` has no place for the axes of a map."""
    check = _format(Path(path)).check
    if check is not None:
        check(grid, tuple(band.name for band in bands_on(parameters, grid)))


def _format(path: Path) -> MapFormat:
    try:
        return FORMATS[_ending(path)]
    except KeyError:
        raise ValueError(
            f"{path.name} has no ending of a map: give .ome.zarr, .ome.tif, .tif or .npy, or "
            ".nii.gz, .nrrd or .mha for other programs"
        ) from None


def _ending(path: Path) -> str:
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def check_space(target: Path, needed: int) -> None:
    """Raise OSError where a file that is written through memory would fill its disk."""
    free = shutil.disk_usage(target.parent).free
    if _format(target).is_mapped and free < needed:
        raise OSError(
            f"{target} needs {needed / 1e9:.1f} GB, but its disk has {free / 1e9:.1f} GB free"
        )


def _is_zarr(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("zarr.json", ".zgroup", ".zarray"))


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a path to write to; what is written moves to `target` when all went well."""
    folder = Path(mkdtemp(prefix=f"{target.name}.partial-", dir=target.parent))
    try:
        yield folder / target.name
        for finished in list(folder.iterdir()):
            _move(finished, target.with_name(finished.name), folder / f"replaced {finished.name}")
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder into which zarr's own thread may still be writing after Ctrl-C."""
    for _ in range(REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.02)
        if not folder.exists():
            return


def _move(finished: Path, final: Path, aside: Path) -> None:
    if final.is_dir() or (finished.is_dir() and final.exists()):
        final.rename(aside)  # unlike a file, a folder cannot be replaced in one step
    try:
        finished.replace(final)
    except BaseException:
        if aside.exists() and not final.exists():
            aside.rename(final)
        raise
