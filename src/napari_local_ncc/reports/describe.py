"""A map in a few numbers, gathered tile by tile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.affine import apply_affine, invert_affine, whole_pixel_offset
from napari_local_ncc.geometry.grid import INDEPENDENT_LABELS, axis_name
from napari_local_ncc.geometry.kind import UNREGISTERED, with_article
from napari_local_ncc.geometry.units import PIXEL, unit_factor, unit_symbol
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
        how = [f"moving is resampled by {with_article(registration.model)}", f"overlap {share:.0%}"]
    elif model == UNREGISTERED:
        how = ["pixels coincide" if aligned else "moving is resampled", f"overlap {share:.0%}"]
    else:
        how = [f"overlap {share:.0%} before the {model} is found, moving is then resampled"]
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
    spacing = grid.space().spacing
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
        return []
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
    lengths = [f"{n * step:.3g}" for n, step in zip(sides, grid.space().spacing, strict=True)]
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
    return [f"with {' and '.join(found)}"] if found else []


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
        series), rotation and scale if the model has them, the global NCC before and after,
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
    for label, unit, axis in zip(grid.axis_labels, grid.units, shifts.T, strict=True):
        low, high = axis.min(), axis.max()
        span = f"{low:.3f}" if len(shifts) == 1 else f"{low:.3f} to {high:.3f}"
        parts.append(f"{axis_name(label)} {span} {unit_symbol(unit)}")
    before, after = (_mean(v) for v in (registration.ncc_before, registration.ncc_after))
    turned = [] if registration.is_shift else _turns(matrices, grid.units)
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
    in_one_unit = [unit_factor(unit, space.units[-1]) for unit in space.units]
    return space.spacing * in_one_unit, unit_symbol(space.units[-1])


def pixel_decimals(side: float) -> int:
    """Return how many decimals tell a hundredth of a pixel whose side is so long."""
    return max(2 - math.floor(math.log10(side)), 0)


def rotation_and_scale(
    matrices: NDArray[np.float64], units: tuple[str, ...]
) -> tuple[list[float], list[float]]:
    """Return by how much transforms turn, in degrees, and scale.

    Parameters
    ----------
    matrices : ndarray, shape (n, axes + 1, axes + 1)
        From world to world.
    units : tuple of str
        Of the world's axes.
    """
    from scipy.linalg import polar

    ndim = matrices.shape[-1] - 1
    in_one_unit = np.array([unit_factor(unit, units[-1]) for unit in units])
    angles, scales = [], []
    for linear in matrices[:, :-1, :-1] * in_one_unit[:, np.newaxis] / in_one_unit:
        rotation, _ = polar(linear)
        cosine = (np.trace(rotation) - (ndim - 2)) / 2
        sign = np.sign(rotation[1, 0]) if ndim == 2 else 1.0
        angles.append(float(sign * np.degrees(np.arccos(np.clip(cosine, -1, 1)))))
        scales.append(float(abs(np.linalg.det(linear)) ** (1 / ndim)))
    return angles, scales


def _turns(matrices: NDArray[np.float64], units: tuple[str, ...]) -> list[str]:
    """Say by how much transforms rotate and scale (the range, for a series)."""
    angles, scales = rotation_and_scale(matrices, units)
    return [
        f"{name} {span} {unit}".rstrip()
        for name, values, unit in (("rotation", angles, "degrees"), ("scale", scales, ""))
        for span in [" to ".join(dict.fromkeys((f"{min(values):.3f}", f"{max(values):.3f}")))]
    ]


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
            f"{lower:.0%} and {upper:.0%} of pixels above chance"
        )
    errors = [report.error95_px for report in reports if not np.isnan(report.error95_px)]
    if errors:
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


def describe_doubt(registration: Registration) -> str:
    """Say in one line why a registration cannot be relied on; empty where it can."""
    return "; ".join(_doubts(registration))


def _doubts(registration: Registration) -> list[str]:
    """Say where a registration found nothing that it could rely on."""
    failed = np.isnan(registration.ncc_after).ravel()
    if registration.reports:
        notes = [report.doubt or _idle(report) for report in registration.reports]
        still = np.array([bool(note) for note in notes]) & ~failed
    else:
        # By mutual information, what fits best need not have the highest NCC.
        still = (
            registration.is_shift & (registration.ncc_after <= registration.ncc_before)
        ).ravel()
        notes = ["no shift is reliably better than none"] * still.size
    if not registration.grid.series_shape:
        applied = all(report.applied or not report.doubt for report in registration.reports)
        return [notes[0] + ("" if applied else "; not applied")] if still.any() else []
    shared = "; ".join(dict.fromkeys(n for n, k in zip(notes, still, strict=True) if k))
    return [
        f"{text}: {', '.join(map(str, np.flatnonzero(frames)[:8]))}"
        + (" ..." if frames.sum() > 8 else "")
        for frames, text in (
            (failed, "frames that could not be registered move as the nearest that could"),
            (still, f"frames where {shared}"),
        )
        if frames.any()
    ]
