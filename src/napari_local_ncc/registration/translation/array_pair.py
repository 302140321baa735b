"""Two images and what they have in common at an offset: the samples, and their NCC."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.evidence.blocks import block_means
from napari_local_ncc.evidence.pearson import pearson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Vector = NDArray[np.float64]
    Samples = NDArray[np.floating]
    Usable = NDArray[np.bool_] | slice

SCORE_SAMPLES = 2**18  # behind the NCC that is reported
MIN_SAMPLES = 8
NEGLIGIBLE = 1e-12  # weight of a sample, that is rounding and may lie outside
LARGE = 40  # power of two of samples, beyond which float32 has no room for their squares
REACH = 3  # half-width of the smoothing spline, px
LINEAR, QUINTIC = 1, 5  # degrees of splines


def central_spline(degree: int, x: Vector) -> Vector:
    """Return the B-spline of a degree on whole steps, centred at 0, by Cox and de Boor.

    `scipy.interpolate` has it, too, and takes longer to load than a registration to run.
    """
    places = [x + k / 2 for k in range(-degree, degree + 1, 2)]
    values = [((at >= -0.5) & (at < 0.5)).astype(np.float64) for at in places]
    for d in range(1, degree + 1):
        places = [(low + high) / 2 for low, high in pairwise(places)]
        values = [
            (((d + 1) / 2 - at) * low + ((d + 1) / 2 + at) * high) / d
            for at, (low, high) in zip(places, pairwise(values), strict=True)
        ]
    return values[0]


@lru_cache(maxsize=64)
def spline_weights(degree: int, fraction: float, is_slope: bool) -> Vector:
    """Return what the samples around a place weigh, or weigh in the derivative there."""
    x: Vector = fraction - np.arange(-REACH, REACH + 1, dtype=np.float64)
    if not is_slope:
        return central_spline(degree, x)
    return central_spline(degree - 1, x + 0.5) - central_spline(degree - 1, x - 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class Standardised:
    """Samples of mean 0 and standard deviation 1; `weight` 0 where invalid (None: 1 everywhere)."""

    values: Samples
    weight: Samples | None

    @property
    def count(self) -> int:
        """Number of valid samples."""
        return self.values.size if self.weight is None else int(np.count_nonzero(self.weight))

    def weights(self) -> Samples:
        """Return 1 where a sample is valid, 0 elsewhere."""
        return np.ones_like(self.values) if self.weight is None else self.weight


def standardise(image: ArrayLike, valid: ArrayLike | None, name: str) -> Standardised:
    """Check one image and remove its units, so that no threshold depends on them."""
    data = np.asarray(image)
    if data.dtype.kind not in "buif" or data.ndim == 0:
        raise ValueError(f"{name} must be an array of real numbers, got {data.ndim}-D {data.dtype}")
    if data.dtype.kind in "iu" and data.dtype.itemsize == 8 and data.size:
        # Past 2 ** 53 float64 skips integers; offsets do not matter, so take off the lowest.
        data = data.astype(np.uint64) - np.uint64(int(data.min()) % 2**64)
    usable = _valid(data, valid, name)
    count = data.size if usable is None else int(np.count_nonzero(usable))
    if count < MIN_SAMPLES:
        raise ValueError(
            f"{name} has {count} valid samples of {data.size} and at least {MIN_SAMPLES} are "
            "needed; check the mask and the NaNs"
        )
    kind = np.result_type(data.dtype, np.float32).type
    mean = float(np.mean(data if usable is None else data[usable], dtype=np.float64))
    values = data.astype(kind, copy=False) - kind(mean)
    if usable is not None:
        values = np.where(usable, values, kind(0))
    power = int(np.frexp(max(values.max(), -values.min()))[1])
    power = power if abs(power) > LARGE else 0
    if power:
        np.ldexp(values, -power, out=values)  # exact, and then the type has room for squares
    spread = float(np.sqrt(np.square(values).sum(dtype=np.float64) / count))
    if np.ldexp(spread, power) <= 4 * np.finfo(kind).eps * abs(mean):
        raise ValueError(
            f"{name} is constant ({mean:g}) over its {count} valid samples, so any shift fits; "
            "choose another channel, slice or mask"
        )
    values /= kind(spread)
    return Standardised(values, None if usable is None else usable.astype(np.float32))


def _valid(
    data: NDArray[np.generic], mask: ArrayLike | None, name: str
) -> NDArray[np.bool_] | None:
    """Say where samples are finite and not masked out; None if everywhere."""
    if mask is not None and np.shape(mask) != data.shape:
        raise ValueError(
            f"the mask of {name} has shape {np.shape(mask)} but the image {data.shape}; "
            "give a mask in the shape of the image"
        )
    valid = np.True_ if mask is None else np.asarray(mask, bool)
    if data.dtype.kind == "f":
        valid = valid & np.isfinite(data)
    return None if valid.all() else np.asarray(valid)


def reduce_image(image: Standardised, factor: Sequence[int]) -> Standardised:
    """Means of blocks of `factor` samples; a block is valid if all of its samples are."""
    valid = None if image.weight is None else image.weight > 0
    values, known = block_means(image.values, factor, valid, least=1.0)
    return Standardised(values, None if known is None else known.astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """Every `step`-th pixel of a box of fixed all of whose partners lie inside moving."""

    corner: Vector
    step: int
    shape: tuple[int, ...]
    degree: int

    def read(
        self, values: Samples, shift: Vector | float = 0.0, along: int | None = None
    ) -> Samples:
        """Values at the lattice moved by `shift`, or their derivative along one axis.

        The pixels themselves serve as B-spline coefficients: the quintic interpolates and
        low-passes (sigma 0.7 px) at once, which keeps both aliasing and noise from pulling
        the estimate. The step is whole, so every sample has the same fraction and the
        spline is a few weighted slices per axis.
        """
        at = np.broadcast_to(self.corner + shift, len(self.shape))
        for axis, (x, n) in enumerate(zip(at, self.shape, strict=True)):
            low, span = int(np.floor(x)), self.step * (n - 1) + 1
            taps = np.arange(-REACH, REACH + 1)
            weights = spline_weights(self.degree, float(x - low), axis == along)
            lead = (slice(None),) * axis
            values = sum(
                w * values[(*lead, slice(low + t, low + t + span, self.step))]
                for t, w in zip(taps, weights.astype(values.dtype), strict=True)
                if w > NEGLIGIBLE or w < -NEGLIGIBLE
            )
        return values


@dataclass(frozen=True, slots=True, eq=False)
class ArrayPair:
    """Two images of one pixel size."""

    fixed: Standardised
    moving: Standardised
    min_overlap: float

    def __post_init__(self) -> None:
        fixed, moving = self.fixed.values.ndim, self.moving.values.ndim
        if fixed != moving:
            raise ValueError(
                f"fixed is {fixed}-D but moving is {moving}-D; "
                "select images of equal dimension or a slice"
            )

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.fixed.values.ndim

    @property
    def least(self) -> float:
        """The overlap, in samples, below which no NCC is believed."""
        return max(MIN_SAMPLES, self.min_overlap * self.smaller)

    @property
    def smaller(self) -> int:
        """Number of valid samples in the image that has fewer."""
        return min(self.fixed.count, self.moving.count)

    def lattice(
        self, offset: Vector, limit: float, degree: int = LINEAR, slack: int = 0
    ) -> Lattice | None:
        """About `limit` samples of the overlap; `slack` px more room for `offset` to move."""
        margin = (0 if degree == LINEAR else REACH) + slack
        last = np.array(self.moving.values.shape) - 1 - margin - offset
        high = np.floor(np.minimum(np.array(self.fixed.values.shape) - 1 - margin, last))
        low = np.ceil(np.maximum(margin, margin - offset))
        extent = high - low + 1
        if extent.min() < 1:
            return None
        step = max(1, round((extent.prod() / limit) ** (1 / self.ndim)))
        return Lattice(low, step, tuple(int(n) for n in (extent - 1) // step + 1), degree)

    def usable(self, lattice: Lattice, offset: Vector) -> Usable:
        """Index of the samples to which only valid ones contribute, in both images."""
        index: Usable = slice(None)
        for image, shift in ((self.fixed, 0.0), (self.moving, offset)):
            if image.weight is not None:
                # a B-spline's weights sum to 1: less means that an invalid sample took part
                full = lattice.read(image.weight, shift) > 0.999
                index = full if isinstance(index, slice) else full & index
        return index

    def ncc(self, offset: Vector) -> float:
        """NCC over the valid overlap, NaN where undefined."""
        lattice = self.lattice(offset, SCORE_SAMPLES)
        if lattice is None:
            return np.nan
        usable = self.usable(lattice, offset)
        fixed, moving = lattice.read(self.fixed.values), lattice.read(self.moving.values, offset)
        return ncc_of(fixed[usable], moving[usable])

    def overlap(self, offset: Vector, limit: float = np.inf) -> int:
        """Count fixed's valid samples that have a valid partner."""
        lattice = self.lattice(offset, limit)
        if lattice is None:
            return 0
        usable = self.usable(lattice, offset)
        share = 1.0 if isinstance(usable, slice) else float(np.mean(usable))
        whole = self.lattice(offset, np.inf)
        return 0 if whole is None else round(share * np.prod(whole.shape, dtype=float))

    def share(self, offset: Vector) -> float:
        """Share of fixed's valid samples that have a valid partner."""
        return self.overlap(offset) / self.fixed.count


def ncc_of(fixed: Samples, moving: Samples) -> float:
    """Pearson's r; NaN of too few samples, or where one side is flat."""
    return pearson(fixed, moving, MIN_SAMPLES)
