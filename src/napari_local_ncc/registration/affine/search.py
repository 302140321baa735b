"""From coarse to fine: many starts judged at low resolution, the best improved up to full."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.affine import nearest_matrix
from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.registration.affine.sampled_image import Judge, Sampled, rotations, turn
from napari_local_ncc.registration.affine.simpleitk import Optimum, optimise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_local_ncc.registration.affine.sampled_image import Matrix
    from napari_local_ncc.registration.engine_thread import Watch

FEWEST = 64  # valid samples
LEAST_OVERLAP = 0.3
COARSEST = {2: 64.0, 3: 32.0}  # px of an axis (geometric mean) where the search begins
SEARCHED = 2000  # samples that judge a start
SCORED = 40_000  # samples that judge a result
OPTIMISED = {2: 30_000, 3: 40_000}  # samples of the optimiser
NOISY = 4  # times as many, where noise would move the optimum of those by a px
TRIED = 2_000  # the same from every start, at the lowest resolution
REACH = 0.24  # of the field: how far the starts are moved
STARTS = 16
BESIDE = 0.1  # starts closer than this are one: less than a step of any turn or shift
KEPT = (4, 2)  # candidates after the first levels, one after the others; the given start besides
APART = 0.01  # candidates closer than this are one
THREADS = min(os.cpu_count() or 1, 4)
DEGREES = {2: (-32, -24, -16, -8, 0, 8, 16, 24, 32), 3: (-20, -10, 0, 10, 20)}
STEPS = {2: 4, 3: 2}  # on either side of no shift


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """Two images in a common frame, from low to full resolution."""

    fixed: Sampled
    moving: Sampled
    model: str
    metric: str
    seed: int
    watch: Watch

    def judge(self, fixed: Sampled, moving: Sampled, limit: int) -> Judge:
        """Return what compares two images at about so many points."""
        most = min(1.0, moving.volume / fixed.volume)  # share that can have a partner
        points = fixed.points(int(limit / max(most, 0.1)), self.seed)
        return Judge(*points, moving, self.metric, LEAST_OVERLAP * most)

    def levels(self) -> list[tuple[Sampled, Sampled]]:
        """Both images from coarse to fine, each level at about one spacing."""
        finest = max(image.spacing.min() for image in (self.fixed, self.moving))
        side = float(np.prod(self.fixed.extent / finest) ** (1 / self.fixed.ndim))
        number = max(1, 1 + int(np.ceil(np.log2(side / COARSEST[self.fixed.ndim]))))
        spacings = [finest * 2**k for k in reversed(range(number))]
        levels = [(self.fixed.reduce(s), self.moving.reduce(s)) for s in spacings]
        # few blocks of a thin or scattered mask are half full
        coarse = [pair for pair in levels[:-1] if min(i.count for i in pair) >= FEWEST]
        return [*coarse, levels[-1]]

    def starts(self) -> Iterator[Matrix]:
        """Yield turns and shifts about the identity, and about both images on one another."""
        ndim = self.fixed.ndim
        scales = (1.0,) if self.model == "rigid" or ndim == 3 else (0.8, 1.0, 1.25)
        turns = rotations(ndim, DEGREES[ndim], scales)
        ticks = np.linspace(-REACH, REACH, 2 * STEPS[ndim] + 1)
        field = np.minimum(self.fixed.extent, self.moving.extent)
        shifts = [np.array(s) * field for s in product(ticks, repeat=ndim)]
        centres = self.moving.centre - self.fixed.centre
        yield from turn(turns, self.fixed.centre, shifts)
        if (np.abs(centres) > REACH * field / STEPS[ndim]).any():
            yield from turn(turns, self.fixed.centre, [centres + shift for shift in shifts])

    def run(self, begin: Matrix, *, alone: bool = False) -> Optimum:
        """Return the best matrix found in the frame, and all iterations that it took.

        Parameters
        ----------
        begin : ndarray, shape (ndim + 1, ndim + 1)
            One start.
        alone : bool, default False
            Whether it is the only one; else the best of the search join it.
        """
        levels = self.levels()
        candidates = [begin]
        if not alone:
            coarse = self.judge(*levels[0], SEARCHED)
            candidates += coarse.best(self.starts(), STARTS, BESIDE)
        return self.climb(candidates, list(enumerate(levels)))

    def polish(self, best: Optimum) -> Optimum:
        """Improve what was found with more samples, if there are any and they have an optimum."""
        if self.fixed.count <= OPTIMISED[self.fixed.ndim]:
            return best
        finer = optimise(
            self.fixed,
            self.moving,
            best.matrix,
            model=self.model,
            metric=self.metric,
            samples=NOISY * OPTIMISED[self.fixed.ndim],
            seed=self.seed,
            watch=self.watch,
        )
        total = best.iterations + finer.iterations
        return replace(finer if finer.converged else best, iterations=total)

    def climb(
        self, candidates: list[Matrix], levels: list[tuple[int, tuple[Sampled, Sampled]]]
    ) -> Optimum:
        """Improve candidates from level to (numbered) level; the first is never dropped."""
        total, best = 0, Optimum(candidates[0], 0, converged=False)
        self.watch.check()
        for number, (fixed, moving) in levels:
            rest = levels[-1][0] - number
            improve = partial(self.improve, fixed, moving, first=number == 0 < rest, rest=rest)
            tasks = [(model, c) for c in candidates for model in self.models(number, rest)]
            with ThreadPoolExecutor(THREADS) as pool:  # every start by itself: the same bits
                improved = list(pool.map(improve, *zip(*tasks, strict=True)))
            total += sum(optimum.iterations for optimum in improved)
            judge = self.judge(fixed, moving, SCORED)
            kept = KEPT[number] if number < len(KEPT) else 1
            chosen = judge.best([o.matrix for o in improved], kept, APART)
            best = next((o for o in improved if chosen and o.matrix is chosen[0]), best)
            # what begins as things are goes on to the end: a coarse level may mistake it
            near = improved[0].matrix
            candidates = [near, *(m for m in chosen if np.abs(m - near).max() > APART)]
        return Optimum(nearest_matrix(best.matrix, Kind(self.model)), total, best.converged)

    def models(self, number: int, rest: int) -> tuple[str, ...]:
        """Return what candidates are improved as on a level.

        An affine would have to find 12 parameters from afar, and in noise a similarity can be
        where no affine climbs from: the first level is left to one, the next sees both.
        """
        if self.model != "affine" or not rest:
            return (self.model,)
        return (("similarity",), ("affine", "similarity"), ("affine",))[min(number, 2)]

    def improve(
        self, fixed: Sampled, moving: Sampled, model: str, start: Matrix, *, first: bool, rest: int
    ) -> Optimum:
        """Optimise on one level: cheaply on the first, with most samples on the last."""
        samples = OPTIMISED[self.fixed.ndim]
        return optimise(
            fixed,
            moving,
            start,
            model=model,
            metric=self.metric,
            samples=TRIED if first else samples // 3 if rest else samples,
            seed=self.seed,
            watch=self.watch,
        )
