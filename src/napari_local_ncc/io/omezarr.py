"""OME-Zarr 0.4 and 0.5, and plain Zarr arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaozarrs
import zarr

from napari_local_ncc.io.stored import (
    Axis,
    ReadError,
    StoredImage,
    calibrated,
    check_level,
    named_axes,
    numbered_axes,
    stored_image,
)

if TYPE_CHECKING:
    from pathlib import Path

    from yaozarrs.v04 import Multiscale as Multiscale04
    from yaozarrs.v05 import Multiscale as Multiscale05

    Multiscale = Multiscale04 | Multiscale05

BIOFORMATS2RAW = "bioformats2raw.layout"


def read_zarr(path: Path, level: int) -> StoredImage:
    """Read a level of an OME-Zarr image, or a plain Zarr array, lazily."""
    path = path.absolute()  # another process may work elsewhere
    node = zarr.open(path, mode="r")
    if isinstance(node, zarr.Array):
        check_level(level, 1)
        return stored_image(node, _plain_axes(node), _chunks(node))
    group = path / "0" if _is_bioformats2raw(node) else path
    multiscale = _multiscale(group)
    check_level(level, len(multiscale.datasets))
    array = zarr.open_array(group / multiscale.datasets[level].path, mode="r")
    return stored_image(array, _axes(multiscale, level), _chunks(array))


def _is_bioformats2raw(group: zarr.Group) -> bool:
    return BIOFORMATS2RAW in group.attrs or BIOFORMATS2RAW in dict(group.attrs).get("ome", {})


def _multiscale(path: Path) -> Multiscale:
    metadata = yaozarrs.open_group(path).ome_metadata()
    multiscales = getattr(metadata, "multiscales", None)
    if not multiscales:
        raise ReadError(
            "it is a Zarr group, but not of an OME-Zarr image (0.4 or 0.5); "
            "give the path of one image or array inside it"
        )
    return multiscales[0]


def _chunks(array: zarr.Array[Any]) -> tuple[int, ...]:
    return array.shards or array.chunks


def _plain_axes(array: zarr.Array[Any]) -> list[Axis]:
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    return named_axes(names) if names and all(names) else numbered_axes(array.ndim)


def _axes(multiscale: Multiscale, level: int) -> list[Axis]:
    transforms = [
        *multiscale.datasets[level].coordinateTransformations,
        *(multiscale.coordinateTransformations or ()),
    ]
    axes = []
    for k, axis in enumerate(multiscale.axes):
        spacing, origin = 1.0, 0.0
        for transform in transforms:
            if transform.type == "scale":
                spacing, origin = spacing * transform.scale[k], origin * transform.scale[k]
            else:
                origin += transform.translation[k]
        _, unit = calibrated(1, axis.unit or "")
        axes.append(Axis(axis.name, axis.type == "space", spacing, origin, unit))
    return axes
