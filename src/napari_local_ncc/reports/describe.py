"""A map in a few numbers, gathered tile by tile."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.affine import apply_affine, invert_affine, whole_pixel_offset
from napari_local_ncc.geometry.grid import INDEPENDENT_LABELS, axis_name
from napari_local_ncc.geometry.kind import UNREGISTERED, with_article
from napari_local_ncc.geometry.units import PIXEL, percent, unit_factor, unit_symbol
from napari_local_ncc.image.pairing import spacing_advice
from napari_local_ncc.maps.bands import KINDS, bands_on

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.pairing import Unitless
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.maps.comparison import Comparison
    from napari_local_ncc.parameters import NCCParameters
    from napari_local_ncc.transforms.registration import Registration
    from napari_local_ncc.transforms.report import FrameReport

_BRACKETS = re.compile(r" \([^()]*\)")
PART = 0.99  # of the image, below which it is worth a word that only that is computed


def describe_comparison(comparison: Comparison, *, model: str = UNREGISTERED) -> str:
    """Say in one line what will be compared, and what is assumed, before it is computed.

    Parameters
    ----------
    comparison : Comparison
        What will be compared; its registration will be applied.
    model : str, default UNREGISTERED
        As for `napari_local_ncc.register`, which will come first.

    Returns
    -------
    str
        Sizes and pixel sizes, whether moving is resampled, the overlap, the window in
        pixels and in units, what the axes are taken for, and the size of the result.

    Raises
    ------
    ValueError
        If the images do not overlap and nothing will move them, or a radius does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import Comparison
    >>> from napari_local_ncc.reports import describe_comparison
    >>> scene = np.random.default_rng(0).normal(size=(40, 50))
    >>> print(describe_comparison(Comparison(scene, scene)))
    fixed 40x50 at 1 px, moving 40x50 at 1 px; pixels coincide; overlap 100%; window 9x9 px;
    output 0.008 MB
    """
    fixed, moving, parameters = comparison.fixed, comparison.moving, comparison.parameters
    grid, space, registration = comparison.grid, comparison.grid.space(), comparison.registration
    if model == UNREGISTERED and registration is None:
        comparison.check_overlap()
    share = comparison.overlap
    count = len(bands_on(parameters, grid))
    moving_space = comparison.pair.moving.grid.space()
    to_moving = invert_affine(moving_space.pixel_to_world) @ space.pixel_to_world
    aligned = whole_pixel_offset(to_moving, space.shape) is not None
    if registration is not None:
        how = [
            f"moving is resampled by {with_article(registration.model)}",
            f"overlap {percent(share)}",
        ]
    elif model == UNREGISTERED:
        how = ["pixels coincide" if aligned else "moving is resampled", f"overlap {percent(share)}"]
    else:
        how = [f"overlap {percent(share)} before the {model} is found, moving is then resampled"]
    return "; ".join(
        [
            f"fixed {_size(fixed.grid)}, moving {_size(moving.grid)}",
            *_unit_notes(fixed, moving, comparison.unitless),
            *how,
            f"window {_window(comparison.radius, grid)}",
            *_reach(comparison.radius, grid),
            *_frames(grid),
            *_part(comparison),
            *_beside(parameters, grid),
            f"output {4 * count * math.prod(grid.shape) / 1e6:.3g} MB",
        ]
    )


def _size(grid: Grid) -> str:
    spacing = grid.pixel_lengths()
    steps = spacing[:1] if np.allclose(spacing, spacing[0], rtol=1e-6) else spacing
    size = "x".join(str(n) for n in grid.shape)
    return f"{size} at {'x'.join(f'{s:g}' for s in steps)} {unit_symbol(grid.units[-1])}"


def _unit_notes(fixed: SpatialImage, moving: SpatialImage, unitless: Unitless | None) -> list[str]:
    bare = [
        name
        for name, image in (("fixed", fixed), ("moving", moving))
        if PIXEL in image.grid.space().units
    ]
    if len(bare) != 1:
        return [advice] if (advice := spacing_advice(fixed, moving)) else []
    other = moving if bare[0] == "fixed" else fixed
    unit = unit_symbol(other.grid.units[-1])
    if unitless == "pixels":
        return [f"{bare[0]} has no units, its pixels are taken for the other's"]
    return [f"{bare[0]} has no units, its numbers are read as {unit}"]


def _window(radius: tuple[int, ...], grid: Grid) -> str:
    sides = [2 * r + 1 for r, spatial in zip(radius, grid.spatial, strict=True) if spatial]
    text = "x".join(str(side) for side in sides) + " px"
    if grid.units[-1] == PIXEL:
        return text
    lengths = [f"{n * step:.3g}" for n, step in zip(sides, grid.pixel_lengths(), strict=True)]
    shown = lengths[:1] if len(set(lengths)) == 1 else lengths
    return f"{text} = {'x'.join(shown)} {unit_symbol(grid.units[-1])}"


def _reach(radius: tuple[int, ...], grid: Grid) -> list[str]:
    """Say where a window leaves nothing local: in every axis of space as long as the image."""
    sides = [
        (2 * r + 1, n)
        for r, n, spatial in zip(radius, grid.shape, grid.spatial, strict=True)
        if spatial
    ]
    whole = all(side >= n for side, n in sides)
    return ["the window covers the whole image: choose a smaller one"] if whole else []


def _part(comparison: Comparison) -> list[str]:
    """Say where a mask leaves only a part to be computed."""
    if comparison.usable is None:
        return []
    sides = [part.stop - part.start for part in comparison.box]
    share = math.prod(sides) / math.prod(comparison.grid.shape)
    size = "x".join(str(n) for n in sides[-comparison.grid.spatial_ndim :])
    if share > PART:
        return []
    return [f"the mask leaves a box of {size} px, {share:.2g} of the image, to be computed"]


def _beside(parameters: NCCParameters, grid: Grid) -> list[str]:
    """Say what is computed beside the NCC."""
    found = [text for name in parameters.bands if (text := KINDS[name].plan(parameters, grid))]
    listed = " and ".join(filter(None, (", ".join(found[:-1]), *found[-1:])))
    return [f"with {listed}"] if found else []


def _frames(grid: Grid) -> list[str]:
    taken = [
        f"{label} is taken for space"
        for label in grid.space().axis_labels
        if label.lower() in INDEPENDENT_LABELS
    ]
    counts = zip(grid.series_shape, grid.axis_labels, strict=False)
    frames = " x ".join(f"{n} along {axis_name(label)}" for n, label in counts)
    return taken + ([f"each of {frames} on its own"] if frames else [])


def describe_registration(registration: Registration) -> str:
    """Say in one line what a registration found.

    Returns
    -------
    str
        The shift at the fixed image's centre per axis in world units (its range, for a
        series): from where fixed shows it to where moving does. Rotation, scale, by what lengths
        are multiplied and a mirrored axis, if the model has them; the global NCC before and after,
        the local NCC, the way there and back, and where nothing was found that could be
        relied on.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import Grid, Registration
    >>> from napari_local_ncc.reports import describe_registration
    >>> matrix = np.array([[1, 0, 3.0], [0, 1, -2.5], [0, 0, 1]])
    >>> describe_registration(Registration.from_matrix(matrix, Grid((40, 50))))
    'shift y 3.000 px, x -2.500 px'
    """
    grid = registration.grid.space()
    matrices = registration.matrix.reshape(-1, grid.ndim + 1, grid.ndim + 1)
    centre = grid.corners().mean(axis=0)
    shifts = np.stack([apply_affine(matrix, centre) - centre for matrix in matrices])
    parts = []
    for label, unit, axis, step in zip(
        grid.axis_labels, grid.units, shifts.T, world_steps(grid), strict=True
    ):
        span = _range(axis.tolist(), max(3, pixel_decimals(step)))
        parts.append(f"{axis_name(label)} {span} {unit_symbol(unit)}")
    before, after = (_mean(v) for v in (registration.ncc_before, registration.ncc_after))
    turned = [] if registration.is_shift else _turns(matrices, grid)
    moved = [f"shift {', '.join([*parts, *turned])}"]
    bends = registration.displacement is not None
    if bends and (matrices == np.eye(grid.ndim + 1)).all():
        moved = []  # a flow without a start
    known = np.isfinite([before, after]).any()  # of another program's transform it is not
    text = [f"global NCC {before:.3f} before, {after:.3f} after"] if known else []
    said = [*_bending(registration), *text, *_findings(registration), *_doubts(registration)]
    return "; ".join([*moved, *said])


def _bending(registration: Registration) -> list[str]:
    """Say how far a flow moves pixels, how it changes volumes, and where it folds space."""
    if registration.displacement is None:
        return []
    volumes = registration.jacobian()
    sides, unit = pixel_sides(registration.grid)
    largest = ", ".join(f"{length:.3g}" for length in registration.reach * sides)
    folds = f"space is folded in {volumes.folds} of {volumes.cells} cells: do not trust it there"
    return [
        f"flow of up to {largest} {unit}",
        f"volumes change by factors of {volumes.lowest:.2f} to {volumes.highest:.2f}",
        folds if volumes.folds else "no folds",
    ]


def pixel_sides(grid: Grid) -> tuple[NDArray[np.float64], str]:
    """Return how long a pixel of space is along each axis, and the unit's symbol.

    The unit is that of the last axis; where the world has none, a pixel is 1 px long.
    """
    space = grid.space()
    if PIXEL in space.units:
        return np.ones(space.ndim), unit_symbol(PIXEL)
    return grid.pixel_lengths(), unit_symbol(space.units[-1])


def pixel_decimals(side: float) -> int:
    """Return how many decimals tell a hundredth of a pixel whose side is so long."""
    return max(2 - math.floor(math.log10(side)), 0)


@dataclass(frozen=True, slots=True)
class LinearPart:
    """What a transform does to directions and lengths.

    Parameters
    ----------
    angle : float
        By how many degrees it turns; in 2-D positive from the first axis to the second.
    scale : float
        By what it multiplies lengths, in the geometric mean of all directions.
    shortest, longest : float
        The least and the most of any direction.
    mirrored : int or None
        The axis that it mirrors before it turns, if it does: the one that leaves least to turn.
    """

    angle: float
    scale: float
    shortest: float
    longest: float
    mirrored: int | None = None


def linear_parts(matrices: NDArray[np.float64], units: tuple[str, ...]) -> list[LinearPart]:
    """Return how transforms turn, mirror, scale and stretch.

    Parameters
    ----------
    matrices : ndarray, shape (n, axes + 1, axes + 1)
        From world to world.
    units : tuple of str
        Of the world's axes.
    """
    in_one_unit = np.array([unit_factor(unit, units[-1]) for unit in units])
    linear = matrices[:, :-1, :-1] * in_one_unit[:, np.newaxis] / in_one_unit
    return list(map(_linear_part, linear))


def _linear_part(linear: NDArray[np.float64]) -> LinearPart:
    from scipy.linalg import polar, svdvals

    rotation, _ = polar(linear)
    mirrored = None
    if np.linalg.det(rotation) < 0:
        mirrored = int(np.argmin(np.diag(rotation)))
        rotation[:, mirrored] *= -1
    if len(linear) == 2:
        angle = np.arctan2(rotation[1, 0], rotation[0, 0])
    else:
        angle = np.arccos(np.clip((np.trace(rotation) - len(linear) + 2) / 2, -1, 1))
    lengths = svdvals(linear)
    scale = float(np.prod(lengths) ** (1 / len(linear)))
    return LinearPart(float(np.degrees(angle)), scale, lengths[-1], lengths[0], mirrored)


def _turns(matrices: NDArray[np.float64], grid: Grid) -> list[str]:
    """Say by how much transforms rotate, scale and stretch (the range, for a series)."""
    parts = linear_parts(matrices, grid.units)
    texts = [
        f"rotation {_range([part.angle for part in parts])} degrees",
        f"scale {_range([part.scale for part in parts])}",
    ]
    lengths = [length for part in parts for length in (part.shortest, part.longest)]
    if any(f"{part.shortest:.3f}" != f"{part.longest:.3f}" for part in parts):
        texts.append(f"lengths times {_range(lengths)}")
    axes = dict.fromkeys(part.mirrored for part in parts if part.mirrored is not None)
    return texts + [f"mirrored along {axis_name(grid.axis_labels[axis])}" for axis in axes]


def _range(values: list[float], decimals: int = 3) -> str:
    """Write the least and the largest of some values, once where they are written alike."""
    ends = (f"{end:z.{decimals}f}" for end in (min(values), max(values)))
    return " to ".join(dict.fromkeys(ends))


def world_steps(grid: Grid) -> NDArray[np.float64]:
    """Return how far a pixel of space reaches along each axis of the world, in its unit."""
    return np.asarray(np.abs(grid.space().pixel_to_world[:-1, :-1]).max(axis=1))


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else np.nan


def _findings(registration: Registration) -> list[str]:
    """Say how much better the images agree, and how well the way back fits (means of frames)."""
    from napari_local_ncc.transforms.report import AGREEMENT_RADIUS

    reports = registration.reports
    sides, unit = pixel_sides(registration.grid)
    longest = float(max(sides))  # so many pixels lie within as many of the longest sides
    before, after, lower, upper = (
        _mean(np.array(values))
        for values in (
            [report.before.median for report in reports],
            [report.after.median for report in reports],
            [report.before.detected for report in reports],
            [report.after.detected for report in reports],
        )
    )
    texts = []
    if reports and not np.isnan(after):
        texts.append(
            f"median local NCC {before:.3f} before, {after:.3f} after (over the whole overlap, "
            f"window {2 * AGREEMENT_RADIUS + 1} px); "
            f"{percent(lower)} and {percent(upper)} of pixels above chance"
        )
    # of what was refused, and is not applied, the error says nothing
    applied = [report.error95_px for report in reports if report.applied]
    if errors := [error for error in applied if not np.isnan(error)]:
        texts.append(f"expected within {max(errors) * longest:.2g} {unit} (95 %)")
    texts += dict.fromkeys(report.remark for report in reports if report.remark)
    trips = [report.round_trip for report in reports if report.round_trip is not None]
    if trips:
        names = ("median_px", "p95_px") if unit == "px" else ("median", "p95")
        median, p95 = (max(getattr(trip, name) for trip in trips) for name in names)
        texts.append(f"there and back {median:.3g} {unit} (95 % within {p95:.3g} {unit})")
    return texts


def _idle(report: FrameReport) -> str:
    """Say of a flow that it is not needed: images that correspond agree no better by it."""
    return "" if report.applied else "a flow gains nothing that noise would not: its start is kept"


def describe_doubt(registration: Registration, *, figures: bool = True) -> str:
    """Say in one line why a registration cannot be relied on; empty where it can.

    Parameters
    ----------
    registration : Registration
        What was found, or given.
    figures : bool, default True
        Whether to give the numbers behind a doubt, which stand in brackets.
    """
    return "; ".join(_doubts(registration, figures=figures))


def _doubts(registration: Registration, *, figures: bool = True) -> list[str]:
    """Say where a registration found nothing that it could rely on."""
    reports = registration.reports
    if reports:
        notes = [report.doubt or _idle(report) for report in reports]
        doubtful = np.array([bool(note) for note in notes])
    else:
        # By mutual information, what fits best need not have the highest NCC.
        doubtful = (
            registration.is_shift & (registration.ncc_after <= registration.ncc_before)
        ).ravel()
        notes = ["no shift is reliably better than none"] * doubtful.size
    if not figures:
        notes = [_BRACKETS.sub("", note) for note in notes]
    if not registration.grid.series_shape:
        applied = all(report.applied or not report.doubt for report in reports)
        return [notes[0] + ("" if applied else "; not applied")] if doubtful.any() else []
    # of what nothing is known, as of another program's transforms, nothing failed
    failed = np.isnan(registration.ncc_after).ravel() & bool(reports)
    held = np.array([not report.applied and bool(report.doubt) for report in reports] or [False])
    cases = (
        (failed, "frames that could not be registered move as the nearest that could"),
        (doubtful & ~failed & held, "frames that stay as they began, since {}"),
        (doubtful & ~failed & ~held, "frames where {}"),
    )
    return [_of_frames(text, notes, frames) for frames, text in cases if frames.any()]


def _of_frames(text: str, notes: list[str], frames: NDArray[np.bool_]) -> str:
    """Say what holds for which frames."""
    reasons = "; ".join(dict.fromkeys(n for n, k in zip(notes, frames, strict=True) if k))
    numbers = ", ".join(map(str, np.flatnonzero(frames)[:8]))
    return f"{text.format(reasons)}: {numbers}" + (" ..." if frames.sum() > 8 else "")
