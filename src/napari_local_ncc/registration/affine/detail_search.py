"""From every turn and scale to one transform, level by level."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_local_ncc.geometry.affine import invert_affine
from napari_local_ncc.registration.affine.least_squares import least_squares
from napari_local_ncc.registration.affine.orientations import (
    Start,
    detail_of,
    read_on_lattice,
    starts_by_detail,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_local_ncc.registration.affine.sampled_image import Matrix, Sampled
    from napari_local_ncc.registration.engine_thread import Watch

    Levels = dict[tuple[float, int], tuple[Sampled, Sampled]]  # of a resolution and a scale

LEVELS = {2: (64.0, 64.0, 192.0), 3: (24.0, 24.0, 48.0)}  # px of the smaller image (mean side)
FOLLOWED = (8, 3, 2)  # starts on each level; on the first, so many of scale 1 and of others
STEPS = (3, 6, 8)  # of each of them
GRAIN = (1.6, 1.6, 1.2)  # px: smoothing on each level


@dataclass(frozen=True, eq=False)
class DetailSearch:
    """Two images in one frame, searched for the transform by which their detail agrees.

    Parameters
    ----------
    fixed, moving : Sampled
        Without outliers, NaN where invalid, axes at right angles.
    model : {"rigid", "similarity", "affine"}
    watch : Watch
        Can stop the work.
    """

    fixed: Sampled
    moving: Sampled
    model: str
    watch: Watch
    _details: Levels = field(default_factory=dict)
    _images: Levels = field(default_factory=dict)

    def run(self, begin: Matrix | None, *, alone: bool = False) -> Start | None:
        """Return the best transform on the finest level here, and how well detail fits there.

        Parameters
        ----------
        begin : ndarray, shape (ndim + 1, ndim + 1), or None
            One start more.
        alone : bool, default False
            Whether it is the only one.
        """
        starts = [] if begin is None else [begin]
        if not alone:
            starts += self._starts()
        for level in range(len(LEVELS[self.fixed.ndim])):
            climbed = [better for start in starts for better in self._climb(start, level)]
            climbed.sort(key=lambda start: -start.fit)
            if not climbed:
                return None
            self.watch.note(-climbed[0].fit)  # as metrics that are minimised
            starts = _apart(climbed, FOLLOWED[min(level + 1, 2)])
        return climbed[0]

    def _starts(self) -> list[Matrix]:
        """Return the best starts of scale 1, and the best of the others that are searched."""
        searched = (False, True) if self.fixed.ndim == 2 and self.model != "rigid" else (False,)
        found = (
            starts_by_detail(self.fixed, self.moving, scaled=scaled, watch=self.watch)
            for scaled in searched
        )
        return [start.matrix for starts in found for start in starts[: FOLLOWED[0]]]

    def fit(self, matrix: Matrix, level: int = -1) -> float:
        """Return how well detail agrees, in standard deviations if neighbours were independent."""
        level %= len(LEVELS[self.fixed.ndim])
        still, other = self.details(matrix, level)
        moved = on_lattice(other, matrix, still)
        power = float(np.sum(np.square(still.values * moved), dtype=np.float64))
        return abs(float(np.vdot(still.values, moved))) / np.sqrt(power) if power > 0 else 0.0

    def details(self, matrix: Matrix, level: int = -1) -> tuple[Sampled, Sampled]:
        """Return the detail of both images on the lattices of a level."""
        return self._at(self._details, detail_of, matrix, level % len(LEVELS[self.fixed.ndim]))

    def images(self, matrix: Matrix, level: int = -1) -> tuple[Sampled, Sampled]:
        """Return both images on the lattices of a level."""
        return self._at(self._images, read_on_lattice, matrix, level % len(LEVELS[self.fixed.ndim]))

    def _at(
        self, kept: Levels, make: Callable[[Sampled, float], Sampled], matrix: Matrix, level: int
    ) -> tuple[Sampled, Sampled]:
        ndim = self.fixed.ndim
        scale = float(abs(np.linalg.det(matrix[:-1, :-1]))) ** (1 / ndim)
        key = (LEVELS[ndim][level], round(8 * np.log2(scale)))  # steps of 9 %
        if key not in kept:
            scale = 2 ** (key[1] / 8)
            smaller = min(self.fixed.length, self.moving.length / scale)
            spacing = smaller / key[0]
            spacing = max(spacing, self.fixed.step, self.moving.step / scale)
            kept[key] = make(self.fixed, spacing), make(self.moving, spacing * scale)
        return kept[key]

    def _climb(self, start: Matrix, level: int) -> list[Start]:
        """Improve a start on a level; an affine is sought from the similarity that it is near."""
        self.watch.check()
        models: tuple[str, ...] = (self.model,)
        if self.model == "affine" and level < 2:
            models = (("similarity",), ("similarity", "affine"))[level]
        found, matrix = [], start
        for model in models:
            pair = self.images(matrix, level)
            fit = least_squares(
                *pair, matrix, model=model, smoothing=GRAIN[level], order=1, steps=STEPS[level]
            )
            if fit is not None:
                matrix = fit.matrix
                found.append(Start(matrix, self.fit(matrix, level)))
        return found


def on_lattice(
    image: Sampled, matrix: Matrix, lattice: Sampled, *, beyond: float = 0.0
) -> NDArray[np.float32]:
    """Return an image moved onto another's lattice, interpolated linearly."""
    to_pixels = invert_affine(image.to_frame) @ matrix @ lattice.to_frame
    return np.asarray(
        ndi.affine_transform(
            image.values,
            to_pixels[:-1, :-1],
            to_pixels[:-1, -1],
            output_shape=lattice.values.shape,
            order=1,
            mode="constant",
            cval=beyond,
        )
    )


def _apart(starts: list[Start], number: int, apart: float = 0.02) -> list[Matrix]:
    """Return the matrices of the best starts that differ."""
    chosen: list[Matrix] = []
    for start in starts:
        if all(np.abs(start.matrix - other).max() > apart for other in chosen):
            chosen.append(start.matrix)
        if len(chosen) == number:
            break
    return chosen
