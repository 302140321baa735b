"""The last step for images of one contrast: least squares on images smoothed alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg
from scipy import ndimage as ndi

from napari_local_ncc.evidence.blocks import block_means
from napari_local_ncc.geometry.affine import invert_affine, nearest_matrix
from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.registration.affine.block_jackknife import block_jackknife
from napari_local_ncc.registration.affine.sampled_image import Sampled
from napari_local_ncc.registration.affine.score_kernel import sample_rows, sum_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.registration.affine.sampled_image import Matrix, Vector

    Values = NDArray[np.float32]
    Flags = NDArray[np.bool_]

SMOOTHINGS = (0.8, 1.2, 1.8, 2.7, 4.0)  # px of the coarser image, of which the best is taken
STEPS = {1: 8, 3: 12}  # of Gauss and Newton, at most
STILL = {1: 0.05, 3: 3e-4}  # px: a step of less is the last
NEGLIGIBLE = 0.002  # px of expected error, at which there is no noise to smooth
ENOUGH = 0.02  # px: a step of less is the last's rounding
SOUND = 0.25  # of the plain curvature, from which that of two images is used
RIDGE = 1e-9  # of the whole curvature
CURVED = {1: 2**12, 3: 2**14}  # samples that the curvature is taken from
ROBUST = 2.5  # standard deviations of the residual beyond which a sample weighs less
LEAST_SPREAD = 0.25  # of the rms: where most residuals vanish, the others are no outliers
COMPLETE = 0.98  # share of the smoothing kernel that must be valid
GAIN_BLOCK = 8  # px: means of such blocks have little noise
BLOCKS = 8  # along every axis of the field, within which residuals may depend on one another
FEWEST_BLOCKS = 12
FEWEST = 64  # samples
SHORTEST = 3  # px of an axis that has gradients
LARGEST = 2**18  # samples at which no lattice is thinned out
SLOPES, RESIDUAL = slice(3, 9), -2  # columns of what `sample_rows` makes


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A transform that least squares found.

    Attributes
    ----------
    matrix : ndarray, shape (ndim + 1, ndim + 1)
        Fixed's frame to moving's.
    covariance : ndarray, shape (k, k)
        Of the parameters along the model's `generators`, about the origin of the frame.
    blocks : float
        From how many independent and equal blocks of the field that is as sure.
    steps : int
        That it took.
    converged : bool
        Whether the last of them moved nothing.
    """

    matrix: Matrix
    covariance: NDArray[np.float64]
    blocks: float
    steps: int
    converged: bool


def generators(model: str, ndim: int) -> NDArray[np.float64]:
    """Return what a model may change, shape (k, ndim + 1, ndim + 1), the simpler ones first.

    The models are nested: those of a translation lead those of rigid, similarity, affine.
    """
    found = []
    for axis in range(ndim):
        shift = np.zeros((ndim + 1, ndim + 1))
        shift[axis, -1] = 1
        found.append(shift)
    if model != "translation":
        for i, j in combinations(range(ndim), 2):
            turn = np.zeros((ndim + 1, ndim + 1))
            turn[i, j], turn[j, i] = -1, 1
            found.append(turn)
    if model in ("similarity", "affine"):
        found.append(np.diag([1.0] * ndim + [0.0]))
    if model == "affine":
        for axis in range(1, ndim):
            stretch = np.zeros((ndim + 1, ndim + 1))
            stretch[0, 0], stretch[axis, axis] = -1, 1
            found.append(stretch)
        for i, j in combinations(range(ndim), 2):
            shear = np.zeros((ndim + 1, ndim + 1))
            shear[i, j] = shear[j, i] = 1
            found.append(shear)
    return np.array(found)


def least_squares(
    fixed: Sampled,
    moving: Sampled,
    start: Matrix,
    *,
    model: str,
    smoothing: float,
    order: int = 3,
    steps: int | None = None,
) -> Fit | None:
    """Improve a start until the residual has no gradient; None where it gets lost.

    Parameters
    ----------
    fixed, moving : Sampled
        Images in one frame, of one contrast but for gain (of either sign) and offset.
    start : ndarray, shape (ndim + 1, ndim + 1)
        Fixed's frame to moving's, off by no more than the grain of the smoothed images.
    model : {"translation", "rigid", "similarity", "affine"}
        What may change.
    smoothing : float
        Standard deviation of the Gaussian, in px of the coarser image.
    order : {3, 1}, default 3
        Of the interpolation of what was smoothed: cubic, or linear on the way there.
    steps : int, optional
        At most. Default: 12 or, of linear interpolation, 8.

    Notes
    -----
    Interpolation smooths noise where it reads between samples, so that residuals would be
    smallest half way; noise that was smoothed first is not smoothed further [1]_. The
    gradient is the mean of both images' [2]_. Samples that do not fit weigh less (Huber).
    The covariance is that of the score, summed in blocks, on either side of which the
    residuals are independent [3]_: it knows of noise that neighbours share, and of detail
    that differs. See `block_jackknife`.

    References
    ----------
    .. [1] Rohde et al., Phys. Med. Biol. 54, 2009, doi:10.1088/0031-9155/54/9/001
    .. [2] Benhimane & Malis, IROS 2004, doi:10.1109/IROS.2004.1389474
    .. [3] Liang & Zeger, Biometrika 73, 13 (1986), doi:10.1093/biomet/73.1.13
    """
    return SmoothPair.of(fixed, moving, start, smoothing, order).fit(start, model, steps)


@dataclass(frozen=True, eq=False)
class SmoothPair:
    """Two images smoothed alike: fixed on its lattice, moving as the coefficients of a spline."""

    fixed: Sampled
    moving: Sampled  # what is invalid is filled, but for linear interpolation
    known: Flags | None  # where it is not; None: nowhere
    order: int  # of the interpolation

    @classmethod
    def of(
        cls, fixed: Sampled, moving: Sampled, start: Matrix, smoothing: float, order: int = 3
    ) -> SmoothPair:
        """Smooth both by the same length, and thin out what is then finer than needed."""
        ndim = fixed.ndim
        scale = float(abs(np.linalg.det(start[:-1, :-1]))) ** (1 / ndim)
        coarser = max(fixed.step, moving.step / scale)
        here = _smooth(fixed, smoothing * np.maximum(coarser / fixed.spacing, 1))
        there = _smooth(moving, smoothing * np.maximum(coarser * scale / moving.spacing, 1))
        here = _thin(here, smoothing * coarser)
        there = _crop(there)
        valid = np.isfinite(there.values)
        if order == 1:  # NaN tells by itself
            return cls(here, there, None, order)
        filled = np.where(valid, there.values, np.float32(np.mean(there.values[valid])))
        filled = ndi.spline_filter(filled, order=order, output=np.float32, mode="mirror")
        inner = None if valid.all() else ndi.minimum_filter(valid, 3, mode="nearest")
        return cls(here, replace(there, values=filled), inner, order)

    def move(self, matrix: Matrix) -> Values:
        """Return moving on fixed's lattice; NaN where there is none."""
        lattice = invert_affine(self.moving.to_frame) @ matrix @ self.fixed.to_frame
        shape = self.fixed.values.shape

        def read(array: NDArray[np.generic], order: int, beyond: float) -> Values:
            return np.asarray(
                ndi.affine_transform(
                    array,
                    lattice[:-1, :-1],
                    lattice[:-1, -1],
                    output_shape=shape,
                    output=np.float32,
                    order=order,
                    mode="constant",
                    cval=beyond,
                    prefilter=False,
                )
            )

        values = read(self.moving.values, self.order, np.nan)
        if self.known is not None:
            values[read(self.known.astype(np.float32), 1, 0) < 0.999] = np.nan
        return values

    def fit(self, start: Matrix, model: str, most: int | None = None) -> Fit | None:
        """Do the steps of Gauss and Newton; None where too little overlap is left."""
        most = STEPS[self.order] if most is None else most
        base = generators(model, self.fixed.ndim)
        matrix = nearest_matrix(start, Kind(model)) if model != "translation" else start
        last, steps = np.inf, 0
        while True:
            state = self.linearise(matrix, base)
            if state is None:
                return None
            step = state.step
            moved = state.displacement(step)
            if not moved <= 4 * last + 1:
                return None
            matrix = matrix @ linalg.expm(np.tensordot(step, base, 1))
            last, steps = moved, steps + 1
            if moved < STILL[self.order] or steps == most:
                converged = moved < max(ENOUGH, STILL[self.order])
                return Fit(matrix, *state.uncertainty(), steps, converged)

    def linearise(self, matrix: Matrix, base: NDArray[np.float64]) -> Linearised | None:
        """Return the residuals at a matrix and their gradient; None without overlap."""
        here, other = self.fixed.values, self.move(matrix)
        both = np.isfinite(other) & np.isfinite(here)
        if np.count_nonzero(both) < FEWEST or min(here.shape) < SHORTEST:
            return None
        gain, offset = _contrast(here, other, both)
        if not np.isfinite(gain):
            return None
        other *= np.float32(gain)
        other += np.float32(offset)
        planes = [a.reshape((1,) * (3 - a.ndim) + a.shape) for a in (here, other)]
        rows = _sample(planes[0], planes[1], CURVED[self.order])
        if len(rows) < FEWEST or not rows[:, SLOPES].any():
            return None
        middle, bound = _bounds(rows[:, RESIDUAL])
        sums = np.zeros((BLOCKS**here.ndim, 3, 5))
        count = sum_scores(*planes, middle, bound, BLOCKS, sums)
        lead = 3 - here.ndim
        pulls = sums[:, lead:][:, :, [*range(lead, 3), 3]]
        rows[:, RESIDUAL] -= middle
        return Linearised(rows[:, lead:], bound, count, pulls, self.fixed, base)


def _sample(here: Values, other: Values, limit: int) -> NDArray[np.float64]:
    """Return about `limit` places, their gradients and residuals; see `sample_rows`."""
    every = max(1, here.size // limit)
    rows = np.empty((here.size // every + here.shape[0] * here.shape[1] + 1, 11))
    return rows[: sample_rows(here, other, every, rows)]


def _bounds(residual: NDArray[np.float64]) -> tuple[float, float]:
    """Return the median of residuals, and how far from it they weigh less."""
    middle = float(np.median(residual))
    rest = residual - middle
    spread = max(
        1.4826 * float(np.median(np.abs(rest))),
        LEAST_SPREAD * float(np.sqrt(np.mean(np.square(rest)))),
    )
    return middle, ROBUST * spread


@dataclass(frozen=True, slots=True, eq=False)
class Linearised:
    """Residuals of a transform, and what they change by along the generators."""

    rows: NDArray[np.float64]  # (n, 3 ndim + 2): index, gradients, residual and 1 of some samples
    bound: float  # of the residuals, beyond which they weigh less
    count: int  # of all samples
    sums: NDArray[np.float64]  # (BLOCKS^ndim, ndim, ndim + 1): residual times gradient, by index
    fixed: Sampled
    base: NDArray[np.float64]

    @property
    def _by_pixel(self) -> NDArray[np.float64]:
        """The generators in fixed's pixels, shape (k, ndim + 1, ndim + 1)."""
        place = self.fixed.to_frame
        return np.asarray(invert_affine(place) @ self.base @ place)

    @property
    def _scores(self) -> NDArray[np.float64]:
        """Of every parameter and block, shape (k, blocks)."""
        return np.einsum("kij,bij->kb", self._by_pixel[:, :-1], self.sums)

    @property
    def step(self) -> Vector:
        """Of Gauss and Newton, by the mean of both gradients [2]_ of `least_squares`."""
        score = self._scores.sum(axis=1)
        cross, plain = _curvatures(*self._changes)
        # noise makes the plain one too large; far from the optimum only that is safe
        is_sound = linalg.eigh(cross, plain, eigvals_only=True)[0] > SOUND
        return np.linalg.solve(cross if is_sound else plain, score)

    @property
    def _changes(self) -> tuple[NDArray[np.float64], NDArray[np.float64], Vector]:
        """What both images change by at the samples, shape (k, n), and the weights of those."""
        ndim = self.fixed.ndim
        at = np.column_stack([self.rows[:, :ndim], self.rows[:, -1]])
        moves = np.einsum("kij,nj->kin", self._by_pixel[:, :-1], at)
        slopes = self.rows[:, ndim:-2].reshape(len(self.rows), 2, 3)[..., 3 - ndim :]
        mine, its = (np.einsum("kin,ni->kn", moves, slopes[:, which]) for which in (0, 1))
        far = np.maximum(np.abs(self.rows[:, RESIDUAL]), self.bound)
        weight = np.divide(self.bound, far, out=np.ones_like(far), where=far > 0)  # Huber's
        return mine, its, weight * (self.count / len(self.rows))

    def displacement(self, step: Vector) -> float:
        """Root mean square length of a step over the overlap, in px of fixed's lattice."""
        at = np.column_stack([self.rows[:, : self.fixed.ndim], self.rows[:, -1]])
        moves = np.tensordot(step, self._by_pixel, 1)[:-1] @ at.T
        return float(np.sqrt(np.mean(np.sum(moves**2, axis=0))))

    def uncertainty(self) -> tuple[NDArray[np.float64], float]:
        """Return the covariance of the parameters, and of how many blocks; see `Fit`."""
        free = len(self.base)
        mine, its, weight = self._changes
        cross, plain = _curvatures(mine, its, weight)
        block = self._block_of_rows
        order = np.argsort(block, kind="stable")
        present, first = np.unique(block[order], return_index=True)
        if len(present) < max(FEWEST_BLOCKS, 2 * free) or np.linalg.matrix_rank(cross) < free:
            return np.full((free, free), np.nan), np.nan
        parts = [
            (mine[:, rows] * weight[rows]) @ its[:, rows].T for rows in np.split(order, first[1:])
        ]
        curvatures = (np.array(parts) + np.swapaxes(parts, 1, 2)) / 2
        return block_jackknife(self._scores[:, present].T, curvatures, plain)

    @property
    def _block_of_rows(self) -> NDArray[np.intp]:
        """In which block of `sums` every sample is."""
        shape = self.fixed.values.shape
        index = self.rows[:, : len(shape)].astype(np.intp) * BLOCKS // shape
        return np.ravel_multi_index(tuple(index.T), (BLOCKS,) * len(shape))


def _curvatures(
    mine: NDArray[np.float64], its: NDArray[np.float64], weight: Vector
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return products of both images' changes, to which noise adds nothing, and of their mean."""
    cross, plain = (mine * weight) @ its.T, ((mine + its) * weight) @ (mine + its).T / 4
    plain += RIDGE * np.trace(plain) * np.eye(len(plain))  # nothing may tell of a direction
    return (cross + cross.T) / 2, plain


def _contrast(here: Values, other: Values, both: Flags) -> tuple[float, float]:
    """Return gain and offset that bring moving to fixed's contrast.

    Their standard deviations are compared where means of blocks have rid them of noise: a
    regression in noise gives too small a gain, and then the border of the overlap pulls.
    """
    block = tuple(max(1, min(GAIN_BLOCK, n // 8)) for n in here.shape)
    means, usable = zip(*(block_means(image, block, both) for image in (here, other)), strict=True)
    full = usable[0] if usable[0] is not None else np.ones(means[0].shape, bool)
    a, b = (mean[full].astype(np.float64) for mean in means)
    if a.size < FEWEST // 4:
        a, b = (image[both].astype(np.float64) for image in (here, other))
    offsets = a.mean(), b.mean()
    a, b = a - offsets[0], b - offsets[1]
    aa, ab, bb = float(a @ a), float(a @ b), float(b @ b)
    if not (aa > 0 and bb > 0):
        return np.nan, np.nan
    gain = float(np.copysign(np.sqrt(aa / bb), ab))
    return gain, float(offsets[0] - gain * offsets[1])


def _smooth(image: Sampled, sigma: Vector) -> Sampled:
    """Smooth by a Gaussian; NaN where part of the kernel finds nothing valid."""
    valid = np.isfinite(image.values)
    known = np.where(valid, image.values, np.float32(0))
    values = ndi.gaussian_filter(known, sigma, mode="constant")
    if valid.all():
        lines = [
            ndi.gaussian_filter1d(np.ones(n, np.float32), s, mode="constant")
            for n, s in zip(valid.shape, sigma, strict=True)
        ]
        weight = reduce(np.multiply, np.ix_(*lines))
    else:
        weight = ndi.gaussian_filter(valid.astype(np.float32), sigma, mode="constant")
    complete = valid & (weight > COMPLETE)
    if 3 * np.count_nonzero(complete) < np.count_nonzero(valid):  # a thin mask
        complete = valid & (weight > 0.5)
    smooth = np.divide(values, weight, out=np.full_like(values, np.nan), where=complete)
    return replace(image, values=smooth)


def _crop(image: Sampled) -> Sampled:
    """Leave out a rim of which no sample is valid."""
    valid = np.isfinite(image.values)
    lines = [np.flatnonzero(valid.any(axis=_others(image.ndim, k))) for k in range(image.ndim)]
    if not lines[0].size:
        return image
    low = [line[0] for line in lines]
    box = tuple(slice(line[0], line[-1] + 1) for line in lines)
    move = np.eye(image.ndim + 1)
    move[:-1, -1] = low
    return Sampled(np.ascontiguousarray(image.values[box]), image.to_frame @ move)


def _others(ndim: int, axis: int) -> tuple[int, ...]:
    return tuple(k for k in range(ndim) if k != axis)


def _thin(image: Sampled, sigma: float) -> Sampled:
    """Leave out samples of a lattice that is much finer than what was smoothed."""
    steps = np.clip(sigma / image.spacing + 1e-6, 1, None).astype(int)
    steps = np.minimum(steps, np.maximum(np.array(image.values.shape) // 32, 1))
    if steps.max() == 1 or image.values.size <= LARGEST // 16:
        return image
    grow = np.diag([*steps.astype(float), 1.0])
    values = np.ascontiguousarray(image.values[tuple(slice(None, None, k) for k in steps)])
    return Sampled(values, image.to_frame @ grow)


def fit_of_least_error(
    fixed: Sampled, moving: Sampled, start: Matrix, model: str
) -> tuple[SmoothPair, Fit] | None:
    """Fit with the smoothing by which the least error is to be expected; None without overlap.

    `start` is to be good to a fraction of a pixel: the smoothings are compared there.
    """
    base = generators(model, fixed.ndim)
    best, least = None, np.inf
    start = _fit_reduced(fixed, moving, start, model)
    for smoothing in SMOOTHINGS:
        pair = SmoothPair.of(fixed, moving, start, smoothing)
        state = pair.linearise(start, base)
        error = np.inf if state is None else expected_error(state.uncertainty()[0], fixed, model)
        if best is not None and not error < least:
            break
        if state is not None:
            best, least = pair, error
        if least < NEGLIGIBLE:
            break
    found = None if best is None else best.fit(start, model)
    return None if best is None or found is None else (best, found)


def _fit_reduced(fixed: Sampled, moving: Sampled, start: Matrix, model: str) -> Matrix:
    """Come nearer on copies of `LARGEST` samples, if the images have more."""
    factor = (max(fixed.values.size, moving.values.size) / LARGEST) ** (1 / fixed.ndim)
    if factor <= 1:
        return start
    here, there = (image.reduce(np.ceil(factor) * image.step) for image in (fixed, moving))
    fit = least_squares(here, there, start, model=model, smoothing=SMOOTHINGS[1])
    return start if fit is None else fit.matrix


def expected_error(covariance: NDArray[np.float64], fixed: Sampled, model: str) -> float:
    """Return the root mean square displacement over fixed that is to be expected, in px."""
    spread = fixed.to_frame[:-1, :-1] * np.sqrt((np.square(fixed.values.shape) - 1) / 12)
    second = np.eye(fixed.ndim + 1)
    second[:-1, :-1] = spread @ spread.T + np.outer(fixed.centre, fixed.centre)
    second[:-1, -1] = second[-1, :-1] = fixed.centre
    moves = generators(model, fixed.ndim)[:, :-1]
    square = np.einsum("kij,jl,mil,km->", moves, second, moves, covariance)
    return float(np.sqrt(square)) / fixed.step if square >= 0 else np.inf
