"""How many independent samples a window is worth."""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.ndimage

from napari_local_ncc.confidence.texture_windows import (
    FLAT,
    is_narrow,
    long_lags,
    long_weights,
    valid_samples,
    wide_reach,
)
from napari_local_ncc.ncc.device import namespace_of
from napari_local_ncc.parameters import (
    as_samples,
    check_radius,
    check_real,
    check_weights,
    is_cupy,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    Slices = tuple[slice, ...]
    Numbers = NDArray[np.float64]

TILE = (24, 64, 1024)  # z, y, x
# Share of the largest square in a tile, at or below which a variance may be rounding: of sums
# that slide through the tile.
UNSURE = 1e-11


def effective_samples(
    fixed: ArrayLike,
    moving: ArrayLike,
    *,
    radius: int | Sequence[int],
    weights: str = "box",
    mask: ArrayLike | None = None,
    region: tuple[slice, ...] | None = None,
) -> NDArray[np.float32]:
    """Estimate how many independent samples the window around every pixel is worth.

    Parameters
    ----------
    fixed, moving : array_like, shape (...)
        Two images of the same shape, of any real dtype. NaN and inf are invalid samples.
    radius : int or sequence of int
        Radius of the NCC window in pixels; 0 = independent axis. At most 3 are above 0.
    weights : {"box", "gaussian"}, default "box"
        Weights of the NCC window.
    mask : array_like of bool, shape (...), optional
        True where samples may be used.
    region : tuple of slice, optional
        Where the numbers are wanted; default: everywhere.

    Returns
    -------
    array of float32, shape of the region
        Effective number of samples. NaN where undefined: the centre sample is invalid or
        either image is flat around it. CuPy arrays for CuPy arrays.

    Notes
    -----
    Where the structure is unrelated, the variance of ncc is 1/N times the sum over all lags
    of the product P of both images' autocorrelations (Bartlett, J. Roy. Statist. Soc. 98,
    536, 1935). Along an axis of radius r > 1 the sum is here
    1 + 2 (P(1) + 0.4 (r - 2) P(min(1 + r // 2, 4))), and its inverses multiply over the
    axes; the second lag tells white noise on coarse texture from texture in between. N is
    the number of valid samples in the NCC window, for a Gaussian (sum w)² / sum w². The
    autocorrelations are those in a window `WIDENING` times as wide; in lines and planes up
    to r = 2, they are measured against half the mean squared difference at lag 2 r, instead
    of the variance, and the second lag does not count. What is left of the error,
    `calibrate` takes away.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> import scipy.ndimage
    >>> from napari_local_ncc import effective_samples
    >>> white = rng.normal(size=(2, 100, 100))
    >>> smooth = scipy.ndimage.gaussian_filter(white, (0, 2, 2))
    >>> numbers = [np.median(effective_samples(*pair, radius=4)) for pair in (white, smooth)]
    >>> bool(numbers[0] > 60), bool(numbers[1] < 20)
    (True, True)
    """
    xp = namespace_of(fixed)
    images: list[Any] = [
        image if is_cupy(image) else as_samples(image) for image in (fixed, moving)
    ]
    if is_cupy(images[0]) != is_cupy(images[1]):
        raise TypeError("one image is in the memory of a GPU, the other is not; bring both there")
    images += [] if mask is None else [xp.asarray(mask)]
    check_images(images)
    shape = images[0].shape
    radii, weights = check_radius(radius, len(shape)), check_weights(weights)
    check_axes(radii)
    where = region or (slice(None),) * len(shape)
    where = tuple(slice(*part.indices(n)[:2]) for part, n in zip(where, shape, strict=True))
    if is_cupy(images[0]):
        from napari_local_ncc.confidence.on_gpu.samples_by_filters import (
            effective_samples_by_filters,
        )

        found: NDArray[np.float32] = effective_samples_by_filters(
            *images, radius=radii, weights=weights, region=where
        )
        return found
    out = np.empty([part.stop - part.start for part in where], np.float32)
    _fill(images, radii, weights, where, out)
    return out


def _fill(
    images: list[NDArray[Any]],
    radius: tuple[int, ...],
    weights: str,
    region: Slices,
    out: NDArray[np.float32],
) -> None:
    """Set `out` volume by volume, as independent axes and windowed ones make them."""
    windowed = [axis for axis, r in enumerate(radius) if r]
    lacking = 3 - len(windowed)
    centres = (slice(0, 1),) * lacking + tuple(region[axis] for axis in windowed)
    spread = (0,) * lacking + tuple(radius[axis] for axis in windowed)
    first = [part.start for part, r in zip(region, radius, strict=True) if not r]
    stacks = [_volumes(array, windowed) for array in images]
    target = _volumes(out, windowed)
    for index in np.ndindex(target.shape[:-3]):
        source = tuple(i + start for i, start in zip(index, first, strict=True))
        _fill_volume([stack[source] for stack in stacks], spread, weights, centres, target[index])


def check_images(images: Sequence[Any]) -> None:
    """Raise an error unless fixed, moving and maybe a mask are real and of one shape."""
    for name, image in zip(("fixed", "moving", "mask"), images, strict=False):
        if image.shape != images[0].shape:
            raise ValueError(
                f"fixed has shape {images[0].shape} but {name} has shape {image.shape}; "
                "confidence needs arrays of one shape"
            )
        if name != "mask":
            check_real(image.dtype, name)
        elif image.dtype != bool:
            raise TypeError(f"mask must be boolean (True = use), got {image.dtype}")
    if not images[0].shape or 0 in images[0].shape:
        raise ValueError(f"the images are empty or have no axes: their shape is {images[0].shape}")


def check_axes(radius: Sequence[int]) -> None:
    """Raise an error if windows extend along more axes than a volume has."""
    if sum(r > 0 for r in radius) > 3:
        raise ValueError(f"windows extend along at most 3 axes, got radius {tuple(radius)}")


def _volumes(array: NDArray[Any], windowed: list[int]) -> NDArray[Any]:
    """View the array with axes (*independent, z, y, x), those it lacks being 1 long."""
    last = range(array.ndim - len(windowed), array.ndim)
    lacking = (np.newaxis,) * (3 - len(windowed))
    independent = (slice(None),) * (array.ndim - len(windowed))
    return np.moveaxis(array, windowed, last)[independent + lacking]


def _fill_volume(
    images: list[NDArray[Any]],
    radius: tuple[int, ...],
    weights: str,
    region: Slices,
    out: NDArray[np.float32],
) -> None:
    shape = images[0].shape
    reach = tuple(min(r, n - 1) for r, n in zip(wide_reach(radius), shape, strict=True))
    inside = [_samples_inside(n, r, weights) for n, r in zip(shape, radius, strict=True)]
    for centres, around in _tiles(region, reach, radius, shape):
        fixed, moving, *mask = (image[around] for image in images)
        valid = _validity(fixed, moving, *mask)
        within = _relative(centres, around)
        share = _share(fixed, moving, valid, within, radius, reach)
        if valid is None:
            for number, part, axis in zip(inside, centres, ((1, 2), (0, 2), (0, 1)), strict=True):
                share *= np.expand_dims(number[part], axis)
        else:
            share *= valid_samples(valid.astype(np.float64), radius, weights)[within]
            share[~valid[within]] = np.nan
        out[_relative(centres, region)] = share


def _validity(
    fixed: NDArray[Any], moving: NDArray[Any], mask: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_] | None:
    """Return which samples are valid, None where all are."""
    # The extremes tell what is not finite without an array of answers.
    extremes = [extreme for image in (fixed, moving) for extreme in (image.min(), image.max())]
    finite = bool(np.isfinite(extremes).all())
    if finite and (mask is None or mask.all()):
        return None
    valid = np.isfinite(fixed) & np.isfinite(moving)
    return valid if mask is None else valid & mask


def _share(
    fixed: NDArray[Any],
    moving: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    within: Slices,
    radius: tuple[int, ...],
    reach: tuple[int, ...],
) -> NDArray[np.float32]:
    """Return which share of the samples counts as independent, at the centres of a tile."""
    from napari_local_ncc.confidence.autocorrelation_kernel import tile_independent_share

    a, b = _centre(fixed, valid), _centre(moving, valid)
    weight = np.empty((0, 0, 0)) if valid is None else valid.astype(np.float64)
    share = np.empty([part.stop - part.start for part in within], np.float32)
    first = tuple(part.start for part in within)
    lags, narrow = long_lags(radius), is_narrow(radius)
    images = (a, b, weight, first, reach, lags, long_weights(radius), narrow)
    tile_independent_share(*images, UNSURE, True, share)
    # NaN are flat windows, as a rule; else a sample so large that sums must not slide past it.
    unsure = np.isnan(share) if valid is None else np.isnan(share) & valid[within]
    for samples in (a, b):
        if unsure.any():
            unsure &= _varying(samples, valid, reach)[within]
    if unsure.any():
        tile_independent_share(*images, FLAT, False, share)
    return share


def _varying(
    samples: Numbers, valid: NDArray[np.bool_] | None, reach: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Return where the valid samples of a window are not all the same."""
    size = tuple(2 * r + 1 for r in reach)
    highest = samples if valid is None else np.where(valid, samples, -np.inf)
    lowest = samples if valid is None else np.where(valid, samples, np.inf)
    return np.asarray(
        scipy.ndimage.maximum_filter(highest, size, mode="nearest")
        > scipy.ndimage.minimum_filter(lowest, size, mode="nearest")
    )


def _relative(part: Slices, whole: Slices) -> Slices:
    return tuple(
        slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, whole, strict=True)
    )


def _tiles(
    region: Slices, reach: tuple[int, ...], radius: tuple[int, ...], shape: tuple[int, ...]
) -> Iterator[tuple[Slices, Slices]]:
    """Yield the centres of each tile, and these with the samples around them."""
    cuts = []
    for part, r, lag, n, side in zip(region, reach, long_lags(radius), shape, TILE, strict=True):
        step = max(side, 4 * r)
        edges = [*range(part.start, part.stop, step), part.stop]
        cuts.append(
            [
                (slice(start, stop), slice(max(start - r, 0), min(stop + r + lag, n)))
                for start, stop in pairwise(edges)
            ]
        )
    for tile in product(*cuts):
        yield tuple(c for c, _ in tile), tuple(a for _, a in tile)


def _centre(samples: NDArray[Any], valid: NDArray[np.bool_] | None) -> Numbers:
    """Return samples less their median, the largest being 1 or -1; 0 where invalid.

    The median, as what is halfway to one bright sample is far from all others.
    """
    known = samples if valid is None else samples[valid]
    if not known.size:
        return np.zeros(samples.shape)
    if samples.dtype.kind in "iu" and samples.dtype.itemsize == 8:
        # Past 2 ** 53 float64 skips integers; where they lie does not matter.
        lowest = np.uint64(int(known.min()) % 2**64)
        samples, known = (array.astype(np.uint64) - lowest for array in (samples, known))
    centre = float(np.median(known.flat[:: max(1, known.size // 1001)])) / 2
    # By halves, as the whole span may exceed the largest number.
    values = np.multiply(samples, 0.5, dtype=np.float64) - centre
    half = max(float(known.max()) / 2 - centre, centre - float(known.min()) / 2)
    if half:
        values /= half
    return values if valid is None else np.where(valid, values, 0.0)


def _samples_inside(size: int, radius: int, weights: str) -> NDArray[np.float32]:
    """Return what a window along one axis is worth at every pixel if no sample is missing."""
    valid = np.ones((1, 1, size))
    return valid_samples(valid, (0, 0, radius), weights)[0, 0].astype(np.float32)
