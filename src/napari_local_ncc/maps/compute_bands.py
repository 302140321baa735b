"""All bands of a map in one pass over the windows of two images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.chunked.windows import join_pieces
from napari_local_ncc.parameters import check_search

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_local_ncc.confidence.calibration import Calibration
    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.maps.comparison import Comparison
    from napari_local_ncc.maps.exposure import Exposure
    from napari_local_ncc.ncc.moments import Moments
    from napari_local_ncc.parameters import NCCParameters

    Reach = tuple[int, ...]
    Box = tuple[slice, ...]


@dataclass(frozen=True, slots=True, eq=False)
class BandPlan:
    """How the bands of every chunk are computed.

    Parameters
    ----------
    kinds : tuple of str
        What is wanted, of `maps.bands.KINDS`, in the order of the map.
    radius, search : tuple of int
        Window and largest residual shift per axis, in px; no `search` where there is none.
    limits : dict
        `weights`, `min_std` and `min_valid`.
    calibration : Calibration or None
        What turns NCC into confidence.
    exposure : Exposure or None
        Noise and typical contrast of the images.
    is_signed : bool
        Whether what is related has a high NCC, or else a high |NCC|.
    has_frames : bool
        Whether the last image says which frame a pixel is of.
    """

    kinds: tuple[str, ...]
    radius: Reach
    search: Reach
    limits: dict[str, Any]
    calibration: Calibration | None
    exposure: Exposure | None
    is_signed: bool
    has_frames: bool

    @property
    def searches(self) -> bool:
        """Whether any band needs the search for the best shift, which finds the NCC too."""
        return any(COMPUTED[name].searches for name in self.kinds)

    @property
    def bytes_per_pixel(self) -> float:
        """How much memory a block takes for each sample that it needs, about."""
        column = sum(r > 0 for r in self.radius) > 2
        taken = max(COMPUTED[name].memory[column] for name in self.kinds)
        return taken + KEPT * len(self.kinds)

    @property
    def with_error(self) -> bool:
        """Whether the error of the shift is wanted, too."""
        return "shift_error" in self.kinds

    @property
    def reach(self) -> Reach:
        """How far the bands of a pixel reach along each axis."""
        reaches = [self.radius, *(COMPUTED[name].reach(self) for name in self.kinds)]
        return tuple(map(max, zip(*reaches, strict=True)))


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
    """

    def __init__(self, pieces: list[Any], region: tuple[slice, ...], plan: BandPlan) -> None:
        self.region, self.plan = region, plan
        self._images = pieces[:-1] if plan.has_frames else pieces
        self._frames = pieces[-1] if plan.has_frames else None
        self._error: NDArray[np.float32] = np.empty(0, np.float32)

    @cached_property
    def ncc_and_shift(self) -> NDArray[np.float32]:
        """The NCC; where it is searched for, ncc_best, gain and the shift too; shape (n, ...)."""
        options = {"radius": self.plan.radius, "region": self.region, **self.plan.limits}
        if not self.plan.searches:
            from napari_local_ncc.ncc.kernels.driver import ncc_of_pieces

            return ncc_of_pieces(*self._images, **options)[np.newaxis]
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

        if not self._calibration.above_background:
            return self.arrays
        fixed, moving, *masks = self.arrays
        mask = masks[0] if masks else None
        return [
            structure_in_even_light(image, radius=self.plan.radius, mask=mask)
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

        if not self._calibration.above_background:
            return None
        return relative_contrast(*self.judged, **self._window, region=self.region)

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """How sure it is that the images are related; NaN where the NCC is."""
        from napari_local_ncc.ncc.kernels.driver import ncc_of_pieces

        if not self._calibration.above_background:
            return self.confidence_of(self.ncc)
        whole = tuple(slice(0, n) for n in self.judged[0].shape)
        pieces = [[(whole, image)] for image in self.judged]
        # Its floor is in units of the images themselves: what that leaves out is known.
        limits = self.plan.limits | {"min_std": 0.0}
        ncc = ncc_of_pieces(*pieces, region=self.region, radius=self.plan.radius, **limits)
        return np.where(np.isnan(self.ncc), np.float32(np.nan), self.confidence_of(ncc))

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

        reach = self.plan.radius
        if "classes" in self.plan.kinds:
            reach = tuple(r + s for r, s in zip(reach, self.plan.search, strict=True))
        arrays, region, mask = self.near(reach)
        return window_moments(*arrays, **self._window | {"mask": mask}), region

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
        from napari_local_ncc.ncc.kernels.driver import ncc_of_pieces

        motion = None if self.plan.exposure is None else self.plan.exposure.motion
        if motion is None:
            return None
        fixed, moving, *masks = self.arrays
        whole = tuple(slice(0, n) for n in fixed.shape)
        pieces = [[(whole, fixed)], [(whole, _moved(moving, motion, *masks))]]
        pieces += [[(whole, mask)] for mask in masks]
        options = {"radius": self.plan.radius, **self.plan.limits}
        return ncc_of_pieces(*pieces, region=self.region, **options)

    @property
    def _window(self) -> dict[str, Any]:
        return {"radius": self.plan.radius, "weights": self.plan.limits["weights"]}

    @cached_property
    def arrays(self) -> list[NDArray[Any]]:
        """Fixed, moving and perhaps the mask, each in one array, with all that windows reach."""
        return [join_pieces(pieces, np) for pieces in self._images]

    @property
    def frame(self) -> NDArray[np.intp] | None:
        """Which frame of the series each independent index is; None where all are one."""
        if self._frames is None:
            return None
        ((_, numbers), *_) = self._frames
        return numbers[tuple(0 if r else slice(None) for r in self.plan.radius)]


@dataclass(frozen=True, slots=True)
class ComputedKind:
    """How a kind of band is computed.

    Parameters
    ----------
    bands : callable
        A block to its bands, in the order of `BandKind.bands`.
    reach : callable
        How far a pixel's bands reach along each axis.
    searches : bool
        Whether they need the search for the best shift.
    memory : tuple of int
        Bytes that they take for each sample of a block, in planes and in volumes.
    """

    bands: Callable[[Block], list[NDArray[np.float32]]]
    reach: Callable[[BandPlan], Reach]
    searches: bool = False
    memory: tuple[int, int] = (24, 60)


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


def _confidence_reach(plan: BandPlan) -> Reach:
    from napari_local_ncc.confidence.background import background_radius
    from napari_local_ncc.confidence.samples import margin

    if plan.calibration is None or not plan.calibration.above_background:
        return margin(plan.radius)
    # Background and contrast are found around all samples that the texture and its contrast need.
    around = background_radius(plan.radius)
    needed = map(max, zip(margin(plan.radius), around, strict=True))
    return tuple(map(sum, zip(needed, around, around, strict=True)))


def _shift_reach(plan: BandPlan) -> Reach:
    from napari_local_ncc.shift.dispatch import shift_depth

    return shift_depth(plan.radius, plan.search, with_error=plan.with_error)


def _class_reach(plan: BandPlan) -> Reach:
    motion = None if plan.exposure is None else plan.exposure.motion
    far = [abs(d) for d in motion] if motion else [0] * len(plan.radius)
    reaches = [
        _confidence_reach(plan),
        _shift_reach(plan),
        tuple(r + d for r, d in zip(plan.radius, far, strict=True)),
        tuple(
            r + s + n for r, s, n in zip(plan.radius, plan.search, _noise_reach(plan), strict=True)
        ),
    ]
    return tuple(map(max, zip(*reaches, strict=True)))


def _classes(block: Block) -> list[NDArray[np.float32]]:
    from napari_local_ncc.maps.window_evidence import class_band

    return class_band(block)


def _ceiling(block: Block) -> list[NDArray[np.float32]]:
    from napari_local_ncc.maps.window_evidence import ceiling_band

    return ceiling_band(block)


def _fit(block: Block) -> list[NDArray[np.float32]]:
    from napari_local_ncc.maps.window_evidence import fit_bands

    return fit_bands(block)


def _noise_reach(plan: BandPlan) -> Reach:
    from napari_local_ncc.confidence.local_noise import reach_of_noise

    return tuple(map(max, zip(plan.radius, reach_of_noise(plan.radius), strict=True)))


def _radius(plan: BandPlan) -> Reach:
    return plan.radius


KEPT = 16  # bytes of a sample of a finished band: in the queue, and while it is written
SEARCHED = (320, 900)  # bytes of a sample, in planes and volumes
COMPUTED = {
    "ncc": ComputedKind(lambda block: [block.ncc], _radius),
    "confidence": ComputedKind(
        lambda block: [block.confidence], _confidence_reach, memory=(180, 360)
    ),
    "shift": ComputedKind(
        lambda block: list(block.ncc_and_shift[1:]), _shift_reach, True, (120, 700)
    ),
    "shift_error": ComputedKind(
        lambda block: list(block.shift_error), _shift_reach, True, SEARCHED
    ),
    "classes": ComputedKind(_classes, _class_reach, True, SEARCHED),
    "ceiling": ComputedKind(_ceiling, _noise_reach, memory=(180, 360)),
    "fit": ComputedKind(_fit, _radius, memory=(180, 360)),
}
JUDGED = {"confidence", "classes"}  # kinds that need a calibration
EXPOSED = {"classes", "ceiling"}  # and those that need an exposure


def plan_bands(
    grid: Grid,
    parameters: NCCParameters,
    calibration: Calibration | None,
    exposure: Exposure | None = None,
) -> BandPlan:
    """Return how the bands of every block are computed.

    Parameters
    ----------
    grid : Grid
        What radius and search are resolved on.
    parameters : NCCParameters
        Window, limits and bands.
    calibration : Calibration or None
        What turns NCC into confidence; needed for the kinds in `JUDGED`.
    exposure : Exposure or None
        Noise and typical contrast of the images; needed for the kinds in `EXPOSED`.
    """
    searches = any(COMPUTED[name].searches for name in parameters.bands)
    radius = parameters.radius_on(grid)
    return BandPlan(
        parameters.bands,
        radius,
        check_search(parameters.search_on(grid), radius, grid.shape) if searches else (),
        {
            "weights": parameters.weights,
            "min_std": parameters.min_std,
            "min_valid": parameters.min_valid,
        },
        calibration,
        exposure,
        parameters.alternative == "greater",
        calibration is not None and len(calibration.nulls) > 1,
    )


@dataclass(frozen=True, slots=True, eq=False)
class BandTask:
    """Computes the bands of any block of a map from what it reads; it travels by pickle.

    Parameters
    ----------
    comparison : Comparison
        What is compared.
    plan : BandPlan
        How.
    names : tuple of str
        The bands, in the order of `bands_on`.
    """

    comparison: Comparison
    plan: BandPlan
    names: tuple[str, ...]

    def __call__(self, box: Box) -> NDArray[np.float32]:
        """Return the bands in a box of the grid, shape (bands, *box); NaN where undefined."""
        known = tuple(
            slice(max(part.start, b.start), min(part.stop, b.stop))
            for part, b in zip(box, self.comparison.box, strict=True)
        )
        if known == tuple(box):
            return self._compute(known)
        out = np.full((len(self.names), *_lengths(box)), np.nan, np.float32)
        if "classes" in self.names:  # which are numbers, and undefined is 0
            out[self.names.index("classes")] = 0
        if all(part.start < part.stop for part in known):
            here = tuple(
                slice(k.start - part.start, k.stop - part.start)
                for k, part in zip(known, box, strict=True)
            )
            out[(slice(None), *here)] = self._compute(known)
        return out

    def _compute(self, box: Box) -> NDArray[np.float32]:
        reach = tuple(
            slice(max(part.start - r, b.start), min(part.stop + r, b.stop))
            for part, r, b in zip(box, self.plan.reach, self.comparison.overlap_box, strict=True)
        )
        region = tuple(
            slice(part.start - r.start, part.stop - r.start)
            for part, r in zip(box, reach, strict=True)
        )
        images = self.comparison.read(reach)
        if self.plan.has_frames:
            images.append(_frame_numbers(self.comparison.grid.shape, self.plan.radius, reach))
        whole = tuple(slice(0, n) for n in images[0].shape)
        block = Block([[(whole, image)] for image in images], region, self.plan)
        bands = [band for name in self.plan.kinds for band in COMPUTED[name].bands(block)]
        return bands[0][np.newaxis] if len(bands) == 1 else np.stack(bands)


def _lengths(box: Box) -> list[int]:
    return [part.stop - part.start for part in box]


def _frame_numbers(shape: tuple[int, ...], radius: Reach, box: Box) -> NDArray[np.intp]:
    """Return the number of the frame that each pixel of a box is of, without memory for it.

    Every index along axes of radius 0 is a frame; all of `shape` are counted.
    """
    lengths = [1 if r else n for n, r in zip(shape, radius, strict=True)]
    numbers = np.arange(np.prod(lengths)).reshape(lengths)
    numbers = numbers[tuple(slice(None) if r else b for b, r in zip(box, radius, strict=True))]
    return np.broadcast_to(numbers, _lengths(box))
