"""The residual shift of a map as vectors on a lattice, with their errors: for DIC and PIV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.geometry.grid import axis_name
from napari_local_ncc.maps.bands import shift_components, shift_errors
from napari_local_ncc.reports.data_frame import data_frame
from napari_local_ncc.shift.outliers import LIMIT, neighbour_residual

if TYPE_CHECKING:
    import pandas

    from napari_local_ncc.maps.pipeline import ConfidenceMap

BESIDE = ("ncc_best", "peak_ratio")


@dataclass(frozen=True, slots=True, eq=False)
class VectorTable:
    """Vectors that are defined, one by one.

    Parameters
    ----------
    places : dict of str to list of int
        The pixel, along each axis of the map.
    values : dict of str to list of float
        ``shift_y`` and the like in px, ``shift_sd_y`` and the like, ``ncc_best``, ``peak_ratio``.
    residual : list of float
        Normalised median residual to the neighbours; NaN where there are none.
    """

    places: dict[str, list[int]]
    values: dict[str, list[float]]
    residual: list[float]

    @property
    def valid(self) -> list[int]:
        """1 where a vector fits in with its neighbours, else 0; 0 where it has none."""
        return [int(value <= LIMIT) for value in self.residual]

    def columns(self) -> dict[str, list[Any]]:
        """Return the table by column, as a file holds it: places, values, residual, valid."""
        return {**self.places, **self.values, "residual": self.residual, "valid": self.valid}

    def to_pandas(self) -> pandas.DataFrame:
        """Return the table as pandas holds it; ImportError where pandas is not installed."""
        return data_frame(self.columns())


def vector_table(result: ConfidenceMap, *, stride: int = 8) -> VectorTable:
    """Return the residual shift of a map on a lattice.

    Parameters
    ----------
    result : ConfidenceMap
        Has the bands of "shift"; those of "shift_error" are used where they are there.
    stride : int, default 8
        Distance of the vectors along each windowed axis, in px.

    Returns
    -------
    VectorTable
        A row per vector that is defined; up to a residual of 2 it is valid (Westerweel and
        Scarano, 2005).

    Raises
    ------
    ValueError
        If the map has no shift, or `stride` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import NCCParameters, confidence_map
    >>> from napari_local_ncc.reports import vector_table
    >>> scene = np.random.default_rng(0).normal(size=(40, 50))
    >>> parameters = NCCParameters(bands=("ncc", "shift"), search=2)
    >>> found = confidence_map(scene[:, :-1], scene[:, 1:], parameters=parameters)
    >>> columns = vector_table(found, stride=20).columns()
    >>> columns["y"], [round(step, 1) for step in columns["shift_x"]]
    ([10, 10, 30, 30], [-1.0, -1.0, -1.0, -1.0])
    """
    names = shift_components({name: name for name in result.band_names})
    if not names:
        raise ValueError(
            f"the map has no shift, only {', '.join(result.band_names)}; compute bands ncc,shift"
        )
    if stride < 1:
        raise ValueError(f"stride must be >= 1 px, got {stride}")
    grid = result.grid
    windowed = {name.rpartition("_")[2] for name in names}
    axes = [axis_name(label) for label in grid.axis_labels]
    steps = tuple(
        slice(min(stride // 2, n - 1), None, stride) if axis in windowed else slice(None)
        for axis, n in zip(axes, grid.shape, strict=True)
    )
    wanted = [
        *names,
        *shift_errors({name: name for name in result.band_names}),
        *(name for name in BESIDE if name in result.band_names),
    ]
    picked = result.bands[[result.band_names.index(name) for name in wanted]][:, *steps]
    values = np.asarray(picked.compute())
    residual = _residuals(values[: len(names)], [axis in windowed for axis in axes])
    known = np.isfinite(values[: len(names)]).all(axis=0)
    places = {
        name: ((step.start or 0) + along * (step.step or 1)).tolist()
        for along, name, step in zip(np.argwhere(known).T, axes, steps, strict=True)
    }
    bands = {name: band[known].tolist() for name, band in zip(wanted, values, strict=True)}
    return VectorTable(places, bands, residual[known].tolist())


def _residuals(vectors: Any, windowed: list[bool]) -> Any:
    """Compare vectors with their neighbours along the windowed axes only."""
    series = [axis for axis, used in enumerate(windowed) if not used]
    lengths = [vectors.shape[1 + axis] for axis in series]
    residual = np.empty(vectors.shape[1:])
    for index in np.ndindex(*lengths):
        place: list[Any] = [slice(None)] * len(windowed)
        for axis, i in zip(series, index, strict=True):
            place[axis] = i
        residual[tuple(place)] = neighbour_residual(vectors[(slice(None), *place)])
    return residual
