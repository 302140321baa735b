"""Rigid, similarity and affine transforms: a search over starts, then SimpleITK."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry import check_affine, invert_affine
from napari_local_ncc.registration._itk import optimised, projected, simpleitk
from napari_local_ncc.registration._sampled import (
    Judge,
    Sampled,
    correlation,
    orthogonal,
    rotations,
    turned,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    Matrix = NDArray[np.float64]

MODELS = ("rigid", "similarity", "affine")
METRICS = ("mutual information", "correlation")
LEAST_OVERLAP = 0.3
FEWEST = 64  # valid samples
SHORTEST = 4  # px of every axis
COARSEST = {2: 64.0, 3: 32.0}  # px of an axis (geometric mean) where the search begins
SEARCHED = 2000  # samples that judge a start
SCORED = 40_000  # samples that judge a result
OPTIMISED = {2: 30_000, 3: 40_000}  # samples of the optimiser
TRIED = 2_000  # the same from every start, at the lowest resolution
REACH = 0.24  # of the field: how far the starts are moved
STARTS = 12
DEGREES = {2: (-32, -24, -16, -8, 0, 8, 16, 24, 32), 3: (-20, -10, 0, 10, 20)}
STEPS = {2: 4, 3: 2}  # on either side of no shift


@dataclass(frozen=True, slots=True, eq=False)
class AffineFit:
    """A rigid, similarity or affine transform, and what it does to the similarity.

    Attributes
    ----------
    matrix : ndarray of float64, shape (ndim + 1, ndim + 1)
        Homogeneous, maps fixed world to moving world, in NumPy axis order.
    ncc_before, ncc_after : float
        Global NCC over the valid overlap without and with the transform, in [-1, 1]; NaN
        where undefined. Moving is interpolated linearly. Negative for inverted contrast.
    overlap : float
        Share of fixed's valid samples that have a valid partner after, in [0, 1].
    metric : float
        What was maximised: normalised mutual information - 1, or the squared correlation;
        both in [0, 1].
    iterations : int
        Of the optimiser, over all resolutions and starts.
    """

    matrix: Matrix
    ncc_before: float
    ncc_after: float
    overlap: float
    metric: float
    iterations: int


def estimate_affine(
    fixed: ArrayLike,
    moving: ArrayLike,
    *,
    model: str,
    fixed_to_world: ArrayLike,
    moving_to_world: ArrayLike,
    metric: str = "mutual information",
    seed: int = 0,
) -> AffineFit:
    """Estimate the transform that maximises the similarity of two images.

    At a low resolution, shifts of up to a quarter of the field combined with rotations are
    judged by normalised mutual information [1]_; the best of them, and the identity, are
    improved by Mattes' mutual information [2]_ there, and the winner up to full resolution.

    Parameters
    ----------
    fixed, moving : array_like, 2-D or 3-D
        Real images with equally many axes; their shapes may differ. NaN and infinite
        samples are invalid.
    model : {"rigid", "similarity", "affine"}
        What is allowed, in world coordinates.
    fixed_to_world, moving_to_world : array_like, shape (ndim + 1, ndim + 1)
        Maps of pixels to the world, both in the same units.
    metric : {"mutual information", "correlation"}, default "mutual information"
        Correlation is meant for images of one modality (of either sign).
    seed : int, default 0
        Of the samples drawn; the same seed gives the same bits.

    Returns
    -------
    AffineFit
        The identity where nothing found is better.

    Raises
    ------
    ImportError
        If SimpleITK is not installed.
    ValueError
        If the model, metric or number of axes is none of the above, the images are constant,
        too small or (almost) all invalid, or do not overlap wherever they are put.

    References
    ----------
    .. [1] Studholme et al., Pattern Recognition 32, 71 (1999),
       doi:10.1016/S0031-3203(98)00091-0
    .. [2] Mattes et al., IEEE TMI 22, 120 (2003), doi:10.1109/TMI.2003.809072
    """
    for name, value, choices in (("model", model, MODELS), ("metric", metric, METRICS)):
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    simpleitk()
    images = _checked(fixed, fixed_to_world, "fixed"), _checked(moving, moving_to_world, "moving")
    if images[0].ndim != images[1].ndim:
        raise ValueError(
            f"fixed is {images[0].ndim}-D but moving is {images[1].ndim}-D; "
            "select images of equal dimension or a slice"
        )
    world_to_frame = _frame(images[0])
    framed = [Sampled(_scaled(i.values), world_to_frame @ i.to_frame) for i in images]
    search = _Search(framed[0], orthogonal(framed[1]), model, metric, seed)
    found, iterations = search.run()
    judge = search.judge(framed[0], framed[1], SCORED)
    if not judge.score(found) > judge.score(np.eye(len(found))):
        found = np.eye(len(found))
    if not np.isfinite(judge.score(found)):
        raise ValueError(
            "fixed and moving share no samples wherever moving is put; "
            "check their positions, spacing and masks"
        )
    return _fit(judge, found, world_to_frame, iterations)


def _fit(judge: Judge, found: Matrix, world_to_frame: Matrix, iterations: int) -> AffineFit:
    before, after = judge.pairs(np.eye(len(found))), judge.pairs(found)
    matrix = invert_affine(world_to_frame) @ found @ world_to_frame
    share = after[0].size / judge.values.size
    score = judge.score(found)
    return AffineFit(matrix, correlation(*before), correlation(*after), share, score, iterations)


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """Two images in a common frame, from low to full resolution."""

    fixed: Sampled
    moving: Sampled
    model: str
    metric: str
    seed: int

    def judge(self, fixed: Sampled, moving: Sampled, limit: int) -> Judge:
        most = min(1.0, moving.volume / fixed.volume)  # share that can have a partner
        points = fixed.points(int(limit / max(most, 0.1)), self.seed)
        return Judge(*points, moving, self.metric, LEAST_OVERLAP * most)

    def levels(self) -> list[tuple[Sampled, Sampled]]:
        """Both images from coarse to fine, each level at about one spacing."""
        finest = max(image.spacing.min() for image in (self.fixed, self.moving))
        side = float(np.prod(self.fixed.extent / finest) ** (1 / self.fixed.ndim))
        number = max(1, 1 + int(np.ceil(np.log2(side / COARSEST[self.fixed.ndim]))))
        spacings = [finest * 2**k for k in reversed(range(number))]
        levels = [(self.fixed.reduced(s), self.moving.reduced(s)) for s in spacings]
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
        yield from turned(turns, self.fixed.centre, shifts)
        if (np.abs(centres) > REACH * field / STEPS[ndim]).any():
            yield from turned(turns, self.fixed.centre, [centres + shift for shift in shifts])

    def run(self) -> tuple[Matrix, int]:
        """Return the best matrix found in the frame, and the number of iterations."""
        levels = self.levels()
        coarse = self.judge(*levels[0], SEARCHED)
        candidates = [np.eye(self.fixed.ndim + 1)]
        candidates += coarse.best(self.starts(), STARTS, apart=0.2)
        total = 0
        for rest, (fixed, moving) in zip(reversed(range(len(levels))), levels, strict=True):
            first = rest == len(levels) - 1 > 0
            improved = [self.improved(fixed, moving, c, first, rest == 0) for c in candidates]
            total += sum(iterations for _, iterations in improved)
            judge = self.judge(fixed, moving, SCORED)
            best = judge.best([matrix for matrix, _ in improved], 2 if first else 1, apart=0.01)
            candidates = best or candidates[:1]
        return projected(candidates[0], self.model), total

    def improved(
        self, fixed: Sampled, moving: Sampled, start: Matrix, first: bool, last: bool
    ) -> tuple[Matrix, int]:
        """Optimise on one level: cheaply on the first, with most samples on the last."""
        samples = OPTIMISED[self.fixed.ndim]
        return optimised(
            fixed,
            moving,
            start,
            # an affine start would have to find 12 parameters from afar
            model="similarity" if first and self.model == "affine" else self.model,
            metric=self.metric,
            samples=TRIED if first else samples if last else samples // 3,
            seed=self.seed,
        )


def _checked(image: ArrayLike, to_world: ArrayLike, name: str) -> Sampled:
    """Check one image, and return it with NaN where it is invalid."""
    data = np.asarray(image)
    if data.ndim not in (2, 3) or data.dtype.kind not in "buif":
        raise ValueError(
            f"{name} must be a real 2-D or 3-D image, got {data.ndim}-D {data.dtype}; "
            "select a plane or a volume"
        )
    matrix = check_affine(to_world, data.ndim)
    values = np.where(np.isfinite(data), data, np.nan).astype(np.float64)
    count = int(np.count_nonzero(np.isfinite(values)))
    if min(data.shape) < SHORTEST or count < FEWEST:
        raise ValueError(
            f"{name} has shape {data.shape} and {count} valid samples; at least {SHORTEST} along "
            f"every axis and {FEWEST} valid ones are needed; check the mask and the NaNs"
        )
    if np.nanmin(values) == np.nanmax(values):
        raise ValueError(
            f"{name} is constant ({np.nanmin(values):g}) over its {count} valid samples, "
            "so any transform fits; choose another channel, slice or mask"
        )
    # Offset and scale go before float32 does: it has seven digits, up to 1e38.
    values -= np.nanmin(values)
    values /= np.nanmax(values)
    return Sampled(np.ascontiguousarray(values, np.float32), matrix)


def _frame(fixed: Sampled) -> Matrix:
    """Return the map of the world to a frame centred on fixed, whose unit is fixed's size."""
    radius = float(np.sqrt(np.sum(fixed.extent**2) / 12))
    matrix = np.eye(fixed.ndim + 1) / radius
    matrix[:-1, -1] = -fixed.centre / radius
    matrix[-1, -1] = 1
    return matrix


def _scaled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring values to [0, 1]; a few extreme ones must not empty all bins but one."""
    low, high = np.nanpercentile(values, (0.5, 99.5))
    if low == high:
        low, high = np.nanmin(values), np.nanmax(values)
    return np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
