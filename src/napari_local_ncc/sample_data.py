"""Pairs of images with a known transform."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

import numpy as np
import scipy.ndimage

from napari_local_ncc.image.spatial_image import SpatialImage
from napari_local_ncc.io.reading import read_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRAMES = 12
DRIFT = (0.9, -0.6)
CHANGE_FROM = 6


@dataclass(frozen=True, slots=True, eq=False)
class SamplePair:
    """Two images and what is known of them.

    Parameters
    ----------
    fixed, moving : SpatialImage
        The pair.
    shift : ndarray, shape (*series, ndim)
        The truth in pixels: fixed pixel p shows what moving pixel p + shift shows.
    """

    fixed: SpatialImage
    moving: SpatialImage
    shift: NDArray[np.float64]


def brain_slice() -> SamplePair:
    """Return two proton-density brain slices, one displaced by (-7.2, 4.4) px and noisy."""
    fixed, moving = (_read(f"brain_pd_{name}.ome.tif", name) for name in ("fixed", "moving"))
    return SamplePair(fixed, moving, np.array([-7.2, 4.4]))


def head_volume() -> SamplePair:
    """Return two T1 head volumes of 3 x 2 x 2 mm voxels, displaced by (0.7, -1.6, 2.3) px."""
    fixed, moving = (_read(f"head_t1_{name}.ome.tif", name) for name in ("fixed", "moving"))
    return SamplePair(fixed, moving, np.array([0.7, -1.6, 2.3]))


def drifting_series() -> SamplePair:
    """Return a static reference and a noisy series that drifts away from it.

    From frame `CHANGE_FROM` on, a spot of new structure grows in the middle: what stays
    different once the drift is registered. Drift and noise are simulated on a real brain
    slice, from a fixed seed.
    """
    reference = _read("brain_pd_moving.ome.tif", "reference")
    still = np.asarray(reference.data).astype(np.float64)
    drift = np.arange(FRAMES)[:, np.newaxis] * np.array(DRIFT)
    noise = np.random.default_rng(0).normal(0.0, 3.0, (FRAMES, *still.shape))
    frames = np.stack(
        [scipy.ndimage.shift(_change(still, t), -drift[t], order=3) for t in range(FRAMES)]
    )
    series = np.clip(frames + noise + 10.0, 0, 255).astype(np.uint8)
    moving = SpatialImage.from_array(
        series,
        "drifting series",
        spacing=(1.0, *reference.grid.spacing),
        units=("second", *reference.grid.units),
        axis_labels=("t", *reference.grid.axis_labels),
    )
    return SamplePair(reference, moving, -drift)


def _change(still: NDArray[np.float64], frame: int) -> NDArray[np.float64]:
    size = 6.0 * max(frame - CHANGE_FROM + 1, 0)
    if size == 0:
        return still
    y, x = np.ogrid[: still.shape[0], : still.shape[1]]
    distance = np.hypot(y - still.shape[0] / 2, x - still.shape[1] / 2)
    stripes = 110 + 60 * np.sin(x / 2.0) * np.sin(y / 3.0)
    return np.where(distance < size, stripes, still)


def _read(file: str, name: str) -> SpatialImage:
    with as_file(files("napari_local_ncc") / "data" / file) as path:
        image = read_image(path, name=name)
        # As an array, the image outlives the temporary file of a zipped installation.
        return SpatialImage(image.data.persist(), image.grid, name)
