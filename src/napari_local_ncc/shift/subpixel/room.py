"""Memory that tiles take in turn: asking the system for it anew takes as long as to fill it."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Room:
    """Arrays by name, each used by one tile at a time; it grows as they need."""

    def __init__(self) -> None:
        self._flat: dict[str, NDArray[Any]] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: type = np.float64) -> NDArray[Any]:
        """Return an array of any values, which is that of the last one to ask by this name."""
        size = prod(shape)
        if name not in self._flat or self._flat[name].size < size:
            self._flat[name] = np.empty(size, dtype)
        return self._flat[name][:size].reshape(shape)
