"""Maps to files, completely or not at all, and back."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_local_ncc.chunked.blocks import block_edges, blocks_of
from napari_local_ncc.files.claim import ENDING, Claim, Record, claim
from napari_local_ncc.image.read_guard import ReadError, check_file, guard_reading
from napari_local_ncc.io.map_document import describe, unfinished_map
from napari_local_ncc.io.map_formats import FORMATS, OME_ZARR, ending_of, map_format
from napari_local_ncc.io.outputs import check_output, check_unchanged, input_states, unnamed_images
from napari_local_ncc.maps.bands import bands_on
from napari_local_ncc.maps.stream import stream_map
from napari_local_ncc.progress import Note, Progress, Step, stepwise

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Iterator
    from contextlib import AbstractContextManager

    import numpy as np
    from distributed import Client
    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.maps.pipeline import ConfidenceMap
    from napari_local_ncc.parameters import NCCParameters

RECORD = "blocks"  # the file of those that are finished


@stepwise
def write_map(
    confidence_map: ConfidenceMap,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    resume: bool = False,
    threads: int | None = None,
    client: Client | None = None,
) -> Generator[Progress, None, Path]:
    """Compute a map and write it to a file, completely or not at all.

    `iter_write_map` does the same block by block: it yields `Progress` once a block is written,
    and closing it leaves what was there.

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
    resume : bool, default False
        Whether to continue what a run of the same map left unfinished, and to keep what this one
        leaves if it ends early. Finished blocks are not computed again, and the result is the
        same to the last bit. Of images that no file holds it is begun anew: they cannot be told
        from others.
    threads : int, optional
        How many; default: one per core. Not with a client.
    client : distributed.Client, optional
        Where to compute. Its workers write an OME-Zarr themselves.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileExistsError
        If there is such a file already, unfinished or not, or another run is making it.
    ValueError
        If the ending is unknown, or its format has no place for the map's axes, or cannot be
        resumed.
    OSError
        If the folder does not exist or cannot be written to; if an image was changed or
        removed meanwhile, or what was written.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> from napari_local_ncc import confidence_map, write_map
    >>> fixed = rng.normal(size=(40, 50))
    >>> write_map(confidence_map(fixed, fixed), "same.ome.zarr").name
    'same.ome.zarr'
    """
    sink = map_sink(path, overwrite=overwrite, resume=resume)
    parts = stream_map(confidence_map, sink, threads=threads, client=client)
    total = len(blocks_of(confidence_map.bands.shape, block_edges(confidence_map.bands)))
    with closing(parts):
        for done, _ in enumerate(parts, start=1):
            yield Progress(Step.WRITE, done, total)
    return Path(path)


iter_write_map = write_map.steps


def map_sink(
    path: str | os.PathLike[str], *, overwrite: bool = False, resume: bool = False
) -> Callable[[ConfidenceMap], AbstractContextManager[Any]]:
    """Return what takes the tiles of a map into a file, for `run_comparison`.

    Parameters
    ----------
    path, overwrite, resume
        As for `write_map`.

    Returns
    -------
    callable
        A map to a context that takes its tiles by item assignment, shape (bands, ...). The
        file is complete once that closes without an error; otherwise it is what it was.
    """

    @contextmanager
    def opened(confidence_map: ConfidenceMap) -> Iterator[Any]:
        target = check_output(path, overwrite, resume=resume)
        check_space(target, confidence_map.bands.nbytes)
        kind = map_format(target)
        if resume and not kind.resumes:
            raise ValueError(f"{target} is written at the end; to resume, write .ome.zarr")
        inputs = input_states(confidence_map)
        with claim(target, resume=resume) as held:
            check_output(path, overwrite, claimed=True)  # another may just have finished it
            if unnamed := unnamed_images(confidence_map):
                _begin_anew(held, unnamed)
            record = Record(held.folder / RECORD, _heading(confidence_map, inputs))
            if not record.finished:
                held.clear(RECORD)  # it may have been killed while the file was made
            with closing(record), kind.module.create(confidence_map, held.path) as pixels:

                def note(start: tuple[int, ...]) -> None:
                    held.check()  # at each block, not only after the last
                    record.add(start)

                yield Kept(pixels, record.finished, note, kind is OME_ZARR)
                held.check()
                check_unchanged(inputs)

    return opened


def _begin_anew(held: Claim, unnamed: list[str]) -> None:
    """Remove what an earlier run left, of images that cannot be told from others."""
    if (held.folder / RECORD).exists():
        warnings.warn(
            f"{held.path.name} is begun anew: no file holds {' and '.join(unnamed)}, so that what "
            "an earlier run left may be of other samples",
            Note,
            stacklevel=2,
        )
    held.clear()


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """The pixels of a map in the making; it travels to the processes that compute them.

    Parameters
    ----------
    pixels : object
        Takes and gives blocks of the bands array by item.
    finished : frozenset of tuple of int
        Where the blocks begin that are there already.
    record : callable
        Notes where a block begins that is finished; not in other processes.
    shared : bool
        Whether other processes reach the pixels.
    """

    pixels: Any
    finished: frozenset[tuple[int, ...]]
    record: Callable[[tuple[int, ...]], None] | None
    shared: bool

    def __setitem__(self, box: tuple[slice, ...], block: NDArray[np.float32]) -> None:
        self.pixels[box] = block

    def __getitem__(self, box: tuple[slice, ...]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.pixels[box]
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return Kept, (self.pixels, self.finished, None, self.shared)


def _heading(confidence_map: ConfidenceMap, inputs: dict[str, Any]) -> str:
    """Return a digest of all that decides about the pixels of a map."""
    edges = block_edges(confidence_map.bands)
    made = json.dumps([describe(confidence_map), edges, inputs], sort_keys=True)
    return hashlib.sha256(made.encode()).hexdigest()


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
