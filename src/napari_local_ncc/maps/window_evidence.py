"""The bands that say what noise and texture let one say of a window: ceiling, fit, classes."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_local_ncc.confidence.ceiling import ceiling_of
from napari_local_ncc.ncc.moments import Moments, mean_squared_step
from napari_local_ncc.shift.classes import Looks, classes_of_windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.maps.exposure import Exposure

    Floats = NDArray[np.float64]
    Slices = tuple[slice, ...]
    Mask = NDArray[np.bool_] | None

HALF_PIXEL = 0.25  # squared, of which a shift by half a pixel loses so many squared steps
MOST_NCC = 1 - 1e-6  # beyond which an NCC is 1 but for rounding
REST_ERROR = 0.09  # share of what half a pixel loses that is always allowed for: 0.15 px


class Block(Protocol):
    """What of a chunk of a map is needed here; see `maps.block.block.Block`."""

    plan: Any

    @property
    def ncc(self) -> NDArray[np.float32]:
        """The NCC at no displacement."""

    @property
    def ncc_and_shift(self) -> NDArray[np.float32]:
        """The NCC; where it is searched for, ncc_best, gain and the shift too."""

    @property
    def shift_error(self) -> NDArray[np.float32]:
        """The standard deviation of the shift along each windowed axis; and peak_ratio."""

    @property
    def ncc_elsewhere(self) -> NDArray[np.float32] | None:
        """The NCC at the motion of the images as a whole, if that is beyond the search."""

    @property
    def ncc_around(self) -> list[NDArray[np.float32]]:
        """The NCC at no displacement and at that motion, in wider windows."""

    @property
    def samples_around(self) -> list[Floats]:
        """How many samples these wider windows are worth."""

    @property
    def confidence(self) -> NDArray[np.float32]:
        """How sure it is that the images are related."""

    @property
    def samples(self) -> NDArray[np.float32]:
        """How many independent samples each window is worth."""

    @property
    def moments(self) -> Moments:
        """Means and variances in every window."""

    @property
    def powers(self) -> list[Floats]:
        """Variance in every window of either image over that of its noise."""

    @property
    def powers_around(self) -> tuple[list[Floats], Slices]:
        """The same of what the search may bring as well, and where the chunk lies in it."""

    @property
    def fitted_shift(self) -> NDArray[np.float32]:
        """The shift to a part of a pixel."""

    @property
    def whole_shift(self) -> NDArray[np.float32]:
        """The best NCC and its shift in whole pixels."""

    def height(self, ncc: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what counts as similarity."""

    def confidence_of(self, ncc: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how sure an NCC of these windows is."""

    def near(self, reach: tuple[int, ...]) -> tuple[list[NDArray[Any]], Slices, Mask]:
        """Return the samples within reach of the chunk."""


def fit_bands(block: Block) -> list[NDArray[np.float32]]:
    """Return slope and intercept of moving on fixed in every window, by least squares."""
    moments = block.moments
    (mean_a, mean_b), (var_a, var_b) = moments.mean, moments.variance
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = block.ncc * np.sqrt(var_b / var_a)
        intercept = mean_b - slope * mean_a
    return [band.astype(np.float32) for band in (slope, intercept)]


def ceiling_band(block: Block) -> list[NDArray[np.float32]]:
    """Return the NCC that identical structure would reach; see `confidence.noise_ceiling`."""
    ceiling = ceiling_of(*block.powers)
    return [np.where(np.isnan(block.ncc), np.nan, ceiling).astype(np.float32)]


def class_band(block: Block) -> list[NDArray[np.float32]]:
    """Return the classes of windows; see `shift.classes.classes_of_windows`."""
    plan, moments = block.plan, block.moments
    windowed = [axis for axis, r in enumerate(plan.radius) if r]
    whole = block.whole_shift
    fixed, moving = block.powers
    half_pixel = _half_pixel(block, moments)
    shift = block.fitted_shift
    looks = prod(2 * s + 1 for s in plan.search)
    worth = looks * np.clip(block.samples / np.maximum(moments.samples, 1.0), 0.0, 1.0)
    here = Looks(block.height(block.ncc), block.confidence, fixed, moving, _kept(half_pixel, shift))
    best = Looks(
        whole[0],
        block.confidence_of(whole[0]),
        fixed,
        _moving_power_at(block, whole[1:]),
        _kept(half_pixel, shift - whole[1:]),
    )
    steps = np.abs(whole[1:])
    reaches = [plan.search[axis] for axis in windowed]
    found = classes_of_windows(
        here,
        best,
        step=np.sqrt(np.sum(steps**2, axis=0)),
        is_at_border=np.any([s == n for s, n in zip(steps, reaches, strict=True) if n], axis=0),
        looks=np.nan_to_num(worth, nan=1.0),
        tried=looks,
        samples=moments.samples,
        gain=_exposure(block).gain,
        elsewhere=_elsewhere(block, half_pixel),
        around=motion_likelihood(block),
    )
    return [found.astype(np.float32)]


def _exposure(block: Block) -> Exposure:
    exposure: Exposure | None = block.plan.exposure
    assert exposure is not None  # `confidence_map` measures one
    return exposure


def _half_pixel(block: Block, moments: Moments) -> Floats:
    """Return what correlation a shift by half a pixel leaves, for small steps in the structure."""
    exposure, lost = _exposure(block), []
    arrays, region, mask = block.near(block.plan.radius)
    axes = sum(r > 0 for r in block.plan.radius)
    for image, variance, mean, model in zip(
        arrays, moments.variance, moments.mean, (exposure.fixed, exposure.moving), strict=True
    ):
        noise = model.sd_at(mean) ** 2
        steps = mean_squared_step(
            image, radius=block.plan.radius, weights=block.plan.limits["weights"], mask=mask
        )[region]
        with np.errstate(invalid="ignore", divide="ignore"):
            structure = np.maximum(variance - noise, 1e-9 * variance)
            lost.append(np.maximum(steps - 2 * axes * noise, 0.0) / (2 * structure))
    kept = [np.clip(1.0 - HALF_PIXEL * share, 0.0, 1.0) for share in lost]
    return np.sqrt(kept[0] * kept[1])


def _kept(half_pixel: Floats, rest: NDArray[np.float32]) -> Floats:
    """Return what correlation is left by the rest of a shift, up to half a pixel along each axis.

    As much as half a pixel does where the shift is not known to a part of a pixel.
    """
    share = np.mean(rest.astype(np.float64) ** 2, axis=0) / HALF_PIXEL + REST_ERROR
    share = np.where(np.isfinite(share), np.minimum(share, 1.0), 1.0)
    return 1.0 - share * (1.0 - half_pixel)


def _moving_power_at(block: Block, steps: NDArray[np.float32]) -> Floats:
    """Return moving's power in the windows that the best shift brings."""
    (_, power), region = block.powers_around
    index = list(np.ogrid[tuple(slice(part.start, part.stop) for part in region)])
    windowed = [axis for axis, r in enumerate(block.plan.radius) if r]
    for axis, step in zip(windowed, steps, strict=True):
        moved = index[axis] + np.nan_to_num(step).astype(np.intp)
        index[axis] = np.clip(moved, 0, power.shape[axis] - 1)
    return np.asarray(power[tuple(np.broadcast_arrays(*index))])


def _elsewhere(block: Block, half_pixel: Floats) -> Looks | None:
    """Look where the images as a whole agree, if that is beyond the search."""
    ncc = block.ncc_elsewhere
    if ncc is None:
        return None
    # Moving's contrast there is taken for that here: it decides little beside the NCC.
    fixed, moving = block.powers
    return Looks(block.height(ncc), block.confidence_of(ncc), fixed, moving, half_pixel)


def motion_likelihood(block: Block) -> Floats | None:
    """Return twice the log likelihood of the images' common motion over no shift, around windows.

    Of normal structure and noise that nobody knows; None where there is no such motion. What is
    missing at either place tells nothing.
    """
    if block.plan.motion is None:
        return None
    worth = np.minimum(*block.samples_around)
    here, there = (np.clip(block.height(ncc), 0, MOST_NCC) for ncc in block.ncc_around)
    return np.asarray(worth * np.log((1 - here**2) / (1 - there**2)), np.float64)
