"""What a live preview asks for and shows; how it is computed, off the GUI thread."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc._napari.preview.view import visible_box
from napari_local_ncc.chunked.tiles import compute_tiles
from napari_local_ncc.maps.pipeline import load_kernel
from napari_local_ncc.maps.region import region_of_map

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_local_ncc._napari.preview.view import View
    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.maps.comparison import Comparison

PATIENCE = 0.3  # s before what is there of a map is shown, and between two such sights


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What a preview shows.

    Parameters
    ----------
    ncc : ndarray of float32
        NaN where undefined, or not computed yet.
    grid : Grid
        Where it lies.
    step : int
        Of how many pixels along each displayed axis one is shown.
    share : float
        How much of it is computed, in [0, 1].
    """

    ncc: NDArray[np.float32]
    grid: Grid
    step: int
    share: float


def look(
    comparison: Comparison, view: View, cancelled: threading.Event
) -> Generator[Sight, None, Sight]:
    """Compute what is in view; yield what there is of it where that takes long."""
    box = visible_box(comparison.grid, view)
    part = region_of_map(comparison, box)
    load_kernel(comparison)
    ncc = np.full(part.grid.shape, np.nan, np.float32)
    step = max(along.step for along in box)
    shown = monotonic()
    workers = max((os.cpu_count() or 1) - 1, 1)  # one core is for the GUI and its drawing
    with closing(compute_tiles(part.data, workers=workers, cancelled=cancelled)) as tiles:
        for tile in tiles:
            ncc[tile.location] = tile.data
            if monotonic() - shown > PATIENCE:
                yield Sight(ncc.copy(), part.grid, step, tile.done / tile.total)
                shown = monotonic()
    return Sight(ncc, part.grid, step, 1.0)
