"""How the axes of a map become those of an OME file: time, channel, space."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.geometry.grid import CHANNEL_LABELS, Grid
from napari_local_ncc.geometry.units import PIXEL, unit_factor
from napari_local_ncc.image.pyramid import write_levels
from napari_local_ncc.image.spatial_image import map_chunks
from napari_local_ncc.progress import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dask.array as da
    from numpy.typing import NDArray

    from napari_local_ncc.maps.pipeline import ConfidenceMap

BAND_AXIS = 0  # of the bands array; axis k of the grid is its axis k + 1
KINDS = ("time", "channel", "custom", "space")  # in the order of an OME file
# told apart by all eyes (Okabe and Ito)
CHANNEL_COLORS = ("009E73", "E69F00", "56B4E9", "CC79A7", "F0E442", "0072B2", "D55E00")
SPACE_NAMES = ("z", "y", "x")


@dataclass(frozen=True, slots=True)
class OmeAxis:
    """One axis of an OME file that holds a map.

    Parameters
    ----------
    source : int
        Axis of the bands array, shape (band, *grid), that it holds.
    kind : {"time", "channel", "custom", "space"}
        What it is.
    name : str
        Its name.
    """

    source: int
    kind: str
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class OmeLayout:
    """The axes of a map in the order of an OME file, and writing through it.

    Bands are the channels. Where the map has a channel or other independent axis of its
    own, that takes their place: a map of one band needs no band axis.

    Parameters
    ----------
    grid : Grid
        The map's grid.
    band_names : tuple of str
        Its bands.

    Raises
    ------
    ValueError
        If OME has no place for the axes.
    """

    grid: Grid
    band_names: tuple[str, ...]
    axes: tuple[OmeAxis, ...] = field(init=False)

    def __post_init__(self) -> None:
        axes = [self._axis(k) for k in range(self.grid.ndim)]
        if not any(axis.kind in ("channel", "custom") for axis in axes):
            axes.append(OmeAxis(BAND_AXIS, "channel", "c"))
        axes.sort(key=lambda axis: KINDS.index(axis.kind))
        kinds = [axis.kind for axis in axes]
        complete = len(self.band_names) == 1 or BAND_AXIS in (axis.source for axis in axes)
        legal = kinds.count("time") <= 1 and kinds.count("space") in (2, 3)
        if not (complete and legal and kinds.count("channel") + kinds.count("custom") == 1):
            raise ValueError(
                "OME files hold at most one time axis, one channel axis and 2 or 3 space axes, "
                f"but the map has bands {self.band_names} on axes {self.grid.axis_labels}; "
                "write .npy instead"
            )
        object.__setattr__(self, "axes", tuple(axes))

    @classmethod
    def of(cls, confidence_map: ConfidenceMap) -> OmeLayout:
        """Return the layout of a map."""
        return cls(confidence_map.grid, confidence_map.band_names)

    @classmethod
    def of_document(cls, document: dict[str, Any]) -> OmeLayout:
        """Return the layout of the map that a document describes."""
        return cls(Grid.from_dict(document["grid"]), tuple(document["band_names"]))

    def _axis(self, k: int) -> OmeAxis:
        label, unit = self.grid.axis_labels[k].lower(), self.grid.units[k]
        from_end = k - self.grid.ndim
        if label in ("t", "time") or _is_time(unit):
            return OmeAxis(k + 1, "time", "t")
        if label in CHANNEL_LABELS:
            return OmeAxis(k + 1, "channel", "c")
        if label == str(from_end) and from_end >= -3:  # napari's name of an unnamed axis
            return OmeAxis(k + 1, "space", SPACE_NAMES[from_end])
        if self.grid.spatial[k] or label in SPACE_NAMES:
            return OmeAxis(k + 1, "space", label)
        return OmeAxis(k + 1, "custom", label)

    @property
    def order(self) -> list[int]:
        """Axis of the bands array that every axis of the file holds."""
        return [axis.source for axis in self.axes]

    @property
    def channel_names(self) -> list[str]:
        """What every channel of the file shows."""
        if BAND_AXIS in self.order:
            return list(self.band_names)
        k = next(axis.source for axis in self.axes if axis.kind in ("channel", "custom")) - 1
        label = self.grid.axis_labels[k]
        return [f"{self.band_names[0]} {label}={i}" for i in range(self.grid.shape[k])]

    @property
    def channel_colors(self) -> list[str]:
        """A colour for every channel, as ``"RRGGBB"``: white for one alone."""
        count = len(self.channel_names)
        if count == 1:
            return ["FFFFFF"]
        return [CHANNEL_COLORS[k % len(CHANNEL_COLORS)] for k in range(count)]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the stored array."""
        return self.in_file_order((len(self.band_names), *self.grid.shape))

    @property
    def chunks(self) -> tuple[int, ...]:
        """Chunks of the stored array: those that a map is computed in."""
        return self.in_file_order((1, *map_chunks(self.grid)))

    @property
    def steps(self) -> list[float]:
        """World distance of two samples along every axis of the file; < 0 where it is flipped.

        Lengths alone where the axes are turned against the world's.
        """
        grid = self.grid
        parallel = grid.is_axis_parallel
        steps = np.diagonal(grid.pixel_to_world)[:-1] if parallel else grid.spacing
        return [float(step) for step in self.per_axis(steps, 1.0)]

    def in_file_order(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Bring one value per axis of the bands array into the file's order."""
        return tuple(values[k] for k in self.order)

    def per_axis(self, grid_values: Sequence[Any] | NDArray[Any], band_value: Any) -> list[Any]:
        """Bring one value per axis of the grid, and one for bands, into the file's order."""
        return [grid_values[k - 1] if k != BAND_AXIS else band_value for k in self.order]

    def bands(self, stored: da.Array) -> da.Array:
        """Turn the stored array back into the bands array."""
        if BAND_AXIS in self.order:
            return stored.transpose([self.order.index(k) for k in range(len(self.order))])
        return stored.transpose([self.order.index(k + 1) for k in range(self.grid.ndim)])[None]


@dataclass(frozen=True, slots=True, eq=False)
class OmeTarget:
    """Stored levels that take tiles of the bands array.

    Parameters
    ----------
    levels : list of array
        From fine to coarse; NumPy or Zarr.
    layout : OmeLayout
        The order of their axes.
    covered : int, default 0
        Up to which level a tile is written; coarser ones are left to who made them.
    """

    levels: list[Any]
    layout: OmeLayout
    covered: int = 0

    def __setitem__(self, location: tuple[slice, ...], tile: NDArray[Any]) -> None:
        order = self.layout.order
        if BAND_AXIS in order:
            block = tile.transpose(order)
        else:
            block = tile[0].transpose([k - 1 for k in order])
        levels, place = self.levels[: self.covered + 1], self.layout.in_file_order(location)
        with uninterrupted():  # or Zarr's own thread would go on, and make anew what was removed
            write_levels(levels, place, block)

    def __getitem__(self, location: tuple[slice, ...]) -> NDArray[Any]:
        order = self.layout.order
        block = np.asarray(self.levels[0][self.layout.in_file_order(location)])
        if BAND_AXIS not in order:
            block, order = block[np.newaxis], [BAND_AXIS, *order]
        return block.transpose(np.argsort(order))


def _is_time(unit: str) -> bool:
    try:
        return unit != PIXEL and bool(unit_factor(unit, "second"))
    except ValueError:
        return False
