"""Rigid, similarity and affine transforms: a search over starts, then SimpleITK."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.evidence.pearson import pearson
from napari_local_ncc.evidence.usable import usable_pair
from napari_local_ncc.geometry.affine import check_affine, invert_affine
from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.registration.affine.by_detail import DetailPair, Found, reflection
from napari_local_ncc.registration.affine.detail_search import DetailSearch, on_lattice
from napari_local_ncc.registration.affine.ladder import is_extreme
from napari_local_ncc.registration.affine.orientations import LARGEST_SCALE, search_range
from napari_local_ncc.registration.affine.sampled_image import (
    Sampled,
    frame_of,
    orthogonal,
    to_unit_range,
)
from napari_local_ncc.registration.affine.search import FEWEST, SCORED, Search
from napari_local_ncc.registration.engine_thread import Watch
from napari_local_ncc.registration.evidence.judge import NARROWEST, reduction
from napari_local_ncc.registration.evidence.surfaces import detail_of, evidence_surfaces
from napari_local_ncc.registration.translation.array_pair import ArrayPair, standardise
from napari_local_ncc.registration.translation.other_motion import STILL, other_motion, said_of
from napari_local_ncc.transforms.formats.simpleitk import simpleitk

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.registration.affine.sampled_image import Vector

    Matrix = NDArray[np.float64]

MODELS = (Kind.RIGID, Kind.SIMILARITY, Kind.AFFINE)
METRICS = ("mutual information", "correlation")
SHORTEST = 4  # px of every axis
BY_EDGES = 2.0  # times the best of unrelated structure: rims of few cells fit one another


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
        How many times the best of unrelated structure the agreement of detail is; below 1.35
        chance may have found it. NaN where there is no detail.
    error_px, error95_px : float
        Distance, a mean over fixed's field in its px, within which the truth lies in 68 and
        in 95 of 100 cases; NaN where nothing can be said.
    motion : Kind
        The simplest motion that explains the pair as well as the model.
    mirrored : int or None
        The axis of moving along which the images are mirror images; None if they are not.
    searched : str
        What was searched.
    doubts : tuple of str
        What there is to say against the transform.
    remarks : tuple of str
        Which samples of the images were left out, and what moved otherwise.
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
    error_px: float
    error95_px: float
    motion: Kind
    mirrored: int | None
    searched: str
    doubts: tuple[str, ...]
    remarks: tuple[str, ...]


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
    mirror: bool = False,
    seed: int = 0,
    watch: Watch | None = None,
) -> AffineFit:
    """Estimate the transform by which two images agree best.

    Starts come from all turns (and scales, see `searched`): at a low resolution the detail of
    one image is turned step by step and correlated with the other's at every shift. The best
    and the identity are improved by least squares up to full resolution, on images smoothed
    alike, to the limit that noise sets; a contrast that differs by a curve is brought to
    fixed's first. Where nothing is then better than what the same search finds in moving
    mirrored and turned, but the judge of translations applies a shift, the fit begins at that;
    where not, mutual information [1]_ is tried: shifts of up to a quarter of the
    field with rotations of up to 32 degrees, improved by Mattes' metric [2]_.

    The simplest motion that explains the pair is kept: a richer one only where it fits better
    by evidence.

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
    mirror : bool, default False
        Whether to mirror moving where only that fits. Otherwise it is only said.
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
    here, there, said_of_images = prepare_pair(fixed, fixed_to_world, moving, moving_to_world)
    if here.ndim != there.ndim:
        raise ValueError(
            f"fixed is {here.ndim}-D but moving is {there.ndim}-D; "
            "select images of equal dimension or a slice"
        )
    world_to_frame = frame_of(here)
    to_world = invert_affine(world_to_frame)
    watch.check()
    here, there = (replace(i, to_frame=world_to_frame @ i.to_frame) for i in (here, there))
    even = [replace(image, values=to_unit_range(image.values)) for image in (here, there)]
    search = Search(even[0], orthogonal(even[1]), model, metric, seed, watch)
    begin = np.eye(here.ndim + 1)
    if start is not None:
        begin = world_to_frame @ check_affine(start, here.ndim) @ to_world
    pair = DetailPair(here, there, Kind(model), metric, watch)
    judge = replace(
        search.judge(even[0], even[1], SCORED), least=0.0
    )  # a scale leaves little of fixed
    found = pair.find(begin, alone=start is not None)
    if found is None or not (found.verdict.is_significant and found.converged):
        other = _by_information(search, pair, begin, alone=start is not None)
        if found is None or other.verdict.significance > found.verdict.significance:
            found = other
    if not np.isfinite(judge.score(found.matrix)):
        raise ValueError(
            "fixed and moving share no samples wherever moving is put; "
            "check their positions, spacing and masks"
        )
    doubts = _doubts(found, model, begin)
    is_applied = keep_doubtful or not doubts
    if found.mirrored is not None and not mirror:
        is_applied = False
    taken = found.matrix if is_applied else begin
    before, after = judge.pairs(np.eye(len(taken))), judge.pairs(taken)
    apart, said_of_motion = 0.0, ""
    if is_applied and not doubts and found.mirrored is None:
        apart, said_of_motion = _of_other_motion(found, here, there)
    return AffineFit(
        matrix=to_world @ taken @ world_to_frame,
        is_applied=is_applied,
        ncc_before=pearson(*before),
        ncc_after=pearson(*after),
        overlap=after[0].size / judge.values.size,
        metric=float(judge.score(found.matrix)),
        iterations=found.iterations,
        converged=found.converged,
        significance=found.verdict.significance,
        error_px=found.error_px if not apart else float(np.fmax(found.error_px, apart)),
        error95_px=found.error95_px if not apart else float(np.fmax(found.error95_px, 2 * apart)),
        motion=found.kind,
        mirrored=found.mirrored,
        searched="near the start" if start is not None else search_range(len(begin) - 1, model),
        doubts=doubts,
        remarks=tuple(filter(None, (*said_of_images, said_of_motion, _said_of_rung(found)))),
    )


def _by_information(search: Search, pair: DetailPair, begin: Matrix, *, alone: bool) -> Found:
    """Search by mutual information, for images whose detail is not alike."""
    best = search.run(begin, alone=alone)
    details = DetailSearch(orthogonal(pair.fixed), search.moving, pair.model, search.watch)
    verdict = replace(pair.verdict(details, best.matrix, by_edges=True), needed=BY_EDGES)
    if verdict.is_significant and not alone:
        mirror = reflection(search.moving)
        back = replace(search.moving, to_frame=mirror @ search.moving.to_frame)
        chance = replace(search, moving=back).run(begin)
        unrelated = replace(details, moving=back, _details={}, _images={}), chance.matrix
        verdict = pair.verdict(details, best.matrix, unrelated, by_edges=True)
        verdict = replace(verdict, needed=BY_EDGES)
    if verdict.is_significant:
        best = search.polish(best)
    return Found(best.matrix, verdict, pair.model, best.iterations, best.converged)


def _of_other_motion(found: Found, fixed: Sampled, moving: Sampled) -> tuple[float, str]:
    """Return the least error (px) by what did not move with all, and what to say of it."""
    factor = reduction(fixed.values.shape)
    here, there = (image.reduce(max(factor) * fixed.step) for image in (fixed, moving))
    try:
        pair = ArrayPair(
            standardise(here.values, None, "fixed"),
            standardise(on_lattice(there, found.matrix, here, beyond=np.nan), None, "moving"),
            NARROWEST,
        )
    except ValueError:  # too little in common
        return 0.0, ""
    one, two = (
        detail_of(image.values, None if image.weight is None else image.weight > 0)
        for image in (pair.fixed, pair.moving)
    )
    evidence = next(evidence_surfaces(one, two, pair.least))
    step = np.rint(here.spacing / fixed.spacing).astype(int)
    known = np.isfinite(found.error_px)
    error = (found.error_px if known else 1.0) ** 2 / fixed.ndim * np.diag(1 / step**2)
    other = other_motion(pair, np.zeros(fixed.ndim), error, evidence, step)
    return said_of(other, _pixels_moved(found, fixed, moving), STILL * float(step.max()))


def _said_of_rung(found: Found) -> str:
    """Say so where a shift told what a search over turns did not."""
    return (
        "by turns and scales nothing is better than chance, by a shift it is"
        if found.is_by_shift
        else ""
    )


def _pixels_moved(found: Found, fixed: Sampled, moving: Sampled) -> Vector:
    """Return how far the middle of a camera's pixels moves; NaN where they are not one camera's."""
    if fixed.values.shape != moving.values.shape or not np.allclose(
        fixed.to_frame, moving.to_frame
    ):
        return np.full(fixed.ndim, np.nan)
    to_pixels = invert_affine(fixed.to_frame)
    centre = np.append(fixed.centre, 1)
    return np.asarray((to_pixels @ (found.matrix @ centre - centre))[:-1])


def _doubts(found: Found, model: str, begin: Matrix) -> tuple[str, ...]:
    """Say what there is to say against a transform, if anything."""
    doubts = [] if found.converged else ["the optimiser ended before an optimum"]
    if not found.verdict.is_significant:
        reach = search_range(len(begin) - 1, model)
        doubts.append(
            f"no {model} transform is reliably better than chance "
            f"({found.verdict.describe()}; {reach} were searched)"
        )
    extreme = is_extreme(invert_affine(begin) @ found.matrix, LARGEST_SCALE)
    return (*doubts, *([extreme] if extreme else []))


def prepare_pair(
    fixed: ArrayLike, fixed_to_world: ArrayLike, moving: ArrayLike, moving_to_world: ArrayLike
) -> tuple[Sampled, Sampled, tuple[str, ...]]:
    """Check two images; return them with NaN where they show nothing, and what was left out.

    Parameters
    ----------
    fixed, moving : array_like, 2-D or 3-D
        Real samples; NaN and infinite ones are invalid.
    fixed_to_world, moving_to_world : array_like, shape (ndim + 1, ndim + 1)
        Map of their pixels.

    Returns
    -------
    tuple of (Sampled, Sampled, tuple of str)
        The images, and what was left out of each.

    Raises
    ------
    ValueError
        If one is too small, constant or (almost) all invalid.
    """
    images = _checked(fixed, "fixed"), _checked(moving, "moving")
    places = (
        check_affine(matrix, data.ndim)
        for data, matrix in zip(images, (fixed_to_world, moving_to_world), strict=True)
    )
    pair, said = [], []
    for data, place, usable, name in zip(
        images, places, usable_pair(*images), ("fixed", "moving"), strict=True
    ):
        known = np.isfinite(data) if usable.valid is None else usable.valid
        values = np.where(known, usable.values, np.nan).astype(np.float64)
        # Offset and scale go before float32 does: it has seven digits, up to 1e38.
        values -= np.nanmin(values)
        values /= max(float(np.nanmax(values)), np.finfo(float).tiny)
        pair.append(Sampled(np.ascontiguousarray(values, np.float32), place))
        said.append(f"{name}: {usable.remark}" if usable.remark else "")
    return pair[0], pair[1], tuple(said)


def _checked(image: ArrayLike, name: str) -> NDArray[np.generic]:
    data = np.asarray(image)
    if data.ndim not in (2, 3) or data.dtype.kind not in "buif":
        raise ValueError(
            f"{name} must be a real 2-D or 3-D image, got {data.ndim}-D {data.dtype}; "
            "select a plane or a volume"
        )
    values = data[np.isfinite(data)]
    if min(data.shape) < SHORTEST or values.size < FEWEST:
        raise ValueError(
            f"{name} has shape {data.shape} and {values.size} valid samples; at least {SHORTEST} "
            f"along every axis and {FEWEST} valid ones are needed; check the mask and the NaNs"
        )
    if values.min() == values.max():
        raise ValueError(
            f"{name} is constant ({values.min():g}) over its {values.size} valid samples, "
            "so any transform fits; choose another channel, slice or mask"
        )
    return data
