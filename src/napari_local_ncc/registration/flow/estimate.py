"""Dense flow between two arrays: optical flow proposes, what the windows really show is kept."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Protocol, get_args

import numpy as np
from scipy import ndimage as ndi
from skimage.registration import optical_flow_ilk, optical_flow_tvl1

from napari_local_ncc.evidence.contrast_curve import ContrastCurve
from napari_local_ncc.evidence.pearson import pearson
from napari_local_ncc.evidence.validity import normalized_convolution
from napari_local_ncc.image.pyramid import reduce_by
from napari_local_ncc.parameters import check_choice
from napari_local_ncc.registration.flow.regularise import (
    LEAST_CHANCE,
    keep_determined,
    window_correlation,
)
from napari_local_ncc.registration.settings import Method
from napari_local_ncc.registration.translation.array_pair import standardise
from napari_local_ncc.transforms.displacement_field import field_array, interpolate_field, pixels_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from numpy.typing import NDArray

    Pixels = NDArray[np.float32]
    Box = tuple[slice, ...]

WHOLE = 2**21  # samples of which the flow is found at once
CORE = {2: 1024, 3: 96}  # px: side of a block of a larger image
OVERLAP = {2: 96, 3: 24}  # px by which a block reaches into its neighbours
SHORTEST = 8  # px along every axis
RADIUS = 5  # px: window of ILK
THREADS = min(os.cpu_count() or 1, 4)  # blocks at once: each takes some 200 B per sample
WARPS = 6  # iterations of ILK on each level of its pyramid
LOCAL = 4.0  # px: sigma of the window in which brightness and contrast are made equal
FLAT = 0.05  # of the image's standard deviation: contrast below it is left as it is
INTENSITIES = 64  # of moving, for which the mean of fixed is taken
NEW_CONTRAST = 1.25  # fall of the residual variance that speaks for other contrasts
CHANCE_LEVEL = 0.5  # quantile of the correlations of unrelated windows that counts as chance


class ArrayLike(Protocol):
    """What can be read box by box: a NumPy array, or a lazy one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the image."""

    def __getitem__(self, box: tuple[slice, ...]) -> object: ...


def iter_flow(
    fixed: ArrayLike,
    moving: ArrayLike,
    *,
    method: str = "ilk",
    whole: int = WHOLE,
    chance: float | None = None,
) -> Generator[tuple[int, int], None, Pixels]:
    """Estimate where every pixel of `fixed` lies in `moving`.

    Both images are brought to the same local brightness and contrast; where their contrasts
    differ otherwise (bright for dark, T1 for PD), moving's intensities are first replaced by
    the mean that fixed has at them [1]_. The optical flow [2]_ [3]_ of these is believed as
    far as the structure of a window determines it and the window's images then correlate;
    elsewhere it is filled in smoothly from around. A large image is done on a reduced copy,
    then in overlapping blocks at full resolution.

    Parameters
    ----------
    fixed, moving : array_like, shape (...)
        Real images of one shape, on one grid; read box by box. NaN and infinite samples
        are invalid.
    method : {"ilk", "tvl1"}, default "ilk"
        Iterative Lucas-Kanade, or TV-L1, which follows sharper changes and takes longer.
    whole : int
        The most samples to handle at once.
    chance : float, optional
        `Unrelated.correlation` of these images, where it is known.

    Yields
    ------
    tuple of int
        Blocks done and to do, before as many as there are threads. Closing the generator
        cancels: no further block is begun.

    Returns
    -------
    ndarray of float32, shape (ndim, ...)
        Displacement in px: pixel ``p`` of fixed shows what ``p + flow[:, p]`` of moving
        does. Finite everywhere. In a temporary file if it is large.

    Raises
    ------
    ValueError
        If the images differ in shape, are not 2-D or 3-D, too small, constant or (almost)
        all invalid.

    References
    ----------
    .. [1] Guimond et al., IEEE TMI 20, 58 (2001), doi:10.1109/42.906425
    .. [2] Le Besnerais & Champagnat, ICIP (2005), doi:10.1109/ICIP.2005.1529706
    .. [3] Zach et al., DAGM (2007), doi:10.1007/978-3-540-74936-3_22
    """
    check_choice("method", method, get_args(Method))
    check_shapes(fixed, moving)
    shape = fixed.shape
    factor = int(np.ceil((np.prod(shape, dtype=float) / whole) ** (1 / len(shape)) - 1e-9))
    blocks = list(_blocks(shape, whole)) if factor > 1 else []
    yield 0, len(blocks) + 1
    a, b = (reduce_image(image, factor, whole) for image in (fixed, moving))
    contrast = Contrast.from_images(a, b)
    if chance is None:
        chance = fit_unrelated(a, b, contrast, method, number=2).correlation
    coarse = block_flow(a, b, contrast, method, chance)
    if not blocks:
        return coarse
    result = field_array((len(shape), *shape))

    def refine(block: tuple[Box, list[Pixels]]) -> Pixels:
        box, ramps = block
        start = _enlarge(coarse, factor, box)
        moved = _warp(moving, start, box)
        rest = block_flow(_read(fixed, box), moved, contrast, method, chance, alone=False)
        after = interpolate_field(start, pixels_of([slice(0, n) for n in rest.shape[1:]]) + rest)
        found = (rest + after).astype(np.float32)
        for ramp in ramps:
            found *= ramp
        return found

    with ThreadPoolExecutor(THREADS, thread_name_prefix="local-ncc-flow") as pool:
        for done in range(0, len(blocks), THREADS):
            yield done + 1, len(blocks) + 1
            batch = blocks[done : done + THREADS]
            for (box, _), part in zip(batch, pool.map(refine, batch), strict=True):
                result[(slice(None), *box)] += part
    return result


@dataclass(frozen=True, slots=True, eq=False)
class Contrast:
    """How to make two images look alike: scale of fixed, intensities of moving in it."""

    centre: float
    spread: float
    intensities: NDArray[np.float64]  # of moving
    means: NDArray[np.float64]  # of fixed, standardised, where moving has these

    @classmethod
    def from_images(cls, fixed: Pixels, moving: Pixels) -> Contrast:
        """Compare two images that are roughly aligned.

        Moving only changes its scale, unless other means per intensity explain fixed much
        better (the correlation ratio is much higher than the correlation).
        """
        for image, name in ((fixed, "fixed"), (moving, "moving")):
            standardise(image, None, name)  # refuses what is constant or invalid
        common = np.isfinite(fixed) & np.isfinite(moving)
        if common.sum() < INTENSITIES:
            raise ValueError(
                f"fixed and moving have {common.sum()} valid samples in common, too few for a "
                "flow; check their positions and masks, or give initial='translation'"
            )
        x, y = (image[common].astype(np.float64) for image in (moving, fixed))
        centre, spread = float(y.mean()), float(y.std() or 1.0)
        low, high = float(x.mean()), float(x.mean() + (x.std() or 1.0))
        scaled = cls(centre, spread, np.array([low, high]), np.array([0.0, 1.0]))
        y = (y - centre) / spread
        linear = pearson(x - low, y)
        if not abs(linear) <= 1:  # one of them is constant where they overlap
            return scaled
        curve = ContrastCurve.of(x, y, INTENSITIES)
        alike = 1 - max(linear, 0.0) ** 2 < NEW_CONTRAST * (1 - curve.explained)
        if alike or len(curve.means) < 2:
            return scaled
        return cls(centre, spread, curve.intensities, curve.means)

    def standardise_fixed(self, image: Pixels) -> Pixels:
        """Standardise fixed."""
        return ((image - self.centre) / self.spread).astype(np.float32)

    def standardise_moving(self, image: Pixels) -> Pixels:
        """Bring moving to fixed's contrast."""
        if len(self.intensities) == 2:
            low, high = self.intensities
            return ((image - low) / (high - low)).astype(np.float32)
        return np.interp(image, self.intensities, self.means).astype(np.float32)


def block_flow(
    fixed: Pixels,
    moving: Pixels,
    contrast: Contrast,
    method: str,
    chance: float,
    *,
    alone: bool = True,
) -> Pixels:
    """Find the flow of one block; `alone`: it is the whole image. See `Unrelated` for `chance`."""
    return _fit(fixed, moving, contrast, method).keep(chance, to_the_end=alone)


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """An optical flow, and the images of local variance 1 that it brings together."""

    fixed: Pixels
    moved: Pixels
    valid: NDArray[np.bool_]
    flow: Pixels

    def keep(self, chance: float, *, to_the_end: bool) -> Pixels:
        """Return what the images determine of the flow; see `keep_determined`."""
        return keep_determined(
            self.fixed, self.moved, self.valid, self.flow, chance=chance, to_the_end=to_the_end
        )


def _fit(fixed: Pixels, moving: Pixels, contrast: Contrast, method: str) -> _Fit:
    a, b = (
        local_contrast(contrast.standardise_fixed(fixed)),
        local_contrast(contrast.standardise_moving(moving)),
    )
    if method == "ilk":
        flow = optical_flow_ilk(a, b, radius=RADIUS, num_warp=WARPS, gaussian=True)
    else:
        flow = optical_flow_tvl1(a, b)
    at = pixels_of([slice(0, n) for n in a.shape]) + flow
    moved = ndi.map_coordinates(b, at, np.float32, order=1, mode="nearest")
    valid = ndi.map_coordinates(
        np.isfinite(moving).astype(np.float32), at, np.float32, order=1, cval=0.0
    )
    return _Fit(a, moved, np.isfinite(fixed) & (valid > 0.99), flow)


@dataclass(frozen=True, slots=True, eq=False)
class Unrelated:
    """Optical flows of images that cannot match: moving mirrored, displaced and turned.

    Attributes
    ----------
    correlation : float
        That windows reach after such a flow. Optical flow makes any images alike, the more
        the smoother they are, noise shared by neighbours included.
    """

    correlation: float
    images: list[Pixels]
    fits: list[_Fit]

    def flows(self) -> Iterator[tuple[Pixels, Pixels]]:
        """Yield each image, and the flow that would be kept of its fit."""
        for image, fit in zip(self.images, self.fits, strict=True):
            yield image, fit.keep(self.correlation, to_the_end=True)


def fit_unrelated(
    fixed: Pixels, moving: Pixels, contrast: Contrast, method: str, number: int = 4
) -> Unrelated:
    """Fit flows to moving displaced by half its size, turned by half a turn or mirrored.

    The texture is the same, and nothing corresponds. The first two of `number` tell which
    correlation windows reach.
    """
    half = [n // 2 for n in moving.shape]
    other = np.roll(moving, half, axis=tuple(range(moving.ndim)))
    turned = [(other, None), (other, -1), (other, -2), (moving, -2)]
    images = [np.flip(image, axis=axis) for image, axis in turned[:number]]
    with ThreadPoolExecutor(THREADS) as pool:
        fits = list(pool.map(lambda image: _fit(fixed, image, contrast, method), images))
    levels = [
        float(np.quantile(window_correlation(fit.fixed, fit.moved)[fit.valid], CHANCE_LEVEL))
        for fit in fits[:2]
        if fit.valid.any()
    ]
    return Unrelated(max([LEAST_CHANCE, *levels]), images, fits)


def local_contrast(image: Pixels) -> Pixels:
    """Divide the deviation from the local mean by the local deviation; 0 where invalid."""
    valid = np.isfinite(image)
    smooth = partial(ndi.gaussian_filter, sigma=LOCAL)
    mean, weight = normalized_convolution(image, valid, smooth)
    rest = np.where(valid, image - mean, np.float32(0))
    spread = smooth(rest * rest) / weight
    return np.asarray(rest / np.sqrt(spread + np.float32(FLAT**2)), np.float32)


def check_shapes(fixed: ArrayLike, moving: ArrayLike) -> None:
    """Refuse images that differ in shape, or are no planes and no volumes, or too small."""
    if tuple(fixed.shape) != tuple(moving.shape) or len(fixed.shape) not in (2, 3):
        raise ValueError(
            f"fixed has shape {fixed.shape} and moving {moving.shape}; a flow needs images of "
            "one shape with 2 or 3 axes"
        )
    if min(fixed.shape) < SHORTEST:
        raise ValueError(
            f"the images have shape {fixed.shape}; a flow needs at least {SHORTEST} px along "
            "every axis; choose 2-D (plane by plane) or another model"
        )


def _read(image: ArrayLike, box: Box) -> Pixels:
    samples = np.asarray(image[box])
    return np.where(np.isfinite(samples), samples, np.nan).astype(np.float32)


def reduce_image(image: ArrayLike, factor: int, whole: int) -> Pixels:
    """Return means of blocks of `factor` px a side, those of half blocks at the ends too."""
    if factor == 1:
        return _read(image, tuple(slice(0, n) for n in image.shape))
    result = np.empty([-(-n // factor) for n in image.shape], np.float32)
    side = whole ** (1 / result.ndim) / factor
    for core in _tiles(result.shape, max(1, int(side))):
        box = tuple(
            slice(c.start * factor, min(c.stop * factor, n))
            for c, n in zip(core, image.shape, strict=True)
        )
        result[core] = reduce_by(_read(image, box), (factor,) * result.ndim)
    return result


def _tiles(shape: Sequence[int], side: int) -> Iterator[Box]:
    """Cut a grid into boxes of at most `side` px."""
    cuts = [[slice(s, min(s + side, n)) for s in range(0, n, side)] for n in shape]
    return product(*cuts)


def _blocks(shape: Sequence[int], whole: int) -> Iterator[tuple[Box, list[Pixels]]]:
    """Yield overlapping boxes, and ramps whose products add up to 1 at every pixel."""
    ndim = len(shape)
    overlap = OVERLAP[ndim]
    largest = int(whole ** (1 / ndim)) - 2 * overlap
    side = max(2 * overlap, min(CORE[ndim], largest))
    for core in _tiles(shape, side):
        box, ramps = [], []
        for axis, (part, n) in enumerate(zip(core, shape, strict=True)):
            start, stop = max(0, part.start - overlap), min(n, part.stop + overlap)
            at = np.arange(start, stop, dtype=np.float32)
            # a block's outer half of the overlap is too near its end to be used
            ramp = np.ones_like(at)
            if part.start > 0:
                ramp = np.minimum(ramp, (at - part.start) / overlap + 0.5)
            if part.stop < n:
                ramp = np.minimum(ramp, (part.stop - at) / overlap + 0.5)
            box.append(slice(start, stop))
            ramps.append(np.clip(ramp, 0, 1).reshape([-1 if k == axis else 1 for k in range(ndim)]))
        yield tuple(box), ramps


def _enlarge(coarse: Pixels, factor: int, box: Box) -> Pixels:
    """Read a flow that was found on a reduced copy at the pixels of a box."""
    at = (pixels_of(box) - (factor - 1) / 2) / factor
    return (factor * interpolate_field(coarse, at)).astype(np.float32)


def _warp(image: ArrayLike, flow: Pixels, box: Box) -> Pixels:
    """Read the part of an image that a flow needs, and move it; NaN outside."""
    at = pixels_of(box) + flow
    needed = []
    for axis, n in zip(at, image.shape, strict=True):
        low, high = np.clip([np.floor(axis.min()), np.ceil(axis.max())], 0, n - 1).astype(int)
        needed.append(slice(int(low), int(high) + 1))
    low = np.array([part.start for part in needed]).reshape(-1, *(1,) * len(box))
    last = np.array(image.shape).reshape(low.shape) - 1
    samples = _read(image, tuple(needed))
    moved = ndi.map_coordinates(samples, at - low, np.float32, order=1, mode="nearest")
    return np.where(((at >= 0) & (at <= last)).all(axis=0), moved, np.float32(np.nan))
