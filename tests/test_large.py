"""Images larger than the memory allowed: a reduced level, then tiles at full resolution."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from napari_local_ncc import SpatialImage, register
from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.image.pairing import Pair
from napari_local_ncc.registration.multiresolution import _scale, _tiles, reduce_pair
from napari_local_ncc.registration.tile_fit import FEWEST, TileShift, fit_tiles
from napari_local_ncc.transforms.report import MIXED

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


def moved_scene(shift, seed, side=SIDE, noise=0.0):
    """Two images of a periodic texture, exactly moved; pixel p of fixed shows p + shift."""
    rng = np.random.default_rng(seed)
    scene = scipy.ndimage.gaussian_filter(rng.normal(size=(side, side)), 1.5, mode="wrap")
    scene /= scene.std()
    spectrum = scipy.ndimage.fourier_shift(np.fft.fft2(scene), shift)
    both = scene, np.fft.ifft2(spectrum).real
    return [image + noise * rng.normal(size=image.shape) for image in both]


def test_the_error_stated_of_large_images_is_that_of_the_tiles():
    shifts = np.random.default_rng(7).uniform(-20, 20, (12, 2))
    within = []
    for k, shift in enumerate(shifts):
        found = register(*moved_scene(shift, k, noise=0.5), memory=FEW)
        error = np.linalg.norm(found.translation - shift)
        assert error < 0.01  # the reduced level alone: 0.05
        within.append(error <= found.reports[0].error95_px)
    assert sum(within) >= 10


def test_a_whole_pixel_shift_of_large_images_resamples_nothing():
    found = register(*moved_scene((12.0, -7.0), 3), memory=FEW)
    assert found.translation.tolist() == [12, -7]


def test_tiles_that_move_otherwise_are_left_out_and_counted():
    shift = np.array([6.3, -3.6])
    fixed, moving = moved_scene(shift, 5)
    _, other = moved_scene(shift + 1.5, 5)
    moving[: SIDE // 4] = other[: SIDE // 4]
    found = register(fixed, moving, memory=FEW)
    np.testing.assert_allclose(found.translation, shift, atol=0.01)
    assert "tiles at full resolution move otherwise" in found.reports[0].remark
    assert not found.reports[0].doubt


def test_tiles_that_tell_nothing_are_counted_where_they_are_most():
    fixed, moving = moved_scene((6.0, -3.0), 15)
    moving[180:] = moved_scene((6.0, -3.0), 16)[1][180:]
    report = register(fixed, moving, memory=FEW).reports[0]
    assert report.applied
    assert "tiles at full resolution do not tell it" in report.remark


def test_what_only_a_reduced_level_shows_keeps_its_error():
    """Detail that differs under a coarse structure that is shared: no tile tells a shift."""
    rng = np.random.default_rng(2)
    coarse = scipy.ndimage.gaussian_filter(rng.normal(size=(60, 60)), 1, mode="wrap")
    coarse = np.kron(coarse / coarse.std(), np.ones((8, 8)))
    fixed, moving = (coarse + 12 * rng.normal(size=coarse.shape) for _ in range(2))
    found = register(fixed, np.roll(moving, (16, 8), (0, 1)), memory=FEW)
    report = found.reports[0]
    assert "not refined" in report.remark
    assert np.linalg.norm(found.translation - [16, 8]) <= max(report.error95_px, 0.5)
    assert report.error95_px > 0.05


def test_what_tiles_show_otherwise_than_a_reduced_level_is_no_small_error():
    """Fine structure that stays with the camera: tiles are drawn to it, a reduced level less."""
    rng = np.random.default_rng(3)
    scene = scipy.ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 8, mode="wrap")
    scene /= scene.std()
    pattern = 0.5 * rng.normal(size=scene.shape)
    fixed, moving = (
        image + pattern + 0.1 * rng.normal(size=scene.shape)
        for image in (scene, np.roll(scene, 2, axis=0))
    )
    report = register(fixed, moving, memory=FEW).reports[0]
    assert MIXED in report.remark
    assert report.error95_px > 1.4


def test_two_motions_that_a_reduced_level_shows_are_no_small_error():
    scene, moved = moved_scene((20.0, -12.0), 11)
    other, stays = moved_scene((0.0, 60.0), 12)
    found = register(scene + 0.6 * other, moved + 0.6 * stays, memory=FEW)
    report = found.reports[0]
    assert MIXED in report.remark
    assert report.error95_px > 1


def test_the_score_of_a_crop_between_the_parts_that_are_sampled_is_known():
    fixed, _ = moved_scene((0.0, 0.0), 13, side=1400)
    found = register(fixed, fixed[250:450, 250:450], memory=FEW * 4)
    assert np.isfinite(found.reports[0].score)


def test_a_thin_volume_is_refined_by_tiles_as_thick_as_it_is():
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(26, 130, 130)).astype(np.float32)
    scene = scipy.ndimage.gaussian_filter(noise, (1.5, 2, 2))
    scene /= scene.std()
    parts = scene[4:22, 10:110, 10:110], scene[5:23, 13:113, 8:108]
    fixed, moving = (part + 0.1 * rng.normal(size=part.shape) for part in parts)
    found = register(fixed, moving, memory=100 * fixed.size / 8)
    report = found.reports[0]
    assert "not refined" not in report.remark
    off = np.linalg.norm(found.matrix[:-1, -1] - (-1, -3, 2))
    assert off <= report.error95_px < 0.1


def test_tiles_are_taken_where_there_is_structure():
    """A block beyond the end is not filled up: by zeros it had the most contrast of all."""
    image = np.full((1507, 1507), 1000.0, np.float32)
    image[:1300, :1300] += np.random.default_rng(14).normal(size=(1300, 1300)).astype(np.float32)
    fixed = SpatialImage.from_array(image)
    coarse = reduce_pair(Pair(fixed, fixed), 100 * 300_000).fixed
    ends = np.array([[part.stop for part in box] for box in _tiles(coarse, fixed)])
    assert ends.max() <= 1300


def test_px_of_a_level_are_those_of_the_axis_that_is_reduced_most():
    thin = SpatialImage.from_array(np.zeros((18, 120, 120), np.float32))
    fixed = Pair(thin, thin)
    small = reduce_pair(fixed, 100 * thin.data.size / 8)
    assert small.fixed.grid.shape[0] == 18
    assert _scale(fixed, small) == 120 / small.fixed.grid.shape[1]


def tiles_of(matrix, sd, seed=0, number=4):
    """Shifts of tiles of 1000 x 1000 px under a matrix near 1, each with an error of `sd` px."""
    rng = np.random.default_rng(seed)
    at = (np.stack(np.mgrid[:number, :number], -1).reshape(-1, 2) + 0.5) * 1000 / number
    exact = at @ matrix[:2, :2].T + matrix[:2, 2] - at
    return [
        TileShift(place, shift + rng.normal(size=2) * sd, sd**2 * np.eye(2))
        for place, shift in zip(at, exact, strict=True)
    ]


MIDDLE = np.array([[0.002, 0, -1.0], [0, 0.002, -1.0], [0, 0, 1]])  # to a frame of half the size


@pytest.mark.parametrize("kind", [Kind.TRANSLATION, Kind.RIGID, Kind.SIMILARITY, Kind.AFFINE])
def test_tiles_tell_a_motion_and_its_error(kind):
    matrix = np.eye(3)
    matrix[:2, 2] = 0.3, -0.7
    turn = {
        Kind.RIGID: [[0, -1], [1, 0]],
        Kind.SIMILARITY: np.eye(2),
        Kind.AFFINE: [[0, 1], [1, 0]],
    }
    matrix[:2, :2] += 1e-4 * np.array(turn.get(kind, np.zeros((2, 2))))
    errors = []
    for seed in range(60):
        fit = fit_tiles(tiles_of(matrix, 0.05, seed), MIDDLE, kind)
        step = np.linalg.inv(MIDDLE) @ fit.step @ MIDDLE
        middle = (step - matrix) @ [500, 500, 1]
        errors.append(middle[:2] / (500 * np.sqrt(np.diag(fit.spread)[:2])))
        assert fit.agreeing >= 15
        assert np.abs((step - matrix) @ [0, 0, 1]).max() < 0.2
    assert 0.75 < np.sqrt(np.mean(np.square(errors))) < 1.15  # in standard deviations


def test_a_minority_of_wrong_tiles_does_not_count():
    tiles = tiles_of(np.eye(3), 0.01)
    wrong = [TileShift(t.centre, t.shift + 3, t.covariance) for t in tiles[:6]]
    fit = fit_tiles([*wrong, *tiles[6:]], MIDDLE, Kind.TRANSLATION)
    assert fit.agreeing == 10
    assert np.abs(fit.step[:2, 2]).max() * 500 < 0.02


def test_too_few_tiles_tell_nothing():
    tiles = tiles_of(np.eye(3), 0.01)
    assert fit_tiles(tiles[: FEWEST - 1], MIDDLE, Kind.TRANSLATION) is None
    halves = [TileShift(t.centre, t.shift + 3 * (k % 2), t.covariance) for k, t in enumerate(tiles)]
    fit = fit_tiles(halves, MIDDLE, Kind.TRANSLATION)
    assert fit is None or 500 * np.sqrt(fit.spread[0, 0]) > 0.3


def test_a_motion_of_another_kind_is_stated_as_error():
    bent = tiles_of(np.eye(3), 0.001)
    bent = [TileShift(t.centre, t.shift + np.sin(t.centre / 100), t.covariance) for t in bent]
    fit = fit_tiles(bent, MIDDLE, Kind.TRANSLATION)
    assert fit is None or 500 * np.sqrt(fit.spread[0, 0]) > 0.1
