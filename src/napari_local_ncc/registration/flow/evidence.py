"""What speaks for a flow: it brings more together than flows of unrelated structure do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_local_ncc.evidence.validity import normalized_convolution
from napari_local_ncc.registration.evidence.judge import Verdict, judge
from napari_local_ncc.registration.flow.estimate import (
    WHOLE,
    Contrast,
    Unrelated,
    block_flow,
    check_shapes,
    fit_unrelated,
    local_contrast,
    reduce_image,
)
from napari_local_ncc.transforms.displacement_field import pixels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.registration.engine_thread import Watch
    from napari_local_ncc.registration.flow.estimate import ArrayLike

    Pixels = NDArray[np.float32]

SIDE = {2: 256.0, 3: 64.0}  # px of an axis (geometric mean) at which flows are judged
NEEDED = 1.5  # times the best of unrelated structure: a flow has more freedom than four show
FEWEST = 8  # places below which nothing is said
SMOOTHED = 1.0  # px: sigma, so that interpolating moving blurs it no further
HOLE = 2  # px around a place left out that are left out with it
PITCH = 8  # px from one such place to the next


@dataclass(frozen=True, slots=True)
class FlowEvidence:
    """What speaks for a flow.

    Parameters
    ----------
    verdict : Verdict
        Of the judge, for what the flow makes of moving, against the same of unrelated
        structure.
    gain : float
        Standard errors by which places of fixed agree better after a flow that was found
        without them than before; NaN where there is too little structure.
    """

    verdict: Verdict
    gain: float


@dataclass(frozen=True, slots=True, eq=False)
class FlowTrial:
    """Both images as small as they are judged, and flows of what cannot match.

    Attributes
    ----------
    fixed, moving : ndarray of float32, shape (...)
        The part where both have samples, of copies of at most 256 px a side (64 in 3-D).
    factor : int
        By which they were reduced.
    part : tuple of slice
        Where they lie in the copies.
    unrelated : Unrelated
    """

    fixed: Pixels
    moving: Pixels
    factor: int
    part: tuple[slice, ...]
    contrast: Contrast
    unrelated: Unrelated

    @classmethod
    def prepare(cls, fixed: ArrayLike, moving: ArrayLike, method: str) -> FlowTrial:
        """Reduce images on one grid, as for `iter_flow`, and fit flows to unrelated ones."""
        check_shapes(fixed, moving)
        ndim = len(fixed.shape)
        side = float(np.prod(fixed.shape, dtype=float)) ** (1 / ndim)
        factor = max(1, int(np.ceil(side / SIDE[ndim] - 1e-9)))
        a, b = (reduce_image(image, factor, WHOLE) for image in (fixed, moving))
        common = np.isfinite(a) & np.isfinite(b)
        # displaced within where both have samples, a small valid part still meets itself
        (part,) = ndi.find_objects(common.astype(np.uint8)) or [(slice(None),) * ndim]
        a, b = a[part], b[part]
        contrast = Contrast.from_images(a, b)
        return cls(a, b, factor, part, contrast, fit_unrelated(a, b, contrast, method))

    @property
    def chance(self) -> float | None:
        """Correlation of unrelated windows after a flow; None where the images are larger."""
        return self.unrelated.correlation if self.factor == 1 else None

    def weigh(self, flow: Pixels, method: str, watch: Watch) -> FlowEvidence:
        """Compare a flow with chance, and with no flow.

        A flow fits any images, and noise: that windows agree better afterwards shows nothing.

        Parameters
        ----------
        flow : ndarray of float32, shape (ndim, ...)
            In px of the images.
        method : str
            By which it was found.
        watch : Watch
            Can stop the work.
        """
        if self.factor > 1:
            parts = [reduce_image(part, self.factor, WHOLE) for part in flow]
            flow = np.stack(parts) / np.float32(self.factor)
        own = self.moving, flow[:, *self.part]
        moved, *others = (
            _move(self.contrast.standardise_moving(image), by, order=1)
            for image, by in (own, *self.unrelated.flows())
        )
        watch.check()
        verdict = judge(self.contrast.standardise_fixed(self.fixed), moved, others)
        gain = _gain(self.fixed, self.moving, method, self.unrelated.correlation, watch)
        return FlowEvidence(replace(verdict, needed=NEEDED), gain)


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
        apart, after = (_apart(a[centres], other[centres]) for other in (b, moved))
        found.append(apart - after)
    gains = np.concatenate(found)
    gains = gains[np.isfinite(gains)]
    if gains.size < FEWEST or not gains.std() > 0:
        return np.nan
    return float(gains.mean() / (gains.std(ddof=1) / np.sqrt(gains.size)))


def _apart(fixed: Pixels, moving: Pixels) -> Pixels:
    """Return the squared differences of samples, but for a gain; NaN where one is.

    Noise takes of the local contrast of the image that has more of it: where moving stands out
    more, a flow that only weakens it would make both more alike.
    """
    known = np.isfinite(fixed) & np.isfinite(moving)
    power = np.square(moving[known]).sum()
    gain = np.vdot(fixed[known], moving[known]) / power if power > 0 else 0.0
    return np.square(fixed - np.float32(max(gain, 0.0)) * moving)


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
