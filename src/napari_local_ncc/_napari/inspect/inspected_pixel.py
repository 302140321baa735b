"""A pixel of a map that is inspected, with its windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_local_ncc.maps.window import WindowPair


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """A pixel of a map with its windows.

    Parameters
    ----------
    index : tuple of int
        The pixel, along all axes of the map.
    pair : WindowPair
        The windows.
    layer : Image
        The map.
    """

    index: tuple[int, ...]
    pair: WindowPair
    layer: Image

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where the window begins and ends along all axes of the map, in its pixels.

        Pixel centres are at whole numbers. Along an axis without a window it is one pixel.
        """
        low = np.array(self.index, float)
        low[-len(self.pair.centre) :] -= self.pair.centre
        size = np.ones(low.size)
        size[-len(self.pair.centre) :] = self.pair.fixed.shape
        return low - 0.5, low + size - 0.5
