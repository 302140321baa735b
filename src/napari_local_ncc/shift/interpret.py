"""What a residual shift says: classes, lengths, and a smooth field to register with."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

CLASSES = ("undefined", "agrees", "displaced", "differs", "beyond the search", "cannot tell")
ALIKE = 0.5  # NCC from which on a quarter of the variance is common
ALIKE_IN_NOISE = 0.7  # of the NCC that noise allows: half of what could be common is
MIN_GAIN = 0.1  # of a displacement; less is the best of many almost equal values
# Over the root of a window's samples, by which the logarithm of what is not in common has to fall:
# about two standard deviations of what noise does to it; less may be the best of many.
CLEAR = 4.0
SAMPLES = 81  # of a window of radius 4 in 2-D
LITTLE = 0.1  # of `MIN_GAIN`, which a clear displacement gains at least
MAP, MOST = 1000, 0.75  # pixels that make a map, and the share of it that is taken to agree
EVIDENCE = 1e-3  # weight below which a smoothed field fades to no displacement
MOST_GAIN = 2.0  # from an NCC of -1 to one of 1
ROUNDING = 1e-5  # of an NCC in float32
MAX_NCC = 0.999  # beyond which an NCC weighs no more


def classify(
    ncc: ArrayLike,
    ncc_best: ArrayLike,
    gain: ArrayLike,
    *,
    threshold: ArrayLike | None = None,
    min_gain: float | None = None,
    ceiling: ArrayLike | None = None,
    samples: float = SAMPLES,
) -> NDArray[np.uint8]:
    """Tell agreement, displacement and difference apart by thresholds of NCC.

    The band "classes" of a map judges by evidence instead: by the noise and the texture.

    Parameters
    ----------
    ncc : array_like, shape (...)
        The NCC at no displacement.
    ncc_best, gain : array_like, shape (...)
        Bands of `local_shift`.
    threshold : float or array_like, optional
        NCC from which on two windows show the same. Default: 0.5, at which a quarter of the
        variance is common; or 0.7 of the ceiling, if that is more, at which half of that is common
        which could be in this noise. The detection threshold of a calibration, a number or one
        per pixel, says what is more than chance in the texture at hand.
    min_gain : float, optional
        What a displacement must gain at least to be one, rather than the best of many
        almost equal values. Default: 0.1 without noise, 0.01 where it leaves clearly less.
    ceiling : float or array_like, optional
        NCC that identical structure would reach in the images' noise:
        ``confidence.noise_ceiling(fixed, moving)``, or the band "ceiling" of a map. Without
        it NCCs alone do not tell noise from difference: single windows count as free of
        noise, and in a map, of 1000 defined pixels or more, nothing is said to differ where
        less than three quarters reach the threshold, be it for a dark background alone.
    samples : float, default 81
        How many samples a window holds, (2 radius + 1) along each axis, multiplied, or is worth
        where they are weighted (28 % of them with Gaussian weights of radius 4): in small ones
        more has to be gained, as noise makes more of the best of many.

    Returns
    -------
    array of uint8, shape (...)
        Indices into `CLASSES`. 0 undefined: `ncc` is NaN. 2 displaced: `ncc_best` reaches
        the threshold, and leaves less of the variance not in common, 1 - ncc^2, than
        exp(-4 / sqrt(samples)) of it (of 1 where `ncc` is negative), and `gain` reaches
        `min_gain`; where there is no noise (a ceiling of 1, or single windows without one), also
        where `ncc` does not reach the threshold or `gain` reaches `min_gain`. Of less in noise
        it may be the best of many.
        1 agrees: of all others, where `ncc` reaches the threshold. 3 differs: no displacement that
        was searched makes the images alike, though noise would let them be. 5 cannot tell: the
        ceiling is unknown or below the threshold, so that what is the same might not reach it;
        or a displacement in noise, which would do without, leaves more than that.

    Raises
    ------
    ValueError
        If `threshold` is not within (0, 1], `ceiling` not within [0, 1], `min_gain` not within
        (0, 2], `samples` not a number above 0, or an NCC not within [-1, 1].

    Notes
    -----
    Where the best displacement is at the border of the search, `ncc_best` is NaN: such a
    pixel agrees or differs. What is displaced by more than was searched differs, too.

    Examples
    --------
    >>> from napari_local_ncc import classify
    >>> ncc, best, gain = [0.9, 0.2, 0.2, float("nan")], [0.92, 0.8, 0.3, 0.9], [0.02, 0.6, 0.1, 0]
    >>> classify(ncc, best, gain).tolist()  # agrees, displaced, differs, undefined
    [1, 2, 3, 0]
    """
    ncc, best, gain = np.asarray(ncc), np.asarray(ncc_best), np.asarray(gain)
    _check_range("ncc", ncc, -1)
    _check_range("ncc_best", best, -1)
    limit = np.asarray(_least(ceiling) if threshold is None else threshold, np.float64)
    # NaN passes: where the texture is in no class of a calibration, nothing is alike.
    if np.any(limit <= 0) or np.any(limit > 1):
        raise ValueError(f"threshold must lie in (0, 1] (an NCC), got {threshold!r}")
    least, least_of_clear = (MIN_GAIN, LITTLE * MIN_GAIN) if min_gain is None else (min_gain,) * 2
    if not 0 < least <= MOST_GAIN:
        raise ValueError(f"min_gain must lie in (0, 2] (a difference of NCC), got {min_gain!r}")
    if not 0 < samples < np.inf:
        raise ValueError(f"samples must be a number above 0 (of a window), got {samples!r}")
    highest = np.asarray(_reached(ncc) if ceiling is None else ceiling)
    if ceiling is not None:
        _check_range("ceiling", highest, 0)
    alike = ncc >= limit
    is_likelier = (best >= limit) & (~alike | (gain >= least))
    left = np.exp(-CLEAR / np.sqrt(samples)) * (1 - np.maximum(ncc, 0) ** 2)
    is_clear = (best >= limit) & (gain >= least_of_clear) & (1 - best**2 <= left)
    is_displaced = is_clear | (is_likelier & (highest >= 1))
    # NaN compares as False: without a limit in this texture, it is the windows that differ.
    is_unsure = (highest < limit) | np.isnan(highest)
    unsure = CLASSES.index("cannot tell")
    conditions = [np.isnan(ncc), is_displaced, is_likelier, alike, is_unsure]
    return np.select(conditions, [0, 2, unsure, 1, unsure], 3).astype(np.uint8)


def _check_range(name: str, values: NDArray[Any], lowest: int) -> None:
    outside = values[(values < lowest - ROUNDING) | (values > 1 + ROUNDING)]  # NaN: undefined
    if outside.size:
        raise ValueError(f"{name} must lie in [{lowest}, 1] (an NCC), got {outside[0]:g}")


def _least(ceiling: ArrayLike | None) -> NDArray[np.float64]:
    """Return the NCC from which on windows are alike, whose noise lets them reach a ceiling."""
    highest = np.nan if ceiling is None else ceiling
    return np.fmax(ALIKE, ALIKE_IN_NOISE * np.minimum(np.asarray(highest, np.float64), 1.0))


def _reached(ncc: NDArray[Any]) -> float:
    """Return the NCC that identical structure reaches, as far as a map by itself can tell."""
    known = ncc[np.isfinite(ncc)]
    return float(np.quantile(known, 1 - MOST)) if known.size >= MAP else 1.0


def class_shares(labels: NDArray[np.uint8]) -> dict[str, float]:
    """Return the share of all pixels in each of the `CLASSES`, by name.

    Those that only evidence can tell, from "beyond the search" on, where there are any.
    """
    return shares_of(np.bincount(labels.ravel(), minlength=len(CLASSES)))


def shares_of(counts: NDArray[np.integer]) -> dict[str, float]:
    """Return the same from the numbers of pixels in each class."""
    shares = (counts / max(int(counts.sum()), 1)).tolist()
    always = CLASSES.index("differs")
    return {
        name: share
        for number, (name, share) in enumerate(zip(CLASSES, shares, strict=True))
        if share or number <= always
    }


def shift_length(
    components: ArrayLike, pixel_to_world: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """Return how long a shift is.

    Parameters
    ----------
    components : array_like, shape (n, ...)
        In pixels along n axes, as `local_shift` gives them.
    pixel_to_world : ndarray, shape (m, n), optional
        What a step by one pixel along each of these axes is in the world. Default: the
        length is in pixels.

    Returns
    -------
    array of float32, shape (...)
        In units of the world; NaN where a component is.
    """
    steps = np.asarray(components, np.float32)
    if pixel_to_world is not None:
        steps = np.tensordot(np.asarray(pixel_to_world, np.float32), steps, axes=1)
    # squares of what is all but 0 would vanish in float32
    return np.asarray(reduce(np.hypot, np.abs(steps)), np.float32)


def length_error(components: ArrayLike, errors: ArrayLike) -> NDArray[np.float32]:
    """Return the standard deviation of a shift's length, to first order.

    Parameters
    ----------
    components, errors : array_like, shape (n, ...)
        A shift along n axes, and the standard deviations along them, taken as independent.

    Returns
    -------
    array of float32, shape (...)
        In the same units. Of no shift, which has no direction, the largest error; NaN where
        an error is.
    """
    steps, spread = np.asarray(components, np.float32), np.asarray(errors, np.float32)
    length = shift_length(steps)
    along = np.divide(steps, length, where=length > 0, out=np.zeros_like(steps))
    return np.where(length == 0, spread.max(axis=0), shift_length(along * spread))


def is_believable(
    labels: NDArray[np.uint8], confidence: ArrayLike | None = None, *, level: float = 0.95
) -> NDArray[np.bool_]:
    """Say where a shift rests on something: where windows are displaced, or agree for sure.

    Parameters
    ----------
    labels : array of uint8, shape (...)
        What `classify` returns.
    confidence : array_like, shape (...), optional
        What agrees is believed from this `level` of it on; default: all that agrees.

    Returns
    -------
    array of bool, shape (...)
    """
    agrees = labels == CLASSES.index("agrees")
    if confidence is not None:
        agrees &= np.asarray(confidence) >= level
    return agrees | (labels == CLASSES.index("displaced"))


def coherence(
    shift: ArrayLike, *, radius: Sequence[int], search: Sequence[int]
) -> tuple[float, float]:
    """Tell whether neighbouring windows move alike, or each by chance.

    Parameters
    ----------
    shift : array_like, shape (n, ...)
        The components of a residual shift in px, NaN where undefined.
    radius, search : sequence of int
        With which it was found, per axis of the image.

    Returns
    -------
    coherence : float
        Correlation, about zero, between the shift of a window and the mean shift of its
        neighbours, over windows so far apart that they have no sample in common: 1 where
        a whole region moves alike, 0 where the best match is a matter of chance. NaN where
        no two neighbours have a shift, or none of them moves.
    significance : float
        The same in standard errors, which are about one over the root of the number of
        windows.

    Notes
    -----
    NCC does not tell the two apart: with a shift to choose for every window, unrelated
    images become more alike, too. A structure longer than a window is in both of two
    neighbours, and lets them move alike by chance.
    """
    values = np.asarray(shift)
    apart = [2 * r + 1 + s if r else 1 for r, s in zip(radius, search, strict=True)]
    lattice = tuple(slice(step // 2, None, step) for step in apart)
    values = values[(slice(None), *lattice)].astype(np.float64)
    known = np.isfinite(values).all(axis=0)
    values = np.where(known, values, 0.0)
    beside = scipy.ndimage.generate_binary_structure(known.ndim, 1).astype(np.float64)
    beside[(1,) * known.ndim] = 0
    for axis in (axis for axis, r in enumerate(radius) if not r):
        np.moveaxis(beside, axis, 0)[[0, 2]] = 0

    def summed(samples: NDArray[Any]) -> NDArray[Any]:
        return scipy.ndimage.convolve(samples, beside, mode="constant")

    counts = summed(known.astype(np.float64))
    use = known & (counts > 0)
    own = values[:, use]
    around = np.stack([summed(component)[use] for component in values]) / counts[use]
    power = np.sum(own**2) * np.sum(around**2)
    if not power:
        return np.nan, np.nan
    found = float(np.sum(own * around) / np.sqrt(power))
    return found, found * float(np.sqrt(use.sum()))


def smoothed_shift(bands: ArrayLike, *, sigma: ArrayLike) -> NDArray[np.float32]:
    """Make a dense, smooth displacement field of a residual shift.

    Parameters
    ----------
    bands : array_like, shape (2 + n, ...)
        What `local_shift` returns: ncc_best, gain, and n components, NaN where undefined.
    sigma : float or array_like of float
        Standard deviation of the Gaussian in pixels, for all axes or one per axis; 0 along
        an independent axis.

    Returns
    -------
    array of float32, shape (n, ...)
        The components of the displacement in pixels, defined everywhere: the mean shift
        around each pixel, weighted with the distance and with r^2 / (1 - r^2), r being
        `ncc_best`, to which the inverse variance of a shift is proportional (Cramér-Rao
        bound; Knapp & Carter, IEEE TASSP 24, 1976). Where next to nothing is known, farther
        than about 3 sigma from any shift, it fades to 0.

    Raises
    ------
    ValueError
        If a sigma is negative or not finite, or there is not one per axis.
    """
    values = np.asarray(bands, np.float32)
    axes = values.ndim - 1
    given = np.asarray(sigma, np.float64)
    if given.shape not in ((), (axes,)) or not ((given >= 0) & (given < np.inf)).all():
        raise ValueError(f"sigma must be a number >= 0, or one for each of {axes} axes: {sigma!r}")
    sigmas = np.broadcast_to(given, axes).tolist()
    known = np.isfinite(values[2:]).all(axis=0)
    power = np.where(known, np.clip(values[0], 0, MAX_NCC), 0) ** 2
    weight = power / (1 - power)

    def smoothed(samples: NDArray[Any]) -> NDArray[Any]:
        # Nothing is known outside the image.
        return scipy.ndimage.gaussian_filter(samples, sigmas, mode="constant")

    evidence = smoothed(weight) + EVIDENCE
    return np.stack([smoothed(weight * np.where(known, s, 0)) / evidence for s in values[2:]])
