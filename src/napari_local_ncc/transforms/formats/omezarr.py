"""Coordinate transformations of OME-Zarr 0.6 (RFC-5), from and to files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import zarr

from napari_local_ncc.geometry.affine import check_affine, invert_affine
from napari_local_ncc.geometry.units import PIXEL, unit_factor, unit_name
from napari_local_ncc.image.read_guard import ReadError, reason_of
from napari_local_ncc.progress import uninterrupted
from napari_local_ncc.transforms.formats.field_file import write_vectors
from napari_local_ncc.transforms.formats.omezarr_steps import Step, step_of
from napari_local_ncc.transforms.frame_transform import FrameTransform
from napari_local_ncc.transforms.sampled_map import lattice_map, sample_map

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid

    Document = dict[str, Any]

VERSION = "0.6"
FIELD = "displacement"  # the group of a flow's field
LEVEL = "s0"
CHUNK = 256  # px a side


def read_omezarr(path: Path, space: Grid) -> FrameTransform:
    """Read the coordinate transformation of an OME-Zarr group, from fixed to moving.

    Parameters
    ----------
    path : path
        A group with one transformation, in its ``scene`` or its image.
    space : Grid
        The fixed image's spatial grid. Its world is the transformation's input, in other units
        maybe.

    Raises
    ------
    ValueError
        If there is no transformation, or not one only, or it is for other axes than `grid` has.
    """
    try:
        group = zarr.open_group(path, mode="r")
    except (OSError, ValueError, KeyError) as error:
        raise ValueError("it is no Zarr group") from error
    ome = cast("Document", dict(group.attrs).get("ome", dict(group.attrs)))
    part, document = _only_transformation(ome)
    try:
        to_fixed, to_moving = (
            _to_system(part, document.get(end), space) for end in ("input", "output")
        )
        step = step_of(document, group, space.ndim)
        whole = Step.linear(to_fixed).then(step).then(Step.linear(invert_affine(to_moving)))
    except ReadError:
        raise
    except Exception as error:  # whatever a document that is not as it should be makes of it
        raise ReadError(f"its transformation cannot be read: {reason_of(error)}") from error
    if whole.matrix is not None:
        return FrameTransform(check_affine(whole.matrix, space.ndim), space)
    return sample_map(lattice_map(whole.moves), space)


def _only_transformation(ome: Document) -> tuple[Document, Document]:
    """Return the part of the metadata that holds the transformation, and that."""
    for part in (ome.get("scene") or {}, ome, *ome.get("multiscales", [])):
        found = part.get("coordinateTransformations") or []
        if len(found) == 1:
            return part, found[0]
        if found:
            names = ", ".join(str(one.get("name", one.get("type"))) for one in found)
            raise ValueError(
                f"it holds {len(found)} coordinate transformations ({names}); keep the one "
                "from the fixed image's coordinate system to the moving image's"
            )
    raise ValueError("it holds no coordinate transformation")


def _to_system(part: Document, end: Any, space: Grid) -> NDArray[np.float64]:
    """Return the matrix from a grid's world to a coordinate system: its axes by name, its units.

    Axes are those of the grid by place where they have other names.
    """
    name = end.get("name") if isinstance(end, dict) else end
    systems = [s for s in part.get("coordinateSystems", []) if s.get("name") == name]
    if not systems or len(systems[0]["axes"]) != space.ndim:
        return np.eye(space.ndim)
    axes = systems[0]["axes"]
    names = [str(axis.get("name", "")).lower() for axis in axes]
    ours = [label.lower() for label in space.axis_labels]
    order = [ours.index(name) for name in names] if set(names) == set(ours) else range(space.ndim)
    matrix = np.zeros((space.ndim, space.ndim))
    for row, (axis, k) in enumerate(zip(axes, order, strict=True)):
        matrix[row, k] = unit_factor(space.units[k], unit_name(axis.get("unit") or PIXEL))
    return matrix


def write_omezarr(found: FrameTransform, path: Path) -> None:
    """Write a transform of one frame as a scene of OME-Zarr, from "fixed" to "moving".

    A flow is its displacements, which have an image of their own, and then its matrix.
    """
    space = found.grid
    with uninterrupted():  # or Zarr's own thread would go on
        group = zarr.create_group(path, overwrite=True, zarr_format=3)
    axes = [_axis(label, unit) for label, unit in zip(space.axis_labels, space.units, strict=True)]
    step: Document = {"type": "affine", "affine": found.matrix[:-1].tolist()}
    if found.displacement is not None:
        with uninterrupted():
            group.create_group(FIELD, attributes={"ome": _field_document(space, axes)})
        write_vectors(found.displacement, space.ndim, path / FIELD / LEVEL, edge=CHUNK)
        bend = {"type": "displacements", "path": FIELD, "interpolation": "linear"}
        step = {"type": "sequence", "transformations": [bend, step]}
    ends = {"input": {"name": "fixed"}, "output": {"name": "moving"}}
    document = {
        "version": VERSION,
        "scene": {
            "coordinateSystems": [{"name": name, "axes": axes} for name in ("fixed", "moving")],
            "coordinateTransformations": [step | ends | {"name": found.model}],
        },
    }
    with uninterrupted():
        group.attrs["ome"] = document


def check_replaceable(path: Path) -> None:
    """Raise FileExistsError if a folder is something else than an earlier transform."""
    try:
        ome = cast("Document", dict(zarr.open_group(path, mode="r").attrs).get("ome", {}))
    except (OSError, ValueError, KeyError, TypeError):
        ome = {}
    if "scene" not in ome or set(ome) - {"version", "scene"}:
        raise FileExistsError(f"{path} holds something else than a transform; choose another name")


def _axis(label: str, unit: str) -> Document:
    axis: Document = {"name": label, "type": "space"}
    return axis if unit == PIXEL else axis | {"unit": unit}


def _field_document(space: Grid, axes: list[Document]) -> Document:
    """Tell of a displacement, shape (ndim, *shape), as of an image of vectors."""
    vector = {"name": "d", "type": "displacement", "discrete": True}
    matrix = np.eye(space.ndim + 2)
    matrix[1:, 1:] = space.pixel_to_world
    step: Document = {"type": "affine", "affine": matrix[:-1].tolist()}
    if space.is_axis_parallel:
        scale = {"type": "scale", "scale": np.diagonal(matrix)[:-1].tolist()}
        move = {"type": "translation", "translation": matrix[:-1, -1].tolist()}
        step = {"type": "sequence", "transformations": [scale, move]}
    ends = {"input": {"path": LEVEL}, "output": {"name": "physical"}}
    return {
        "version": VERSION,
        "multiscales": [
            {
                "coordinateSystems": [{"name": "physical", "axes": [vector, *axes]}],
                "datasets": [{"path": LEVEL, "coordinateTransformations": [step | ends]}],
            }
        ],
    }
