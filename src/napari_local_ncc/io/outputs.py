"""Whether files can be read and written, before there is any work; without heavy imports."""

from __future__ import annotations

import hashlib
import os
import stat
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_local_ncc.files.claim import check_unclaimed
from napari_local_ncc.image.read_guard import check_file
from napari_local_ncc.io.map_formats import map_format, sidecar
from napari_local_ncc.io.readers.sniff import is_address, is_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.maps.pipeline import ConfidenceMap

ZARR_2 = (".zarray", ".zattrs", ".zgroup", ".zmetadata")  # its documents have hidden names
MOST = 100_000  # files of a folder, which an input may be, that are looked at
LONGEST_NAME = 200  # bytes of a file's name, of which systems take 255


def check_inputs(paths: Iterable[str | os.PathLike[str] | None]) -> None:
    """Raise an error for the first of some files that is not there, or is no file.

    None, addresses and patterns of names are left to who reads them.
    """
    for path in paths:
        if path is None or is_address(path) or is_pattern(Path(path)):
            continue
        check_file(path)


def input_states(confidence_map: ConfidenceMap) -> dict[str, Any]:
    """Return what tells whether the files that a map is made from are still what they were."""
    sources = [source for source in _sources(confidence_map) if source is not None]
    paths = {source["path"] for source in sources if source["path"]}
    return {path: state for path in sorted(paths) if (state := state_of(path)) is not None}


def unnamed_images(confidence_map: ConfidenceMap) -> list[str]:
    """Return which images of a map no file holds: others could not be told from them."""
    found = zip(_images(confidence_map), _sources(confidence_map), strict=True)
    return [
        name
        for (name, _), source in found
        if source is None or not source["path"] or source.get("in_memory")
    ]


def _images(confidence_map: ConfidenceMap) -> list[tuple[str, dict[str, Any]]]:
    """Return what is known of the images of a map, by role."""
    known = confidence_map.provenance
    return [(name, known[name]) for name in ("fixed", "moving", "mask") if known.get(name)]


def _sources(confidence_map: ConfidenceMap) -> list[dict[str, Any] | None]:
    return [origin["source"] for _, origin in _images(confidence_map)]


def states_of(images: Iterable[SpatialImage | None]) -> dict[str, Any]:
    """Return the same of the files of some images."""
    sources = [image.source for image in images if image is not None]
    paths = {source.path for source in sources if source is not None and source.path}
    return {path: state for path in sorted(paths) if (state := state_of(path)) is not None}


def check_unchanged(states: dict[str, Any], result: str = "map") -> None:
    """Raise OSError for the first file that is not as `input_states` found it."""
    for path, state in states.items():
        now = state_of(path)
        if now != state:
            what = "was removed" if now is None else "changed"
            raise OSError(f"{path} {what} during the run: the {result} is not kept; make it again")


def state_of(path: str) -> Any:
    """Return what tells a file from what it was: its time and size; None where there is none.

    Of a folder, as a Zarr is, those of the files in it, `MOST` of them at most; of a pattern of
    names, those of all files that it stands for.
    """
    if is_pattern(Path(path)):
        folder, name = os.path.split(path)
        names = sorted(found.name for found in Path(folder).glob(name) if found.is_file())
        return [[name, state_of(os.path.join(folder, name))] for name in names] or None
    try:
        status = os.stat(path)
        if not stat.S_ISDIR(status.st_mode):
            return [status.st_mtime_ns, status.st_size]
        states = hashlib.sha256()
        for name, status in islice(_files_in(path), MOST):
            states.update(repr((name, status.st_mtime_ns, status.st_size)).encode())
        return states.hexdigest()
    except OSError:
        return None


def _files_in(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the names and states of all files in a folder and those inside it, in order.

    Links to nothing are left out, and hidden files that are no Zarr's: desktops put theirs into
    every folder that they show.
    """
    for here, inside, names in os.walk(folder):
        inside.sort()
        for name in sorted(names):
            if name.startswith(".") and name not in ZARR_2:
                continue
            file = os.path.join(here, name)
            try:
                status = os.stat(file)
            except OSError:
                continue
            yield os.path.relpath(file, folder), status


def files_of_input(path: str | os.PathLike[str]) -> list[Path]:
    """Return a file that is read, and those that are read with it.

    These are the field of a flow, the document of a map, and what an elastix file begins with;
    a word that is no file (`--initial phase`) has none.
    """
    file = Path(path).absolute()  # "." has no name
    if not file.name or not os.path.exists(file):
        return [file]
    if file.suffix.lower() == ".txt" and file.is_file():
        from napari_local_ncc.transforms.formats.elastix import files_of_chain, is_elastix

        text = file.read_text(encoding="utf-8", errors="replace")
        return list(files_of_chain(file)) if is_elastix(text) else [file]
    is_own = file.suffix.lower() == ".json"
    beside = file.with_suffix(".zarr") if is_own else sidecar(file)
    return [file, beside] if os.path.exists(beside) else [file]


def check_output(
    path: str | os.PathLike[str],
    overwrite: bool,
    inputs: Iterable[str | os.PathLike[str]] = (),
    *,
    resume: bool = False,
    claimed: bool = False,
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
    resume : bool, default False
        Whether what an earlier run left unfinished is continued.
    claimed : bool, default False
        Whether this run has claimed it already.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    ValueError
        If the ending is unknown, or if it is or contains one of the inputs, or lies in one.
    FileExistsError
        If it exists, or is left unfinished, and `overwrite` is False; if it is a folder but no
        Zarr; or if another run is making it.
    FileNotFoundError, PermissionError
        If its folder does not exist or cannot be written to.
    """
    target = Path(path)
    inputs = list(inputs)
    for file in map_format(target).files(target):
        check_free(file, overwrite, inputs)
    if not claimed:
        check_unclaimed(target, continues=overwrite or resume)
    return target


def check_free(
    path: Path,
    overwrite: bool,
    inputs: Iterable[str | os.PathLike[str]] = (),
    *,
    ending: str = "",
) -> Path:
    """Do the same as `check_output` for a file of any ending, or of the one that is given."""
    if ending and path.suffix.lower() != ending:
        raise ValueError(f"{path} must end in {ending}")
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise ValueError(
            f"the name {path.name[:20]}... has {len(os.fsencode(path.name))} bytes; at most "
            f"{LONGEST_NAME} leave room for what is not finished"
        )
    place = path.resolve()
    for source in (file.resolve() for each in inputs for file in files_of_input(each)):
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


def check_distinct(paths: Iterable[Path]) -> None:
    """Raise ValueError where two results would go to one file, the later over the other."""
    taken: set[Path] = set()
    for path in paths:
        if path.resolve() in taken:
            raise ValueError(
                f"{path} is given for two results; choose another name for one of them"
            )
        taken.add(path.resolve())


def _is_zarr(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("zarr.json", ".zgroup", ".zarray"))
