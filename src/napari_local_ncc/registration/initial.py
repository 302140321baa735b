"""Where a registration begins: what the user names, as a matrix of each frame's world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from skimage.registration import phase_cross_correlation

from napari_local_ncc.chunked.tiles import compute_array
from napari_local_ncc.geometry.affine import apply_affine
from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.image.pairing import Pair
from napari_local_ncc.registration.engines import ENGINES, models
from napari_local_ncc.registration.frame import fit_frames
from napari_local_ncc.transforms.foreign import as_registration
from napari_local_ncc.transforms.registration import Registration
from napari_local_ncc.transforms.resampling import resample

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.registration.engine_thread import Watch
    from napari_local_ncc.registration.settings import Settings

    Matrix = NDArray[np.float64]
    Initial = str | PathLike[str] | Registration | ArrayLike

STARTS = ("identity", "centres", "phase")
"""Where a registration may begin, beside a model's result and a transform.

Examples
--------
>>> from napari_local_ncc.registration import STARTS
>>> STARTS
('identity', 'centres', 'phase')
"""
# of one pair of frames, and their place in the series (None: two frames of moving), to a start,
# or None: search for it
Start = Callable[[Pair, "tuple[int, ...] | None", "Watch"], "Registration | None"]


def starts_of(initial: Initial | None, grid: Grid, settings: Settings) -> Start:
    """Turn what the user named into starts of frames.

    Parameters
    ----------
    initial : str, path, Registration, array_like or None
        See `register`.
    grid : Grid
        The fixed image's grid, paired.
    settings : Settings
        What will begin there: a translation cannot keep a rotation, an affine no flow.

    Raises
    ------
    FileNotFoundError
        If it is the path of no file.
    ValueError
        If it is none of these, or for other axes, units or frames than `grid`, or holds
        more than the model can.
    """
    if initial is None:
        return lambda pair, index, watch: None
    if isinstance(initial, str) and initial in STARTS:
        return {"identity": _identity, "centres": _centres, "phase": _phase}[initial]
    if isinstance(initial, str) and initial in models():
        return _by_model(initial, settings)
    if isinstance(initial, (str, Path)) and not Path(initial).exists():
        raise FileNotFoundError(
            f"initial {str(initial)!r} is neither {', '.join(STARTS)}, a model, nor a file"
        )
    initial = as_registration(initial, grid)
    _check_keeps(settings.model, initial)
    return partial(_start_at, initial)


def _by_model(model: str, settings: Settings) -> Start:
    """Begin with what the engine of another model finds."""
    starts = [name for name, engine in ENGINES.items() if engine.kind is not Kind.FLOW]
    if model not in starts:
        raise ValueError(
            f"initial cannot be the model {model}; leave it out to search for starts, or "
            f"give {', '.join((*STARTS, *starts))}, or a transform file"
        )
    shift = Kind.TRANSLATION
    if ENGINES[settings.model].kind is shift and ENGINES[model].kind is not shift:
        raise ValueError(f"a {settings.model} cannot keep what a {model} start does")
    first = replace(settings, model=model, consistency=False)
    return lambda pair, index, watch: fit_frames(pair, first, None, watch)


def _check_keeps(model: str, start: Registration) -> None:
    """Raise ValueError where a model cannot keep what its start does."""
    kind = ENGINES[model].kind
    if start.displacement is not None and kind is not Kind.FLOW:
        raise ValueError(
            f"initial is a flow, which a transform of the model {model} cannot keep; "
            "take the model flow"
        )
    linear = start.matrix[..., :-1, :-1]
    if kind in (Kind.RIGID, Kind.SIMILARITY) and (np.linalg.det(linear) < 0).any():
        raise ValueError(
            f"initial mirrors, which a transform of the model {model} cannot keep:\n"
            f"{start.matrix}\nflip the image, or take the model affine"
        )
    is_shift = np.allclose(linear, np.eye(linear.shape[-1]), atol=1e-9)
    if kind is Kind.TRANSLATION and not is_shift:
        raise ValueError(
            f"initial turns or scales, which a {model} cannot keep:\n{start.matrix}\n"
            "take the model rigid, similarity or affine"
        )


def _start_by_shift(shift: NDArray[np.float64], space: Grid) -> Registration:
    matrix = np.eye(space.ndim + 1)
    matrix[:-1, -1] = shift
    return Registration.from_matrix(matrix, space)


def _start_at(
    start: Registration, pair: Pair, index: tuple[int, ...] | None, watch: Watch
) -> Registration | None:
    return None if index is None else start.frame(index)


def _identity(pair: Pair, index: tuple[int, ...] | None, watch: Watch) -> Registration:
    return Registration.identity(pair.fixed.grid)


def _centres(pair: Pair, index: tuple[int, ...] | None, watch: Watch) -> Registration:
    """Put the centres of mass on one another."""
    return _start_by_shift(_centre(pair.moving) - _centre(pair.fixed), pair.fixed.grid)


def _centre(image: SpatialImage) -> NDArray[np.float64]:
    """Return the world position of the centre of mass above the darkest valid sample."""
    values = compute_array(image.data).astype(np.float64)
    values[~np.isfinite(values)] = np.nan
    mass = np.nan_to_num(values - np.nanmin(values))
    if not mass.sum() > 0:
        raise ValueError(f"{image.name} is constant, so it has no centre of mass")
    axes = range(mass.ndim)
    pixels = [
        float(mass.sum(axis=tuple(k for k in axes if k != axis)) @ np.arange(n)) / mass.sum()
        for axis, n in enumerate(mass.shape)
    ]
    return apply_affine(image.grid.pixel_to_world, pixels)


def _phase(pair: Pair, index: tuple[int, ...] | None, watch: Watch) -> Registration:
    """Shift by what phase correlation finds on fixed's grid, to a whole pixel."""
    grid = pair.fixed.grid
    images = [np.nan_to_num(compute_array(i.data).astype(np.float64)) for i in _on_fixed(pair)]
    shift = phase_cross_correlation(*images, normalization="phase")[0]
    return _start_by_shift(grid.pixel_to_world[:-1, :-1] @ -shift, grid)


def _on_fixed(pair: Pair) -> tuple[SpatialImage, SpatialImage]:
    return pair.fixed, resample(pair.moving, pair.fixed.grid)
