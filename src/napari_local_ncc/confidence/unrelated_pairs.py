"""Pairs of views that show unrelated structure: an image against another displaced far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.ndimage

from napari_local_ncc.chunked.blocks import compute_here
from napari_local_ncc.confidence.texture_windows import margin
from napari_local_ncc.parameters import as_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Slices = tuple[slice, ...]

TILES = 24
# Side of a tile by the number of windowed axes: radii of the window, within limits.
SIDES = {1: (16384, 16384, 16384), 2: (32, 96, 160), 3: (12, 32, 40)}
SHIFTS = 4  # per tile
CANDIDATES = 12  # shifts that are looked at for these
# What a shift may add to the correlation of an image with itself: beyond, it is too short
# for the texture, or hits a period.
ALIKE = 0.2
LEAST_STEPS = 4  # of a grid, along an axis: less room, and displacements cannot keep to it


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """Samples of both images at one place; NaN where invalid.

    Windows that a border cuts off know less of their texture, and vary more. So there is
    a rim, per axis in pixels, that is not used: none where the border is that of the image.
    """

    fixed: NDArray[Any]
    moving: NDArray[Any]
    rim: tuple[int, ...]

    @property
    def inside(self) -> Slices:
        """Where the rim is not; at least the middle half."""
        cuts = [min(rim, n // 4) for rim, n in zip(self.rim, self.fixed.shape, strict=True)]
        return tuple(slice(cut, n - cut) for cut, n in zip(cuts, self.fixed.shape, strict=True))


def places(
    shape: tuple[int, ...], radius: tuple[int, ...], frame: tuple[int, ...] | None, seed: int
) -> list[Slices]:
    """Return where tiles are taken: bounded in number and size, spread over the image.

    Parameters
    ----------
    shape : tuple of int
        Of the images.
    radius : tuple of int
        Window radius per axis; tiles are 1 long along axes of radius 0.
    frame : tuple of int or None
        Indices along the axes of radius 0; None: any.
    seed : int
        For the random numbers.

    Returns
    -------
    list of tuple of slice
        The same however the images are chunked.
    """
    rng = np.random.default_rng([seed, *(frame or ())])
    lengths = _lengths(shape, radius)
    found = []
    for _ in range(TILES):
        place, independent = [], iter(frame or ())
        for n, r, length in zip(shape, radius, lengths, strict=True):
            start = int(rng.integers(0, n - length + 1))
            if not r and frame is not None:
                start = next(independent)
            place.append((start, start + length))
        found.append(tuple(place))
    return [tuple(slice(*part) for part in place) for place in dict.fromkeys(found)]


def _lengths(shape: tuple[int, ...], radius: tuple[int, ...]) -> list[int]:
    """Return how long a tile is along each axis, with its rim."""
    times, least, most = SIDES[sum(r > 0 for r in radius)]
    sides = [max(min(max(times * r, least), most), 8 * r) if r else 1 for r in radius]
    return [min(n, side + 2 * rim) for n, side, rim in zip(shape, sides, _rim(radius), strict=True)]


def _rim(radius: tuple[int, ...]) -> list[int]:
    return [reach // 2 for reach in margin(radius)]


def read_tile(
    read: Callable[[Slices], Sequence[Any]],
    place: Slices,
    shape: tuple[int, ...],
    radius: tuple[int, ...],
) -> Tile:
    """Read both images at a place; what a third one, the mask, excludes is NaN in both.

    Parameters
    ----------
    read : callable
        Returns what may be dask arrays.
    place : tuple of slice
        As from `places`.
    shape : tuple of int
        Of the images.
    radius : tuple of int
        Window radius per axis.

    Returns
    -------
    Tile
        The samples.
    """
    # callbacks=[]: global ones, such as napari registers, are not for several threads.
    parts = compute_here(*read(place))
    fixed, moving, *mask = map(as_samples, parts)
    rim = [
        rim if part.stop - part.start < n else 0
        for part, n, rim in zip(place, shape, _rim(radius), strict=True)
    ]
    return Tile(_where(fixed, *mask), _where(moving, *mask), tuple(rim))


def _where(image: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> NDArray[Any]:
    if mask is None or mask.all():
        return image
    return np.where(mask, image.astype(np.result_type(image.dtype, np.float32)), np.nan)


def unrelated_views(
    tile: Tile, radius: tuple[int, ...], number: int, rng: np.random.Generator, step: int = 1
) -> Iterator[Tile]:
    """Yield views of a tile in which moving is displaced too far to show the same as fixed.

    Parameters
    ----------
    tile : Tile
        Samples at one place.
    radius : tuple of int
        Window radius per axis.
    number : int
        How many views are wanted; fewer where the tile is small.
    rng : Generator
        Source of the shifts.
    step : int, default 1
        What they are multiples of, in px: what lies on such a grid in both images, as the
        blocks of JPEG do, then does so in the views as well.

    Yields
    ------
    Tile
        What fixed and displaced moving have in common. Windows at the same place do not
        overlap, and neither the structure itself nor a period of it falls on itself.
    """
    shifts = _candidates(tile.fixed.shape, radius, CANDIDATES * number // SHIFTS, rng, step)
    textures = [_fine_structure(image, radius) for image in (tile.fixed, tile.moving)]
    alike = np.array([_alikeness(textures, shift) for shift in shifts])
    # Against the median: a gradient is alike at all shifts, and unrelated ones are as well.
    kept = [shift for shift, a in zip(shifts, alike, strict=True) if a <= np.median(alike) + ALIKE]
    for shift in kept[:number]:
        there, here = _overlap(shift)
        yield Tile(tile.fixed[there], tile.moving[here], tile.rim)


def _candidates(
    shape: tuple[int, ...],
    radius: tuple[int, ...],
    number: int,
    rng: np.random.Generator,
    step: int,
) -> list[tuple[int, ...]]:
    """Draw shifts of up to half the tile that are longer than a window along some axis."""
    farthest = np.array([n // 2 if r else 0 for n, r in zip(shape, radius, strict=True)])
    least = np.maximum(2 * np.array(radius) + 1, farthest // 4)
    if not (farthest >= least).any():
        return []
    steps = np.where(farthest >= LEAST_STEPS * step, step, 1)
    most = farthest // steps
    drawn = steps * rng.integers(-most, most + 1, (20 * number, len(shape)))
    far = drawn[(np.abs(drawn) >= np.where(farthest, least, np.inf)).any(axis=1)]
    return list(dict.fromkeys(map(tuple, far.tolist())))[:number]


def _overlap(shift: tuple[int, ...]) -> tuple[Slices, Slices]:
    """Return where the image lies on itself displaced, and the displaced part."""
    there = tuple(slice(max(d, 0), min(d, 0) or None) for d in shift)
    here = tuple(slice(max(-d, 0), min(-d, 0) or None) for d in shift)
    return there, here


def _fine_structure(image: NDArray[Any], radius: tuple[int, ...]) -> NDArray[np.float32]:
    """Return whether samples lie above (1) or below (-1) the mean around them; 0 = unknown.

    What varies less than a window does not count in it, and signs let no bright spot rule.
    """
    values = image.astype(np.float32)
    known = np.isfinite(values)
    values[~known] = values[known].mean() if known.any() else 0.0
    around = values
    for axis, r in enumerate(radius):
        if r:
            around = scipy.ndimage.uniform_filter1d(around, 2 * r + 1, axis)
    return np.where(known, np.sign(values - around), 0).astype(np.float32)


def _alikeness(textures: list[NDArray[np.float32]], shift: tuple[int, ...]) -> float:
    """Return what the ncc of images of the same structure would be at a shift."""
    there, here = _overlap(shift)
    shares = []
    for texture in textures:
        one, other = texture[there], texture[here]
        size = float(np.sqrt(np.vdot(one, one) * np.vdot(other, other)))
        agreement = float(np.vdot(one, other)) / size if size else 0.0
        # Of two normal variables, the signs correlate by 2 / pi asin(r).
        shares.append(max(np.sin(np.pi / 2 * agreement), 0.0))
    return float(np.sqrt(shares[0] * shares[1]))
