"""Samples that were never measured: rims and corners of one value, and saturated areas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_local_ncc.evidence.noise import noise_sd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    Flags = NDArray[np.bool_]

EVEN = 0.5  # share of equal neighbours from which an image is flat by nature
SMALLEST = 64  # samples of a plateau
SMALLEST_SATURATED = 9
VALUES = 4  # that are looked for, the most frequent ones
LARGEST = 0.75  # share of an image that plateaus may take
NOISY = 0.003  # of that: noise of an image that was measured
NOISELESS = 0.3  # of the noise's standard deviation: the same step at a frame's edge
ABRUPT = 0.25  # of the rest's standard deviation: the least typical step at a plateau's edge


@dataclass(frozen=True, slots=True, eq=False)
class Plateaus:
    """Where an image holds areas of one value that show nothing.

    Attributes
    ----------
    rim : ndarray of bool
        A frame, corners (of a turned image), or other areas of one value with abrupt edges.
    saturated : ndarray of bool
        Areas at the highest value, where a camera's range cuts off what is brighter.
    """

    rim: Flags
    saturated: Flags

    @property
    def missing(self) -> Flags:
        """Where there is either."""
        return self.rim | self.saturated

    def describe(self) -> str:
        """Say which share is missing, and why; empty where nothing is."""
        parts = (
            (self.rim, "a rim or area of one value"),
            (self.saturated, "saturated"),
        )
        said = [f"{np.mean(found):.1%} {what}" for found, what in parts if found.any()]
        return " and ".join(said)


def plateaus(image: ArrayLike, valid: ArrayLike | None = None) -> Plateaus:
    """Find areas of one value that were not measured.

    Parameters
    ----------
    image : array_like, shape (...)
        Real samples; NaN and infinite ones are invalid, and belong to no plateau.
    valid : array_like of bool, shape (...), optional
        True where samples may be used.

    Returns
    -------
    Plateaus
        Empty in images that are flat by nature: drawings, labels, and structure without noise
        on an even background from which it rises smoothly.
    """
    samples = np.asarray(image)
    usable = np.isfinite(samples) if valid is None else np.isfinite(samples) & np.asarray(valid)
    rim, saturated = np.zeros(samples.shape, bool), np.zeros(samples.shape, bool)
    if samples.ndim and usable.any() and samples.dtype.kind != "b":
        values = np.where(usable, samples, samples.dtype.type(0))
        flat = _flat(values, usable)
        frame = _frame(values, usable)
        candidates = [*_areas(values, flat), *([frame] if frame.any() else [])]
        noise = noise_sd(values, usable & ~frame) if frame.any() else np.nan
        top = values[usable].max()
        rest = usable & ~np.any(candidates, axis=0) if candidates else usable
        if candidates and _is_textured(values, rest):
            spread = float(np.std(values[rest], dtype=np.float64))
            for area in candidates:
                if values[area][0] == top:
                    saturated |= area
                    continue
                # where all else is noisy, a frame without noise was not measured
                is_noisy = area is frame and noise > NOISY * spread
                least = min(ABRUPT * spread, NOISELESS * noise) if is_noisy else ABRUPT * spread
                if _step_at_edge(values, usable, area) >= least:
                    rim |= area
    if np.count_nonzero(rim | saturated) > LARGEST * np.count_nonzero(usable):
        rim, saturated = np.zeros_like(rim), np.zeros_like(rim)
    return Plateaus(rim & ~saturated, saturated)


def _flat(values: NDArray[np.generic], usable: Flags) -> Flags:
    """Return where samples lie in a square of 3 x 3 equal ones (or a run of 9)."""
    size = [1] * max(values.ndim - 2, 0) + ([3, 3] if values.ndim > 1 else [9])
    inner = usable.copy()
    for axis, side in enumerate(size):
        lines, equal = np.moveaxis(values, axis, -1), np.moveaxis(inner, axis, -1)
        if side > lines.shape[-1]:
            return np.zeros(values.shape, bool)
        if side > 1:
            same = (lines[..., 1:] == lines[..., :-1]) & equal[..., 1:] & equal[..., :-1]
            count = lines.shape[-1] - side + 1
            runs = np.logical_and.reduce([same[..., k : k + count] for k in range(side - 1)])
            equal[...] = False
            equal[..., side // 2 : side // 2 + count] = runs
    if not inner.any():
        return inner
    return np.asarray(ndi.binary_dilation(inner, np.ones(size, bool)))


def _areas(values: NDArray[np.generic], flat: Flags) -> Iterator[Flags]:
    """Yield the large areas of the most frequent values of what is flat."""
    if not flat.any():
        return
    found, counts = np.unique(values[flat], return_counts=True)
    often = found[np.argsort(-counts)[:VALUES]]
    for value in {*often.tolist(), found[-1].item()}:
        same = flat & (values == value)
        labels, number = ndi.label(same, np.ones((3,) * values.ndim))
        sizes = np.bincount(labels.ravel(), minlength=number + 1)
        sizes[0] = 0
        least = SMALLEST_SATURATED if value == found[-1] else SMALLEST
        if (sizes >= least).any():
            yield np.asarray((sizes >= least)[labels])


def _frame(values: NDArray[np.generic], usable: Flags) -> Flags:
    """Return the outer lines (planes of a stack) that hold one value."""
    frame = np.zeros(values.shape, bool)
    for axis, n in enumerate(values.shape):
        along = tuple(k for k in range(values.ndim) if k != axis)
        if not along or n < 3:
            continue
        high = np.max(values, axis=along)
        constant = (np.min(values, axis=along) == high) & usable.all(axis=along)
        at = np.moveaxis(frame, axis, 0)
        for order in (range(n), range(n - 1, -1, -1)):
            for k in order:
                if not (constant[k] and high[k] == high[order[0]]):
                    break
                at[k] = True
    # one value for all sides, that of most of the frame
    if frame.any():
        found, counts = np.unique(values[frame], return_counts=True)
        frame &= values == found[np.argmax(counts)]
    return frame


def _is_textured(values: NDArray[np.generic], rest: Flags) -> bool:
    """Whether fewer than half of the neighbours in the rest of an image are equal."""
    both = rest[..., 1:] & rest[..., :-1]
    equal = (values[..., 1:] == values[..., :-1]) & both
    return bool(np.count_nonzero(equal) < EVEN * np.count_nonzero(both))


def _step_at_edge(values: NDArray[np.generic], usable: Flags, area: Flags) -> float:
    """Return the median step from a plateau to the samples around it."""
    ring = ndi.binary_dilation(area, np.ones((3,) * values.ndim)) & ~area & usable
    if not ring.any():
        return 0.0
    return float(np.median(np.abs(values[ring].astype(np.float64) - float(values[area][0]))))
