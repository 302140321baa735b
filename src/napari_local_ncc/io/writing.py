"""Maps to files, completely or not at all, and back."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from napari_local_ncc.files.claim import ENDING
from napari_local_ncc.image.read_guard import ReadError, check_file, guard_reading
from napari_local_ncc.io.map_document import unfinished_map
from napari_local_ncc.io.map_formats import FORMATS, ending_of, map_format
from napari_local_ncc.io.sinks import map_sink
from napari_local_ncc.maps.stream import stream_map
from napari_local_ncc.progress import Progress, Step, stepwise

if TYPE_CHECKING:
    import os
    from collections.abc import Generator

    from distributed import Client

    from napari_local_ncc.maps.pipeline import ConfidenceMap


@stepwise
def write_map(
    confidence_map: ConfidenceMap,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    resume: bool = False,
    slab: tuple[int, int] | None = None,
    join: bool = False,
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
    slab : (int, int), optional
        Which part of how many to write, as (3, 8); they count from 1. Each may be written by a job
        of its own, at the same time; it goes on with what an earlier run left of it. The
        file, an OME-Zarr, stays unfinished until they are joined. The images must lie in files.
    join : bool, default False
        Whether to finish what slabs are. No block is computed.
    threads : int, optional
        How many; default: one per core. Not with a client.
    client : distributed.Client, optional
        Where to compute. Its workers write an OME-Zarr themselves.

    Returns
    -------
    Path
        The file. Of a slab, where it will be.

    Raises
    ------
    FileExistsError
        If there is such a file already, unfinished or not, or another run is making it.
    ValueError
        If the ending is unknown, or its format has no place for the map's axes, or cannot be
        resumed; if there is no such slab, or some are not finished that shall be joined; if
        slabs are of arrays that no file holds: they cannot be told from others.
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
    from napari_local_ncc.chunked.slab import Slab

    sink = map_sink(
        path,
        overwrite=overwrite,
        resume=resume,
        slab=None if slab is None else Slab(*slab),
        join=join,
    )
    parts = stream_map(confidence_map, sink, threads=threads, client=client)
    with closing(parts):
        for done, part in enumerate(parts, start=1):
            yield Progress(Step.WRITE, done, part.total)
    return Path(path)


iter_write_map = write_map.steps


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
