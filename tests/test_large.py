"""Images larger than the memory allowed: a reduced level, then tiles at full resolution."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from napari_local_ncc import SpatialImage, register
from napari_local_ncc.image.pairing import Pair
from napari_local_ncc.registration.multiresolution import reduce_pair

SIDE = 480
FEW = 100 * 120**2  # bytes: 480 px a side are reduced to 120


def image_of(matrix, spacing=1.0):
    """A structure known everywhere, plane waves of 9 to 300 px; pixel p shows matrix @ p."""
    rng = np.random.default_rng(0)
    pixels = np.mgrid[:SIDE, :SIDE].astype(np.float32).reshape(2, -1)
    y, x = matrix[:2, :2].astype(np.float32) @ pixels + matrix[:2, 2:].astype(np.float32)
    total = np.zeros(SIDE**2, np.float32)
    for _ in range(48):  # fewer match in other places and mirrored, too
        length, angle, phase = np.exp(rng.uniform(2.2, 5.7)), *rng.uniform(0, 2 * np.pi, 2)
        wave = np.array([np.sin(angle), np.cos(angle)], np.float32) * 2 * np.pi / length
        total += np.cos(wave[0].astype(np.float32) * y + wave[1].astype(np.float32) * x + phase)
    return SpatialImage.from_array(total.reshape(SIDE, SIDE), spacing=spacing)


def transform(model):
    matrix = np.eye(3)
    matrix[:2, 2] = 31.3, -22.6
    if model != "translation":
        cos, sin = np.cos(0.05), np.sin(0.05)
        matrix[:2, :2] = [[cos, -sin], [sin, cos]]
    if model == "affine":
        matrix[:2, :2] @= [[1.02, 0.01], [0.0, 0.99]]
    return matrix


@pytest.mark.parametrize("model", ["translation", "affine"])
def test_it_is_as_exact_as_at_full_resolution(model):
    if model != "translation":
        pytest.importorskip("SimpleITK")
    truth = transform(model)
    fixed, moving = image_of(truth, 0.5), image_of(np.eye(3), 0.5)
    found = register(fixed, moving, model=model, memory=FEW)
    corners = np.array([[0.0, 0], [0, 400], [400, 0], [400, 400]]) * 0.5
    expected = (truth[:2, :2] @ (corners.T / 0.5)).T * 0.5 + truth[:2, 2] * 0.5
    error = np.linalg.norm(found.transform_points(corners) - expected, axis=-1) / 0.5
    assert error.max() < 0.1
    assert found.reports[0].after.median > 0.95


def test_a_level_keeps_its_place_in_the_world():
    fixed = image_of(np.eye(3))
    small = reduce_pair(Pair(fixed, fixed), FEW).fixed
    assert small.grid.shape == (120, 120)
    np.testing.assert_allclose(small.grid.spacing, 4)
    np.testing.assert_allclose(small.grid.origin, 1.5)
    smooth = scipy.ndimage.uniform_filter(np.asarray(fixed.data[:8, :8], float), 4)
    np.testing.assert_allclose(np.asarray(small.data)[0, 0], smooth[2, 2], rtol=1e-5)
    pair = Pair(fixed, fixed)
    assert reduce_pair(pair, 1e9) is pair


def test_memory_must_be_positive():
    with pytest.raises(ValueError, match="memory"):
        register(np.eye(9), np.eye(9), memory=0)
