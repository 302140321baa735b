"""A result on its way into the viewer: its values, its place, how it is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_local_ncc._napari.layers.convert import placement_on

if TYPE_CHECKING:
    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.transforms.registration import Registration

LABELS = ("labels", "classes")  # the kinds that are Labels layers


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """Where results go and how.

    Parameters
    ----------
    placement : dict
        How to put a layer exactly where the fixed image lies.
    multiscale : bool
        Whether results are to be pyramids, as the fixed layer is.
    view : tuple of float
        The middle of what the user looks at, in the viewer's world: it is computed first.
    budget : float
        Size in bytes up to which the results of a run are kept in memory.
    layers : dict of str to str
        Ids of the layers that went in; what makes a result the successor of another.
    style : dict
        How to draw the registered image.
    """

    placement: dict[str, Any]
    multiscale: bool
    view: tuple[float, ...]
    budget: float
    layers: dict[str, str]
    style: dict[str, Any]

    def place_on(self, grid: Grid, fixed: Grid) -> dict[str, Any]:
        """Return how to put a layer on `grid`, which may have more axes than `fixed`."""
        return self.placement if grid.ndim == fixed.ndim else placement_on(grid)


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """A result that is being computed: it is shown before it is complete.

    Parameters
    ----------
    kind : str
        What it is: "registered", "labels", "classes", "arrows", "shift_length", or a band.
    name : str
        What to call its layer.
    levels : list of array
        Its values, filled tile by tile, and coarser copies if it is a pyramid. Of arrows:
        where they begin and their components, shape (arrows, 2, axes).
    grid : Grid
        Where they lie.
    placement, style : dict
        The same, and how to draw them, as arguments of a layer.
    metadata : dict
        Plain JSON values: how it was made, of which layers.
    registration : Registration or None
        The transform that was applied, of which the metadata may hold only a description.
    pair : str
        What tells its layer's name from that of another pair, where both are there.
    """

    kind: str
    name: str
    levels: list[Any]
    grid: Grid
    placement: dict[str, Any]
    style: dict[str, Any]
    metadata: dict[str, Any]
    registration: Registration | None
    pair: str = ""
