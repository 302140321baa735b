"""Confidence: how improbable an ncc is between unrelated structure of the same texture."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_local_ncc.confidence.false_discovery import check_confidence
from napari_local_ncc.confidence.null_distribution import (
    SCORES,
    STEPS,
    Null,
    confidence_tables,
    threshold,
)
from napari_local_ncc.ncc.device import namespace_of
from napari_local_ncc.parameters import is_cupy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# of the even light, contrast and effective samples that a null is drawn with: raise it whenever one
# may become another, so that no calibration of an earlier version judges a map
DEFINITION = 2


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
    alternative : {"greater", "two-sided"}
        Whether what is related has a high ncc, or a high |ncc|.
    notes : tuple of str
        What both images have in common by the instrument, a sentence each.
    in_even_light : bool
        Whether it was drawn from images less a smooth background and contrast, and judges what
        such images hold; see `structure_in_even_light`.
    is_outdated : bool
        Whether it is an earlier version's, which took light or contrast otherwise: it tells of
        the map that it was drawn for, and judges no other.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> from napari_local_ncc import calibrate
    >>> fixed = rng.normal(size=(100, 100))
    >>> calibration = calibrate(fixed, fixed + rng.normal(size=(100, 100)), radius=3)
    >>> calibration.confidence(np.array([0.0, 0.9]), np.array([40.0, 40.0])).round(1).tolist()
    [0.5, 1.0]
    """

    nulls: tuple[Null, ...]
    radius: tuple[int, ...]
    weights: str
    seed: int
    fallback: str = ""
    alternative: str = "greater"
    notes: tuple[str, ...] = ()
    in_even_light: bool = False
    is_outdated: bool = False

    def confidence(
        self,
        ncc: NDArray[np.float32],
        effective_samples: NDArray[np.float32],
        *,
        contrast: NDArray[np.float32] | None = None,
        frame: int | NDArray[np.integer] | None = None,
    ) -> NDArray[np.float32]:
        """Return 1 - p, p the probability that unrelated structure gives an ncc this high.

        By `alternative` "two-sided", a |ncc| this high.

        Parameters
        ----------
        ncc, effective_samples : array of float32, same shape
            As `local_ncc` and `effective_samples` give them, with this radius and weights.
        contrast : array of float32, same shape, optional
            As `relative_contrast` gives it. p is then right for windows of low and of high
            contrast by themselves; else for both together.
        frame : int or array of int, optional
            The number of the frame that the arrays are (part of), in the order of the
            axes of radius 0 (`numpy.ravel_multi_index`); or the numbers of their frames, with
            the lengths of these axes. Needed only where every frame has its own null and the
            arrays are not the whole series.

        Returns
        -------
        array of float32, that shape
            In [0, 1]; NaN where either is NaN.

        Raises
        ------
        ValueError
            If the shapes differ, or `frame` is missing where it is needed or not a frame.
        """
        if ncc.shape != effective_samples.shape:
            raise ValueError(
                f"ncc has shape {ncc.shape} but effective_samples has shape "
                f"{effective_samples.shape}; every ncc needs the samples of its window"
            )
        if contrast is not None and contrast.shape != ncc.shape:
            raise ValueError(
                f"ncc has shape {ncc.shape} but contrast has shape {contrast.shape}; "
                "every ncc needs the contrast of its window"
            )
        xp = namespace_of(ncc)
        height = ncc if self.alternative == "greater" else xp.abs(ncc)
        frames = None if frame is None else np.asarray(frame)
        if frames is not None and frames.dtype.kind not in "iu":
            raise ValueError(f"frame must be an integer or an array of them, got {frame!r}")
        if len(self.nulls) == 1:
            return _read(self.nulls[0], height, effective_samples, contrast)
        if frames is not None and frames.ndim == 0:
            return _read(self._null(int(frames)), height, effective_samples, contrast)
        lengths = _lengths(ncc.shape, self.radius)
        if frames is None:
            self._check_frames(ncc.shape)
            frames = np.arange(len(self.nulls)).reshape(lengths)
        if frames.shape != tuple(lengths):
            raise ValueError(
                f"the arrays hold frames of shape {tuple(lengths)}, but frame has shape "
                f"{frames.shape}; it needs a number for each"
            )
        out: NDArray[np.float32] = xp.empty(ncc.shape, np.float32)
        for index in np.ndindex(*lengths):
            indices = iter(index)
            part = tuple(slice(None) if r else next(indices) for r in self.radius)
            known = None if contrast is None else contrast[part]
            null = self._null(int(frames[index]))
            out[part] = _read(null, height[part], effective_samples[part], known)
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

        Raises
        ------
        ValueError
            If `confidence` is not within (0, 1), or `frame` is not a frame.
        """
        check_confidence(confidence)
        null = self._null(frame)
        pairs = zip(null.effective_samples, threshold(null, confidence), strict=True)
        return [Threshold(number, ncc) for number, ncc in pairs]

    def check_map(
        self,
        shape: tuple[int, ...],
        radius: tuple[int, ...],
        weights: str,
        alternative: str = "greater",
    ) -> None:
        """Raise an error unless this can judge every frame of a map.

        Parameters
        ----------
        shape : tuple of int
            Of the map.
        radius : tuple of int
            Radius of the map's windows in pixels, per axis.
        weights : {"box", "gaussian"}
            Their weights.
        alternative : {"greater", "two-sided"}
            What the map counts as related.

        Raises
        ------
        ValueError
            If it is outdated, or holds for other windows, another alternative, or another number
            of frames.
        """
        if self.is_outdated:
            raise ValueError(
                "the calibration is of an earlier version, which took light and contrast "
                "otherwise; calibrate anew, or let the map do it"
            )
        if self.alternative != alternative:
            raise ValueError(
                f'the calibration is for alternative="{self.alternative}", but the map asks for '
                f'"{alternative}"; calibrate for this one, or let the map do it'
            )
        if (self.radius, self.weights) != (radius, weights):
            raise ValueError(
                f"the calibration holds for {self.weights} windows of radius {self.radius}, but "
                f"the map has {weights} windows of radius {radius}; calibrate for these, or let "
                "the map do it"
            )
        if len(self.nulls) > 1:
            self._check_frames(shape)

    def _check_frames(self, shape: tuple[int, ...]) -> None:
        if prod(_lengths(shape, self.radius)) != len(self.nulls):
            raise ValueError(
                f"every one of {len(self.nulls)} frames has its own null, but the map has shape "
                f"{shape}; give the whole series, or calibrate with per_frame=False"
            )

    def _null(self, frame: int) -> Null:
        """Return the null of a frame, which may be that of all."""
        if len(self.nulls) == 1 and frame >= 0:
            return self.nulls[0]
        if not 0 <= frame < len(self.nulls):
            raise ValueError(
                f"frame must be a number from 0 to {len(self.nulls) - 1}, got {frame!r}"
            )
        return self.nulls[frame]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `from_dict` and JSON take."""
        return asdict(self) | {"definition": DEFINITION}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make a calibration of what `to_dict` returned, also by way of JSON.

        Raises
        ------
        ValueError
            If a value is missing or none that a calibration has.
        """
        try:
            nulls = tuple(_null_of(null) for null in values["nulls"])
            radius = tuple(values["radius"])
            return cls(
                nulls,
                radius,
                values["weights"],
                values["seed"],
                values["fallback"],
                values.get("alternative", "greater"),
                tuple(values.get("notes", ())),
                values.get("in_even_light", False),
                values.get("is_outdated", False) or values.get("definition") != DEFINITION,
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"these values are no calibration: {error!r} is wrong") from error


def _lengths(shape: tuple[int, ...], radius: tuple[int, ...]) -> list[int]:
    """Return the lengths of the axes along which every index is a frame."""
    return [n for n, r in zip(shape, radius, strict=True) if not r]


def _null_of(values: Mapping[str, Any]) -> Null:
    null = Null(
        tuple(values["effective_samples"]),
        tuple(map(tuple, values["quantiles"])),
        values["windows"],
        tuple(values.get("contrasts", ())),
        tuple(map(_null_of, values.get("strata", ()))),
    )
    lengths = [len(quantiles) for quantiles in null.quantiles]
    if not lengths or lengths != [len(SCORES)] * len(null.effective_samples):
        raise ValueError(
            f"these values are no calibration: {len(null.effective_samples)} classes need "
            f"{len(SCORES)} quantiles each, but there are {lengths}"
        )
    return null


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


def _read(
    null: Null,
    ncc: NDArray[Any],
    effective_samples: NDArray[Any],
    contrast: NDArray[Any] | None,
) -> NDArray[np.float32]:
    xp = namespace_of(ncc)
    if contrast is None:
        null, contrast = replace(null, contrasts=(), strata=()), xp.zeros_like(ncc)
    tables, octave = confidence_tables(null)
    typical = np.array(null.contrasts, np.float32)
    if is_cupy(ncc):
        from napari_local_ncc.confidence.on_gpu.look_up_by_index import look_up_by_index

        return look_up_by_index(tables, typical, octave, STEPS, ncc, effective_samples, contrast)
    from napari_local_ncc.confidence.confidence_kernel import look_up

    values, numbers, contrasts = (
        np.ascontiguousarray(array, np.float32).reshape(-1)
        for array in (ncc, effective_samples, contrast)
    )
    out = np.empty(ncc.shape, np.float32)
    bits = numbers.view(np.int32)
    look_up(tables, typical, octave, STEPS, values, numbers, bits, contrasts, out.reshape(-1))
    return out
