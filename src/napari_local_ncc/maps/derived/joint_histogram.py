"""Which values of moving meet which of fixed: the scatter plot of whole images, and a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.chunked.blocks import blocks_of
from napari_local_ncc.evidence.pearson import PairMoments

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.maps.comparison import Comparison

BINS = 256
EDGE = 256  # px, of the planes that are read
MOST = 2**23  # pixels that are counted
TAIL = 5e-4  # share of the values at either end that may lie far out
LEAST = 3  # pixels, of which a correlation is told


@dataclass(frozen=True, eq=False)  # no slots: what is found once is kept
class JointHistogram:
    """How often values of fixed and of moving meet at one pixel.

    Parameters
    ----------
    counts : ndarray of int64, shape (bins of fixed, bins of moving)
        Pixels.
    fixed_edges, moving_edges : ndarray of float64
        Where the bins end; values beyond are counted in the first and the last.
    moments : PairMoments
        Of the values themselves.
    share : float
        Which share of the pixels, where the images overlap and the mask lets them count, was
        looked at.
    """

    counts: NDArray[np.int64]
    fixed_edges: NDArray[np.float64]
    moving_edges: NDArray[np.float64]
    moments: PairMoments
    share: float

    @property
    def pearson(self) -> float:
        """Pearson's r of all that was counted; NaN where an image is constant."""
        return self.moments.pearson() if self.moments.count >= LEAST else math.nan

    @cached_property
    def centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The middles of the bins of fixed and of moving."""
        fixed, moving = ((e[1:] + e[:-1]) / 2 for e in (self.fixed_edges, self.moving_edges))
        return fixed, moving

    def moments_of(self, counts: NDArray[Any]) -> PairMoments:
        """Return the moments of some of the counts, each at the middle of its bin."""
        fixed, moving = self.centres
        number = int(counts.sum())
        own = np.array([fixed @ counts.sum(axis=1), moving @ counts.sum(axis=0)]) / max(number, 1)
        a, b = fixed - own[0], moving - own[1]
        aa, bb = np.square(a) @ counts.sum(axis=1), np.square(b) @ counts.sum(axis=0)
        ab = a @ counts @ b
        return PairMoments(number, own, np.array([[aa, ab], [ab, bb]]))


@dataclass(frozen=True, slots=True, eq=False)
class AutoThreshold:
    """Intensities of both images below which they are not correlated.

    Parameters
    ----------
    fixed, moving : float
        The thresholds; to a bin of the histogram.
    slope, intercept : float
        The line that they lie on: moving = slope x fixed + intercept.
    below : float
        Pearson's r of all pixels but those above both; at most 0.
    above : float
        The share of the pixels above both.
    manders : tuple of float
        Of the intensity of fixed, and of moving, the share at pixels where the other is above
        its threshold (M1 and M2); NaN where there are negative intensities.
    """

    fixed: float
    moving: float
    slope: float
    intercept: float
    below: float
    above: float
    manders: tuple[float, float]


def joint_histogram(comparison: Comparison) -> JointHistogram:
    """Count which values of moving, as it is compared, meet which of fixed.

    Parameters
    ----------
    comparison : Comparison
        Two images, with the transform that is applied to moving.

    Returns
    -------
    JointHistogram
        Of up to 8 million pixels, in squares of 256 px that are drawn with one seed: the same
        for the same images, however large they are.

    Raises
    ------
    ValueError
        If no pixel counts in both images.
    """
    known = comparison.box
    shape = [part.stop - part.start for part in known]
    edges = [1] * (len(shape) - 2) + [EDGE] * 2
    boxes = blocks_of(shape, edges[-len(shape) :])
    most = max(MOST // math.prod(edges), 1)
    if len(boxes) > most:
        drawn = np.random.default_rng(0).choice(len(boxes), most, replace=False)
        boxes = [boxes[k] for k in np.sort(drawn)]
    parts = [_samples(comparison, _shifted(box, known)) for box in boxes]
    looked_at = sum(math.prod(part.stop - part.start for part in box) for box in boxes)
    fixed, moving = (np.concatenate(values) for values in zip(*parts, strict=True))
    if not fixed.size:
        raise ValueError(
            f"no pixel counts in both {comparison.fixed.name} and {comparison.moving.name}"
        )
    return count_pairs(fixed, moving, share=looked_at / math.prod(shape))


def count_pairs(fixed: ArrayLike, moving: ArrayLike, *, share: float = 1.0) -> JointHistogram:
    """Count pairs of finite values.

    Parameters
    ----------
    fixed, moving : array_like, of one shape
        Whole numbers of a range up to 256 have a bin each.
    share : float, default 1.0
        To be noted.

    Examples
    --------
    >>> found = count_pairs([0, 0, 1, 2], [5, 5, 5, 7])
    >>> found.counts.tolist()
    [[2, 0, 0], [1, 0, 0], [0, 0, 1]]
    """
    values = [np.asarray(image).ravel() for image in (fixed, moving)]
    ours, theirs = edges = [_edges(image) for image in values]
    places = [
        np.clip((image - e[0]) * ((len(e) - 1) / (e[-1] - e[0])), 0, len(e) - 2).astype(np.int64)
        for image, e in zip(values, edges, strict=True)
    ]
    bins = tuple(len(e) - 1 for e in edges)
    counts = np.bincount(places[0] * bins[1] + places[1], minlength=math.prod(bins))
    moments = PairMoments.of(*values)
    return JointHistogram(counts.reshape(bins), ours, theirs, moments, share)


def automatic_threshold(histogram: JointHistogram) -> AutoThreshold | None:
    """Find the intensities below which two images are not correlated [1]_.

    Both thresholds go down together along the line of orthogonal regression, from the largest
    values, until Pearson's r of all pixels but those above both is no more positive.

    Parameters
    ----------
    histogram : JointHistogram
        The pixels.

    Returns
    -------
    AutoThreshold or None
        None where the images are not positively correlated, or what is below always is.

    References
    ----------
    .. [1] Costes et al., Biophysical Journal 86, 3993 (2004), doi:10.1529/biophysj.103.038422;
       the regression and the steps as in Fiji's Coloc 2.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> signal = np.where(rng.random(50_000) < 0.3, rng.uniform(20, 99, 50_000), 10)
    >>> pairs = [signal + rng.normal(scale=2, size=50_000) for _ in range(2)]
    >>> found = automatic_threshold(count_pairs(*pairs))
    >>> 8 < found.fixed < 22 and found.below <= 0
    True
    """
    total = histogram.moments_of(histogram.counts)
    (xx, xy), (_, yy) = total.scatter
    if not xy > 0:
        return None
    slope = (yy - xx + math.hypot(yy - xx, 2 * xy)) / (2 * xy)
    intercept = total.mean[1] - slope * total.mean[0]
    if slope <= 1:
        steps = histogram.fixed_edges[:0:-1]
        pairs = [(t, slope * t + intercept) for t in steps]
    else:
        steps = histogram.moving_edges[:0:-1]
        pairs = [((t - intercept) / slope, t) for t in steps]
    fixed, moving = histogram.centres
    for t_fixed, t_moving in pairs:
        i, j = np.searchsorted(fixed, t_fixed, "right"), np.searchsorted(moving, t_moving, "right")
        below = histogram.counts.copy()
        below[i:, j:] = 0
        found = histogram.moments_of(below)
        r = found.pearson() if found.count >= LEAST else math.nan
        if r <= 0:
            share = 1 - found.count / total.count
            return AutoThreshold(
                float(t_fixed),
                float(t_moving),
                float(slope),
                float(intercept),
                r,
                share,
                _manders(histogram, int(i), int(j)),
            )
    return None


def _manders(histogram: JointHistogram, i: int, j: int) -> tuple[float, float]:
    """Return which share of each image's intensity lies where the other is in bins from j, i on."""
    fixed, moving = histogram.centres
    if min(histogram.fixed_edges[1], histogram.moving_edges[1]) < 0:
        return math.nan, math.nan
    of_fixed, of_moving = histogram.counts.sum(axis=1), histogram.counts.sum(axis=0)
    first = fixed @ histogram.counts[:, j:].sum(axis=1) / (fixed @ of_fixed)
    second = moving @ histogram.counts[i:].sum(axis=0) / (moving @ of_moving)
    return float(first), float(second)


def _edges(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the edges of bins for values, those of a few that lie far out left to the ends."""
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind in "iu" and high - low < BINS:
        return np.arange(low - 0.5, high + 1)
    inner = np.quantile(values, (TAIL, 1 - TAIL))
    span = float(inner[1] - inner[0])
    if span > 0:
        low, high = max(low, float(inner[0]) - span), min(high, float(inner[1]) + span)
    return np.linspace(low, high if high > low else low + 1, BINS + 1)


def _samples(comparison: Comparison, box: tuple[slice, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the values of both images in a box where they count."""
    fixed, moving, *masks = comparison.read(box)
    counts = np.isfinite(fixed) & np.isfinite(moving)
    for mask in masks:
        counts &= mask
    return fixed[counts], moving[counts]


def _shifted(box: tuple[slice, ...], by: tuple[slice, ...]) -> tuple[slice, ...]:
    return tuple(
        slice(part.start + b.start, part.stop + b.start) for part, b in zip(box, by, strict=True)
    )
