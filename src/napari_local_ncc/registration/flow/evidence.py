"""What speaks for a flow: flows of unrelated structure agree less, pixels left out agree more."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_local_ncc.evidence.validity import normalized_convolution
from napari_local_ncc.registration.affine.sampled_image import Sampled, to_unit_range
from napari_local_ncc.registration.flow.estimate import (
    THREADS,
    WHOLE,
    Contrast,
    block_flow,
    chance_correlation,
    local_contrast,
    reduce_image,
)
from napari_local_ncc.registration.flow.window_agreement import (
    FEWEST,
    SIDE,
    agreement_of,
    draw_windows,
)
from napari_local_ncc.transforms.displacement_field import pixels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.registration.engine_thread import Watch
    from napari_local_ncc.registration.flow.estimate import ArrayLike

    Pixels = NDArray[np.float32]

UNRELATED = 8  # flows of unrelated structure
NEAREST = 0.25  # of the field, by which moving is displaced for them, at least
SMOOTHED = 1.0  # px: sigma, so that interpolating moving blurs it no further
HOLE = 2  # px around a place left out that are left out with it
PITCH = 8  # px from one such place to the next


@dataclass(frozen=True, slots=True)
class FlowEvidence:
    """What speaks for a flow.

    Parameters
    ----------
    significance : float
        Standard deviations by which windows agree better after the flow than after flows
        that were fitted in the same way to unrelated structure of the same texture; NaN
        where there is too little structure.
    gain : float
        Standard errors by which places of fixed agree better after a flow that was found
        without them than before; NaN where there is too little structure.
    """

    significance: float
    gain: float


def flow_evidence(
    fixed: ArrayLike, moving: ArrayLike, flow: Pixels, method: str, watch: Watch
) -> FlowEvidence:
    """Compare a flow with chance, and with no flow, on copies of at most 256 px (64 in 3-D).

    A flow fits any images, and noise: that windows agree better afterwards shows nothing.

    Parameters
    ----------
    fixed, moving : array_like, shape (...)
        Images on one grid, as for `iter_flow`.
    flow : ndarray of float32, shape (ndim, ...)
        What it found, in px.
    method : str
        By which it was found.
    watch : Watch
        Can stop the work.
    """
    ndim = len(fixed.shape)
    side = float(np.prod(fixed.shape, dtype=float)) ** (1 / ndim)
    factor = max(1, int(np.ceil(side / SIDE[ndim] - 1e-9)))
    a, b = (reduce_image(image, factor, WHOLE) for image in (fixed, moving))
    if factor > 1:
        flow = np.stack([reduce_image(part, factor, WHOLE) for part in flow]) / np.float32(factor)
    common = np.isfinite(a) & np.isfinite(b)
    for part in ndi.find_objects(common.astype(np.uint8)):
        # Displaced within where both have samples, a small valid part still meets itself.
        a, b, flow = a[part], b[part], flow[:, *part]
    chance = chance_correlation(a, b, Contrast.from_images(a, b), method)
    return FlowEvidence(
        _significance(a, b, flow, method, chance, watch), _gain(a, b, method, chance, watch)
    )


def _significance(
    fixed: Pixels,
    moving: Pixels,
    flow: Pixels,
    method: str,
    chance: float,
    watch: Watch,
    seed: int = 0,
) -> float:
    """Return how far the agreement stands out from that after flows of unrelated structure."""
    random, eye = np.random.default_rng(seed), np.eye(fixed.ndim + 1)
    points, values = draw_windows(Sampled(to_unit_range(fixed), eye), random)
    others = list(_make_unrelated(to_unit_range(moving), random))

    def agreement(image: Pixels, by: Pixels) -> float:
        return agreement_of(points, values, Sampled(_move(image, by, order=1), eye), eye)

    def by_chance(other: Pixels) -> float:
        watch.check()
        try:
            contrast = Contrast.from_images(fixed, other)
        except ValueError:  # displaced, they share no samples
            return np.nan
        return agreement(other, block_flow(fixed, other, contrast, method, chance))

    with ThreadPoolExecutor(THREADS) as pool:
        reached = np.array(list(pool.map(by_chance, others)))
    known = reached[np.isfinite(reached)]
    spread = float(known.std(ddof=1)) if 2 * known.size >= UNRELATED else 0.0
    return (
        (agreement(to_unit_range(moving), flow) - float(known.mean())) / spread
        if spread
        else np.nan
    )


def _make_unrelated(moving: Pixels, random: np.random.Generator) -> list[Pixels]:
    """Displace an image far around its ends, every second time turned by half a turn."""
    found = []
    for number in range(UNRELATED):
        far = [int(n * random.uniform(NEAREST, 1 - NEAREST)) for n in moving.shape]
        other = np.roll(moving, far, axis=tuple(range(moving.ndim)))
        found.append(np.flip(other) if number % 2 else other)
    return found


def _gain(fixed: Pixels, moving: Pixels, method: str, chance: float, watch: Watch) -> float:
    """Find a flow without some places of fixed, and see whether these agree better after it.

    A place is left out with all its neighbours within `HOLE`: noise that neighbours share, as
    that of interpolated or denoised images, leads a flow to the places beside it, too. There
    fixed is replaced by moving as it lies, which speaks for no motion.
    """
    contrast = Contrast.from_images(fixed, moving)
    a, b = (
        _smooth(np.where(np.isfinite(image), local_contrast(image), np.float32(np.nan)))
        for image in (contrast.standardise_fixed(fixed), contrast.standardise_moving(moving))
    )
    unmoved = contrast.centre + contrast.spread * contrast.standardise_moving(moving)
    found = []
    for first in (HOLE, HOLE + PITCH // 2):
        watch.check()
        centres = np.zeros(fixed.shape, bool)
        centres[(slice(first, None, PITCH),) * fixed.ndim] = True
        hole = ndi.maximum_filter(centres, 2 * HOLE + 1)
        rest = np.where(hole & np.isfinite(fixed), unmoved, fixed)
        moved = _move(b, block_flow(rest, moving, contrast, method, chance), order=3)
        found.append((np.square(a - b) - np.square(a - moved))[centres])
    gains = np.concatenate(found)
    gains = gains[np.isfinite(gains)]
    if gains.size < FEWEST or not gains.std() > 0:
        return np.nan
    return float(gains.mean() / (gains.std(ddof=1) / np.sqrt(gains.size)))


def _smooth(image: Pixels) -> Pixels:
    """Smooth within the holes; of both images alike, so that interpolation changes neither."""
    valid = np.isfinite(image)
    smooth = partial(ndi.gaussian_filter, sigma=SMOOTHED, radius=HOLE)
    return np.where(valid, normalized_convolution(image, valid, smooth)[0], np.float32(np.nan))


def _move(image: Pixels, flow: Pixels, *, order: int) -> Pixels:
    """Read an image where a flow leads; NaN outside and where it is invalid."""
    at = pixels_of([slice(0, n) for n in image.shape]) + flow
    valid = np.isfinite(image)
    filled = np.where(valid, image, np.float32(image[valid].mean() if valid.any() else 0))
    weight = ndi.map_coordinates(valid.astype(np.float32), at, np.float32, order=1, cval=0.0)
    values = ndi.map_coordinates(filled, at, np.float32, order=order, mode="nearest")
    return np.where(weight > 0.99, values, np.float32(np.nan))
