"""The coordinate transformations of OME-Zarr 0.6 (RFC-5), as maps of points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import zarr

from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.image.read_guard import ReadError, check_claim
from napari_local_ncc.transforms.displacement_field import Displacement
from napari_local_ncc.transforms.sampled_map import points_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Points = NDArray[np.float64]
    Matrix = NDArray[np.float64]
    Document = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A map of points, shape (..., inputs) to (..., outputs)."""

    moves: Callable[[Points], Points]
    matrix: Matrix | None = None  # of a linear map, shape (outputs + 1, inputs + 1)

    @classmethod
    def linear(cls, linear: Matrix, offset: Points | float = 0.0) -> Self:
        """Return the map ``linear @ x + offset``."""
        matrix = np.zeros((linear.shape[0] + 1, linear.shape[1] + 1))
        matrix[:-1, :-1], matrix[:-1, -1], matrix[-1, -1] = linear, offset, 1.0
        return cls(lambda points: points @ matrix[:-1, :-1].T + matrix[:-1, -1], matrix)

    def then(self, after: Step) -> Step:
        """Return the map that applies this one and then another."""
        if self.matrix is not None and after.matrix is not None:
            matrix = after.matrix @ self.matrix
            return Step.linear(matrix[:-1, :-1], matrix[:-1, -1])
        return Step(lambda points: after.moves(self.moves(points)))


def step_of(document: Document, group: zarr.Group, ndim: int) -> Step:
    """Return what a transformation does.

    Parameters
    ----------
    document : dict
        The transformation, as the specification has it.
    group : zarr.Group
        What its paths begin at.
    ndim : int
        Number of coordinates of its input.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is not as the specification has it, or of a type that is not read.
    """
    kind = document["type"]
    if kind not in READERS:
        raise ValueError(f"its type is {kind!r}, but only {', '.join(READERS)} are read")
    step = READERS[kind](document, group, ndim)
    if step.matrix is not None and step.matrix.shape[1] != ndim + 1:
        raise ValueError(f"{kind} takes {step.matrix.shape[1] - 1} coordinates, not {ndim}")
    return step


def _values(document: Document, group: zarr.Group, name: str) -> NDArray[np.float64]:
    """Return the numbers of a transformation: its own, or those of the array that it names."""
    if document.get(name) is not None:
        return np.asarray(document[name], np.float64)
    array = group[document["path"]]
    return np.asarray(array[...], np.float64)


def _identity(document: Document, group: zarr.Group, ndim: int) -> Step:
    return Step.linear(np.eye(ndim))


def _scale(document: Document, group: zarr.Group, ndim: int) -> Step:
    return Step.linear(np.diag(_values(document, group, "scale")))


def _translation(document: Document, group: zarr.Group, ndim: int) -> Step:
    return Step.linear(np.eye(ndim), _values(document, group, "translation"))


def _rotation(document: Document, group: zarr.Group, ndim: int) -> Step:
    return Step.linear(_values(document, group, "rotation"))


def _affine(document: Document, group: zarr.Group, ndim: int) -> Step:
    rows = _values(document, group, "affine")
    return Step.linear(rows[:, :-1], rows[:, -1])


def _map_axis(document: Document, group: zarr.Group, ndim: int) -> Step:
    return Step.linear(np.eye(ndim)[[int(k) for k in document["mapAxis"]]])


def _sequence(document: Document, group: zarr.Group, ndim: int) -> Step:
    whole = Step.linear(np.eye(ndim))
    for one in document["transformations"]:
        whole = whole.then(step_of(one, group, ndim))
    return whole


def _bijection(document: Document, group: zarr.Group, ndim: int) -> Step:
    return step_of(document["forward"], group, ndim)


def _by_dimension(document: Document, group: zarr.Group, ndim: int) -> Step:
    parts = []
    for part in document["transformations"]:
        inputs, outputs = [int(k) for k in part["inputAxes"]], [int(k) for k in part["outputAxes"]]
        parts.append((inputs, outputs, step_of(part["transformation"], group, len(inputs))))

    def moves(points: Points) -> Points:
        result = np.zeros(points.shape)
        for inputs, outputs, step in parts:
            result[..., outputs] = step.moves(points[..., inputs])
        return result

    if any(step.matrix is None for _, _, step in parts):
        return Step(moves)
    origin = moves(np.zeros(ndim))
    return Step.linear((moves(np.eye(ndim)) - origin).T, origin)


def _displacements(document: Document, group: zarr.Group, ndim: int) -> Step:
    values, place = _field(document, group, ndim)
    field = Displacement(values.astype(np.float32), place)
    return Step(lambda points: points + field.at(points))


def _coordinates(document: Document, group: zarr.Group, ndim: int) -> Step:
    values, place = _field(document, group, ndim)
    steps = values - points_of(Grid(values.shape[1:], place))  # which go on beyond the edge
    field = Displacement(steps.astype(np.float32), place)
    return Step(lambda points: points + field.at(points))


def _field(document: Document, group: zarr.Group, ndim: int) -> tuple[Points, Matrix]:
    """Read the finest level of a field: its vectors (ndim, *shape), and where its pixels lie."""
    inner = group[document["path"]]
    if not isinstance(inner, zarr.Group):
        raise TypeError(f"{document['path']} is no image of vectors")
    (image,) = cast("list[Document]", inner.attrs["ome"]["multiscales"])
    axes = image["coordinateSystems"][0]["axes"]
    vector = next(k for k, axis in enumerate(axes) if axis["type"] in VECTORS)
    level = image["datasets"][0]
    array = cast("zarr.Array", inner[level["path"]])
    check_claim(8 * array.size, array.nbytes_stored(), "its field")
    is_marked = array.fill_value is not None and bool(np.isnan(array.fill_value))
    if is_marked and array.shards is None and array.nchunks_initialized < array.nchunks:
        raise ReadError(
            "chunks of its field are lost, or left out because they have no displacement (NaN); "
            "copy all of it, or make it again with a displacement for each pixel"
        )
    values = np.moveaxis(np.asarray(array[...], np.float64), vector, 0)
    if values.shape[0] != ndim or values.ndim != ndim + 1:
        raise ValueError(f"its vectors have the shape {array.shape}, but it has {ndim} axes")
    if not np.isfinite(values).all():
        raise ReadError(
            "pixels of its field have no displacement (NaN); make it again with one for each pixel"
        )
    steps = [*level["coordinateTransformations"], *image.get("coordinateTransformations", [])]
    whole = Step.linear(np.eye(ndim + 1))
    for step in steps:
        whole = whole.then(step_of(step, inner, ndim + 1))
    if whole.matrix is None:
        raise ValueError("its pixels lie on no regular grid")
    kept = [*(k for k in range(ndim + 1) if k != vector), ndim + 1]
    return values, whole.matrix[np.ix_(kept, kept)]


VECTORS = ("displacement", "coordinate")
READERS: dict[str, Callable[[Document, zarr.Group, int], Step]] = {
    "identity": _identity,
    "scale": _scale,
    "translation": _translation,
    "rotation": _rotation,
    "affine": _affine,
    "mapAxis": _map_axis,
    "sequence": _sequence,
    "bijection": _bijection,
    "byDimension": _by_dimension,
    "displacements": _displacements,
    "coordinates": _coordinates,
}
