"""What OME-Zarr says of an image, from any writer: what is not used is not asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.geometry.affine import invert_affine
from napari_local_ncc.geometry.grid import INDEPENDENT_LABELS
from napari_local_ncc.image.read_guard import ReadError
from napari_local_ncc.io.stored import Axis, pixel_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

ROUNDING = 1e-3  # px, and of a factor
OLDEST_AXES = ("t", "c", "z", "y", "x")  # of version 0.1 and 0.2, which name none


@dataclass(frozen=True, slots=True, eq=False)
class Multiscale:
    """One image of a group.

    Parameters
    ----------
    name : str
        Its name, or "".
    paths : tuple of str
        Of its arrays, the finest first.
    axes : tuple of Axis
        Without spacing and origin.
    matrices : tuple of ndarray, shape (ndim + 1, ndim + 1)
        From pixel indices to the world, for every array.
    notes : tuple of str
        What of its place could not be used.
    """

    name: str
    paths: tuple[str, ...]
    axes: tuple[Axis, ...]
    matrices: tuple[NDArray[np.float64], ...]
    notes: tuple[str, ...] = ()

    def placed_axes(self, level: int) -> tuple[list[Axis], NDArray[np.float64] | None]:
        """Return the axes of a level, and their directions where these are not the world's."""
        matrix = self.matrices[level]
        linear = matrix[:-1, :-1]
        spacing = np.linalg.norm(linear, axis=0)
        is_plain = np.allclose(linear, np.diag(np.diagonal(linear)), rtol=0, atol=0)
        steps = np.diagonal(linear) if is_plain else spacing
        axes = [
            replace(axis, spacing=float(step), origin=float(start))
            for axis, step, start in zip(self.axes, steps, matrix[:-1, -1], strict=True)
        ]
        return axes, None if is_plain else linear / spacing

    def doubt_of(self, level: int) -> str:
        """Say that a coarse level may lie farther on than it tells; else nothing.

        Most writers tell the size of its pixels alone. The middle of a mean of two pixels is half
        a pixel farther on than the first of them.
        """
        full, matrix = self.matrices[0], self.matrices[level]
        factors = np.linalg.norm(matrix[:-1, :-1], axis=0) / np.linalg.norm(full[:-1, :-1], axis=0)
        coarser = factors > 1 + ROUNDING
        moved = invert_affine(full)[:-1] @ matrix[:, -1]
        if not coarser.any() or (np.abs(moved[coarser]) > ROUNDING).any():
            return ""
        return (
            f"its level {level} tells no position: if its pixels are means of others, they lie "
            f"{(factors.max() - 1) / 2:g} px of the full level farther on than is taken; compare "
            "levels of one program, or full ones"
        )


def ome_attributes(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata of OME in a group's attributes: 0.5 and later keep them in "ome"."""
    ome = attributes.get("ome")
    return ome if isinstance(ome, dict) else attributes


def read_multiscales(attributes: Mapping[str, Any]) -> list[Multiscale]:
    """Read the images that a group's attributes describe.

    Raises
    ------
    ReadError
        If what is needed to read pixels and place them is not there or makes no sense; the
        field is named.
    """
    entries = ome_attributes(attributes).get("multiscales")
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise ReadError("its field multiscales is no list")
    return [_multiscale(entry, f"multiscales[{k}]") for k, entry in enumerate(entries)]


def _multiscale(entry: Any, where: str) -> Multiscale:
    datasets = _needed(entry, "datasets", list, where)
    if not datasets:
        raise ReadError(f"its field {where}.datasets is empty; it names no array")
    paths = [_needed(d, "path", str, f"{where}.datasets[{k}]") for k, d in enumerate(datasets)]
    axes = _axes(entry, where)
    common, _ = _matrix(entry.get("coordinateTransformations"), len(axes), where)
    notes: set[str] = set()
    matrices = []
    for k, dataset in enumerate(datasets):
        place = f"{where}.datasets[{k}]"
        own, is_told = _matrix(dataset.get("coordinateTransformations"), len(axes), place)
        if not is_told and entry.get("version") not in ("0.1", "0.2", "0.3"):
            notes.add(
                f"its field {place}.coordinateTransformations is missing: its pixels have no size"
            )
        matrices.append(common @ own)
    return Multiscale(
        str(entry.get("name") or ""),
        tuple(paths),
        tuple(axes),
        tuple(matrices),
        tuple(sorted(notes))[:1],
    )


def _needed(entry: Any, field: str, kind: type, where: str) -> Any:
    if not isinstance(entry, dict):
        raise ReadError(f"its field {where} is no object but {entry!r}")
    if field not in entry:
        raise ReadError(f"its field {where}.{field} is missing")
    if not isinstance(entry[field], kind):
        raise ReadError(f"its field {where}.{field} is {entry[field]!r}, not a {kind.__name__}")
    return entry[field]


def _axes(entry: Mapping[str, Any], where: str) -> list[Axis]:
    listed, field = entry.get("axes"), f"{where}.axes"
    systems = entry.get("coordinateSystems")
    if listed is None and isinstance(systems, list) and systems:  # 0.6
        listed, field = systems[0].get("axes"), f"{where}.coordinateSystems[0].axes"
    if listed is None:
        listed = OLDEST_AXES
    if not isinstance(listed, list | tuple) or not listed:
        raise ReadError(f"its field {field} is {listed!r}, not a list of axes")
    axes = []
    for k, told in enumerate(listed):
        axis = {"name": told} if isinstance(told, str) else told
        name = _needed(axis, "name", str, f"{field}[{k}]")
        kind = axis.get("type")
        is_space = kind == "space" or (
            kind not in ("time", "channel") and name.lower() not in INDEPENDENT_LABELS
        )
        _, unit = pixel_size(1, axis.get("unit") or "")
        axes.append(Axis(name, is_space, unit=unit))
    return axes


def _matrix(transforms: Any, ndim: int, where: str) -> tuple[NDArray[np.float64], bool]:
    """Return the matrix of transformations, one after another, and whether there are any."""
    matrix = np.eye(ndim + 1)
    if transforms is None:
        return matrix, False
    if not isinstance(transforms, list):
        raise ReadError(f"its field {where}.coordinateTransformations is no list")
    for k, transform in enumerate(transforms):
        place = f"{where}.coordinateTransformations[{k}]"
        matrix = _transform(transform, ndim, place) @ matrix
    linear = matrix[:-1, :-1]
    if not np.isfinite(matrix).all() or np.linalg.matrix_rank(linear) < ndim:
        raise ReadError(
            f"its field {where}.coordinateTransformations makes pixels of no size: {transforms}"
        )
    return matrix, bool(transforms)


def _transform(transform: Any, ndim: int, where: str) -> NDArray[np.float64]:
    kind = _needed(transform, "type", str, where)
    matrix = np.eye(ndim + 1)
    if kind == "identity":
        return matrix
    if kind == "sequence":
        for k, part in enumerate(_needed(transform, "transformations", list, where)):
            matrix = _transform(part, ndim, f"{where}.transformations[{k}]") @ matrix
        return matrix
    if kind in ("scale", "translation"):
        values = _numbers(transform, kind, (ndim,), where)
        target = matrix[:-1, :-1] if kind == "scale" else matrix[:-1, -1]
        target[...] = np.diag(values) if kind == "scale" else values
        return matrix
    if kind == "rotation":
        matrix[:-1, :-1] = _numbers(transform, "rotation", (ndim, ndim), where)
        return matrix
    if kind == "affine":
        matrix[:-1] = _numbers(transform, "affine", (ndim, ndim + 1), where)
        return matrix
    raise ReadError(
        f"its field {where}.type is {kind!r}; known are identity, scale, translation, rotation, "
        "affine, sequence"
    )


def _numbers(
    transform: Mapping[str, Any], field: str, shape: tuple[int, ...], where: str
) -> NDArray[np.float64]:
    given = _needed(transform, field, list, where)
    try:
        values = np.asarray(given, np.float64)
    except (ValueError, TypeError):
        values = np.empty(0)
    if values.shape != shape:
        raise ReadError(
            f"its field {where}.{field} is {given}, but it has {shape[0]} axes: numbers of shape "
            f"{shape} are needed"
        )
    return values
