"""OME-Zarr (0.1 to 0.6), plates and containers of it, and plain Zarr arrays, near and far."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import zarr

from napari_local_ncc.image.fill_value import hide_fill_values
from napari_local_ncc.image.read_guard import ReadError, check_claim
from napari_local_ncc.io.readers.ome_zarr.chunks import (
    ZarrSamples,
    absent_in_shards,
    check_chunks,
    native_chunks,
    present_chunks,
)
from napari_local_ncc.io.readers.ome_zarr.multiscales import (
    Multiscale,
    ome_attributes,
    read_multiscales,
)
from napari_local_ncc.io.readers.partial_array import PartialArray
from napari_local_ncc.io.readers.scene import Scene
from napari_local_ncc.io.stored import (
    Axis,
    StoredImage,
    check_level,
    named_axes,
    numbered_axes,
    stored_image,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_local_ncc.io.readers.scene import Request

BIOFORMATS2RAW = "bioformats2raw.layout"
METADATA = "OME/METADATA.ome.xml"
DIMENSIONS = "_ARRAY_DIMENSIONS"  # of xarray's Zarr 2
ZIPS = (".zip", ".ozx")


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One image of a store: a group with its multiscale, or an array alone."""

    name: str
    node: Any
    multiscale: Multiscale | None = None

    def array(self, level: int) -> zarr.Array[Any]:
        """Return the array of a level."""
        if self.multiscale is None:
            check_level(level, 1)
            return self.node
        check_level(level, len(self.multiscale.paths))
        path = self.multiscale.paths[level]
        try:
            found = self.node[path]
        except KeyError as error:
            raise ReadError(
                f"its metadata name an array {path!r} that is not in the store"
            ) from error
        if not isinstance(found, zarr.Array):
            raise ReadError(f"its metadata name {path!r} as an array, but that is a group")
        return found

    @property
    def is_labels(self) -> bool:
        """Whether the samples number regions, or say yes and no."""
        return "image-label" in ome_attributes(dict(self.node.attrs))


def scenes(path: Path | str) -> list[Scene]:
    """List the images of a store."""
    listed = []
    for entry in _entries(_open(path)):
        array = entry.array(0)
        axes = _plain_axes(array) if entry.multiscale is None else entry.multiscale.axes
        listed.append(Scene(entry.name, tuple(array.shape), "".join(a.label for a in axes)))
    return listed


def read(path: Path | str, scene: int, request: Request) -> StoredImage:
    """Read a level of an OME-Zarr image, or a plain Zarr array, lazily."""
    entry = next(e for k, e in enumerate(_entries(_open(path))) if k == scene)
    array = entry.array(request.level)
    directions = None
    notes: tuple[str, ...] = ()
    if entry.multiscale is None:
        axes = _plain_axes(array)
    else:
        axes, directions = entry.multiscale.placed_axes(request.level)
        doubt = "" if entry.is_labels else entry.multiscale.doubt_of(request.level)
        notes = (*entry.multiscale.notes, *filter(None, [doubt]))
    if len(axes) != array.ndim:
        raise ReadError(
            f"its metadata name {len(axes)} axes ({', '.join(a.label for a in axes)}), but the "
            f"array has {array.ndim}"
        )
    stored = _with_absent(entry, array, axes, request)
    if entry.multiscale is None:
        stored = replace(stored, data=hide_fill_values(stored.data, _attributes(array)))
    return replace(stored, directions=directions).noting(*notes)


def _with_absent(
    entry: Entry, array: zarr.Array[Any], axes: list[Axis], request: Request
) -> StoredImage:
    """Wrap an array; its absent chunks are undefined, or its fill value in labels and masks."""
    present = present_chunks(array)
    source: Any = ZarrSamples(array, present)
    native = native_chunks(array)
    if present is not None:
        check_chunks(array, present)
    else:
        return stored_image(source, axes, native).noting(
            f"its store does not tell which of its {array.nchunks} chunks are absent; they read as "
            f"{array.fill_value}"
        )
    absent, edges = absent_in_shards(array, present)
    count = int(absent.sum())
    if not count:
        return stored_image(source, axes, native)
    text = f"{count} of {absent.size} chunks are not in the store"
    policy = request.absent
    if policy is None and (array.dtype.kind == "b" or entry.is_labels):
        return stored_image(source, axes, native).noting(
            absent=f"{text}; they are {array.fill_value}, as in all labels"
        )
    if policy == "fill":
        return stored_image(source, axes, native).noting(
            f"{text}; they are taken as {array.fill_value}"
        )
    return stored_image(PartialArray(source, edges, absent), axes, native).noting(
        f"{text}; they are undefined (absent_chunks='fill', --absent-chunks fill, takes them as "
        f"{array.fill_value})"
    )


def _open(path: Path | str) -> Any:
    if isinstance(path, str):  # an address
        return zarr.open(path, mode="r")
    place = path.absolute()  # another process may work elsewhere
    if path.suffix.lower() in ZIPS or path.is_file():
        _check_entries(place)
        return zarr.open(zarr.storage.ZipStore(place, mode="r"), mode="r")
    return zarr.open(place, mode="r")


def _check_entries(path: Path) -> None:
    """Compare what the entries of a zip claim with their bytes."""
    from zipfile import ZipFile

    with ZipFile(path) as archive:
        for entry in archive.infolist():
            check_claim(entry.file_size, entry.compress_size, f"its entry {entry.filename}")


def _entries(node: Any) -> Iterator[Entry]:
    """Yield the images of an array or a group, in their order."""
    if isinstance(node, zarr.Array):
        yield Entry(node.name.strip("/"), node)
        return
    attributes = dict(node.attrs)
    ome = ome_attributes(attributes)
    multiscales = read_multiscales(attributes)
    if multiscales:
        for multiscale in multiscales:
            yield Entry(multiscale.name, node, multiscale)
    elif "plate" in ome:
        for well in _listed(ome, "plate", "wells"):
            yield from _of_well(node[well], f"{well}/")
    elif "well" in ome:
        yield from _of_well(node, "")
    elif BIOFORMATS2RAW in ome or BIOFORMATS2RAW in attributes:
        yield from _of_container(node)
    else:
        found = [(name, node[name]) for name in sorted(node.array_keys())]
        if not found:
            raise ReadError(
                "it is a Zarr group, but not of an OME-Zarr image, and holds no array; give the "
                "path of one image or array inside it"
            )
        yield from (Entry(name, array) for name, array in found)


def _listed(ome: Any, holder: str, field: str) -> list[str]:
    try:
        return [str(entry["path"]) for entry in ome[holder][field]]
    except (KeyError, TypeError) as error:
        raise ReadError(f"its field {holder}.{field} does not list objects with a path") from error


def _of_well(well: Any, name: str) -> Iterator[Entry]:
    for path in _listed(ome_attributes(dict(well.attrs)), "well", "images"):
        yield from (replace(entry, name=f"{name}{path}") for entry in _entries(well[path]))


def _of_container(node: Any) -> Iterator[Entry]:
    series: Any = ()
    if "OME" in node:
        series = ome_attributes(dict(node["OME"].attrs)).get("series", ())
    paths = [str(path) for path in series]
    paths = paths or sorted((key for key in node.group_keys() if key.isdigit()), key=int)
    if not paths:
        raise ReadError("it is a bioformats2raw container without an image; it has no group 0")
    names = _names(node)
    for k, path in enumerate(paths):
        for entry in _entries(node[path]):
            named = names[k] if k < len(names) else entry.name
            yield replace(entry, name=named or path)


def _names(node: Any) -> list[str]:
    """Return the names of images in the OME-XML of a container, if it has one."""
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    place = node.store_path / METADATA
    found = sync(place.get(default_buffer_prototype()))
    if found is None:
        return []
    try:
        root = ElementTree.fromstring(found.to_bytes())
    except ElementTree.ParseError:
        return []
    return [image.get("Name", "") for image in root.findall("{*}Image")]


def _attributes(array: zarr.Array[Any]) -> dict[str, Any]:
    """Return an array's attributes; of xarray's Zarr 2, `_FillValue` is the array's own.

    0 is what others give an array that has no such value.
    """
    attributes = dict(array.attrs)
    is_of_xarray = array.metadata.zarr_format == 2 and DIMENSIONS in attributes
    if is_of_xarray and array.fill_value:
        attributes.setdefault("_FillValue", array.fill_value)
    return attributes


def _plain_axes(array: zarr.Array[Any]) -> list[Axis]:
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get(DIMENSIONS)
    return named_axes(names) if names and all(names) else numbered_axes(array.ndim)
