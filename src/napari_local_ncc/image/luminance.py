"""Colour to one intensity: what is compared when an image comes as RGB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

GREEN_WEIGHT, BLUE_WEIGHT = 0.7154, 0.0721  # of skimage.color.rgb2gray; red has the rest, 0.2125


def one_sample(data: da.Array, index: int, channel_axis: int = -1) -> da.Array:
    """Take one colour sample; NaN where there is an alpha and it is 0.

    Parameters
    ----------
    data : dask array
        Samples as for `luminance`.
    index : int
        Which sample.
    channel_axis : int, default -1
        Axis of the samples.

    Returns
    -------
    dask array
        Without `channel_axis`; of its own dtype where there is no alpha, else floating.
    """
    samples = da.moveaxis(data, channel_axis, 0)
    if len(samples) not in (2, 4):
        return samples[index]
    floating = np.result_type(data.dtype, np.float32).type
    return da.where(samples[-1] == 0, floating(np.nan), samples[index].astype(floating))


def luminance(data: da.Array, channel_axis: int = -1) -> da.Array:
    """Turn colour samples into one luminance, on the scale of the samples.

    Parameters
    ----------
    data : dask array
        Samples of any real dtype. Along `channel_axis`: grey; grey and alpha; red,
        green and blue; or these with alpha.
    channel_axis : int, default -1
        Axis of the samples.

    Returns
    -------
    dask array, float32
        ``0.2125 R + 0.7154 G + 0.0721 B``, without `channel_axis`; exactly v where all
        three are v. NaN where there is an alpha and it is 0.

    Raises
    ------
    ValueError
        If there are no or more than four samples.
    """
    axis = channel_axis % data.ndim
    if not 1 <= data.shape[axis] <= 4:
        raise ValueError(
            f"a colour has 1 to 4 samples, but axis {axis} has {data.shape[axis]}; "
            "select one channel instead"
        )
    return data.rechunk({axis: -1}).map_blocks(
        _block_luminance,
        channel_axis=axis,
        drop_axis=axis,
        dtype=np.float32,
        meta=np.empty((0,) * (data.ndim - 1), np.float32),
    )


def weigh_rgb(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Return the luminance of red, green and blue, the first axis of an array, in one array."""
    grey: NDArray[np.float32] = samples[0].astype(np.float32)
    # as differences from red, so that equal samples give their value without rounding
    green, blue = (sample.astype(np.float32) - grey for sample in samples[1:3])
    return grey + (np.float32(GREEN_WEIGHT) * green + np.float32(BLUE_WEIGHT) * blue)


def _block_luminance(block: NDArray[Any], channel_axis: int) -> NDArray[np.float32]:
    samples = np.moveaxis(block, channel_axis, 0)
    grey = weigh_rgb(samples) if len(samples) >= 3 else samples[0].astype(np.float32)
    if len(samples) in (2, 4):
        grey[samples[-1] == 0] = np.nan
    return grey
