"""Translation between two arrays: correlation surfaces propose, the NCC of the overlap decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.registration.affine.sampled_image import Sampled
from napari_local_ncc.registration.engine_thread import Watch
from napari_local_ncc.registration.evidence.significance import significance_of
from napari_local_ncc.registration.translation.array_pair import ArrayPair, standardised
from napari_local_ncc.registration.translation.candidates import search, significance
from napari_local_ncc.registration.translation.subpixel import polished, snapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike

    from napari_local_ncc.registration.translation.array_pair import Standardised, Vector


NARROWEST = 0.1  # share of the smaller image
NEARLY_PERFECT = 0.9
SIGNIFICANT = 5.0  # standard errors
CONFIRMED = 3.0  # standard deviations of the detail where the whole image is significant
CERTAIN = 10.0  # standard errors of all samples, which the best shift of unrelated images has not


@dataclass(frozen=True, slots=True, eq=False)
class Translation:
    """A shift between two images, and what it does to their similarity.

    Attributes
    ----------
    offset : ndarray of float64, shape (ndim,)
        In px: pixel ``p`` of fixed shows what pixel ``p + offset`` of moving shows.
    ncc_before : float
        Global NCC over the valid overlap if nothing is done (``offset = start``), in
        [-1, 1]; NaN where that overlap is too small or flat.
    ncc_after : float
        The same at ``offset``. Moving is interpolated linearly where that is fractional.
    overlap : float
        Share of fixed's valid samples that have a valid partner at ``offset``, in [0, 1].
    significance : float
        Standard deviations by which the best shift there is, reliable or not, is better than
        chance: of the detail as for `estimate_affine`, or where it says nothing or the NCC of
        the whole says more, standard errors of that (Fisher's z). NaN where undefined.
    is_reliable : bool
        Whether that is enough to believe in the shift (or that none is needed).
    ncc_found : float
        The NCC at the best shift.
    """

    offset: Vector
    ncc_before: float
    ncc_after: float
    overlap: float
    significance: float
    is_reliable: bool
    ncc_found: float


def estimate_translation(
    fixed: ArrayLike,
    moving: ArrayLike,
    *,
    fixed_valid: ArrayLike | None = None,
    moving_valid: ArrayLike | None = None,
    start: Sequence[float] | Vector | None = None,
    guess: Sequence[float] | Vector | None = None,
    min_overlap: float = 0.3,
    keep_doubtful: bool = False,
    watch: Watch | None = None,
) -> Translation:
    """Estimate the shift that maximises the NCC of two images over their valid overlap.

    Whole-pixel candidates come from phase correlation [1]_ and from the NCC at every
    shift [2]_, on a reduced level if the images are large. Each is judged by the NCC of
    the overlap it really yields and refined to sub-pixel accuracy at full resolution
    [3]_ [4]_. The best is one whose NCC is 0.9 or more, or 5 standard errors from chance; a
    narrow overlap needs the 0.9, and to be more significant than the wide ones. It is taken
    if its detail agrees by 5 standard deviations better than a little beside, or all of it by
    10 standard errors better than chance, or if they are at least 3 and 5.

    The NCC is signed: images of inverted contrast need another metric (mutual
    information).

    Parameters
    ----------
    fixed, moving : array_like, shape (...)
        Real images with equally many axes; their shapes may differ. NaN and infinite
        samples are invalid.
    fixed_valid, moving_valid : array_like of bool, optional
        Samples to use (True) of each image, in its shape. Default: all.
    start : sequence of float, shape (ndim,), optional
        The offset (px) that holds if nothing is done. Default: 0. At equal NCC the shift
        nearest to it wins; if no shift raises the NCC reliably it is returned as it is.
    guess : sequence of float, shape (ndim,), optional
        Another offset (px): look near it only, and return it where nothing there is
        reliably better than `start`.
    min_overlap : float, default 0.3
        Least overlap of a candidate, as a share of the smaller image's valid samples. An
        overlap down to 0.1 is taken too where its NCC is 0.9 or more: in less, smooth
        images look alike by chance.
    keep_doubtful : bool, default False
        Whether to return the best shift even where chance may have found it.
    watch : Watch, optional
        Can stop it between candidates.

    Returns
    -------
    Translation
        The offset in px, the NCC before and after, and the overlap.

    Raises
    ------
    ValueError
        If the images differ in dimension, are not real, constant or (almost) all invalid,
        or if no shift leaves an overlap that can be judged.

    References
    ----------
    .. [1] Guizar-Sicairos et al., Optics Letters 33, 156 (2008), doi:10.1364/OL.33.000156
    .. [2] Padfield, IEEE TIP 21, 2706 (2012), doi:10.1109/TIP.2011.2181402
    .. [3] Evangelidis & Psarakis, IEEE TPAMI 30, 1858 (2008), doi:10.1109/TPAMI.2008.113
    .. [4] Baker & Matthews, IJCV 56, 221 (2004), doi:10.1023/B:VISI.0000011205.11775.fd
    """
    images = (
        standardised(fixed, fixed_valid, "fixed"),
        standardised(moving, moving_valid, "moving"),
    )
    pair = ArrayPair(*images, min(NARROWEST, min_overlap))
    origin = np.zeros(pair.ndim) if start is None else np.array(start, np.float64)
    if origin.shape != (pair.ndim,) or not np.isfinite(origin).all():
        raise ValueError(f"start must be {pair.ndim} finite numbers (one per axis), got {start}")
    before = pair.ncc(origin) if pair.overlap(origin) >= pair.least else np.nan
    near = None if guess is None else np.array(guess, np.float64)
    watch = watch or Watch()
    best, reached = origin, SIGNIFICANT
    likely, likelihood = origin, -np.inf
    for offset in _offsets(pair, origin, near, min_overlap, watch):
        watch.check()
        after = pair.ncc(offset)
        better = after > before or (np.isnan(before) and not np.isnan(after))
        is_wide = pair.overlap(offset) >= 0.95 * min_overlap * pair.smaller
        reliability = _reliability(pair, offset, after, is_wide)
        if better and reliability > likelihood:
            likely, likelihood = offset, reliability
        if better and reliability >= reached:
            best, reached = offset, reliability
            if is_wide:
                break
    held = origin if near is None else near
    found = best if best is not origin else likely if likely is not origin else held
    watch.check()
    errors, is_reliable = _judged(pair, found)
    best = found if is_reliable or keep_doubtful else held
    ncc = pair.ncc(best)
    if np.isnan(ncc):
        raise ValueError(
            f"no shift of moving {images[1].values.shape} over fixed {images[0].values.shape} "
            f"leaves {pair.least:.0f} valid samples in common that are not constant; "
            "relax the masks or lower min_overlap"
        )
    return Translation(best, before, ncc, pair.share(best), errors, is_reliable, pair.ncc(found))


def _judged(pair: ArrayPair, offset: Vector) -> tuple[float, bool]:
    """Return by how many standard deviations a shift is better than chance, and if that is enough.

    Smooth images match anywhere, and the best of all shifts by chance exceeds 5 standard
    errors: the detail must agree here and not a little beside. In strong noise it cannot,
    and the whole image may yet be certain.
    """
    matrix = np.eye(pair.ndim + 1)
    matrix[:-1, -1] = offset
    errors = _errors(pair, offset, pair.ncc(offset))
    detail = significance_of(_sampled(pair.fixed), _sampled(pair.moving), matrix)
    if np.isnan(detail):  # too few windows, or not 2-D or 3-D
        return errors, bool(errors >= SIGNIFICANT)
    if errors >= CERTAIN or (errors >= SIGNIFICANT and detail >= CONFIRMED):
        return max(errors, detail), True
    return detail, detail >= SIGNIFICANT


def _sampled(image: Standardised) -> Sampled:
    values = image.values if image.weight is None else np.where(image.weight, image.values, np.nan)
    return Sampled(values.astype(np.float32, copy=False), np.eye(values.ndim + 1))


def _errors(pair: ArrayPair, offset: Vector, ncc: float) -> float:
    """Return how many standard errors an NCC is from chance."""
    return significance(pair, ncc, pair.overlap(offset) / pair.smaller)


def _reliability(pair: ArrayPair, offset: Vector, ncc: float, is_wide: bool) -> float:
    """Return how many standard errors tell a match from the best of many chances.

    A narrow overlap counts only where it is nearly perfect, and what is nearly perfect
    counts even where smooth images hold few independent samples.
    """
    if not is_wide and not ncc >= NEARLY_PERFECT:
        return -np.inf
    errors = _errors(pair, offset, ncc)
    return max(errors, SIGNIFICANT) if ncc >= NEARLY_PERFECT else errors


def _offsets(
    pair: ArrayPair, start: Vector, guess: Vector | None, min_overlap: float, watch: Watch
) -> Iterator[Vector]:
    """Yield refined candidates: of any overlap, then of wide ones only; or near a guess."""
    if guess is not None:
        yield from (snapped(pair, polished(pair, c)) for c in search(pair, guess, watch, only=True))
        return
    for candidate in search(pair, start, watch):
        yield snapped(pair, polished(pair, candidate))
    if min_overlap > pair.min_overlap:
        wide = ArrayPair(pair.fixed, pair.moving, min_overlap)
        for candidate in search(wide, start, watch):
            yield snapped(wide, polished(wide, candidate))
