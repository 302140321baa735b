"""What a pair of images as a whole tells of its windows: noise, contrast, a common motion."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import scipy.fft

from napari_local_ncc.chunked.blocks import compute_here
from napari_local_ncc.confidence.background import (
    scaled_to_float32,
    without_smooth_background,
)
from napari_local_ncc.confidence.ceiling import powers_of
from napari_local_ncc.confidence.local_noise import noise_around
from napari_local_ncc.confidence.unrelated_pairs import places
from napari_local_ncc.evidence.noise import NoiseModel, noise_model
from napari_local_ncc.ncc.dispatch import local_ncc
from napari_local_ncc.ncc.moments import window_moments
from napari_local_ncc.shift.classes import smallest_eigenvalue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Slices = tuple[slice, ...]

TILES = 12
STRUCTURED = 2.0  # variance over that of the noise, from which on a window's contrast counts
CLEAR, FEWEST = 3.0, 500  # the same, and how many such windows tell what noise they leave
LEAST_SHARE = 0.25  # of its variance: one image twice leaves nothing, and still is in noise
MORE = 1.3  # times a variance of noise, from which on there may be more of it in some places
NO_NOISE = 2.0  # times what second differences allow: more is left where the images differ
LARGEST = 1e150  # intensity; squares of more are beyond float64
STANDS_OUT = 8.0  # standard deviations of a correlation over all shifts: not by chance


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a pair of images as a whole tells of its windows.

    Parameters
    ----------
    fixed, moving : NoiseModel
        The noise of either image, in its units of intensity.
    gain : float
        Typical standard deviation of structure in moving over that in fixed, both in units of
        their noise; NaN where unknown.
    motion : tuple of int or None
        Shift in pixels per axis, beyond the search or at its border, by which the images as a
        whole agree; None where there is none.
    share : float
        Which share these noises' variances are of what second differences tell.
    local : float
        Which share of the variance that second differences tell beyond them in some places is
        noise, too; the rest is fine structure.
    """

    fixed: NoiseModel
    moving: NoiseModel
    gain: float
    motion: tuple[int, ...] | None
    share: float = 1.0
    local: float = 0.0

    def noise_variances(self, means: Sequence[Floats], around: Sequence[Floats]) -> list[Floats]:
        """Return those of fixed and moving in windows of such means, by `noise_around` as well."""
        found = []
        for model, mean, sd in zip((self.fixed, self.moving), means, around, strict=True):
            variance = model.sd_at(mean) ** 2
            found.append(variance + self.local * np.maximum(self.share * sd**2 - variance, 0.0))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `from_dict` and JSON take, which knows no NaN."""
        values = asdict(self)
        for part in (values, values["fixed"], values["moving"]):
            part |= {name: None for name, value in part.items() if _is_unknown(value)}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make an exposure of what `to_dict` returned."""
        fixed, moving = (
            NoiseModel(**{key: _number(value) for key, value in values[name].items()})
            for name in ("fixed", "moving")
        )
        motion = values["motion"]
        return cls(
            fixed,
            moving,
            _number(values["gain"]),
            None if motion is None else tuple(motion),
            _number(values.get("share", 1.0)),
            _number(values.get("local", 0.0)),
        )


def _is_unknown(value: Any) -> bool:
    return isinstance(value, float) and not np.isfinite(value)


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def measure_exposure(
    read: Callable[[Slices], Sequence[Any]],
    shape: tuple[int, ...],
    moving: Any,
    *,
    radius: tuple[int, ...],
    weights: str,
    search: tuple[int, ...],
    is_signed: bool = True,
) -> Exposure:
    """Measure noise, typical contrast and common motion on a bounded sample of both images.

    Parameters
    ----------
    read : callable
        ``read(place)`` returns fixed, moving on fixed's grid and perhaps the mask at a place
        given as slices, as arrays or dask arrays.
    shape : tuple of int
        Of these images.
    moving : array or dask array
        The moving image before it was resampled: interpolation would hide its noise.
    radius, search : tuple of int
        Window radius and largest shift per axis, in pixels; no `search` where there is none.
    weights : {"box", "gaussian"}
        Of the windows.
    is_signed : bool
        Whether what is the same has a high correlation, or else a high magnitude of it.

    Returns
    -------
    Exposure
        The same for the same images, however they are chunked.

    Raises
    ------
    ValueError
        If there are values whose squares float64 does not hold.
    """
    pairs = [_read_pair(read(place)) for place in places(shape, radius, None, 0)[:TILES]]
    own_radius = (0,) * (moving.ndim - len(radius)) + radius[-moving.ndim :]
    own = [_read_pair([moving[p]])[0] for p in places(moving.shape, own_radius, None, 0)[:TILES]]
    _check_size([image for pair in pairs for image in pair])
    # without the mask: what is beyond belongs to no sample, as a file's number for no data
    own = [np.where(np.abs(image) > LARGEST, np.nan, image) for image in own]
    models = [_noise([fixed for fixed, _ in pairs], radius), _noise(own, own_radius)]
    share = _share_of_noise(pairs, models, radius, weights)
    models = [model.times(share) for model in models]
    local = _share_of_local_noise(pairs, models, share, radius, weights)
    gain = _typical_gain(pairs, models, radius, weights)
    motion = common_motion(pairs, radius, search, is_signed=is_signed) if search else None
    return Exposure(models[0], models[1], gain, motion, share, local)


def _check_size(images: Sequence[NDArray[np.float64]]) -> None:
    for image in images:
        if np.any(np.abs(image) > LARGEST):  # NaN passes: invalid
            raise ValueError(
                f"the images hold values beyond {LARGEST:g}, whose squares float64 does not "
                "hold: divide them by a number"
            )


def _read_pair(parts: Sequence[Any]) -> list[NDArray[np.float64]]:
    """Return both images as float64, NaN where invalid in either."""
    images = compute_here(*parts)
    fixed, *rest = (np.asarray(image) for image in images)
    valid = np.isfinite(fixed)
    for image in rest:
        valid &= np.isfinite(image) if image.dtype != bool else image
    shown = [fixed, *(image for image in rest if image.dtype != bool)]
    return [np.where(valid, image, np.nan).astype(np.float64) for image in shown]


def _noise(tiles: list[NDArray[np.float64]], radius: tuple[int, ...]) -> NoiseModel:
    """Return the noise of tiles side by side along a windowed axis."""
    axis = max(axis for axis, r in enumerate(radius) if r)
    model = noise_model(np.concatenate(tiles, axis=axis))
    return NoiseModel(float(model.sd), float(model.offset), float(model.gain))


def _share_of_noise(
    pairs: list[list[NDArray[np.float64]]],
    models: Sequence[NoiseModel],
    radius: tuple[int, ...],
    weights: str,
) -> float:
    """Return which share of the noise's variance windows that agree leave room for: up to 1.

    Fine structure adds to the second differences of one image; what no gain explains between
    two is free of all that they have in common. Half of the windows with structure have to
    agree: else more is left, and nothing is learnt.
    """
    rests = []
    for fixed, moving in pairs:
        moments = window_moments(fixed, moving, radius=radius, weights=weights)
        noises = [m.sd_at(mean) ** 2 for m, mean in zip(models, moments.mean, strict=True)]
        a, b = powers_of(moments.variance, noises, moments.samples)
        ncc = np.abs(local_ncc(fixed, moving, radius=radius, weights=weights))
        freedom = np.maximum(moments.samples - 2.0, 1.0)
        with np.errstate(invalid="ignore"):
            rest = smallest_eigenvalue(a, b, ncc) / (1.0 - 2.0 / (9.0 * freedom)) ** 3
            # Windows around an invalid sample have contrast, but no NCC.
            rests.append(rest[(np.minimum(a, b) > CLEAR) & np.isfinite(rest)])
    known = np.concatenate(rests)
    return float(np.clip(np.median(known), LEAST_SHARE, 1.0)) if known.size >= FEWEST else 1.0


def _share_of_local_noise(
    pairs: list[list[Floats]],
    models: Sequence[NoiseModel],
    share: float,
    radius: tuple[int, ...],
    weights: str,
) -> float:
    """Return which share of second differences beyond the noise's is noise that varies over place.

    By least squares, from what no gain explains between windows where there is more of these:
    noise is left, and fine structure that both images show is not. Where more is left than
    second differences allow, the images differ. 1 where little is known.
    """
    excess, left = [], []
    for pair in pairs:
        moments = window_moments(*pair, radius=radius, weights=weights)
        noises = [m.sd_at(mean) ** 2 for m, mean in zip(models, moments.mean, strict=True)]
        around = [share * noise_around(i, np.isfinite(i), radius=radius) ** 2 for i in pair]
        ncc = np.abs(local_ncc(*pair, radius=radius, weights=weights))
        one, two = powers_of(moments.variance, noises, moments.samples)
        rest = smallest_eigenvalue(one, two, ncc)
        most = np.mean(
            [np.maximum(a / n, 1.0) for a, n in zip(around, noises, strict=True)], axis=0
        )
        used = (most > MORE) & (rest < NO_NOISE * most)
        excess.append(most[used] - 1.0)
        left.append(np.clip(rest[used], 1.0, most[used]) - 1.0)
    x, y = np.concatenate(excess), np.concatenate(left)
    return float(np.sum(x * y) / np.sum(x * x)) if x.size >= FEWEST else 1.0


def _typical_gain(
    pairs: list[list[NDArray[np.float64]]],
    models: Sequence[NoiseModel],
    radius: tuple[int, ...],
    weights: str,
) -> float:
    ratios = []
    for fixed, moving in pairs:
        moments = window_moments(fixed, moving, radius=radius, weights=weights)
        a, b = (
            variance / model.sd_at(mean) ** 2
            for variance, mean, model in zip(moments.variance, moments.mean, models, strict=True)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            both = (a > STRUCTURED) & (b > STRUCTURED) & np.isfinite(a * b)
            ratios.append((b[both] - 1.0) / (a[both] - 1.0))
    known = np.concatenate(ratios)
    return float(np.sqrt(np.median(known))) if known.size else np.nan


def common_motion(
    pairs: Sequence[Sequence[NDArray[np.float64]]],
    radius: tuple[int, ...],
    search: tuple[int, ...],
    *,
    is_signed: bool = True,
) -> tuple[int, ...] | None:
    """Find a shift beyond the search by which two images agree as a whole.

    Parameters
    ----------
    pairs : sequence of (fixed, moving)
        Samples of both images at some places, NaN where invalid.
    radius, search : tuple of int
        Window radius and largest shift per axis, in pixels.
    is_signed : bool
        Whether images agree by a high correlation, or else by a high magnitude of it.

    Returns
    -------
    tuple of int or None
        Fixed at p shows what moving shows at p + shift. None where the highest correlation
        over all shifts up to half a tile, summed over the tiles, lies inside the search, or
        stands out by less than `STANDS_OUT` standard deviations.
    """
    axes = [axis for axis, r in enumerate(radius) if r]
    total: NDArray[np.float64] | None = None
    for pair in pairs:
        flat = [_detail(image, radius) for image in pair]
        norm = float(np.sqrt(np.prod([np.sum(image**2) for image in flat])))
        shape = [2 * n for n in np.array(flat[0].shape)[axes]]
        if not norm or (total is not None and total.shape != _spread_shape(flat[0], axes)):
            continue
        spectra = [scipy.fft.rfftn(image, shape, axes) for image in flat]
        surface = scipy.fft.irfftn(np.conj(spectra[0]) * spectra[1], shape, axes) / norm
        total = surface if total is None else total + surface
    if total is None:
        return None
    total = total.sum(axis=tuple(axis for axis, r in enumerate(radius) if not r), keepdims=True)
    lengths = [n // 4 if r else 0 for n, r in zip(total.shape, radius, strict=True)]
    index = np.ix_(*(np.arange(-n, n + 1) % m for n, m in zip(lengths, total.shape, strict=True)))
    near = total[index] if is_signed else np.abs(total[index])
    peak = np.unravel_index(int(near.argmax()), near.shape)
    shift = tuple(int(i - n) for i, n in zip(peak, lengths, strict=True))
    # Windows whose best shift lies at the border of the search cannot tell how far they moved.
    is_beyond = any(d and abs(d) >= s for d, s in zip(shift, search, strict=True))
    stands_out = near[peak] - near.mean() > STANDS_OUT * near.std()
    return shift if is_beyond and stands_out else None


def _spread_shape(image: NDArray[Any], axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(2 * n if axis in axes else n for axis, n in enumerate(image.shape))


def _detail(image: NDArray[np.float64], radius: tuple[int, ...]) -> NDArray[np.float64]:
    """Return structure above a smooth background, 0 where there is none."""
    flat = without_smooth_background(scaled_to_float32(image), radius=radius)
    return np.nan_to_num(flat).astype(np.float64)
