"""The samples that smoothed windows are made of; what is missing among them is filled in."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.ndimage

from napari_local_ncc.ncc.kernels.tiles import (
    clip,
    lengths_of,
    read_tile,
    relative,
    scale_and_centre,
)
from napari_local_ncc.shift.smoothing import FILL_REACH, FILL_SIGMA, MARGIN, REACH, SMOOTHING
from napari_local_ncc.shift.subpixel.series_kernel import scale_samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_local_ncc.ncc.kernels.rows import Validity
    from napari_local_ncc.ncc.kernels.tiles import Pieces, Slices

    Values = NDArray[np.float32]

TRUST = 8  # power of the valid share of what a sample is smoothed from that it counts with
BRIGHTEST = 1e15  # on the scale of the other samples; the square still is a float32


def read_samples(
    pieces: Pieces,
    mask: Pieces,
    tile: Slices,
    radius: Sequence[int],
    beyond: Sequence[int],
    shape: tuple[int, ...],
) -> tuple[Values, Values, float]:
    """Read what the windows of a tile hold, and what their smoothing takes.

    Parameters
    ----------
    pieces, mask : sequence of (where, array)
        The image and, perhaps, where it may be used.
    tile : tuple of slice
        The centres of the windows; independent axes come first.
    radius, beyond : sequence of int
        How far windows reach along z, y, x, and how much farther samples are wanted.
    shape : tuple of int
        Of the image.

    Returns
    -------
    samples : array of float32, shape (z, y, x)
        With `MARGIN` more on each side of an axis with windows; centred, with a span of about
        1. Missing ones are filled in from around them.
    weight : array of float32, shape (z', y', x')
        What each counts, 0 to 1; without the margin.
    scale : float
        What the samples were multiplied by.
    """
    windowed = sum(r > 0 for r in radius)
    unused = 3 - windowed
    grow = [r + b + MARGIN if r else 0 for r, b in zip(radius, beyond, strict=True)]
    grow = [0] * (len(tile) - windowed) + grow[unused:]
    box = tuple(slice(p.start - g, p.stop + g) for p, g in zip(tile, grow, strict=True))
    samples, valid, scale = _read(pieces, mask, box, shape)
    lengths = (*(1,) * unused, *lengths_of(box)[-windowed:])
    samples, valid = samples.reshape(lengths), valid.reshape(lengths)
    if valid.all():
        inner = [n - 2 * MARGIN if n > 1 else 1 for n in lengths]
        return samples, np.ones(inner, np.float32), scale
    weight = valid.astype(np.float32)
    samples = _fill(samples, valid)
    sigma = [SMOOTHING if n > 1 else 0 for n in lengths]
    share = scipy.ndimage.gaussian_filter(weight, sigma, mode="constant", radius=REACH)
    weight *= share**TRUST
    return samples, without_margin(weight, MARGIN), scale


def without_margin(samples: Values, margin: int) -> Values:
    """Return an image without a margin along each axis longer than 1 sample."""
    inner = tuple(slice(margin, n - margin) if n > 1 else slice(None) for n in samples.shape)
    return np.ascontiguousarray(samples[inner])


def _read(
    pieces: Pieces, mask: Pieces, box: Slices, shape: tuple[int, ...]
) -> tuple[Values, Validity, float]:
    """Read samples of a box, which may exceed the image, where they are valid, and their scale.

    They are scaled to a span of about 1 and centred, which no NCC depends on.
    """
    lengths = lengths_of(box)
    inside = relative(clip(box, [(0, n) for n in shape]), box)
    valid = np.zeros(lengths, np.bool_)
    valid[inside] = True
    if mask:
        valid &= _read_box(mask, box, np.dtype(np.bool_))
    samples = _read_box(pieces, box, np.dtype(np.float64))
    valid &= np.isfinite(samples)
    scale, centre = scale_and_centre(samples.ravel(), valid.ravel())
    small = np.empty(lengths, np.float32)
    scale_samples(samples.ravel(), scale, centre, BRIGHTEST, valid.ravel(), small.ravel())
    return small, valid, scale


def _read_box(pieces: Pieces, box: Slices, dtype: np.dtype[Any]) -> NDArray[Any]:
    lengths = lengths_of(box)
    flat = read_tile(pieces, box, np.zeros(prod(lengths) + lengths[-1], dtype))
    return flat[: prod(lengths)].reshape(lengths)


def _fill(samples: Values, valid: Validity) -> Values:
    """Fill invalid samples in from around them, so that the next to them can be smoothed."""
    filled = samples
    for _ in range(2):  # the second time next to what was filled in the first time
        sigma = [FILL_SIGMA if n > 1 else 0 for n in samples.shape]
        options: dict[str, Any] = {"mode": "constant", "radius": FILL_REACH}
        weight = scipy.ndimage.gaussian_filter(valid.astype(np.float32), sigma, **options)
        total = scipy.ndimage.gaussian_filter(np.where(valid, filled, 0), sigma, **options)
        around = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        filled, valid = np.where(valid, filled, around), valid | (weight > 0)
    return filled
