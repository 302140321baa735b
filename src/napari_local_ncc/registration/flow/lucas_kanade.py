"""Iterative Lucas-Kanade: the flow by which two images agree in every window, coarse to fine."""

from __future__ import annotations

from functools import partial
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi
from skimage.transform import pyramid_reduce

from napari_local_ncc.registration.flow.equations import solve_everywhere
from napari_local_ncc.transforms.displacement_field import pixels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.float32]

RADIUS = 5  # px: of the window
SIGMA = (2 * RADIUS + 1) / 4  # px: of the Gaussian that it is
WARPS = 6  # steps at each resolution
SMALLEST = 32  # px: shortest side up to which images are not reduced
SINGULAR = 1e-14  # determinant of equations that tell nothing: there is no flow


def lucas_kanade(fixed: Pixels, moving: Pixels) -> Pixels:
    """Find where every pixel of `fixed` lies in `moving` [1]_.

    Parameters
    ----------
    fixed, moving : ndarray of float32, shape (...)
        Images of one contrast, finite.

    Returns
    -------
    ndarray of float32, shape (ndim, ...)
        In px.

    Notes
    -----
    What `skimage.registration.optical_flow_ilk` does with a Gaussian window, to rounding. That
    leaves the equations of each pixel to LAPACK, one pixel at a time, which takes half of it.

    References
    ----------
    .. [1] Le Besnerais & Champagnat, ICIP (2005), doi:10.1109/ICIP.2005.1529706
    """
    levels = [(fixed, moving)]
    while min(levels[-1][0].shape) > SMALLEST:
        here, there = (pyramid_reduce(image, 2) for image in levels[-1])
        levels.append((here, there))
    flow = np.zeros((fixed.ndim, *levels[-1][0].shape), np.float32)
    for here, there in reversed(levels):
        flow = _enlarge(flow, here.shape)
        for _ in range(WARPS):
            flow = _improve(here, there, flow)
    return flow


def _enlarge(flow: Pixels, shape: tuple[int, ...]) -> Pixels:
    """Bring a flow to a finer lattice."""
    factor = np.divide(shape, flow.shape[1:], dtype=np.float32)
    larger = ndi.zoom(flow, (1, *factor), order=0, mode="nearest", prefilter=False)
    return np.asarray(larger * factor.reshape(-1, *(1,) * len(shape)))


def _improve(fixed: Pixels, moving: Pixels, flow: Pixels) -> Pixels:
    """Solve the linear equations that every window has at a flow."""
    at = pixels_of([slice(0, n) for n in fixed.shape]) + flow
    moved = ndi.map_coordinates(moving, at, np.float32, order=1, mode="nearest")
    slopes = np.stack(np.gradient(moved))
    rest = (slopes * flow).sum(axis=0) + fixed - moved
    ndim = fixed.ndim
    smooth = partial(ndi.gaussian_filter, sigma=SIGMA, mode="mirror")
    tensor = np.empty((ndim, ndim, *fixed.shape), np.float32)
    for i, j in combinations_with_replacement(range(ndim), 2):
        tensor[i, j] = tensor[j, i] = smooth(slopes[i] * slopes[j])
    right = np.stack([smooth(slope * rest) for slope in slopes])
    return solve_everywhere(tensor, right, SINGULAR)
