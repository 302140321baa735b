"""How much stronger the structure in a window is than around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.confidence.background import background_radius
from napari_local_ncc.confidence.even_light import smooth_contrast
from napari_local_ncc.ncc.device import namespace_of
from napari_local_ncc.ncc.moments import window_moments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEAST = 1e-6  # of a variance, as a share of that around


def relative_contrast(
    fixed: NDArray[Any],
    moving: NDArray[Any],
    *,
    radius: Sequence[int],
    weights: str = "box",
    mask: NDArray[np.bool_] | None = None,
    region: tuple[slice, ...] | None = None,
    in_even_light: bool = False,
) -> NDArray[np.float32]:
    """Compare the variance in every window with that around it.

    Unrelated windows that one spot or edge rules reach high NCC by chance more often than
    even texture of the same grain does.

    Parameters
    ----------
    fixed, moving : array, shape (...)
        Two images of one shape; NaN and inf are invalid samples.
    radius : sequence of int
        Radius of the NCC's windows per axis; 0 = independent axis.
    weights : {"box", "gaussian"}
        Their weights.
    mask : array of bool, shape (...), optional
        True where samples may be used.
    region : tuple of slice, optional
        Where it is wanted; default: everywhere.
    in_even_light : bool, default False
        Whether both are `structure_in_even_light`, whose contrast around is 1. Only the samples
        of the windows are then read.

    Returns
    -------
    array of float32, shape of the region
        Natural logarithm of the ratio of standard deviations, that in the window over that
        around (see `smooth_contrast`), summed over both images. 0 where it is unknown.
    """
    xp = namespace_of(fixed)
    where = tuple(
        slice(*part.indices(n)[:2])
        for part, n in zip(region or (slice(None),) * fixed.ndim, fixed.shape, strict=True)
    )
    cut = tuple(slice(max(p.start - r, 0), p.stop + r) for p, r in zip(where, radius, strict=True))
    here = tuple(
        slice(p.start - c.start, p.stop - c.start) for p, c in zip(where, cut, strict=True)
    )
    used = None if mask is None else mask[cut]
    inner = window_moments(fixed[cut], moving[cut], radius=radius, weights=weights, mask=used)
    variances = [variance[here] for variance in inner.variance]
    if not in_even_light:
        around = _variances_around(fixed, moving, radius, mask, where)
        variances = [near / far for near, far in zip(variances, around, strict=True)]
    one, other = (xp.maximum(variance, LEAST) for variance in variances)
    ratio = one * other
    found: NDArray[np.float32] = xp.where(xp.isfinite(ratio), 0.5 * xp.log(ratio), 0.0)
    return found.astype(np.float32)


def _variances_around(
    fixed: NDArray[Any],
    moving: NDArray[Any],
    radius: Sequence[int],
    mask: NDArray[np.bool_] | None,
    where: tuple[slice, ...],
) -> list[NDArray[np.float64]]:
    """Return that around every window of either image; NaN where it is 0."""
    xp = namespace_of(fixed)
    unused = xp.zeros((), bool) if mask is None else ~mask
    wide = background_radius(radius)
    means = window_moments(fixed, moving, radius=wide, weights="box", mask=mask).mean
    found = []
    for image, mean in zip((fixed, moving), means, strict=True):
        rest = xp.where(unused, np.nan, image - mean)
        contrast = smooth_contrast(rest, radius=radius)[where].astype(np.float64)
        found.append(xp.where(contrast > 0, contrast**2, np.nan))
    return found
