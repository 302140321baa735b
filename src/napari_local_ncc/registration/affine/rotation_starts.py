"""Starts for fine texture: one image turned step by step, and shifted wherever it then fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from napari_local_ncc.registration.affine.sampled_image import Sampled, rotations, turned
from napari_local_ncc.registration.flow.estimate import local_contrast

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.registration.affine.sampled_image import Matrix
    from napari_local_ncc.registration.engine_thread import Watch

DEGREES = tuple(range(-20, 21, 2))  # on 128 px, a step moves the rim by 2 px
SCALES = tuple(np.exp(np.linspace(-0.18, 0.18, 9)))
NUMBER = 12


def turned_starts(fixed: Sampled, moving: Sampled, *, is_rigid: bool, watch: Watch) -> list[Matrix]:
    """Return starts at which most detail agrees, of either sign: the best of all shifts per turn.

    Texture whose grain is finer than the steps of a lattice of shifts is missed by that, and
    is averaged away at a low resolution; the correlation surface has every shift.

    Parameters
    ----------
    fixed, moving : Sampled
        Planes in one frame, of some 128 px a side: each turn costs two Fourier transforms.
    is_rigid : bool
        Whether no scale is to be tried.
    watch : Watch
        Can stop the work.

    Returns
    -------
    list of ndarray, shape (3, 3)
        Of fixed's frame to moving's, those with the highest correlation first.
    """
    detail = _detail(fixed)
    size = [fft.next_fast_len(2 * n, real=True) for n in detail.shape]
    spectrum = np.conj(fft.rfftn(detail, size))
    places = fixed.place(np.indices(detail.shape).reshape(fixed.ndim, -1).T)
    other = Sampled(_detail(moving), moving.to_frame)
    turns = rotations(fixed.ndim, DEGREES, (1.0,) if is_rigid else SCALES)
    found = []
    for start in turned(turns, fixed.centre, [moving.centre - fixed.centre]):
        watch.check()
        partners = np.nan_to_num(other.read(places @ start[:-1, :-1].T + start[:-1, -1]))
        surface = fft.irfftn(spectrum * fft.rfftn(partners.reshape(detail.shape), size), size)
        peak = np.unravel_index(np.argmax(np.abs(surface)), surface.shape)
        shift = np.where(peak < np.array(detail.shape), peak, np.subtract(peak, surface.shape))
        start[:-1, -1] += start[:-1, :-1] @ fixed.to_frame[:-1, :-1] @ shift
        found.append((float(abs(surface[peak])), start))
    found.sort(key=lambda pair: -pair[0])
    return [start for _, start in found[:NUMBER]]


def _detail(image: Sampled) -> NDArray[np.float32]:
    return local_contrast(image.values / max(float(np.nanstd(image.values)), 1e-6))
