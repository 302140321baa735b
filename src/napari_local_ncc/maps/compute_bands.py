"""All bands of a map in one pass over the windows of two images."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_local_ncc.chunked.windows import join_pieces, map_windows
from napari_local_ncc.confidence.samples import effective_samples, margin
from napari_local_ncc.maps.bands import bands_on
from napari_local_ncc.ncc.dispatch import local_ncc
from napari_local_ncc.ncc.kernels.driver import ncc_of_pieces
from napari_local_ncc.shift.dispatch import shift_depth, shift_of_pieces

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_local_ncc.confidence.calibration import Calibration
    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.parameters import NCCParameters


def compare(
    fixed: da.Array,
    moving: da.Array,
    mask: da.Array | None,
    *,
    grid: Grid,
    parameters: NCCParameters,
    calibration: Calibration | None,
    frames: da.Array | None = None,
) -> da.Array:
    """Compute the bands of a map chunk by chunk.

    Parameters
    ----------
    fixed, moving : dask array, shape grid.shape
        Two images on one grid.
    mask : dask array of bool, shape grid.shape, or None
        True where samples may be used.
    grid : Grid
        What radius and search are resolved on.
    parameters : NCCParameters
        Window, limits and bands.
    calibration : Calibration or None
        What turns NCC into confidence; needed for that band only.
    frames : dask array of int, shape grid.shape, optional
        The frame that each pixel is of, where every frame has its own null.

    Returns
    -------
    dask array of float32, shape (bands, *grid.shape)
        The bands in the order of `bands_on(parameters, grid)`.
    """
    radius = parameters.radius_on(grid)
    options: dict[str, Any] = {
        "radius": radius,
        "weights": parameters.weights,
        "min_std": parameters.min_std,
        "min_valid": parameters.min_valid,
    }
    if parameters.bands == ("ncc",):
        return local_ncc(fixed, moving, mask=mask, **options)[np.newaxis]
    reaches = [radius]
    compute: Callable[..., Any] = partial(_ncc_alone, **options)
    if "shift" in parameters.bands:
        search = parameters.search_on(grid)
        reaches.append(shift_depth(radius, search))
        compute = partial(shift_of_pieces, search=search, **options)
    if calibration is not None:
        reaches.append(margin(radius))
    block = partial(
        _bands_of_pieces,
        compute=compute,
        calibration=calibration,
        is_framed=frames is not None,
        window={"radius": radius, "weights": parameters.weights},
        with_ncc="ncc" in parameters.bands,
    )
    return map_windows(
        block,
        [array for array in (fixed, moving, mask, frames) if array is not None],
        tuple(map(max, zip(*reaches, strict=True))),
        bands=len(bands_on(parameters, grid)),
    )


def frame_numbers(
    shape: tuple[int, ...], radius: tuple[int, ...], box: tuple[slice, ...], like: da.Array
) -> da.Array:
    """Return the number of the frame that each pixel of a box is of, without memory for it.

    Parameters
    ----------
    shape : tuple of int
        Of all frames, as `Calibration` counts them.
    radius : tuple of int
        Window radius per axis; every index along axes of radius 0 is a frame.
    box : tuple of slice
        The part of them.
    like : dask array
        Has the shape of the box, and the chunks to use.

    Returns
    -------
    dask array of int
        Each chunk repeats one number per frame without a copy of it.
    """
    lengths = [1 if r else n for n, r in zip(shape, radius, strict=True)]
    numbers = np.arange(np.prod(lengths)).reshape(lengths)
    numbers = numbers[tuple(slice(None) if r else b for b, r in zip(box, radius, strict=True))]
    chunks = tuple((1,) if r else c for c, r in zip(like.chunks, radius, strict=True))
    return da.broadcast_to(da.from_array(numbers, chunks=chunks), like.shape, chunks=like.chunks)


def _ncc_alone(*images: Any, **options: Any) -> NDArray[np.float32]:
    return ncc_of_pieces(*images, **options)[np.newaxis]


def _bands_of_pieces(
    *images: Any,
    region: tuple[slice, ...],
    compute: Callable[..., NDArray[np.float32]],
    calibration: Calibration | None,
    is_framed: bool,
    window: dict[str, Any],
    with_ncc: bool,
) -> NDArray[np.float32]:
    """Compute the bands of one chunk: NCC, which the others need, and what is wanted beside."""
    frame = None
    if is_framed:
        *images, ((_, numbers), *_) = images  # type: ignore[assignment]
        frame = numbers[tuple(0 if r else slice(None) for r in window["radius"])]
    ncc, *rest = compute(*images, region=region)
    bands = [ncc] if with_ncc else []
    if calibration is not None:
        fixed, moving, *masks = (join_pieces(pieces, np) for pieces in images)
        samples = effective_samples(
            fixed, moving, **window, mask=masks[0] if masks else None, region=region
        )
        bands.append(calibration.confidence(ncc, samples, frame=frame))
    return np.stack([*bands, *rest])
