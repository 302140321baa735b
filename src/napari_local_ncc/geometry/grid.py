"""Where an image lies: grids, and the affine maps between pixels and the world."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_local_ncc.geometry.affine import apply_affine, check_affine
from napari_local_ncc.geometry.units import (
    PIXEL,
    is_time,
    parse_length,
    unit_factor,
    unit_name,
    unit_symbol,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

MOST = 2**62  # pixels along an axis: their number and places are whole numbers of 64 bits
INDEPENDENT_LABELS = frozenset(
    {"t", "time", "c", "ch", "channel", "band", "q", "i", "index", "sequence", "frame", "page"}
)
CHANNEL_LABELS = frozenset({"c", "ch", "channel", "band"})
UNKNOWN_LABELS = frozenset({"q", "i", "index", "sequence", "page"})  # nobody knows what they are


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A regular lattice of samples and its place in the world.

    Parameters
    ----------
    shape : tuple of int
        Number of samples along each axis, each >= 1.
    pixel_to_world : array_like, shape (ndim + 1, ndim + 1), optional
        Homogeneous float64 matrix from pixel indices (centre of pixel 0 = 0) to world
        coordinates. Default: the identity.
    units : tuple of str, optional
        Unit of each world axis, as `pint` names it; ``"pixel"`` where there is none.
    axis_labels : tuple of str, optional
        Name of each axis. Default: ``("-2", "-1")`` in 2-D, and so on, as in napari.
    spatial : tuple of bool, optional
        Which axes are space. The others (time, channel, ...) are independent: paired
        index by index, never interpolated, never inside a window. Default: all axes
        but those whose label or unit says time, channel or sequence.

    Raises
    ------
    ValueError
        If the shape is empty, the matrix is not finite and invertible, the numbers of
        entries disagree, or spatial axes come before independent ones.

    Examples
    --------
    >>> from napari_local_ncc import Grid
    >>> grid = Grid.from_spacing((40, 50), spacing=(0.5, 0.25), units=("um", "um"))
    >>> grid.spacing.tolist(), grid.units
    ([0.5, 0.25], ('micrometer', 'micrometer'))
    """

    shape: tuple[int, ...]
    pixel_to_world: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    units: tuple[str, ...] = ()
    axis_labels: tuple[str, ...] = ()
    spatial: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        ndim = len(shape)
        if not shape or min(shape) < 1:
            raise ValueError(f"the image is empty: its shape is {shape}")
        if max(shape) > MOST:
            raise ValueError("an axis has more than 2**62 pixels, which no image has")
        numbers = tuple(str(k) for k in range(-ndim, 0))
        labels = tuple(self.axis_labels) or numbers
        if not all(isinstance(label, str) for label in labels):
            raise ValueError(f"the labels of axes are texts, got {labels}")
        if len(labels) == ndim:  # what is empty cannot be told from others
            labels = tuple(a if a.strip() else b for a, b in zip(labels, numbers, strict=True))
        if isinstance(self.units, str):  # whose letters may be units, too: u and m are
            raise TypeError(f"units are one per axis, got the text {self.units!r}")
        units = tuple(unit_name(unit) for unit in self.units or (PIXEL,) * ndim)
        spatial = tuple(self.spatial) or tuple(map(is_spatial, labels, units))
        for name, values in (("units", units), ("axis_labels", labels), ("spatial", spatial)):
            if len(values) != ndim:
                raise ValueError(f"{name} has {len(values)} entries {values} for {ndim} axes")
        if sorted(spatial) != list(spatial):
            raise ValueError(
                f"spatial axes must come last, but the axes are {labels}; transpose the image"
            )
        given = np.asarray(self.pixel_to_world)
        matrix = given if given.size else np.eye(ndim + 1)
        for name, value in (
            ("shape", shape),
            ("axis_labels", labels),
            ("units", units),
            ("spatial", spatial),
            ("pixel_to_world", check_affine(matrix, ndim)),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def from_spacing(
        cls,
        shape: Sequence[int],
        spacing: ArrayLike = 1.0,
        origin: ArrayLike = 0.0,
        **fields: Any,
    ) -> Self:
        """Make an axis-parallel grid from pixel sizes and the position of pixel 0.

        Parameters
        ----------
        shape : sequence of int
            Number of samples along each axis.
        spacing, origin : float or sequence of float
            Pixel size and world position of the first pixel's centre, per axis.
        **fields
            `units`, `axis_labels`, `spatial`.

        Returns
        -------
        Grid
            The grid.
        """
        ndim = len(shape)
        matrix = np.eye(ndim + 1)
        matrix[:ndim, :ndim] *= np.broadcast_to(np.asarray(spacing, float), (ndim,))
        matrix[:ndim, ndim] = origin
        return cls(tuple(shape), matrix, **fields)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def spatial_ndim(self) -> int:
        """Number of spatial axes; they are the last ones."""
        return sum(self.spatial)

    @property
    def series_shape(self) -> tuple[int, ...]:
        """Lengths of the independent axes; they are the first ones."""
        return self.shape[: self.ndim - self.spatial_ndim]

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Distance between neighbouring pixels along each axis, in world units."""
        return np.linalg.norm(self.pixel_to_world[:-1, :-1], axis=0)

    @property
    def origin(self) -> NDArray[np.float64]:
        """World position of the centre of pixel 0."""
        return self.pixel_to_world[:-1, -1].copy()

    @property
    def is_axis_parallel(self) -> bool:
        """Whether every axis keeps its own direction (no rotation, shear or swap)."""
        linear = self.pixel_to_world[:-1, :-1]
        return bool(np.allclose(linear, np.diag(np.diagonal(linear)), rtol=0, atol=1e-12))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, checked anew."""
        return replace(self, **changes)

    def with_spatial_ndim(self, ndim: int | None) -> Self:
        """Take the last `ndim` axes as space, whatever their names; ``None`` changes nothing.

        Raises
        ------
        ValueError
            If the grid has fewer axes, or one of these is a channel or has a unit of time.
        """
        if ndim is None:
            return self
        last = list(zip(self.axis_labels, self.units, strict=True))[-ndim:]
        for label, unit in last:
            if label.lower() in CHANNEL_LABELS or not is_spatial("", unit):
                raise ValueError(
                    f"the axis {label!r} (unit {unit}) cannot be one of {ndim} spatial axes; "
                    f"the axes are {self.axis_labels}"
                )
        if ndim > self.ndim:
            raise ValueError(f"{ndim} spatial axes are wanted, but the image has only {self.ndim}")
        return self.replace(spatial=(False,) * (self.ndim - ndim) + (True,) * ndim)

    def space(self) -> Grid:
        """Return the grid of the spatial axes alone (one frame)."""
        return self.take(range(self.ndim - self.spatial_ndim, self.ndim))

    def take(self, axes: Sequence[int]) -> Grid:
        """Return the grid of some axes alone, in the order given.

        Raises
        ------
        ValueError
            If a rotation or shear mixes the dropped axes with the kept ones.
        """
        kept = list(axes)
        dropped = [axis for axis in range(self.ndim) if axis not in kept]
        linear = self.pixel_to_world[:-1, :-1]
        mixed = np.abs(linear[np.ix_(dropped, kept)]).max(initial=0.0)
        mixed = max(mixed, np.abs(linear[np.ix_(kept, dropped)]).max(initial=0.0))
        if mixed > 1e-9 * np.abs(linear).max():
            raise ValueError(
                f"a rotation or shear mixes the axes {[self.axis_labels[k] for k in dropped]} "
                f"with {[self.axis_labels[k] for k in kept]}; they cannot be taken apart"
            )
        with_homogeneous = [*kept, self.ndim]
        return Grid(
            tuple(self.shape[k] for k in kept),
            self.pixel_to_world[np.ix_(with_homogeneous, with_homogeneous)],
            tuple(self.units[k] for k in kept),
            tuple(self.axis_labels[k] for k in kept),
            tuple(self.spatial[k] for k in kept),
        )

    def prepend(self, axes: Grid) -> Grid:
        """Return this grid with the axes of `axes` put in front, unmixed."""
        n = axes.ndim
        matrix = np.eye(n + self.ndim + 1)
        matrix[n:, n:] = self.pixel_to_world
        matrix[:n, :n] = axes.pixel_to_world[:n, :n]
        matrix[:n, -1] = axes.pixel_to_world[:n, n]
        return Grid(
            axes.shape + self.shape,
            matrix,
            axes.units + self.units,
            axes.axis_labels + self.axis_labels,
            axes.spatial + self.spatial,
        )

    def crop(self, box: Sequence[slice]) -> Grid:
        """Return the grid of a box of its pixels, one slice per axis; a step thins it out."""
        starts, _, steps = zip(
            *(part.indices(n) for n, part in zip(self.shape, box, strict=True)), strict=True
        )
        place = self.pixel_to_world.copy()
        place[:-1, -1] = apply_affine(self.pixel_to_world, starts)
        place[:-1, :-1] *= steps
        shape = tuple(len(range(n)[part]) for n, part in zip(self.shape, box, strict=True))
        return self.replace(shape=shape, pixel_to_world=place)

    def to_dict(self) -> dict[str, Any]:
        """Return the grid as plain JSON values."""
        return {
            "shape": list(self.shape),
            "pixel_to_world": self.pixel_to_world.tolist(),
            "units": list(self.units),
            "axis_labels": list(self.axis_labels),
            "spatial": list(self.spatial),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild a grid from `to_dict`."""
        return cls(**values)

    def corners(self) -> NDArray[np.float64]:
        """World positions of the outermost pixel centres, shape (2**ndim, ndim)."""
        ends = [(0, n - 1) for n in self.shape]
        pixels = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, self.ndim)
        return apply_affine(self.pixel_to_world, pixels)

    def extent_text(self) -> str:
        """Say which part of the world the grid covers, axis by axis."""
        low, high = self.corners().min(axis=0), self.corners().max(axis=0)
        return ", ".join(
            f"{axis_name(label)} {a:g} to {b:g} {unit_symbol(unit)}"
            for label, a, b, unit in zip(self.axis_labels, low, high, self.units, strict=True)
        )

    def in_units(self, units: Sequence[str]) -> Grid:
        """Express the same place in other units.

        An axis without a physical unit has nothing to convert: its numbers are read as
        being in the new unit, and the other way round.

        Parameters
        ----------
        units : sequence of str
            The new unit of each axis.

        Returns
        -------
        Grid
            The grid with its world coordinates converted.

        Raises
        ------
        ValueError
            If a length meets a time.
        """
        factors = [unit_factor(old, new) for old, new in zip(self.units, units, strict=True)]
        to_units = np.diag([*factors, 1.0])
        return self.replace(pixel_to_world=to_units @ self.pixel_to_world, units=tuple(units))

    def to_one_unit(self) -> NDArray[np.float64]:
        """Return the matrix from the world to one unit along all axes, that of the last axis.

        A rotation mixes the axes, so that nm along one and um along another would shear.
        """
        factors = [unit_factor(unit, self.units[-1]) for unit in self.units]
        return np.diag([*factors, 1.0])

    def pixel_lengths(self) -> NDArray[np.float64]:
        """Return how long pixels are along each axis of space, in the unit of the last one."""
        space = self.space()
        return np.linalg.norm((space.to_one_unit() @ space.pixel_to_world)[:-1, :-1], axis=0)

    def lengths_in_pixels(self, length: str) -> tuple[float, ...]:
        """Convert a physical length such as ``"0.5 um"`` to pixels of each axis.

        Returns
        -------
        tuple of float
            One length per axis; 0 on the independent axes.

        Raises
        ------
        ValueError
            If the text is not a length > 0, or a spatial axis has no physical unit.
        """
        quantity = parse_length(length)
        spatial_units = {u for u, s in zip(self.units, self.spatial, strict=True) if s}
        if PIXEL in spatial_units:
            raise ValueError(
                f"radius {length!r} is a physical length, but the fixed image has no "
                "physical pixel size; give the radius in pixels or set the image's units"
            )
        return tuple(
            float(quantity.m_as(unit)) / step if spatial else 0.0
            for unit, step, spatial in zip(self.units, self.spacing, self.spatial, strict=True)
        )


def is_spatial(label: str, unit: str) -> bool:
    """Say whether an axis is space, by its label and its unit: no time, channel or page."""
    name = label.lower().rstrip("0123456789")  # pages of pages are q2
    return name not in INDEPENDENT_LABELS and not is_time(unit)


def is_unknown(label: str) -> bool:
    """Say whether a label carries no meaning of its own: napari's "-3", pages "q", "q2"."""
    return label.lower().rstrip("0123456789").lstrip("-") in UNKNOWN_LABELS | {""}


def axis_name(label: str) -> str:
    """Return what to call an axis in a text: napari's unnamed "-1" is x, "-2" y, "-3" z."""
    return {"-1": "x", "-2": "y", "-3": "z"}.get(label, label)
