"""Local normalized cross-correlation of arrays, whole or in chunks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_local_ncc.chunked.windows import as_lazy, join_pieces, map_windows, without_masks
from napari_local_ncc.ncc.device import namespace_of, ndimage_of
from napari_local_ncc.parameters import (
    as_samples,
    check_limits,
    check_radius,
    check_real,
    check_weights,
    is_cupy,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike


def local_ncc(
    fixed: ArrayLike | da.Array,
    moving: ArrayLike | da.Array,
    *,
    radius: int | Sequence[int] = 4,
    weights: str = "box",
    mask: ArrayLike | da.Array | None = None,
    min_std: float = 0.0,
    min_valid: float = 0.5,
) -> Any:
    """Compute the normalized cross-correlation in a window around every pixel.

    Parameters
    ----------
    fixed, moving : array_like or dask array, shape (...)
        Two images of the same shape, of any real dtype. NaN and inf are invalid samples.
    radius : int or sequence of int, default 4
        Window radius r in pixels, for all axes or one per axis; the window is 2 r + 1
        pixels wide. An axis of radius 0 is independent (time, channel).
    weights : {"box", "gaussian"}, default "box"
        Window weights. Gaussian: sigma = radius / 3, cut off at the radius.
    mask : array_like or dask array of bool, shape (...), optional
        True where samples may be used.
    min_std : float, default 0.0
        Noise floor in intensity units: undefined where the standard deviation of either
        window is at or below it. 0 means the rounding bound of the computation.
    min_valid : float, default 0.5
        Least share of the window's weight inside the image that must be valid.

    Returns
    -------
    array of float32, shape (...)
        ``cov(a, b) / (std(a) std(b))`` over the valid samples of the window, in [-1, 1].
        A NumPy array for NumPy input, a CuPy array for CuPy input, and a lazy dask array
        where either input is one.
        NaN where undefined: the centre sample is invalid, too few samples are valid
        (`min_valid`, or fewer than 3), or a window is flat (`min_std`).

    Raises
    ------
    TypeError
        If an image is complex or not numeric.
    ValueError
        If shapes differ, an image is empty, or a parameter is out of range.

    Notes
    -----
    Windows are clipped at the border of the image: no pixels are invented. This is
    Pearson's r in a moving window; see J. P. Lewis, "Fast normalized cross-correlation",
    Vision Interface (1995), for the sums.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import local_ncc
    >>> ramp = np.arange(25.0).reshape(5, 5)
    >>> float(local_ncc(ramp, 3 - 2 * ramp, radius=1)[2, 2])
    -1.0
    """
    arrays = as_images(fixed, moving, mask)
    check_limits(min_std, min_valid)
    options: dict[str, Any] = {
        "radius": check_radius(radius, arrays[0].ndim),
        "weights": check_weights(weights),
        "min_std": float(min_std),
        "min_valid": float(min_valid),
    }
    if not any(isinstance(array, da.Array) for array in arrays):
        return _ncc_of_arrays(*arrays, **options)
    return map_windows(partial(ncc_of_pieces, **options), as_chunks(arrays), options["radius"])


def as_images(fixed: Any, moving: Any, mask: Any | None) -> list[Any]:
    """Return fixed, moving and, if there is one, the mask as arrays that can be compared.

    Raises
    ------
    TypeError
        If an image is complex or not numeric, or the mask not boolean.
    ValueError
        If shapes differ, are unknown, or an image is empty.
    """
    images = {"fixed": fixed, "moving": moving} | ({} if mask is None else {"mask": mask})
    arrays: dict[str, Any] = {name: _as_array(image, name) for name, image in images.items()}
    _check_arrays(arrays)
    return list(arrays.values())


def _as_array(image: Any, name: str) -> Any:
    if isinstance(image, da.Array):
        return without_masks(image)
    return image if is_cupy(image) else as_samples(image, name)


def as_chunks(arrays: list[Any]) -> list[da.Array]:
    """Return arrays, of which one is a dask array, as dask arrays."""
    first = next(array for array in arrays if isinstance(array, da.Array))
    return [
        array if isinstance(array, da.Array) else as_lazy(array, first.chunks) for array in arrays
    ]


def _ncc_of_arrays(*images: Any, **options: Any) -> Any:
    whole = tuple(slice(0, n) for n in images[0].shape)
    return ncc_of_pieces(*([(whole, image)] for image in images), region=whole, **options)


def ncc_of_pieces(*images: Any, region: tuple[slice, ...], **options: Any) -> Any:
    """Do as `kernels.driver.ncc_of_pieces`, by the implementation for the kind of the arrays."""
    if is_cupy(images[0][0][1]):
        from napari_local_ncc.ncc.separable import ncc_by_filters

        xp, ndimage = namespace_of(images[0][0][1]), ndimage_of(images[0][0][1])
        arrays = [join_pieces(pieces, xp) for pieces in images]
        return ncc_by_filters(*arrays, **options, xp=xp, ndimage=ndimage)[region]
    from napari_local_ncc.ncc.kernels import driver  # loaded when first needed

    return driver.ncc_of_pieces(*images, region=region, **options)


def _check_arrays(arrays: dict[str, Any]) -> None:
    shape = arrays["fixed"].shape
    if any(np.isnan(array.shape).any() for array in arrays.values()):
        raise ValueError(
            "a dask array has unknown chunk sizes; call its compute_chunk_sizes() first"
        )
    for name, array in arrays.items():
        if array.shape != shape:
            raise ValueError(
                f"fixed has shape {shape} but {name} has shape {array.shape}; "
                "arrays to compare must be of one shape "
                "(confidence_map pairs images of different grids)"
            )
        if name != "mask":
            check_real(array.dtype, name)
        elif array.dtype != bool:
            raise TypeError(f"mask must be boolean (True = use), got {array.dtype}")
    if not shape or 0 in shape:
        raise ValueError(f"the images are empty or have no axes: their shape is {shape}")
