"""The bands of any block of a map, by one task that reads what it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.maps.block.block import Block
from napari_local_ncc.maps.block.plan import COMPUTED
from napari_local_ncc.ncc.device import gpu_failures, on_host

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.maps.block.plan import BandPlan
    from napari_local_ncc.maps.comparison import Comparison

    Reach = tuple[int, ...]
    Box = tuple[slice, ...]


@dataclass(frozen=True, slots=True, eq=False)
class BandTask:
    """Computes the bands of any block of a map from what it reads; it travels by pickle.

    Parameters
    ----------
    comparison : Comparison
        What is compared.
    plan : BandPlan
        How.
    names : tuple of str
        The bands, in the order of `bands_on`.
    """

    comparison: Comparison
    plan: BandPlan
    names: tuple[str, ...]

    def __call__(self, box: Box) -> NDArray[np.float32]:
        """Return the bands in a box of the grid, shape (bands, *box); NaN where undefined."""
        known = tuple(
            slice(max(part.start, b.start), min(part.stop, b.stop))
            for part, b in zip(box, self.comparison.box, strict=True)
        )
        if known == tuple(box):
            return self._compute(known)
        out = np.full((len(self.names), *_lengths(box)), np.nan, np.float32)
        if "classes" in self.names:  # which are numbers, and undefined is 0
            out[self.names.index("classes")] = 0
        if all(part.start < part.stop for part in known):
            here = tuple(
                slice(k.start - part.start, k.stop - part.start)
                for k, part in zip(known, box, strict=True)
            )
            out[(slice(None), *here)] = self._compute(known)
        return out

    def _compute(self, box: Box) -> NDArray[np.float32]:
        reach = tuple(
            slice(max(part.start - r, b.start), min(part.stop + r, b.stop))
            for part, r, b in zip(box, self.plan.reach, self.comparison.overlap_box, strict=True)
        )
        region = tuple(
            slice(part.start - r.start, part.stop - r.start)
            for part, r in zip(box, reach, strict=True)
        )
        with gpu_failures(self.plan.device):
            images = self.comparison.read(reach, self.plan.device)
            if self.plan.has_frames:
                images.append(_frame_numbers(self.comparison.grid.shape, self.plan.radius, reach))
            whole = tuple(slice(0, n) for n in images[0].shape)
            origin = [part.start for part in reach]
            block = Block([[(whole, image)] for image in images], region, self.plan, origin)
            bands = [
                on_host(band) for name in self.plan.kinds for band in COMPUTED[name].bands(block)
            ]
        return bands[0][np.newaxis] if len(bands) == 1 else np.stack(bands)


def _lengths(box: Box) -> list[int]:
    return [part.stop - part.start for part in box]


def _frame_numbers(shape: tuple[int, ...], radius: Reach, box: Box) -> NDArray[np.intp]:
    """Return the number of the frame that each pixel of a box is of, without memory for it.

    Every index along axes of radius 0 is a frame; all of `shape` are counted.
    """
    lengths = [1 if r else n for n, r in zip(shape, radius, strict=True)]
    numbers = np.arange(np.prod(lengths)).reshape(lengths)
    numbers = numbers[tuple(slice(None) if r else b for b, r in zip(box, radius, strict=True))]
    return np.broadcast_to(numbers, _lengths(box))
