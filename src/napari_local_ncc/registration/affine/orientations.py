"""Starts from every turn and scale: one image turned step by step, at all shifts at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import permutations, product
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy import ndimage as ndi

from napari_local_ncc.evidence.validity import normalized_convolution
from napari_local_ncc.evidence.whitening import whiten, without_background
from napari_local_ncc.geometry.affine import invert_affine
from napari_local_ncc.registration.affine.sampled_image import Sampled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.registration.affine.sampled_image import Matrix
    from napari_local_ncc.registration.engine_thread import Watch

    Detail = NDArray[np.float32]

SIDE = {2: 64.0, 3: 20.0}  # px of the smaller image (geometric mean of its axes)
SCALED_SIDE = 48.0  # the same of planes that are enlarged or shrunk, of which there are many
RIM = 2.0  # px by which the rim moves from one angle to the next, at half the side
LARGEST_SCALE = 4.0  # and its inverse; of planes, for similarity and affine
SCALES = 12  # on either side of 1
TILT = 20.0  # degrees about an axis orientation of a volume
PEAKS = 2  # of each correlation surface
BESIDE = 3  # px around a peak that belong to it
LEAST_POWER = 0.15  # of that of a full overlap of the smaller image: less is no evidence
DISTINCT = 0.08  # of the frame's unit: starts that differ less are one


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A turn, scale and shift at which detail fits.

    Attributes
    ----------
    matrix : ndarray, shape (ndim + 1, ndim + 1)
        Fixed's frame to moving's.
    fit : float
        Sum of the products of both details over the root sum of their squares: 1 standard
        deviation of chance, if neighbours were independent.
    """

    matrix: Matrix
    fit: float


def search_range(ndim: int, model: str) -> str:
    """Say what turns and scales are searched."""
    if ndim == 3:
        return f"all 24 axis orientations, each with tilts to {TILT:g} degrees"
    turns = "all rotations"
    return turns if model == "rigid" else f"{turns}, and scales of 0.25 to {LARGEST_SCALE:g}"


def starts_by_detail(fixed: Sampled, moving: Sampled, *, scaled: bool, watch: Watch) -> list[Start]:
    """Return the starts at which most detail agrees, of either sign, the best first.

    Parameters
    ----------
    fixed, moving : Sampled
        Images in one frame, their axes at right angles.
    scaled : bool
        Whether to search the scales other than 1, of planes, or else scale 1 alone.
    watch : Watch
        Can stop the work.

    Returns
    -------
    list of Start
        No two of them alike.

    Notes
    -----
    Both are brought to lattices of some 20 to 64 px with their spectra made even: then a
    correlation surface, which has every shift, has one sharp peak. The sum of products is
    divided by the root sum of squares, so that neither a narrow overlap nor a few bright
    spots make a fit.
    """
    found: list[Start] = []
    larger = LARGEST_SCALE ** (np.arange(1, SCALES + 1) / SCALES)
    scales, side = ([*larger, *1 / larger], SCALED_SIDE) if scaled else ([1.0], SIDE[fixed.ndim])
    for scale in scales:
        watch.check()
        found += _starts_of_scale(fixed, moving, float(scale), side)
    return _distinct(found)


def detail_of(image: Sampled, spacing: float) -> Sampled:
    """Return the detail of an image on a lattice of one spacing; 0 where invalid."""
    values = read_on_lattice(image, spacing)
    valid = np.isfinite(values.values)
    known = np.where(valid, values.values, np.float32(0))
    detail = whiten(without_background(known, valid), valid)
    return Sampled(detail, values.to_frame)


def read_on_lattice(image: Sampled, spacing: float) -> Sampled:
    """Smooth an image as far as a coarser lattice needs it, and read it there."""
    image = image.reduce(spacing / 2)
    steps = spacing / image.spacing
    valid = np.isfinite(image.values)
    blur = 0.5 * np.sqrt(np.maximum(steps**2 - 1, 0))
    smooth = partial(ndi.gaussian_filter, sigma=blur, mode="constant")
    values, weight = normalized_convolution(image.values, valid, smooth)
    shape = np.maximum((np.array(image.values.shape) / steps + 1e-6).astype(int), 1)
    first = (np.array(image.values.shape) - 1 - steps * (shape - 1)) / 2
    scale = np.diag(steps)  # SciPy before 1.16 warns of a vector
    read = [
        ndi.affine_transform(array, scale, first, tuple(shape), order=1, mode="nearest")
        for array in (values, (valid & (weight > 0.3)).astype(np.float32))
    ]
    grow = np.diag([*steps, 1.0])
    grow[:-1, -1] = first
    kept = np.where(read[1] > 0.5, read[0], np.nan).astype(np.float32)
    return Sampled(kept, image.to_frame @ grow)


def turns_of(ndim: int, side: float) -> list[Matrix]:
    """Return the rotations to try on images of some side (px)."""
    if ndim == 2:
        number = int(np.ceil(2 * np.pi * side / 2 / RIM))
        angles = np.arange(number) * 2 * np.pi / number
        return [_plane_turn(2, (0, 1), angle) for angle in angles]
    tilts = [np.eye(3)]
    for plane, sign in product(((0, 1), (0, 2), (1, 2)), (-1, 1)):
        tilts.append(_plane_turn(3, plane, sign * np.deg2rad(0.65 * TILT)))
    return [tilt @ axes for axes in axis_orientations() for tilt in tilts]


def axis_orientations() -> list[Matrix]:
    """Return the 24 rotations that bring the axes of a volume onto one another."""
    found = []
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        matrix = np.zeros((3, 3))
        matrix[range(3), order] = signs
        if np.linalg.det(matrix) > 0:
            found.append(matrix)
    found.sort(key=lambda matrix: -np.trace(matrix))
    return found


def _plane_turn(ndim: int, plane: tuple[int, int], angle: float) -> Matrix:
    turn = np.eye(ndim)
    i, j = plane
    turn[[i, i, j, j], [i, j, i, j]] = (
        np.cos(angle),
        -np.sin(angle),
        np.sin(angle),
        np.cos(angle),
    )
    return turn


def _starts_of_scale(fixed: Sampled, moving: Sampled, scale: float, side: float) -> list[Start]:
    """Turn the smaller of both images in the field of the other."""
    smaller = min(fixed.length, moving.length / scale)
    spacing = max(smaller / side, fixed.step, moving.step / scale)
    still, turning = detail_of(fixed, spacing), detail_of(moving, spacing * scale)
    turns = turns_of(fixed.ndim, side)
    if moving.length / scale <= fixed.length:
        return _peaks(still, turning, turns, scale)
    back = _peaks(turning, still, turns, 1 / scale)
    return [Start(invert_affine(start.matrix), start.fit) for start in back]


def _peaks(still: Sampled, turning: Sampled, turns: Sequence[Matrix], scale: float) -> list[Start]:
    """Return the highest peaks of every turn: matrices of still's frame to turning's."""
    ndim, values = still.ndim, turning.values
    side = int(np.ceil(np.linalg.norm(values.shape)))
    shape = np.array(still.values.shape)
    size = [fft.next_fast_len(int(n + 0.75 * min(values.shape)), real=True) for n in shape]
    spectra = [np.conj(fft.rfftn(power, size)) for power in (still.values, still.values**2)]
    least = LEAST_POWER * min(np.count_nonzero(still.values), np.count_nonzero(values))
    axes, step = still.to_frame[:-1, :-1], turning.to_frame[:-1, :-1]
    middle = (np.array(values.shape) - 1) / 2
    found = []
    for turn in turns:
        linear = scale * turn
        lattice = np.linalg.inv(step) @ linear @ axes
        read = ndi.affine_transform(
            values,
            lattice,
            middle - lattice @ np.full(ndim, (side - 1) / 2),
            output_shape=(side,) * ndim,
            order=1,
            mode="constant",
        )
        products, powers = (
            fft.irfftn(spectrum * fft.rfftn(_wrap(part, size), size), size)
            for spectrum, part in zip(spectra, (read, read**2), strict=True)
        )
        surface = np.abs(products) / np.sqrt(np.maximum(powers, least))
        surface[powers < least] = 0
        for shift, fit in _highest(surface, shape):
            matrix = np.eye(ndim + 1)
            matrix[:-1, :-1] = linear
            move = linear @ axes @ (shift - (side - 1) / 2)
            matrix[:-1, -1] = turning.centre + move - linear @ still.to_frame[:-1, -1]
            found.append(Start(matrix, fit))
    return found


def _wrap(values: Detail, size: Sequence[int]) -> Detail:
    """Wrap an array around to at most a size, as a transform of that size sees it."""
    for axis, n in enumerate(size):
        count = -(-values.shape[axis] // n)
        if count == 1:  # the transform fills up by itself
            continue
        pad = [(0, 0)] * values.ndim
        pad[axis] = (0, count * n - values.shape[axis])
        padded = np.pad(values, pad)
        parts = (*padded.shape[:axis], count, n, *padded.shape[axis + 1 :])
        values = padded.reshape(parts).sum(axis=axis)
    return values


def _highest(surface: Detail, shape: NDArray[np.intp]) -> list[tuple[NDArray[np.float64], float]]:
    """Return shifts (px) of the highest peaks and their heights; `surface` is used up."""
    peaks = []
    size = np.array(surface.shape)
    for _ in range(PEAKS):
        peak = np.array(np.unravel_index(np.argmax(surface), surface.shape))
        height = float(surface[tuple(peak)])
        peaks.append((np.where(peak > size - shape, peak - size, peak).astype(float), height))
        surface[tuple(slice(max(0, k - BESIDE), k + BESIDE + 1) for k in peak)] = 0
    return peaks


def _distinct(starts: list[Start], number: int = 40) -> list[Start]:
    """Return the best of starts that lie apart."""
    chosen: list[Start] = []
    for start in sorted(starts, key=lambda start: -start.fit):
        if all(np.abs(start.matrix - other.matrix).max() > DISTINCT for other in chosen):
            chosen.append(start)
        if len(chosen) == number:
            break
    return chosen
