"""Residual shift: how far off the moving image still is, window by window."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da

from napari_local_ncc.chunked.windows import map_windows
from napari_local_ncc.ncc.dispatch import as_chunks, as_images
from napari_local_ncc.parameters import (
    check_limits,
    check_radius,
    check_search,
    check_weights,
    is_cupy,
)
from napari_local_ncc.shift.smoothing import MARGIN, error_reach

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray


def local_shift(
    fixed: ArrayLike | da.Array,
    moving: ArrayLike | da.Array,
    *,
    radius: int | Sequence[int] = 4,
    search: int | Sequence[int] = 3,
    weights: str = "box",
    mask: ArrayLike | da.Array | None = None,
    min_std: float = 0.0,
    min_valid: float = 0.5,
) -> Any:
    """Find, for every pixel, the displacement at which the images are most alike.

    Parameters
    ----------
    fixed, moving : array_like or dask array, shape (...)
        Two images of the same shape, of any real dtype. NaN and inf are invalid samples.
    radius : int or sequence of int, default 4
        Window radius in pixels, for all axes or one per axis; as for `local_ncc`. An axis
        of radius 0 is independent and never searched.
    search : int or sequence of int, default 3
        Largest displacement in pixels, for all windowed axes or one per axis of the image.
        0 along an axis: not searched, and its shift is 0.
    weights : {"box", "gaussian"}, default "box"
        Window weights; as for `local_ncc`.
    mask : array_like or dask array of bool, shape (...), optional
        True where samples may be used, in either image.
    min_std, min_valid : float
        When a window is undefined; as for `local_ncc`.

    Returns
    -------
    array of float32, shape (2 + windowed axes, ...)
        The bands ``ncc_best``, ``gain`` and the shift d in pixels along each windowed axis,
        in their order: fixed at p is most like moving at p + d. `ncc_best` is the highest
        NCC at a displacement by whole pixels, `gain` is what it exceeds the NCC at 0 by;
        the shift is sub-pixel. A NumPy array, or a lazy dask array where an input is one.
        All bands are NaN where the NCC at 0 is undefined, and where the best displacement
        is at the border of the search: the true one may lie beyond. The shift is NaN also
        where a neighbour of the best displacement is undefined, and where there is no
        maximum within a pixel of it (in a texture that is straight along the windows).

    Raises
    ------
    TypeError
        If an image is complex, not numeric, or in the memory of a GPU.
    ValueError
        If shapes differ, an image is empty, a parameter is out of range, or no axis is longer
        than its search.

    See Also
    --------
    local_ncc : The NCC at no displacement.
    classify : Tells agreement, displacement and difference apart.

    Notes
    -----
    Next to the best whole-pixel displacement the sub-pixel shift is the maximum of the NCC of
    the same windows of both images, smoothed by a Gaussian of 0.8 px. About every whole pixel
    the smoothed moving image is taken as a series of degree 4 that is fitted to the Gaussian,
    so that nothing is interpolated and nothing pulls the shift towards whole or half pixels. It is
    displaced by exactly 0 from itself. Invalid samples are filled in from around them for the
    smoothing of the samples beside them only: they count in no window.

    Displacements whose NCC differ by less than 1e-6 are equally good; the shortest wins.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import local_shift
    >>> fixed = np.random.default_rng(0).random((30, 30))
    >>> local_shift(fixed, np.roll(fixed, 2, axis=1))[2:, 15, 15].round(3) + 0.0
    array([0., 2.], dtype=float32)
    """
    arrays = as_images(fixed, moving, mask)
    check_limits(min_std, min_valid)
    radii = check_radius(radius, arrays[0].ndim)
    options: dict[str, Any] = {
        "radius": radii,
        "search": check_search(search, radii, arrays[0].shape),
        "weights": check_weights(weights),
        "min_std": float(min_std),
        "min_valid": float(min_valid),
    }
    if any(map(is_cupy, arrays)):
        raise TypeError("local_shift needs NumPy or dask arrays; convert with cupy.asnumpy")
    if not any(isinstance(array, da.Array) for array in arrays):
        whole = tuple(slice(0, n) for n in arrays[0].shape)
        return _without_ncc(*([(whole, array)] for array in arrays), region=whole, **options)
    return map_windows(
        partial(_without_ncc, **options),
        as_chunks(arrays),
        shift_depth(radii, options["search"]),
        bands=2 + sum(r > 0 for r in radii),
    )


def shift_depth(
    radius: tuple[int, ...], search: tuple[int, ...], *, with_error: bool = False
) -> tuple[int, ...]:
    """Return how many samples around a region `shift_of_pieces` needs along each axis."""
    around = error_reach(radius) if with_error else (0,) * len(radius)
    axes = zip(radius, around, check_search(search, radius), strict=True)
    return tuple(r + more + s + MARGIN if r else 0 for r, more, s in axes)


def shift_of_pieces(
    *images: Any,
    region: tuple[slice, ...],
    radius: tuple[int, ...],
    search: tuple[int, ...],
    weights: str,
    min_std: float,
    min_valid: float,
    with_error: bool = False,
    is_signed: bool = True,
    with_whole: bool = False,
) -> NDArray[np.float32]:
    """Compute the NCC and the residual shift in a region of two images, together.

    Parameters
    ----------
    *images : sequence of (where, array)
        The pieces of fixed, moving and, optionally, the mask; as for
        `kernels.driver.ncc_of_pieces`, with samples as far around the region as `shift_depth` says.
    region : tuple of slice
        Where the result is wanted; all of an axis of radius 0.
    radius, search : tuple of int
        Window radius and largest displacement per axis in pixels; see `check_search`.
    weights, min_std, min_valid
        As for `kernels.driver.ncc_of_pieces`.
    is_signed : bool
        Whether the best is the highest NCC, or else the highest |NCC|; ncc_best and gain
        are then of |NCC|.
    with_whole : bool
        See below.

    Returns
    -------
    array of float32, shape (3 + windowed axes, *region), or (4 + 2 * windowed axes, *region)
        ``ncc`` at no displacement, then the bands of `local_shift`; with the error, its
        standard deviation in px along each windowed axis, and the NCC of the second peak over
        that of the first. The shift and its error then are NaN also where the window cannot
        decide between peaks, and where the error exceeds 0.5 px; along a single axis also where
        few windows around have a shift.
        `with_whole`, at the end the best NCC and its shift in whole pixels along each
        windowed axis, at the border of the search as well, and the shift whatever its error.
    """
    # Only here, as importing the package must not load numba.
    from napari_local_ncc.shift.search import search_pieces

    return search_pieces(
        *images,
        region=region,
        radius=radius,
        search=search,
        weights=weights,
        min_std=min_std,
        min_valid=min_valid,
        with_error=with_error,
        is_signed=is_signed,
        with_whole=with_whole,
    )


def _without_ncc(*images: Any, **options: Any) -> NDArray[np.float32]:
    return shift_of_pieces(*images, **options)[1:]
