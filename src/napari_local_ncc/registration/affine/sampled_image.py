"""Images in a common frame at any resolution: reduce, read at points, compare, search."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.evidence.blocks import block_means
from napari_local_ncc.evidence.pearson import pearson
from napari_local_ncc.geometry.affine import invert_affine
from napari_local_ncc.registration.affine.score_kernel import read_points

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Vector = NDArray[np.float64]

BINS = 16  # of each image in a joint histogram
NARROWEST = 8  # px, below which no axis is reduced


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """Float32 samples (NaN where invalid) and the matrix from pixels to the frame."""

    values: NDArray[np.float32]
    to_frame: Matrix

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.values.ndim

    @property
    def count(self) -> int:
        """Number of valid samples."""
        return int(np.count_nonzero(np.isfinite(self.values)))

    @property
    def volume(self) -> float:
        """What the valid samples cover of the frame."""
        return self.count * float(abs(np.linalg.det(self.to_frame[:-1, :-1])))

    @property
    def spacing(self) -> Vector:
        """Distance of neighbours along every axis, in the frame."""
        return np.linalg.norm(self.to_frame[:-1, :-1], axis=0)

    @property
    def step(self) -> float:
        """Geometric mean of the spacing."""
        return float(np.exp(np.log(self.spacing).mean()))

    @property
    def length(self) -> float:
        """Geometric mean of the sides."""
        return float(np.exp(np.log(self.extent).mean()))

    @property
    def centre(self) -> Vector:
        """The middle of the grid, in the frame."""
        return self.place((np.array(self.values.shape)[None] - 1) / 2)[0]

    @property
    def extent(self) -> Vector:
        """Length of each side of the grid, in the frame."""
        return self.spacing * self.values.shape

    def place(self, pixels: NDArray[np.float64] | NDArray[np.intp]) -> NDArray[np.float64]:
        """Put pixel indices, shape (n, ndim), into the frame."""
        return pixels @ self.to_frame[:-1, :-1].T + self.to_frame[:-1, -1]

    def points(self, limit: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Draw about `limit` valid samples: where they are in the frame, and their values."""
        flat = self.values.ravel()
        index = np.flatnonzero(np.isfinite(flat))
        if index.size > limit:
            index = np.sort(np.random.default_rng(seed).choice(index, limit, replace=False))
        pixels = np.stack(np.unravel_index(index, self.values.shape), axis=-1)
        return self.place(pixels), flat[index]

    def read(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        """Interpolate linearly at points of the frame, shape (n, ndim); NaN outside."""
        inverse = invert_affine(self.to_frame)
        lead = 3 - self.ndim
        pixels = np.zeros((len(points), 3))
        pixels[:, lead:] = points @ inverse[:-1, :-1].T + inverse[:-1, -1]
        result = np.empty(len(points), np.float32)
        read_points(self.values.reshape((1,) * lead + self.values.shape), pixels, result)
        return result

    def reduce(self, spacing: float) -> Sampled:
        """Means of blocks, about as large as `spacing`; valid where half the samples are."""
        factors = [
            int(np.clip(spacing / s + 1e-6, 1, max(1, n // NARROWEST)))
            for s, n in zip(self.spacing, self.values.shape, strict=True)
        ]
        if max(factors) == 1:
            return self
        means, valid = block_means(self.values, factors, np.isfinite(self.values))
        if valid is not None:
            means = np.where(valid, means, np.float32(np.nan))
        grow = np.diag([*map(float, factors), 1.0])
        grow[:-1, -1] = (np.array(factors) - 1) / 2
        return Sampled(means, self.to_frame @ grow)


def frame_of(fixed: Sampled) -> Matrix:
    """Return the map of the world to a frame centred on fixed, whose unit is fixed's size."""
    radius = float(np.sqrt(np.sum(fixed.extent**2) / 12))
    matrix = np.eye(fixed.ndim + 1) / radius
    matrix[:-1, -1] = -fixed.centre / radius
    matrix[-1, -1] = 1
    return matrix


def to_unit_range(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring values to [0, 1]; a few extreme ones must not empty all bins but one."""
    low, high = np.nanpercentile(values, (0.5, 99.5))
    if low == high:
        low, high = np.nanmin(values), np.nanmax(values)
    return np.clip((values - low) / (high - low), 0, 1).astype(np.float32)


def orthogonal(image: Sampled) -> Sampled:
    """Resample an image whose axes are not at right angles: ITK's gradients assume that."""
    linear = image.to_frame[:-1, :-1] / image.spacing
    if np.allclose(linear.T @ linear, np.eye(image.ndim), rtol=0, atol=1e-6):
        return image
    corners = image.place(np.array(list(product(*((0, n - 1) for n in image.values.shape)))))
    step = float(np.exp(np.log(image.spacing).mean()))
    low = corners.min(axis=0)
    shape = tuple((np.ceil((corners.max(axis=0) - low) / step) + 1).astype(int))
    to_frame = np.diag([*(step,) * image.ndim, 1.0])
    to_frame[:-1, -1] = low
    lattice = Sampled(np.zeros(shape, np.float32), to_frame)
    return Sampled(image.read(lattice.points(lattice.values.size, 0)[0]).reshape(shape), to_frame)


def similarity(fixed: NDArray[np.float32], moving: NDArray[np.float32], metric: str) -> float:
    """Compare paired samples: squared correlation, or normalised mutual information - 1.

    The latter is Studholme's overlap-invariant (H(a) + H(b)) / H(a, b) - 1, in [0, 1].
    """
    if metric == "correlation":
        return pearson(fixed, moving) ** 2
    a, b = (_bins_of(values) for values in (fixed, moving))
    joint = np.bincount(a * BINS + b, minlength=BINS**2).reshape(BINS, BINS)
    both = _entropy(joint)
    if both == 0:
        return 0.0
    return (_entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))) / both - 1


def _bins_of(values: NDArray[np.float32]) -> NDArray[np.intp]:
    """Bins of the range [0, 1] to which the images were scaled."""
    return np.clip(values * BINS, 0, BINS - 1).astype(np.intp)


def _entropy(counts: NDArray[np.intp]) -> float:
    """Entropy in nats with Miller and Madow's correction.

    Without it few samples look more alike than many, and a sliver of overlap would win.
    """
    taken = counts[counts > 0]
    number = taken.sum()
    share = taken / number
    return float(-np.sum(share * np.log(share)) + (taken.size - 1) / (2 * number))


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """Scores transforms by the metric over some samples of fixed and their partners."""

    points: NDArray[np.float64]
    values: NDArray[np.float32]
    moving: Sampled
    metric: str
    least: float  # share of the samples that must have a partner

    def pairs(self, matrix: Matrix) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the samples that have a partner, and these."""
        partner = self.moving.read(self.points @ matrix[:-1, :-1].T + matrix[:-1, -1])
        found = np.isfinite(partner)
        return self.values[found], partner[found]

    def score(self, matrix: Matrix) -> float:
        """Give the metric (larger is better), -inf where too few samples have a partner."""
        fixed, moving = self.pairs(matrix)
        if fixed.size < max(self.least * self.values.size, BINS):
            return -np.inf
        return np.nan_to_num(similarity(fixed, moving, self.metric), nan=0.0)

    def best(self, matrices: Iterable[Matrix], number: int, apart: float = 0.0) -> list[Matrix]:
        """Return the best `number` of some matrices that differ by more than `apart`."""
        scored = [(self.score(matrix), matrix) for matrix in matrices]
        chosen: list[Matrix] = []
        for score, matrix in sorted(scored, key=lambda pair: -pair[0]):
            far = all(np.abs(matrix - other).max() > apart for other in chosen)
            if far and np.isfinite(score) and len(chosen) < number:
                chosen.append(matrix)
        return chosen


def turn(turns: Sequence[Matrix], about: Vector, shifts: Iterable[Vector]) -> Iterable[Matrix]:
    """Yield every turn about a point followed by every shift."""
    for shift, turn in product(shifts, turns):
        matrix = np.eye(len(about) + 1)
        matrix[:-1, :-1] = turn
        matrix[:-1, -1] = about - turn @ about + shift
        yield matrix


def rotations(ndim: int, degrees: Sequence[float], scales: Sequence[float]) -> list[Matrix]:
    """Return the unit matrix turned in every plane and scaled."""
    found = [np.eye(ndim)]
    planes = [(i, j) for i in range(ndim) for j in range(i + 1, ndim)]
    for (i, j), angle in product(planes, np.deg2rad([d for d in degrees if d])):
        turn = np.eye(ndim)
        turn[[i, i, j, j], [i, j, i, j]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        found.append(turn)
    return [scale * turn for scale in scales for turn in found]
