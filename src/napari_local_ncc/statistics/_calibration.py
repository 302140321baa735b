"""Confidence: how improbable an ncc is between unrelated structure of the same texture."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Self

import dask.array as da
import numpy as np

from napari_local_ncc.ncc import local_ncc
from napari_local_ncc.parameters import as_samples, check_limits, check_radius, check_weights
from napari_local_ncc.progress import Progress
from napari_local_ncc.statistics._effective import check_images, effective_samples
from napari_local_ncc.statistics._null import (
    STEPS,
    Null,
    confidence_table,
    fisher_null,
    fit_null,
    threshold,
)
from napari_local_ncc.statistics._sampling import (
    SHIFTS,
    TILES,
    Tile,
    places,
    read_tile,
    unrelated_views,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

SAMPLES = 2**17  # windows that are sorted


@dataclass(frozen=True, slots=True)
class Calibration:
    """What ncc unrelated structure reaches in the texture of a pair of images.

    Made by `calibrate`; small, picklable, and the same for all parts of a map.

    Parameters
    ----------
    nulls : tuple of Null
        The distribution of ncc between unrelated structure: one for all frames, or one
        per frame of a series.
    radius : tuple of int
        Radius of the windows it holds for, per axis.
    weights : str
        Their weights.
    seed : int
        What it was drawn from.
    fallback : str
        Empty where measured; else why a formula had to do, and where.
    """

    nulls: tuple[Null, ...]
    radius: tuple[int, ...]
    weights: str
    seed: int
    fallback: str = ""

    def confidence(
        self,
        ncc: NDArray[np.float32],
        effective_samples: NDArray[np.float32],
        *,
        frame: int | None = None,
    ) -> NDArray[np.float32]:
        """Return 1 - p, p the probability that unrelated structure gives an ncc this high.

        Parameters
        ----------
        ncc, effective_samples : array of float32, same shape
            As `local_ncc` and `effective_samples` give them, with this radius and weights.
        frame : int, optional
            The number of the frame that the arrays are (part of), in the order of the
            axes of radius 0 (`numpy.ravel_multi_index`). Needed only where every frame
            has its own null and the arrays are not the whole series.

        Returns
        -------
        array of float32, that shape
            In [0, 1]; NaN where either is NaN.
        """
        if len(self.nulls) == 1 or frame is not None:
            null = self.nulls[frame or 0] if len(self.nulls) > 1 else self.nulls[0]
            return _read(null, ncc, effective_samples)
        independent = [n for n, r in zip(ncc.shape, self.radius, strict=True) if not r]
        if prod(independent) != len(self.nulls):
            raise ValueError(
                f"every one of {len(self.nulls)} frames has its own null, but the map has shape "
                f"{ncc.shape}; give the whole series, or the number of the frame"
            )
        out = np.empty(ncc.shape, np.float32)
        for null, index in zip(self.nulls, np.ndindex(*independent), strict=True):
            indices = iter(index)
            part = tuple(slice(None) if r else next(indices) for r in self.radius)
            out[part] = _read(null, ncc[part], effective_samples[part])
        return out

    def thresholds(self, confidence: float = 0.95, *, frame: int = 0) -> list[Threshold]:
        """Return the ncc that reaches a confidence, per texture class.

        Parameters
        ----------
        confidence : float, default 0.95
            In (0, 1).
        frame : int, default 0
            Of which frame, where every frame has its own null.

        Returns
        -------
        list of Threshold
            From the coarsest texture to the finest.
        """
        null = self.nulls[frame]
        pairs = zip(null.effective_samples, threshold(null, confidence), strict=True)
        return [Threshold(number, ncc) for number, ncc in pairs]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `from_dict` and JSON take."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make a calibration of what `to_dict` returned, also by way of JSON.

        Raises
        ------
        ValueError
            If a value is missing or none that a calibration has.
        """
        try:
            nulls = tuple(
                Null(
                    tuple(null["effective_samples"]),
                    tuple(map(tuple, null["quantiles"])),
                    null["windows"],
                )
                for null in values["nulls"]
            )
            radius = tuple(values["radius"])
            return cls(nulls, radius, values["weights"], values["seed"], values["fallback"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"these values are no calibration: {error!r} is wrong") from error


@dataclass(frozen=True, slots=True)
class Threshold:
    """What ncc it takes in a texture.

    Parameters
    ----------
    effective_samples : float
        The typical effective number of samples in a window of this texture.
    ncc : float
        Above it, the confidence is higher than was asked for.
    """

    effective_samples: float
    ncc: float


def _read(null: Null, ncc: NDArray[Any], effective_samples: NDArray[Any]) -> NDArray[np.float32]:
    from napari_local_ncc.statistics._lookup import look_up

    values, numbers = (
        np.ascontiguousarray(array, np.float32) for array in (ncc, effective_samples)
    )
    out = np.empty(values.shape, np.float32)
    flat = values.reshape(-1), numbers.reshape(-1), numbers.reshape(-1).view(np.int32)
    look_up(*confidence_table(null), STEPS, *flat, out.reshape(-1))
    return out


def calibrate(
    fixed: ArrayLike | da.Array,
    moving: ArrayLike | da.Array,
    *,
    radius: int | Sequence[int],
    weights: str = "box",
    mask: ArrayLike | da.Array | None = None,
    min_std: float = 0.0,
    min_valid: float = 0.5,
    per_frame: bool = False,
    seed: int = 0,
) -> Calibration:
    """Find out what ncc unrelated structure reaches in the texture of two images.

    Parameters
    ----------
    fixed, moving : array_like or dask array, shape (...)
        Two images of the same shape, registered. Of dask arrays, single tiles are computed.
    radius, weights, mask, min_std, min_valid
        As for `local_ncc`.
    per_frame : bool, default False
        Whether every frame (index along axes of radius 0) gets a null of its own; else
        all share one, drawn from frames at random.
    seed : int, default 0
        The same seed gives the same calibration.

    Returns
    -------
    Calibration
        Turns ncc and `effective_samples` into confidence.

    Notes
    -----
    The null is the ncc of fixed against moving displaced by large shifts, in up to 24
    tiles, in classes of equal size by effective samples. In images with room for fewer
    than 60 windows that do not overlap, Fisher's z with the effective number of samples
    stands in, which is too strict in coarse texture; `Calibration.fallback` says so.
    """
    steps = iter_calibrate(
        fixed,
        moving,
        radius=radius,
        weights=weights,
        mask=mask,
        min_std=min_std,
        min_valid=min_valid,
        per_frame=per_frame,
        seed=seed,
    )
    while True:
        try:
            next(steps)
        except StopIteration as end:
            calibration: Calibration = end.value
            return calibration


def iter_calibrate(
    fixed: ArrayLike | da.Array,
    moving: ArrayLike | da.Array,
    *,
    radius: int | Sequence[int],
    weights: str = "box",
    mask: ArrayLike | da.Array | None = None,
    min_std: float = 0.0,
    min_valid: float = 0.5,
    per_frame: bool = False,
    seed: int = 0,
) -> Generator[Progress, None, Calibration]:
    """Do the same as `calibrate` tile by tile, yielding progress before each.

    Yields
    ------
    Progress
        Tiles done and to do. Closing the generator cancels.

    Returns
    -------
    Calibration
        The value that ends the generator.
    """
    check_limits(min_std, min_valid)
    images = [fixed, moving] if mask is None else [fixed, moving, mask]
    arrays = [im if isinstance(im, da.Array) else as_samples(im) for im in images]
    check_images(arrays)
    radii = check_radius(radius, arrays[0].ndim)
    window = _Window(radii, check_weights(weights), float(min_std), float(min_valid))
    independent = [n for n, r in zip(arrays[0].shape, radii, strict=True) if not r]
    frames = list(np.ndindex(*independent)) if per_frame else [None]
    tiles = [places(arrays, radii, frame, seed) for frame in frames]
    done, total = 0, sum(map(len, tiles))
    nulls = []
    for number, where in enumerate(tiles):
        rng = np.random.default_rng([seed, number])
        samples = _Samples(window, -(-TILES * SHIFTS // len(where)))
        for place in where:
            yield Progress("calibrate", done, total)
            samples.add(read_tile(arrays, place), rng)
            done += 1
        nulls.append(samples.null())
    return Calibration(
        tuple(null or fisher_null() for null in nulls),
        radii,
        window.weights,
        seed,
        _why_fallback([number for number, null in enumerate(nulls) if null is None], len(nulls)),
    )


@dataclass(frozen=True, slots=True)
class _Window:
    radius: tuple[int, ...]
    weights: str
    min_std: float
    min_valid: float


class _Samples:
    """Gathers ncc and effective samples of unrelated views."""

    def __init__(self, window: _Window, views: int) -> None:
        self._window, self._views = window, views
        self._pairs: list[NDArray[np.float32]] = []
        self._windows = 0.0

    def add(self, tile: Tile, rng: np.random.Generator) -> None:
        """Take the samples of one tile's views; not all, as neighbours are much the same."""
        window, radius = asdict(self._window), self._window.radius
        apart = tuple(slice(None, None, max(1, r // 2)) for r in radius)
        for view in unrelated_views(tile, radius, self._views, rng):
            numbers = effective_samples(
                view.fixed, view.moving, radius=radius, weights=self._window.weights
            )
            pair = np.stack([local_ncc(view.fixed, view.moving, **window), numbers])
            self._windows += np.isfinite(pair).all(axis=0).sum() / prod(2 * r + 1 for r in radius)
            pair = pair[(slice(None), *apart)].reshape(2, -1)
            pair = pair[:, np.isfinite(pair).all(axis=0)]
            step = max(1, -(-pair.shape[1] * TILES * SHIFTS // SAMPLES))
            self._pairs.append(pair[:, ::step])

    def null(self) -> Null | None:
        """Return what they tell; None where they are too few."""
        if not self._pairs:
            return None
        ncc, numbers = np.concatenate(self._pairs, axis=1)
        return fit_null(ncc, numbers, self._windows)


def _why_fallback(poor: list[int], frames: int) -> str:
    if not poor:
        return ""
    where = f" in frames {', '.join(map(str, poor))}" if frames > 1 else ""
    return (
        f"too few windows of unrelated structure{where}: confidence is by Fisher's z with the "
        "effective number of samples, which is too strict in coarse texture"
    )
