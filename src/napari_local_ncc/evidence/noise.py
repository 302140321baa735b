"""How strong the noise of an image is, from the image alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Values = NDArray[np.float64]
    Box = tuple[slice, ...]

NORM = np.sqrt(6.0)  # gain on white noise of (1, -2, 1), per axis
MAD_OF_NORMAL = 0.6745
BLOCKS = 64  # of an image
BLOCK_SAMPLES = (64, 4096)  # of a block: the least, and the most that are read
QUIET = 0.2  # quantile of the blocks: structure adds to the differences of the others
NORMAL_QUIET = -0.8416  # the normal distribution's quantile at QUIET
# Relative sd of a block's median absolute second difference times sqrt(samples): 1.17 for
# independent ones, more as they overlap. Measured on white noise, 64 blocks an axis count.
SPREAD = {1: 1.35, 2: 1.8, 3: 1.8}
FEWEST = 8  # samples of a block, or blocks of a quantile
LEVELS = 8  # of intensity, in the fit of noise over intensity
WHOLE = 1e-3  # of a step, that rounding adds
MOST_STEPS = 2.0**20  # between neighbouring values, beyond which they are no whole numbers
RANGE = (0.01, 0.999)  # quantiles of the intensities that levels divide


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """Noise whose variance may grow with intensity, as of photons and a camera's read-out.

    Attributes
    ----------
    sd : float
        Of the image's quietest blocks, in its units; NaN where undefined.
    offset, gain : float
        ``variance = offset + gain * intensity``, in squared units and units; gain 0 where
        noise does not grow with intensity, or where that cannot be told.
    """

    sd: float
    offset: float
    gain: float

    def sd_at(self, intensity: ArrayLike) -> Values:
        """Return the noise's standard deviation at the given intensities."""
        variance = self.offset + self.gain * np.asarray(intensity, np.float64)
        return np.sqrt(np.maximum(variance, self.sd**2))

    def times(self, share: float) -> NoiseModel:
        """Return noise of this share of the variance, at all intensities."""
        return NoiseModel(self.sd * share**0.5, self.offset * share, self.gain * share)


def noise_sd(image: ArrayLike, valid: ArrayLike | None = None) -> float:
    """Estimate the standard deviation of the noise of an image.

    Parameters
    ----------
    image : array_like, shape (...)
        Real samples; at least one axis is longer than 2 px. NaN and infinite ones are invalid.
    valid : array_like of bool, shape (...), optional
        True where samples may be used.

    Returns
    -------
    float
        In units of the image. NaN where no block has 8 valid neighbourhoods that are not all
        of one value.

    Notes
    -----
    The median absolute second difference along all axes [1]_ of the quietest fifth of 64
    blocks: edges and outliers hardly move it. Where noise grows with intensity it is that of
    the darkest parts. Noise whose neighbours are alike is told from structure by nobody, and
    counts in part only. Whole numbers have at least the noise of rounding. At most 4096
    samples of a block are read, so that the cost does not grow with the image.

    References
    ----------
    .. [1] Immerkaer, CVIU 64, 300 (1996), doi:10.1006/cviu.1996.0060
    """
    return noise_model(image, valid).sd


def noise_model(image: ArrayLike, valid: ArrayLike | None = None) -> NoiseModel:
    """Estimate noise, and how it grows with intensity.

    Parameters, units and cost are those of `noise_sd`.
    """
    parts = [d for d in _blocks(np.asarray(image), valid) if d.varies]
    if not parts:
        return NoiseModel(np.nan, np.nan, 0.0)
    sds = np.array([_spread(part.differences) for part in parts])
    counts = np.array([part.differences.size for part in parts])
    level = np.concatenate([part.level for part in parts])
    sd = _of_rounding(parts, _quiet(sds, counts, parts[0].ndim))
    differences = np.concatenate([part.differences for part in parts])
    return NoiseModel(sd, *_over_intensity(differences, level, sd))


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Second differences of a block, the mean of the samples around each, and the samples."""

    differences: Values
    level: Values
    samples: Values
    ndim: int
    varies: bool


def _blocks(image: NDArray[np.generic], valid: ArrayLike | None) -> list[_Block]:
    usable = None if valid is None else np.asarray(valid, bool)
    found = []
    for box in _boxes(image.shape):
        part = image[box].astype(np.float64)
        known = np.isfinite(part) if usable is None else np.isfinite(part) & usable[box]
        block = _block(part, known)
        if block.differences.size >= FEWEST:
            found.append(block)
    return found


def _block(part: Values, known: NDArray[np.bool_]) -> _Block:
    differences, whole = np.where(known, part, 0.0), known
    level, ndim = differences, 0
    for axis, n in enumerate(part.shape):
        if n > 2:
            low, middle, high = ((slice(None),) * axis + (slice(k, n - 2 + k),) for k in range(3))
            differences = (differences[low] - 2 * differences[middle] + differences[high]) / NORM
            level = (level[low] + level[middle] + level[high]) / 3
            whole = whole[low] & whole[middle] & whole[high]
            ndim += 1
    samples = part[known]
    varies = bool(samples.size) and bool(samples.min() < samples.max())
    return _Block(differences[whole], level[whole], samples, ndim, varies)


def _boxes(shape: tuple[int, ...]) -> list[Box]:
    """Cut an image into about `BLOCKS` boxes; of large ones keep the middle."""
    axes = [axis for axis, n in enumerate(shape) if n > 2]
    if not axes:
        return []
    least, most = BLOCK_SAMPLES
    size = float(np.prod(shape))
    edge = (size / max(1.0, min(BLOCKS, size / least))) ** (1 / len(axes))
    read = most ** (1 / len(axes))
    cuts = []
    for n in shape:
        parts = max(1, min(n // 3, round(n / edge)))
        ends = np.linspace(0, n, parts + 1).round().astype(int).tolist()
        sides = [(begin, end, min(end - begin, int(read))) for begin, end in pairwise(ends)]
        cuts.append([slice((a + b - side) // 2, (a + b + side) // 2) for a, b, side in sides])
    return list(product(*cuts))


def _spread(differences: Values) -> float:
    return float(np.median(np.abs(differences))) / MAD_OF_NORMAL


def _quiet(sds: Values, counts: NDArray[np.intp], ndim: int) -> float:
    """Return what blocks of noise alone have, from the quantile that is free of structure."""
    if sds.size < FEWEST:
        return float(np.median(sds))
    spread = SPREAD.get(ndim, max(SPREAD.values())) / np.sqrt(float(np.median(counts)))
    return float(np.quantile(sds, QUIET)) / max(1 + NORMAL_QUIET * spread, 0.5)


def _of_rounding(parts: list[_Block], sd: float) -> float:
    """Return the noise, at least that of rounding to the finest step of a block.

    Most blocks need no look: one with a step as fine as the noise settles it.
    """
    finest = np.inf
    for part in parts:
        finest = min(finest, _step(part.samples) / np.sqrt(12))
        if finest <= sd:
            return sd
    return float(finest)


def _step(known: Values) -> float:
    """Return the step of samples that are whole numbers of it; 0 if they are not."""
    steps = np.diff(np.unique(known))
    if not steps.size or not steps.max() < MOST_STEPS * steps.min():
        return 0.0
    whole = steps / steps.min()
    return float(steps.min()) if np.abs(whole - np.round(whole)).max() < WHOLE else 0.0


def _over_intensity(differences: Values, level: Values, sd: float) -> tuple[float, float]:
    """Fit variance over intensity: lines through the levels of an image.

    The lower quartile of the slopes between levels, as edges, which lie between dark and
    bright, add to the differences of levels in the middle.
    """
    low, high = np.quantile(level, RANGE)
    at = np.digitize(level, np.linspace(low, high, LEVELS + 1)) - 1
    known = [k for k in range(LEVELS) if np.count_nonzero(at == k) >= BLOCK_SAMPLES[0]]
    if len(known) < 3:
        return sd**2, 0.0
    centre = np.array([np.median(level[at == k]) for k in known])
    variance = np.array([_spread(differences[at == k]) ** 2 for k in known])
    first, second = np.triu_indices(len(known), 1)
    slopes = (variance[second] - variance[first]) / (centre[second] - centre[first])
    gain = float(np.quantile(slopes, 0.25))
    # Structure that brightens adds to the differences, too: believe what clearly grows.
    if not gain * (centre[-1] - centre[0]) > 0.5 * sd**2:
        return sd**2, 0.0
    return float(np.median(variance - gain * centre)), gain
