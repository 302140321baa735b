"""How a plane is seen: its axes as napari displays them, the world's down and to the right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid

SIDES = (("upper", "lower"), ("left", "right"))


@dataclass(frozen=True, slots=True)
class View:
    """How the last two axes of pixels lie in the last two of the world, of a line its only one.

    Turned by less than 45 degrees, an axis counts as the one of the world that it is nearest to.

    Parameters
    ----------
    is_swapped : bool
        Whether rows of pixels are columns of the world.
    is_flipped : tuple of bool
        Whether an axis of pixels runs against the world's, one for each.
    """

    is_swapped: bool
    is_flipped: tuple[bool, ...]

    @classmethod
    def of(cls, grid: Grid) -> View:
        """Return how the frames of a grid are seen."""
        space = grid.space()
        shown = min(space.ndim, 2)
        steps = (space.to_one_unit() @ space.pixel_to_world)[-1 - shown : -1, -1 - shown : -1]
        is_swapped = shown == 2 and abs(steps[0, 1] * steps[1, 0]) > abs(steps[0, 0] * steps[1, 1])
        along = steps[::-1] if is_swapped else steps
        return cls(is_swapped, tuple(bool(step < 0) for step in np.diag(along)))

    def upright(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Return the samples of a plane as they are seen."""
        count = len(self.is_flipped)
        seen = np.flip(plane, tuple(k - count for k, flip in enumerate(self.is_flipped) if flip))
        return seen.T if self.is_swapped else seen

    def sides(self) -> tuple[tuple[str, str], ...]:
        """Return what the first and the second half of each axis of pixels are called."""
        names = SIDES[::-1] if self.is_swapped else SIDES[-len(self.is_flipped) :]
        return tuple(
            (low, high) if not flip else (high, low)
            for (low, high), flip in zip(names, self.is_flipped, strict=True)
        )
