"""Keep of a flow what the images determine, and fill in the rest from around, scale by scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.float32]

WINDOW = 3.0  # px: sigma of the window whose correlation is looked at
LEAST_CHANCE = 0.3  # correlation that white noise reaches after a flow was fitted to it
NEVER_PERFECT = 1.05  # squared correlation that no window reaches: keeps weights finite
NO_CONTRAST = 0.02  # variance, of images whose local variance is 1
STIFFNESS = 0.005  # weight of the coarser scale, in the units of squared gradients
TORN = 0.5  # px per px: where a flow changes faster, it follows noise
FINEST = 1.5  # px: sigma of the smoothing at full resolution
COARSER = 1.5  # px of its own lattice: sigma at every coarser scale
LEVELS = 4  # of a block, which knows nothing of what lies further away
NARROWEST = 4  # px, where the scales end


def keep_determined(
    fixed: Pixels,
    moved: Pixels,
    valid: NDArray[np.bool_],
    flow: Pixels,
    *,
    chance: float,
    to_the_end: bool,
) -> Pixels:
    """Weigh a flow by how well each window determines it, along each direction.

    The structure tensor tells which directions a window determines (an edge says nothing
    of the motion along it), the correlation of the windows whether they show the same, and
    a flow that tears space is not believed.
    Each scale keeps what it determines and takes the rest from the next coarser one.

    Parameters
    ----------
    fixed, moved : ndarray of float32, shape (...)
        Images of local variance 1; `moved` is moving after the flow.
    valid : ndarray of bool, shape (...)
        Where both have a sample.
    flow : ndarray of float32, shape (ndim, ...)
        The flow, in px.
    chance : float
        Correlation that windows of unrelated structure of this texture reach after a flow was
        fitted to them: only what exceeds it speaks for the flow.
    to_the_end : bool
        Whether to go on to scales as large as the image; else, to no flow at a few px.

    Returns
    -------
    ndarray of float32, shape (ndim, ...)
        The flow, finite and smooth where nothing determines it; 0 if nothing does anywhere.
    """
    tensor = _information(fixed, moved, valid / (1 + (_bend(flow) / TORN) ** 4), chance)
    evidence = Evidence(tensor, np.einsum("ij...,j...->i...", tensor, flow))
    levels = [evidence]
    while max(levels[-1].shape) > NARROWEST and (to_the_end or len(levels) < LEVELS):
        levels.append(levels[-1].halve())
    found = np.zeros((len(flow), *levels[-1].shape), np.float32)
    for number, level in reversed(list(enumerate(levels))):
        found = _double(found, level.shape) if number < len(levels) - 1 else found
        found = level.solve(found, COARSER if number else FINEST)
    return found


def _bend(flow: Pixels) -> Pixels:
    """Return by how many px per px the flow changes."""
    slopes = [np.gradient(part, axis=axis) for part in flow for axis in range(part.ndim)]
    bend: Pixels = np.sqrt(np.sum(np.square(slopes), axis=0))
    return bend


def window_correlation(fixed: Pixels, moved: Pixels) -> Pixels:
    """Return the correlation of Gaussian windows, from 0 (none, or inverted) to 1."""

    def covariance(x: Pixels, y: Pixels) -> Pixels:
        product: Pixels = _smooth(x * y, WINDOW) - _smooth(x, WINDOW) * _smooth(y, WINDOW)
        return product

    spread = np.sqrt(
        (np.maximum(covariance(fixed, fixed), 0) + NO_CONTRAST)
        * (np.maximum(covariance(moved, moved), 0) + NO_CONTRAST)
    )
    return np.asarray(np.clip(covariance(fixed, moved) / spread, 0, 1), np.float32)


def _information(fixed: Pixels, moved: Pixels, valid: Pixels, chance: float) -> Pixels:
    """Return the structure tensor per residual variance, times `valid`; (ndim, ndim, ...)."""
    both = np.float32(0.5) * (fixed + moved)
    correlation = window_correlation(fixed, moved)
    weight = np.maximum(correlation - chance, 0) ** 2 / (NEVER_PERFECT - correlation**2) * valid
    slope = np.stack([np.gradient(both, axis=axis) for axis in range(fixed.ndim)])
    return np.asarray(weight * slope[:, None] * slope[None], np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Normal equations ``tensor @ flow = right`` of every pixel, at one scale."""

    tensor: Pixels
    right: Pixels

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the frame."""
        return self.right.shape[1:]

    def halve(self) -> Evidence:
        """Return the mean of the equations around every second pixel; flows stay in px."""
        every_second: tuple[Any, ...] = (Ellipsis, *(slice(None, None, 2) for _ in self.shape))
        ndim = len(self.right)
        tensor, right = (_smooth(values, 1.0, ndim) for values in (self.tensor, self.right))
        return Evidence(tensor[every_second], right[every_second])

    def solve(self, coarser: Pixels, sigma: float) -> Pixels:
        """Return the flow of smoothed equations, drawn to that of the coarser scale."""
        ndim = len(self.right)
        tensor = np.moveaxis(_smooth(self.tensor, sigma, ndim), (0, 1), (-2, -1))
        right = _smooth(self.right, sigma, ndim) + np.float32(STIFFNESS) * coarser
        tensor = tensor + STIFFNESS * np.eye(ndim, dtype=np.float32)
        flow = np.linalg.solve(tensor, np.moveaxis(right, 0, -1)[..., np.newaxis])[..., 0]
        return np.asarray(np.moveaxis(flow, -1, 0), np.float32)


def _smooth(values: Pixels, sigma: float, ndim: int | None = None) -> Pixels:
    """Smooth along the last `ndim` axes (default: all)."""
    for axis in range(-(ndim or values.ndim), 0):
        values = ndi.gaussian_filter1d(values, sigma, axis, mode="nearest", truncate=3.0)
    return values


def _double(flow: Pixels, shape: tuple[int, ...]) -> Pixels:
    """Interpolate a flow between the pixels that `reduce` took."""
    for axis, n in enumerate(shape, start=1):
        at = np.arange(n) / 2
        low = at.astype(int)
        high = np.minimum(low + 1, flow.shape[axis] - 1)
        part = (at - low).astype(np.float32)
        part = part.reshape([-1 if k == axis else 1 for k in range(flow.ndim)])
        flow = (1 - part) * flow.take(low, axis) + part * flow.take(high, axis)
    return flow
