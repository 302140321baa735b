"""The kinds of map file by their endings; what makes and reads them is imported when used."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from os import PathLike

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.maps.pipeline import ConfidenceMap


class MapModule(Protocol):
    """What the module of a format has."""

    def create(self, confidence_map: ConfidenceMap, path: Path) -> AbstractContextManager[Any]:
        """Give a context that takes tiles of the bands by item assignment.

        The file is complete when it closes without an error.
        """
        ...

    def read(self, path: Path) -> ConfidenceMap:
        """Open a map, lazily."""
        ...

    def check_axes(self, grid: Grid, band_names: tuple[str, ...]) -> None:
        """Raise ValueError where the format has no place for the axes of a map."""
        ...


@dataclass(frozen=True, slots=True)
class MapFormat:
    """One kind of map file.

    Parameters
    ----------
    name : str
        Of the module that makes and reads it; see `MapModule`.
    endings : tuple of str
        How to name such a file, for people.
    has_sidecar : bool
        Whether a JSON file lies beside it.
    resumes : bool
        Whether blocks are in the file once they are written, and `create` goes on with a file
        that is there.
    for_others : bool
        Whether it is for other programs rather than for this package.
    """

    name: str
    endings: tuple[str, ...]
    has_sidecar: bool = False
    resumes: bool = False
    for_others: bool = False

    @property
    def module(self) -> MapModule:
        """The module, imported when it is asked for."""
        return cast("MapModule", import_module(self.name))

    def files(self, path: Path) -> list[Path]:
        """Return all files of a map at a path."""
        return [path, sidecar(path)] if self.has_sidecar else [path]


OME_ZARR = MapFormat("napari_local_ncc.io.map_omezarr", (".ome.zarr",), resumes=True)
OME_TIFF = MapFormat("napari_local_ncc.io.map_tiff", (".ome.tif", ".tif"), resumes=True)
NPY = MapFormat("napari_local_ncc.io.map_npy", (".npy",), has_sidecar=True, resumes=True)
VOLUME = MapFormat(
    "napari_local_ncc.io.map_volume",
    (".nii.gz", ".nrrd", ".mha"),
    has_sidecar=True,
    for_others=True,
)
FORMATS = {
    ".zarr": OME_ZARR,
    ".tif": OME_TIFF,
    ".tiff": OME_TIFF,
    ".npy": NPY,
    ".nii.gz": VOLUME,
    ".nii": VOLUME,
    ".nrrd": VOLUME,
    ".mha": VOLUME,
}


def sidecar(path: Path) -> Path:
    """Return the path of the JSON file that lies beside a map."""
    return path.with_name(path.name + ".json")


def map_endings() -> str:
    """Name the endings of map files in a line: "a, b or c, or d or e for other programs"."""
    own, foreign = (
        [
            ending
            for one in dict.fromkeys(FORMATS.values())
            if one.for_others == for_others
            for ending in one.endings
        ]
        for for_others in (False, True)
    )
    return f"{_either(own)}, or {_either(foreign)} for other programs"


def _either(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def ending_of(path: Path) -> str:
    """Return the ending of a path: the longest that is known, or its last."""
    known = [ending for ending in FORMATS if path.name.lower().endswith(ending)]
    return max(known, key=len, default=path.suffix.lower())


def map_format(path: str | PathLike[str]) -> MapFormat:
    """Return the format that a path stands for.

    Raises
    ------
    ValueError
        If its ending is that of no map.
    """
    file = Path(path)
    try:
        return FORMATS[ending_of(file)]
    except KeyError:
        raise ValueError(f"{file.name} has no ending of a map: give {map_endings()}") from None
