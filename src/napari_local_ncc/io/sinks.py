"""What takes the tiles of a map into a file: all of them, or those of a slab."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from contextlib import closing, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask.utils import format_bytes

from napari_local_ncc.chunked.blocks import block_edges, blocks_of
from napari_local_ncc.files.claim import Claim, claim, claim_part, unfinished
from napari_local_ncc.files.record import RECORD, Record
from napari_local_ncc.io.map_document import describe
from napari_local_ncc.io.map_formats import OME_ZARR, map_format
from napari_local_ncc.io.outputs import check_output, check_unchanged, input_states, unnamed_images
from napari_local_ncc.maps.bands import bands_on
from napari_local_ncc.maps.stream import start_of
from napari_local_ncc.progress import Note

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from napari_local_ncc.chunked.slab import Slab
    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.maps.pipeline import ConfidenceMap
    from napari_local_ncc.parameters import NCCParameters

SAID = 20  # numbers of slabs in a message


def map_sink(
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    resume: bool = False,
    slab: Slab | None = None,
    join: bool = False,
) -> Callable[[ConfidenceMap], AbstractContextManager[Any]]:
    """Return what takes the tiles of a map into a file, for `run_comparison`.

    Parameters
    ----------
    path, overwrite, resume, slab, join
        As for `write_map`.

    Returns
    -------
    callable
        A map to a context that takes its tiles by item assignment, shape (bands, ...). The
        file is complete once that closes without an error; otherwise it is what it was. Of a
        slab it stays unfinished.

    Raises
    ------
    ValueError
        If a slab shall replace a map, or join slabs.
    """
    if slab is not None and (overwrite or join):
        raise ValueError(
            "give a slab, or join slabs, or overwrite a map: not two of them; to begin all slabs "
            f"anew, remove {unfinished(Path(path))}"
        )

    @contextmanager
    def opened(confidence_map: ConfidenceMap) -> Iterator[Kept]:
        keeps = resume or join
        target = check_output(path, overwrite, resume=keeps)
        if not (keeps and unfinished(target).exists()):
            check_space(target, confidence_map.bands.nbytes)
        kind = map_format(target)
        if keeps and not kind.resumes:
            raise ValueError(f"{target} is written at the end; to resume, write .ome.zarr")
        unnamed = unnamed_images(confidence_map)
        if join:
            _check_begun(target, unnamed)
        inputs = input_states(confidence_map)
        with claim(target, resume=keeps, overwrite=overwrite) as held:
            check_output(path, overwrite, claimed=True)  # another may just have finished it
            if unnamed:
                _begin_anew(held, unnamed)
            record = Record(held.folder / RECORD, _heading(confidence_map, inputs))
            with closing(record):
                if join:
                    _check_joined(confidence_map, record.finished, held.folder)
                if not record.finished:
                    held.clear(RECORD)  # it may have been killed while the file was made
                check_space(target, _missing(confidence_map, record.finished))
                with kind.module.create(confidence_map, held.path) as pixels:
                    yield Kept(pixels, record.finished, _note(held, record), kind is OME_ZARR)
                    held.check()
                    check_unchanged(inputs)

    @contextmanager
    def opened_part(confidence_map: ConfidenceMap) -> Iterator[Kept]:
        assert slab is not None
        target = check_output(path, overwrite, claimed=True)
        if map_format(target) is not OME_ZARR:
            raise ValueError(f"slabs are joined in an OME-Zarr: write .ome.zarr, not {target.name}")
        _check_named(unnamed_images(confidence_map))
        slab.check(confidence_map.bands.npartitions)
        if not unfinished(target).exists():
            check_space(target, _missing(confidence_map, frozenset(), slab))
        inputs = input_states(confidence_map)
        from napari_local_ncc.io.map_omezarr import begin

        with claim_part(target, str(slab)) as held:
            check_output(path, overwrite, claimed=True)  # they may just have been joined
            _check_count(held.folder, slab.count)
            record = Record(held.folder / f"{RECORD} {slab}", _heading(confidence_map, inputs))
            with closing(record):
                check_space(target, _missing(confidence_map, record.finished, slab))
                pixels = begin(confidence_map, held.path, held.folder / f"new {slab}")
                yield Kept(pixels, record.finished, _note(held, record), True, slab)
                held.check()
                check_unchanged(inputs)

    return opened if slab is None else opened_part


def _note(held: Claim, record: Record) -> Callable[[tuple[int, ...]], None]:
    """Return what notes that a block is finished."""

    def note(start: tuple[int, ...]) -> None:
        held.check()  # at each block, not only after the last
        record.add(start)

    return note


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


def _check_named(unnamed: list[str]) -> None:
    """Raise ValueError for images that no file holds: slabs could be of different samples."""
    if unnamed:
        raise ValueError(
            f"no file holds {' and '.join(unnamed)}: slabs must be of images in files; write them "
            "to files first"
        )


def _check_begun(target: Path, unnamed: list[str]) -> None:
    """Raise an error where there can be no slabs to join."""
    _check_named(unnamed)
    if not _counts(unfinished(target)):
        raise FileNotFoundError(
            f"there are no slabs of {target} to join; write them first (--slab 1/8 to 8/8, slab=)"
        )


def _counts(folder: Path) -> set[int]:
    """Return of how many slabs the slabs in a folder are."""
    return {int(path.name.split()[-1]) for path in folder.glob(f"{RECORD} * of *")}


def _check_count(folder: Path, count: int) -> None:
    """Raise ValueError where a slab is one of another number of slabs than those there."""
    if others := _counts(folder) - {count}:
        raise ValueError(
            f"{folder} was begun with {min(others)} slabs, not {count}: give as many, or remove "
            "it and begin all slabs anew"
        )


def _check_joined(
    confidence_map: ConfidenceMap, finished: frozenset[tuple[int, ...]], folder: Path
) -> None:
    """Raise ValueError where blocks of a map are missing, with the slabs that they are of."""
    from napari_local_ncc.chunked.slab import Slab

    bands = confidence_map.bands
    boxes = blocks_of(bands.shape, block_edges(bands))
    missing = sum(start_of(box) not in finished for box in boxes)
    if not missing:
        return
    count = min(_counts(folder))
    slabs = [Slab(number, count) for number in range(1, count + 1)]
    parts = [
        str(slab.number)
        for slab in slabs
        if any(start_of(box) not in finished for box in slab.of(boxes))
    ]
    raise ValueError(
        f"of {count} slabs these are not finished: {_listed(parts)} ({missing} of {len(boxes)} "
        "blocks are missing); run them, or let --resume (resume=True) compute what is missing"
    )


def _listed(numbers: list[str]) -> str:
    return ", ".join([*numbers[:SAID], *(["..."] if len(numbers) > SAID else [])])


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
    slab : Slab or None
        The part of the map that is written; None is all of it.
    """

    pixels: Any
    finished: frozenset[tuple[int, ...]]
    record: Callable[[tuple[int, ...]], None] | None
    shared: bool
    slab: Slab | None = None

    def __setitem__(self, box: tuple[slice, ...], block: NDArray[np.float32]) -> None:
        self.pixels[box] = block

    def __getitem__(self, box: tuple[slice, ...]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.pixels[box]
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return Kept, (self.pixels, self.finished, None, self.shared, self.slab)


def _heading(confidence_map: ConfidenceMap, inputs: dict[str, Any]) -> str:
    """Return a digest of all that decides about the pixels of a map."""
    edges = block_edges(confidence_map.bands)
    made = json.dumps([describe(confidence_map), edges, inputs], sort_keys=True)
    return hashlib.sha256(made.encode()).hexdigest()


def _missing(
    confidence_map: ConfidenceMap, finished: frozenset[tuple[int, ...]], slab: Slab | None = None
) -> int:
    """Return the bytes of those blocks of a map, or of a slab, that are not finished."""
    bands = confidence_map.bands
    boxes = blocks_of(bands.shape, block_edges(bands))
    missing = [
        box for box in (boxes if slab is None else slab.of(boxes)) if start_of(box) not in finished
    ]
    pixels = sum(prod(part.stop - part.start for part in box) for box in missing)
    return pixels * bands.dtype.itemsize


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
            f"{target} needs {format_bytes(needed)}, but its disk has {format_bytes(free)} free"
        )
