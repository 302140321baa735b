"""What the samples of a pixel mean: colours, opacity and inks become one intensity."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_local_ncc.image.luminance import weigh_rgb

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    Luminance = Callable[[NDArray[Any]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class Colour:
    """What the samples of a pixel are. A sample that is missing is NaN.

    Parameters
    ----------
    luminance : callable
        Of an array of colour samples, samples first: float32, without that axis.
    samples : int
        How many samples are the colour; they come first. 0: a pixel is one index.
    alpha : int, optional
        Which sample is the opacity; a pixel is undefined where it is 0.
    opaque : float, optional
        The opacity by which colour samples were multiplied where nothing shines through;
        None where they were not multiplied.
    """

    luminance: Luminance
    samples: int
    alpha: int | None = None
    opaque: float | None = None

    def merge(self, data: da.Array, axis: int | None) -> da.Array:
        """Turn samples into one intensity, NaN where transparent.

        Parameters
        ----------
        data : dask array
            The samples.
        axis : int or None
            Their axis; None where a pixel is one index.

        Returns
        -------
        dask array, float32
            Without `axis`.
        """
        options: dict[str, Any] = {} if axis is None else {"drop_axis": axis}
        ndim = data.ndim if axis is None else data.ndim - 1
        whole = data if axis is None else data.rechunk({axis: -1})
        return whole.map_blocks(
            self._merge_block,
            axis=axis,
            dtype=np.float32,
            meta=np.empty((0,) * ndim, np.float32),
            **options,
        )

    def take(self, data: da.Array, axis: int, index: int) -> da.Array:
        """Return one sample as it is stored, NaN where transparent."""
        before = (slice(None),) * axis
        if self.alpha is None or index == self.alpha:
            return data[(*before, index)]
        floating = np.result_type(data.dtype, np.float32).type
        seen = data[(*before, self.alpha)] != 0
        return da.where(seen, data[(*before, index)].astype(floating), floating(np.nan))

    def _merge_block(self, block: NDArray[Any], axis: int | None) -> NDArray[np.float32]:
        if axis is None:
            return self.luminance(block[np.newaxis])
        samples = np.moveaxis(block, axis, 0)
        colour = samples[: self.samples]
        if self.alpha is None:
            return self.luminance(colour)
        opacity = samples[self.alpha]
        if self.opaque is not None:
            share = opacity.astype(np.float32) / np.float32(self.opaque)
            colour = colour.astype(np.float32) / np.where(share == 0, np.float32(1), share)
        grey = self.luminance(colour)
        grey[opacity == 0] = np.nan
        return grey


def full_scale(dtype: np.dtype[Any]) -> float:
    """Return the value that stands for all of an ink or full opacity: 1 of floating types."""
    return 1.0 if dtype.kind in "bf" else float(np.iinfo(dtype).max)


def one_grey(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Return the one sample of a grey pixel."""
    return samples[0].astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class CMYK:
    """Luminance of inks: red is ``(1 - cyan) (1 - black)``, and so on.

    Parameters
    ----------
    full : float
        The code of all of an ink.
    """

    full: float

    def __call__(self, samples: NDArray[Any]) -> NDArray[np.float32]:
        """Return the luminance of an array of inks, inks first."""
        paper = np.float32(self.full) - samples.astype(np.float32)
        return weigh_rgb(paper[:3] * (paper[3] / np.float32(self.full)))


@dataclass(frozen=True, slots=True, eq=False)
class YCbCr:
    """Luminance of luma and chroma (TIFF 6.0, section 21).

    Parameters
    ----------
    full : float
        The code of white.
    weights : sequence of float
        Of red, green and blue in the luma: tag 529; ITU-R BT.601's by default.
    reference : sequence of float, optional
        Codes of black and white of each sample: tag 532. Default: all codes are used.
    """

    full: float
    weights: Sequence[float] = (0.299, 0.587, 0.114)
    reference: Sequence[float] = ()

    def __call__(self, samples: NDArray[Any]) -> NDArray[np.float32]:
        """Return the luminance of an array of samples, samples first."""
        middle = (self.full + 1) / 2 if self.full > 1 else 0.5
        ends = self.reference or (0, self.full, middle, self.full, middle, self.full)
        luma, blue_less_luma, red_less_luma = (
            (sample.astype(np.float32) - black) * np.float32(reach / (white - black))
            for sample, black, white, reach in zip(
                samples,
                ends[::2],
                ends[1::2],
                (self.full, self.full - middle, self.full - middle),
                strict=True,
            )
        )
        of_red, of_green, of_blue = self.weights
        red = luma + red_less_luma * (2 - 2 * of_red)
        blue = luma + blue_less_luma * (2 - 2 * of_blue)
        green = luma - (of_blue * (blue - luma) + of_red * (red - luma)) / of_green
        return weigh_rgb(np.clip(np.stack([red, green, blue]), 0, np.float32(self.full)))


@dataclass(frozen=True, slots=True, eq=False)
class Lab:
    """Luminance of CIE L*a*b*: that of the sRGB picture of the same colours.

    Parameters
    ----------
    white : float
        The code of L* = 100.
    step : float
        Codes per unit of a* and b*.
    neutral : float
        The code of a* = b* = 0; 0 where they are two's complements.
    """

    white: float
    step: float
    neutral: float

    def __call__(self, samples: NDArray[Any]) -> NDArray[np.float32]:
        """Return the luminance of an array of samples, samples first: L*, or L*, a*, b*."""
        from skimage.color import lab2rgb

        period = 256 * self.step
        codes = samples.astype(float) % period  # NaN stays
        lab = np.zeros((3, *samples.shape[1:]))
        lab[0] = codes[0] * (100 / self.white)
        chroma = (codes[1:] - self.neutral) / self.step
        lab[1 : len(samples)] = np.where(chroma >= 128, chroma - 256, chroma)
        rgb = lab2rgb(lab, channel_axis=0)
        return weigh_rgb((rgb * self.white).astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Palette:
    """Luminance of indices into a table of colours.

    Parameters
    ----------
    table : ndarray of float32, shape (n,)
        The luminance of every index.
    """

    table: NDArray[np.float32]

    def __call__(self, samples: NDArray[Any]) -> NDArray[np.float32]:
        """Return the luminance of an array of indices, with one axis before its own."""
        index = samples[0]
        if index.dtype.kind != "f":
            return self.table[index]
        there = np.isfinite(index)
        found = self.table[np.where(there, index, 0).astype(np.intp)]
        return np.where(there, found, np.float32(np.nan))


def palette_of(colours: ArrayLike) -> Colour:
    """Return what an index into a table is.

    Parameters
    ----------
    colours : array_like, shape (3, n)
        Red, green and blue of every index.
    """
    table = np.asarray(colours)
    if not (table % 257).any():  # 8 bits, each written twice, as TIFF wants it
        table = table // 257
    return Colour(Palette(weigh_rgb(table)), 0)


def invert(data: da.Array, bits: int) -> da.Array:
    """Return the same picture with 0 as black, where 0 was white."""
    if data.dtype.kind == "b":
        return ~data
    return data.map_blocks(partial(_from_white, white=2**bits - 1), dtype=data.dtype)


def _from_white(block: NDArray[Any], white: int) -> NDArray[Any]:
    if block.dtype.kind == "u":
        inverse: NDArray[Any] = block.dtype.type(white) - block
        return inverse
    return ~block if block.dtype.kind == "i" else -block


RGB = Colour(weigh_rgb, 3)
# grey and opacity; red, green and blue; these and opacity
BY_SAMPLES = {2: Colour(one_grey, 1, alpha=1), 3: RGB, 4: Colour(weigh_rgb, 3, alpha=3)}
