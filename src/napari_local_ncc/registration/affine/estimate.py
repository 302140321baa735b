"""Rigid, similarity and affine transforms: a search over starts, then SimpleITK."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.affine import check_affine, invert_affine
from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.registration.affine.sampled_image import (
    Sampled,
    correlation,
    frame_of,
    orthogonal,
    scaled,
)
from napari_local_ncc.registration.affine.search import FEWEST, SCORED, Search
from napari_local_ncc.registration.engine_thread import Watch
from napari_local_ncc.registration.evidence.significance import SIGNIFICANT, significance
from napari_local_ncc.transforms.simpleitk import simpleitk

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Matrix = NDArray[np.float64]

MODELS = (Kind.RIGID, Kind.SIMILARITY, Kind.AFFINE)
METRICS = ("mutual information", "correlation")
SHORTEST = 4  # px of every axis
SURE = 12.0  # standard deviations from which nothing better is looked for
CLEAR = 24.0  # from which there is so little noise that few samples are enough


@dataclass(frozen=True, slots=True, eq=False)
class AffineFit:
    """A rigid, similarity or affine transform, and what it does to the similarity.

    Attributes
    ----------
    matrix : ndarray of float64, shape (ndim + 1, ndim + 1)
        Homogeneous, maps fixed world to moving world, in NumPy axis order.
    is_applied : bool
        Whether `matrix` is what was found, or else the start.
    ncc_before, ncc_after : float
        Global NCC over the valid overlap without and with the transform, in [-1, 1]; NaN
        where undefined. Moving is interpolated linearly. Negative for inverted contrast.
    overlap : float
        Share of fixed's valid samples that have a valid partner after, in [0, 1].
    metric : float
        What was maximised, at what was found: normalised mutual information - 1, or the
        squared correlation; both in [0, 1].
    iterations : int
        Of the optimiser, over all resolutions and starts.
    converged : bool
        Whether the last of them ended at an optimum.
    significance : float
        Standard deviations by which the detail agrees better here than a little beside;
        below `SIGNIFICANT` (5) chance may have found it. NaN where there is no detail.
    """

    matrix: Matrix
    is_applied: bool
    ncc_before: float
    ncc_after: float
    overlap: float
    metric: float
    iterations: int
    converged: bool
    significance: float


def estimate_affine(
    fixed: ArrayLike,
    moving: ArrayLike,
    *,
    model: str,
    fixed_to_world: ArrayLike,
    moving_to_world: ArrayLike,
    metric: str = "mutual information",
    start: ArrayLike | None = None,
    keep_doubtful: bool = True,
    seed: int = 0,
    watch: Watch | None = None,
) -> AffineFit:
    """Estimate the transform that maximises the similarity of two images.

    At a low resolution, shifts of up to a quarter of the field combined with rotations are
    judged by normalised mutual information [1]_; the best of them, and the identity, are
    improved by Mattes' mutual information [2]_ there, and the winner up to full resolution.
    Where its detail does not fit beyond doubt, planes are searched for fine texture, too.

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
    start : array_like, shape (ndim + 1, ndim + 1), optional
        Fixed world to moving world, to begin at. Default: search for starts.
    keep_doubtful : bool, default True
        Whether to return what was found even where chance may have found it, or no optimum
        was reached. False returns the start then.
    seed : int, default 0
        Of the samples drawn; the same seed gives the same bits.
    watch : Watch, optional
        Learns the optimiser's metric, and can stop it.

    Returns
    -------
    AffineFit
        The start (the identity, if none was given) where nothing found is better.

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
    watch = watch or Watch()
    images = _checked(fixed, fixed_to_world, "fixed"), _checked(moving, moving_to_world, "moving")
    if images[0].ndim != images[1].ndim:
        raise ValueError(
            f"fixed is {images[0].ndim}-D but moving is {images[1].ndim}-D; "
            "select images of equal dimension or a slice"
        )
    world_to_frame = frame_of(images[0])
    watch.check()
    framed = [Sampled(scaled(i.values), world_to_frame @ i.to_frame) for i in images]
    search = Search(framed[0], orthogonal(framed[1]), model, metric, seed, watch)
    begin = np.eye(images[0].ndim + 1)
    if start is not None:
        begin = world_to_frame @ check_affine(start, images[0].ndim) @ invert_affine(world_to_frame)
    best = search.run(begin, alone=start is not None)
    judge = search.judge(framed[0], framed[1], SCORED)
    if not judge.score(best.matrix) > judge.score(begin):
        best = replace(best, matrix=begin)
    if not np.isfinite(judge.score(best.matrix)):
        raise ValueError(
            "fixed and moving share no samples wherever moving is put; "
            "check their positions, spacing and masks"
        )
    errors = significance(search.fixed, search.moving, best.matrix, seed)
    if start is None and search.fixed.ndim == 2 and not (best.converged and errors >= SURE):
        other = search.by_texture(begin)
        best = replace(best, iterations=best.iterations + other.iterations)
        if judge.score(other.matrix) > judge.score(best.matrix):
            best = replace(other, iterations=best.iterations)
    if best.matrix is not begin and not errors >= CLEAR:
        best = search.polished(best)
    errors = significance(search.fixed, search.moving, best.matrix, seed)
    is_applied = keep_doubtful or (best.converged and errors >= SIGNIFICANT)
    taken = best.matrix if is_applied else begin
    before, after = judge.pairs(np.eye(len(taken))), judge.pairs(taken)
    return AffineFit(
        matrix=invert_affine(world_to_frame) @ taken @ world_to_frame,
        is_applied=is_applied,
        ncc_before=correlation(*before),
        ncc_after=correlation(*after),
        overlap=after[0].size / judge.values.size,
        metric=float(judge.score(best.matrix)),
        iterations=best.iterations,
        converged=best.converged,
        significance=errors,
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
