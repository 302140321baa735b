"""Translation between two arrays: the evidence for all shifts proposes, and is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.evidence.sensor_pattern import has_sensor_pattern
from napari_local_ncc.evidence.usable import usable_pair
from napari_local_ncc.registration.engine_thread import Watch
from napari_local_ncc.registration.evidence.judge import NARROWEST
from napari_local_ncc.registration.translation.array_pair import ArrayPair, standardise
from napari_local_ncc.registration.translation.attempt import Attempt, Search
from napari_local_ncc.registration.translation.other_motion import STILL, other_motion, said_of
from napari_local_ncc.transforms.report import PATTERN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from napari_local_ncc.registration.evidence.judge import Verdict
    from napari_local_ncc.registration.translation.array_pair import Standardised, Vector


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
    verdict : Verdict
        On the best shift there is, reliable or not.
    is_reliable : bool
        Whether that is enough to believe in the shift.
    ncc_found : float
        The NCC at the best shift.
    doubt : str
        What there is to say against the best shift; empty if nothing.
    remarks : tuple of str
        What else there is to say: samples left out, a pattern of the camera.
    error_px, error95_px : float
        Distance (px) that the truth keeps to in 68 and in 95 of 100 cases, from noise and
        structure, where `offset` is right at all; NaN where undefined.
    """

    offset: Vector
    ncc_before: float
    ncc_after: float
    overlap: float
    verdict: Verdict
    is_reliable: bool
    ncc_found: float
    doubt: str = ""
    remarks: tuple[str, ...] = ()
    error_px: float = np.nan
    error95_px: float = np.nan

    @property
    def significance(self) -> float:
        """How many times the most in unrelated structure its evidence is, see `judge`."""
        return self.verdict.significance


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
    """Estimate the shift at which the detail of two images agrees.

    Outliers, rims of one value, saturated areas and labels drawn into both images at the same
    place are left out. The evidence for every whole-pixel shift is computed from whitened
    detail [1]_, on a reduced level if the images are large, and the best shifts are refined to
    sub-pixel accuracy at full resolution [2]_ [3]_. The best of them is taken if its evidence
    is 1.25 times the most that the same search finds in moving mirrored and turned, and
    elsewhere in the images themselves.

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
        The offset (px) that holds if nothing is done. Default: 0. At equal evidence the shift
        nearest to it wins; if no shift is reliable it is returned as it is.
    guess : sequence of float, shape (ndim,), optional
        Another offset (px): look near it only, and return it where nothing there is
        reliable.
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
    .. [1] Padfield, IEEE TIP 21, 2706 (2012), doi:10.1109/TIP.2011.2181402
    .. [2] Evangelidis & Psarakis, IEEE TPAMI 30, 1858 (2008), doi:10.1109/TPAMI.2008.113
    .. [3] Baker & Matthews, IJCV 56, 221 (2004), doi:10.1023/B:VISI.0000011205.11775.fd
    """
    one, two, said_of_images = prepare_pair(fixed, moving, fixed_valid, moving_valid)
    pair = ArrayPair(one, two, min(NARROWEST, min_overlap))
    origin = np.zeros(pair.ndim) if start is None else np.array(start, np.float64)
    if origin.shape != (pair.ndim,) or not np.isfinite(origin).all():
        raise ValueError(f"start must be {pair.ndim} finite numbers (one per axis), got {start}")
    near = None if guess is None else np.array(guess, np.float64)
    search = Search(
        origin if near is None else near, near is not None, min_overlap, watch or Watch()
    )
    best, least, said_of_parts = search.run(pair)
    pair, offset = best.pair, best.offset(keep_doubtful=keep_doubtful)
    ncc = pair.ncc(offset)
    if np.isnan(ncc):
        raise ValueError(
            f"no shift of moving {two.values.shape} over fixed {one.values.shape} "
            f"leaves {pair.least:.0f} valid samples in common that are not constant; "
            "relax the masks or lower min_overlap"
        )
    error, error95 = best.errors(offset)
    apart, said_of_motion = least, ""
    if best.is_reliable:
        has_pattern = best.search.has_pattern or _shows_pattern(pair, offset, fixed, moving)
        other, said_of_motion = _of_other_motion(best, has_pattern=has_pattern)
        apart = max(least, other)
    return Translation(
        offset,
        pair.ncc(origin) if pair.overlap(origin) >= pair.least else np.nan,
        ncc,
        pair.share(offset),
        best.verdict,
        best.is_reliable,
        pair.ncc(best.place),
        "" if best.is_reliable else _doubt(best, near),
        tuple(filter(None, (*said_of_images, said_of_parts, said_of_motion))),
        max(error, apart),
        max(error95, 2 * apart),
    )


def _doubt(best: Attempt, near: Vector | None) -> str:
    """Say why nothing is applied, and what was searched."""
    searched = "that leave" if near is None else f"near {near.round(1).tolist()} px, if they leave"
    why = best.untold if best.untold and best.verdict.is_significant else best.verdict.describe()
    return (
        f"no shift is reliably better than none ({why}; searched: all whole pixels {searched} "
        f"{best.pair.min_overlap:.0%} of the smaller image in common)"
    )


def prepare_pair(
    fixed: ArrayLike,
    moving: ArrayLike,
    fixed_valid: ArrayLike | None = None,
    moving_valid: ArrayLike | None = None,
) -> tuple[Standardised, Standardised, tuple[str, ...]]:
    """Check two images, leave out what does not show the scene, and say so.

    Parameters are as for `estimate_translation`.

    Returns
    -------
    tuple of (Standardised, Standardised, tuple of str)
        The images, and what was left out of each.

    Raises
    ------
    ValueError
        If one is constant or (almost) all invalid.
    """
    checked = (
        standardise(fixed, fixed_valid, "fixed"),
        standardise(moving, moving_valid, "moving"),
    )
    masks = [None if image.weight is None else image.weight > 0 for image in checked]
    pair, said = [], []
    for image, usable, name in zip(
        checked, usable_pair(fixed, moving, *masks), ("fixed", "moving"), strict=True
    ):
        pair.append(standardise(usable.values, usable.valid, name) if usable.remark else image)
        said.append(f"{name}: {usable.remark}" if usable.remark else "")
    return pair[0], pair[1], tuple(said)


def _of_other_motion(best: Attempt, *, has_pattern: bool) -> tuple[float, str]:
    """Return the least error (px) by what did not move with all, and what to say of it."""
    search, offset, scale = best.search, best.place, best.search.scale
    error = best.covariance / np.outer(scale, scale)
    other = other_motion(search.levels[-1].pair, offset / scale, error, search.own, scale)
    least, said = said_of(other, offset, STILL * float(scale.max()))
    words = dict.fromkeys((PATTERN if has_pattern else "", said))
    return max(search.disagreement(offset), least), "; ".join(filter(None, words))


def _shows_pattern(pair: ArrayPair, offset: Vector, *images: ArrayLike) -> bool:
    """Whether fine structure stays where it is while the scene moves by `offset`.

    Looked for in the images as they are given: columns and lines are evened in the pair.
    """
    given = [np.asarray(image, np.float64) for image in images]
    valid = [
        np.isfinite(image) if i.weight is None else np.isfinite(image) & (i.weight > 0)
        for image, i in zip(given, (pair.fixed, pair.moving), strict=True)
    ]
    shift = [int(step) for step in np.round(offset)]
    return has_sensor_pattern(given[0], given[1], shift, *valid)
