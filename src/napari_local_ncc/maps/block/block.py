"""A block of a map in the making: what several bands need is computed once."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.chunked.windows import join_pieces
from napari_local_ncc.ncc.device import namespace_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.confidence.calibration import Calibration
    from napari_local_ncc.maps.block.plan import BandPlan
    from napari_local_ncc.ncc.moments import Moments

    Numbers = NDArray[np.float64]
    Reach = tuple[int, ...]
    Box = tuple[slice, ...]


class Block:
    """A chunk of a map in the making; what several bands need is computed once.

    Parameters
    ----------
    pieces : list
        Fixed, moving and perhaps the mask and the frames' numbers, with all that windows
        reach, each as `chunked.map_windows` gives it.
    region : tuple of slice
        Where the chunk lies in them.
    plan : BandPlan
        What is computed of it.
    origin : sequence of int
        Where the first of these samples lies on the grid.
    """

    def __init__(
        self,
        pieces: list[Any],
        region: tuple[slice, ...],
        plan: BandPlan,
        origin: Sequence[int],
    ) -> None:
        self.region, self.plan, self._origin = region, plan, origin
        self._images = pieces[:-1] if plan.has_frames else pieces
        self._frames = pieces[-1] if plan.has_frames else None
        self._error: NDArray[np.float32] = np.empty(0, np.float32)

    @cached_property
    def ncc_and_shift(self) -> NDArray[np.float32]:
        """The NCC; where it is searched for, ncc_best, gain and the shift too; shape (n, ...)."""
        options = {"radius": self.plan.radius, "region": self.region, **self.plan.limits}
        if not self.plan.searches:
            from napari_local_ncc.ncc.dispatch import ncc_of_pieces

            found: NDArray[np.float32] = ncc_of_pieces(*self._images, **options)[np.newaxis]
            return found
        from napari_local_ncc.shift.dispatch import shift_of_pieces

        found = shift_of_pieces(
            *self._images,
            search=self.plan.search,
            with_error=self.plan.with_error,
            is_signed=self.plan.is_signed,
            with_whole="classes" in self.plan.kinds,
            **options,
        )
        windowed = sum(r > 0 for r in self.plan.radius)
        errors = (windowed + 1) * self.plan.with_error
        found, self._error, self._whole = np.split(found, [3 + windowed, 3 + windowed + errors])
        return found

    @property
    def shift_error(self) -> NDArray[np.float32]:
        """The standard deviation of the shift along each windowed axis, in px; and peak_ratio."""
        _ = self.ncc_and_shift  # both are found together
        return self._error

    @property
    def whole_shift(self) -> NDArray[np.float32]:
        """The best NCC and its shift in whole pixels, at the border of the search as well."""
        _ = self.ncc_and_shift  # both are found together
        return self._whole[: 1 + len(self._whole) // 2]

    @property
    def fitted_shift(self) -> NDArray[np.float32]:
        """The shift to a part of a pixel, however large its error."""
        _ = self.ncc_and_shift  # both are found together
        return self._whole[1 + len(self._whole) // 2 :]

    @property
    def ncc(self) -> NDArray[np.float32]:
        """The NCC at no displacement."""
        return self.ncc_and_shift[0]

    def height(self, ncc: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what counts as similarity: the NCC, or its magnitude."""
        return ncc if self.plan.is_signed else np.abs(ncc)

    @cached_property
    def judged(self) -> list[NDArray[Any]]:
        """What the null was drawn from: fixed and moving and perhaps the mask.

        As in even light, NaN where the mask excludes them, if so was the null.
        """
        from napari_local_ncc.confidence.even_light import structure_in_even_light

        if not self._calibration.in_even_light:
            return self.arrays
        fixed, moving, *masks = self.arrays
        mask = masks[0] if masks else None
        return [
            structure_in_even_light(image, radius=self.plan.radius, mask=mask, origin=self._origin)
            for image in (fixed, moving)
        ]

    @cached_property
    def samples(self) -> NDArray[np.float32]:
        """How many independent samples each window is worth."""
        from napari_local_ncc.confidence.samples import effective_samples

        fixed, moving, *masks = self.judged
        mask = masks[0] if masks else None
        return effective_samples(fixed, moving, **self._window, mask=mask, region=self.region)

    @cached_property
    def contrast(self) -> NDArray[np.float32] | None:
        """How much stronger the structure in each window is than around it, if that counts."""
        from napari_local_ncc.confidence.contrast import relative_contrast

        if not self._calibration.in_even_light:
            return None
        return relative_contrast(
            *self.judged, **self._window, region=self.region, in_even_light=True
        )

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """How sure it is that the images are related; NaN where the NCC is."""
        from napari_local_ncc.ncc.dispatch import ncc_of_pieces

        if not self._calibration.in_even_light:
            return self.confidence_of(self.ncc)
        whole = tuple(slice(0, n) for n in self.judged[0].shape)
        pieces = [[(whole, image)] for image in self.judged]
        # Its floor is in units of the images themselves: what that leaves out is known.
        limits = self.plan.limits | {"min_std": 0.0}
        ncc = ncc_of_pieces(*pieces, region=self.region, radius=self.plan.radius, **limits)
        found = self.confidence_of(ncc)
        found[self._xp.isnan(self.ncc)] = np.nan
        return found

    def confidence_of(self, ncc: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how sure an NCC of these windows is."""
        return self._calibration.confidence(
            ncc, self.samples, contrast=self.contrast, frame=self.frame
        )

    @property
    def _calibration(self) -> Calibration:
        assert self.plan.calibration is not None  # `confidence_map` finds one
        return self.plan.calibration

    @property
    def moments(self) -> Moments:
        """Means and variances in every window."""
        from napari_local_ncc.ncc.moments import Moments

        found, region = self.moments_around
        (a, b), (c, d) = (
            tuple(values[region] for values in pair) for pair in (found.mean, found.variance)
        )
        return Moments((a, b), (c, d), found.samples[region])

    @cached_property
    def moments_around(self) -> tuple[Moments, Box]:
        """Means and variances in the windows of the chunk, and of what the search may bring there.

        And where the chunk lies in them.
        """
        from napari_local_ncc.ncc.moments import window_moments

        arrays, region, mask = self.near(_sum(self.plan.radius, self._beyond))
        return window_moments(*arrays, **self._window | {"mask": mask}), region

    @property
    def powers(self) -> list[Numbers]:
        """Variance in every window of either image over that of its noise."""
        found, region = self.powers_around
        return [power[region] for power in found]

    @cached_property
    def powers_around(self) -> tuple[list[Numbers], Box]:
        """The same in the windows of the chunk, and of what the search may bring there.

        And where the chunk lies in them. Noise is that at the intensity of the window; or around
        it, where second differences tell more.
        """
        from napari_local_ncc.confidence.ceiling import powers_of
        from napari_local_ncc.confidence.local_noise import noise_around, reach_of_noise

        assert self.plan.exposure is not None  # `confidence_map` measures one
        arrays, region, mask = self.near(_sum(reach_of_noise(self.plan.radius), self._beyond))
        here = _grown(region, self._beyond)
        sds = []
        for image in arrays:
            valid = np.isfinite(image) if mask is None else np.isfinite(image) & mask
            sds.append(noise_around(image, valid, radius=self.plan.radius)[here])
        found, place = self.moments_around
        there = _grown(place, self._beyond)
        means, variances = ([v[there] for v in pair] for pair in (found.mean, found.variance))
        noises = self.plan.exposure.noise_variances(means, sds)
        inner = tuple(
            slice(part.start - whole.start, part.stop - whole.start)
            for part, whole in zip(place, there, strict=True)
        )
        return powers_of(variances, noises, found.samples[there]), inner

    @property
    def _beyond(self) -> Reach:
        """How far the best shift may bring a window along each axis, if that is asked."""
        return self.plan.search if "classes" in self.plan.kinds else (0,) * len(self.plan.radius)

    def near(
        self, reach: Reach
    ) -> tuple[list[NDArray[Any]], tuple[slice, ...], NDArray[np.bool_] | None]:
        """Return the samples within reach of the chunk: both images, where it lies, the mask."""
        cut = tuple(
            slice(max(part.start - r, 0), part.stop + r)
            for part, r in zip(self.region, reach, strict=True)
        )
        region = tuple(
            slice(part.start - c.start, part.stop - c.start)
            for part, c in zip(self.region, cut, strict=True)
        )
        fixed, moving, *masks = (array[cut] for array in self.arrays)
        return [fixed, moving], region, masks[0] if masks else None

    @cached_property
    def ncc_elsewhere(self) -> NDArray[np.float32] | None:
        """The NCC at the motion of the images as a whole, if that is beyond the search."""
        motion = self.plan.motion
        return None if motion is None else self._ncc_at(motion, self.plan.radius)

    @property
    def ncc_around(self) -> list[NDArray[np.float32]]:
        """The NCC at no displacement and at that motion, in windows `plan.wide` around."""
        return [self._ncc_at(shift, self.plan.wide) for shift in self._still_and_moved]

    @property
    def samples_around(self) -> list[Numbers]:
        """How many samples these windows are worth, those that are missing left out."""
        from napari_local_ncc.ncc.moments import window_samples

        fixed, moving, *masks = self.arrays
        valid = np.isfinite(fixed)
        for mask in masks:
            valid = valid & mask
        weights = self.plan.limits["weights"]
        known = (valid & np.isfinite(_moved(moving, d, *masks)) for d in self._still_and_moved)
        return [window_samples(v, self.plan.wide, weights)[self.region] for v in known]

    @property
    def _still_and_moved(self) -> tuple[Reach, Reach]:
        assert self.plan.motion is not None  # else there is nothing to look for
        return (0,) * len(self.plan.radius), self.plan.motion

    def _ncc_at(self, shift: Reach, radius: Reach) -> NDArray[np.float32]:
        """Return the NCC at a displacement by whole pixels in windows of a radius."""
        from napari_local_ncc.ncc.kernels.driver import ncc_of_pieces

        fixed, moving, *masks = self.arrays
        whole = tuple(slice(0, n) for n in fixed.shape)
        pieces = [[(whole, fixed)], [(whole, _moved(moving, shift, *masks))]]
        pieces += [[(whole, mask)] for mask in masks]
        return ncc_of_pieces(*pieces, region=self.region, radius=radius, **self.plan.limits)

    @property
    def _window(self) -> dict[str, Any]:
        return {"radius": self.plan.radius, "weights": self.plan.limits["weights"]}

    @cached_property
    def arrays(self) -> list[NDArray[Any]]:
        """Fixed, moving and perhaps the mask, each in one array, with all that windows reach."""
        return [join_pieces(pieces, self._xp) for pieces in self._images]

    @property
    def _xp(self) -> Any:
        """The namespace of the arrays."""
        return namespace_on(self.plan.device)

    @property
    def frame(self) -> NDArray[np.intp] | None:
        """Which frame of the series each independent index is; None where all are one."""
        if self._frames is None:
            return None
        ((_, numbers), *_) = self._frames
        return numbers[tuple(0 if r else slice(None) for r in self.plan.radius)]


def _sum(one: Reach, two: Reach) -> Reach:
    return tuple(map(sum, zip(one, two, strict=True)))


def _grown(region: Box, by: Reach) -> Box:
    """Extend a region by so many samples to either side, within the array it is of."""
    return tuple(
        slice(max(part.start - more, 0), part.stop + more)
        for part, more in zip(region, by, strict=True)
    )


def _moved(
    moving: NDArray[Any], shift: Reach, mask: NDArray[np.bool_] | None = None
) -> NDArray[Any]:
    """Bring what lies at p + shift to p; NaN where that is outside, or masked out."""
    floating = np.result_type(moving.dtype, np.float32)
    known = moving if mask is None else np.where(mask, moving.astype(floating), np.nan)
    out = np.full(moving.shape, np.nan, floating)
    to = tuple(slice(max(-d, 0), min(-d, 0) or None) for d in shift)
    out[to] = known[tuple(slice(max(d, 0), min(d, 0) or None) for d in shift)]
    return out
