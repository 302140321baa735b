"""Laws of what images tell about themselves: noise, outliers, plateaus, detail, samples."""

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_local_ncc.evidence.blocks import block_means
from napari_local_ncc.evidence.contrast_curve import ContrastCurve
from napari_local_ncc.evidence.noise import noise_model, noise_sd
from napari_local_ncc.evidence.outliers import outliers, without_outliers
from napari_local_ncc.evidence.pearson import PairMoments, pearson
from napari_local_ncc.evidence.plateaus import plateaus
from napari_local_ncc.evidence.samples import samples_per_independent_one
from napari_local_ncc.evidence.sensor_pattern import has_sensor_pattern
from napari_local_ncc.evidence.stripes import stripes
from napari_local_ncc.evidence.validity import normalized_convolution
from napari_local_ncc.evidence.whitening import whiten, without_background


def texture(shape, sigma, seed=0):
    image = ndi.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return image / image.std()


def cells(seed=0, side=256, count=60):
    y, x = np.mgrid[:side, :side]
    centres = np.random.default_rng(seed).uniform(0, side, (count, 2))
    return sum(60 * np.exp(-((y - a) ** 2 + (x - b) ** 2) / 32) for a, b in centres)


SCENES = {
    "texture": texture((200, 200), 3) * 10,
    "cells": cells(),
    "line": texture(6000, 8) * 10,
    "volume": texture((24, 60, 60), 3) * 10,
}


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("sd", [0.5, 3.0, 20.0])
def test_noise_is_told_from_structure(name, sd):
    scene = SCENES[name]
    noisy = scene + np.random.default_rng(1).normal(0, sd, scene.shape)
    assert noise_sd(noisy) == pytest.approx(sd, rel=0.12)


@pytest.mark.parametrize("gain", [0.01, 1.0, 300.0])
def test_noise_scales_with_gain_and_knows_no_offset(gain):
    image = SCENES["cells"] + np.random.default_rng(0).normal(0, 2, (256, 256))
    assert noise_sd(gain * image - 100 * gain) == pytest.approx(gain * noise_sd(image))


def test_noise_leaves_missing_and_bad_samples_aside():
    random = np.random.default_rng(0)
    image = SCENES["texture"] + random.normal(0, 2, (200, 200))
    image[random.random(image.shape) < 0.05] = np.nan
    image[:, :40] = np.inf
    image[tuple(random.integers(0, 200, (2, 40)))] = 1e6
    assert noise_sd(image) == pytest.approx(2, rel=0.15)


def test_noise_of_rounding_is_the_least_that_whole_numbers_have():
    rounded = np.round(SCENES["texture"] + np.random.default_rng(0).normal(0, 0.1, (200, 200)))
    assert 0.28 < noise_sd(rounded.astype(np.int16)) < 0.6


def test_noise_is_undefined_without_variation():
    assert np.isnan(noise_sd(np.full((50, 50), 3.0)))
    assert np.isnan(noise_sd(np.ones((2, 2))))
    assert np.isnan(noise_sd(np.full((20, 20), np.nan)))


def test_photon_noise_grows_with_intensity():
    counts = np.random.default_rng(0).poisson(20 + 10 * SCENES["cells"])
    model = noise_model(3.0 * counts)
    assert model.gain == pytest.approx(3.0, rel=0.35)
    assert model.sd_at(3 * 400.0) == pytest.approx(60.0, rel=0.25)
    assert noise_model(counts + 1e4 * np.ones_like(counts)).gain > 0


@pytest.mark.parametrize("kind", ["hot", "dead", "pairs", "track"])
def test_bad_samples_are_found_and_others_left(kind):
    image = 100 + 5 * SCENES["texture"] / 10 + np.random.default_rng(0).normal(size=(200, 200))
    bad = np.zeros(image.shape, bool)
    at = np.random.default_rng(3).integers(5, 190, (2, 12))
    bad[tuple(at)] = True
    if kind == "pairs":
        bad[at[0] + 1, at[1]] = True
    if kind == "track":
        bad[50, 60:80] = True
    image[bad] = 0 if kind == "dead" else 250
    assert (outliers(image) == bad).all()
    mended = without_outliers(image, bad)
    assert np.abs(mended[bad] - 100).max() < 40
    assert (mended[~bad] == image[~bad]).all()


@pytest.mark.parametrize("shape", [(3000,), (200, 200), (10, 60, 60)])
def test_noise_and_points_of_light_are_no_outliers(shape):
    random = np.random.default_rng(0)
    points = np.zeros(shape)
    points[tuple(random.integers(0, n, 40) for n in shape)] = 300.0
    for image in (random.normal(size=shape), ndi.gaussian_filter(points, 1.0)):
        assert np.count_nonzero(outliers(image)) <= 1e-4 * image.size
    shot = random.poisson(ndi.gaussian_filter(points, 1.0) + 0.5)
    assert np.count_nonzero(outliers(shot)) <= 2e-3 * shot.size


def test_thin_lines_are_structure():
    drawing = np.zeros((100, 100))
    drawing[::10] = 1
    assert not outliers(drawing).any()


@pytest.mark.parametrize("width", [1, 2, 10])
@pytest.mark.parametrize("value", [0.0, 255.0])
def test_a_frame_of_one_value_is_missing(width, value):
    image = np.pad(100 + 10 * texture((100, 120), 2), width, constant_values=value)
    found = plateaus(image).missing
    inner = (slice(width, -width),) * 2
    assert not found[inner].any()
    assert found.sum() == image.size - image[inner].size


def test_corners_of_a_turned_image_are_missing():
    turned = ndi.rotate(100 + 10 * texture((150, 150), 2), 20, order=1)
    found = plateaus(turned)
    assert (found.missing == (turned == 0)).mean() > 0.99
    assert "rim" in found.describe()


def test_saturated_areas_are_missing():
    image = np.minimum(np.random.default_rng(0).poisson(3 * SCENES["cells"] + 10.0), 80)
    found = plateaus(image)
    assert (found.saturated <= (image == 80)).all()
    assert found.saturated.sum() > 0.8 * (image == 80).sum()
    assert "saturated" in found.describe()
    assert not found.rim.any()


@pytest.mark.parametrize(
    "image",
    [
        SCENES["cells"],
        (SCENES["cells"] > 20).astype(np.uint8),
        np.random.default_rng(0).poisson(SCENES["cells"] + 0.1),
        np.random.default_rng(0).normal(size=(100, 100)),
        np.round(texture((100, 100), 8) * 3),
        np.full((30, 30), 7),
        texture((9, 30, 30), 2),
    ],
    ids=["even background", "labels", "few photons", "noise", "steps", "constant", "volume"],
)
def test_what_is_flat_by_nature_is_kept(image):
    assert not plateaus(image).missing.any()


@pytest.mark.parametrize("shape", [(500,), (60, 80), (12, 30, 40)])
def test_a_cubic_background_leaves_nothing(shape):
    axes = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    image = 3 + sum(axes) ** 3 - 2 * axes[-1] ** 2
    valid = np.random.default_rng(0).random(shape) < 0.7
    assert np.abs(without_background(image)).max() < 1e-8
    rest = without_background(image, valid)
    assert np.abs(rest).max() < 1e-8
    assert (rest[~valid] == 0).all()


def test_whitening_makes_neighbours_unlike():
    noisy = SCENES["texture"] + np.random.default_rng(0).normal(0, 0.3, (200, 200))
    before, after = (
        pearson(image[1:], image[:-1]) for image in (noisy, whiten(without_background(noisy)))
    )
    assert before > 0.9
    assert after < before - 0.02
    assert np.abs(whiten(noisy)).max() <= 6


def test_whitened_white_noise_stays_white():
    detail = whiten(np.random.default_rng(0).normal(size=(128, 128)))
    assert abs(pearson(detail[1:], detail[:-1])) < 0.1
    assert samples_per_independent_one(detail, detail) < 2.5


@pytest.mark.parametrize("sigma", [1, 2, 4])
def test_samples_that_count_as_one_follow_from_the_texture(sigma):
    a, b = (texture((256, 256), sigma, seed) for seed in (1, 2))
    # the autocorrelation is a Gaussian of sigma * sqrt(2), its square one of sigma
    expected = 2 * np.pi * sigma**2
    assert samples_per_independent_one(a, b) == pytest.approx(expected, rel=0.2)


def test_correlations_of_unrelated_texture_have_the_variance_foretold():
    draws = [[texture((64, 64), 3, seed) for seed in (2 * k, 2 * k + 1)] for k in range(200)]
    found = np.var([np.arctanh(pearson(a, b)) for a, b in draws])
    worth = [a.size / samples_per_independent_one(a - a.mean(), b - b.mean()) for a, b in draws]
    assert found == pytest.approx(1 / (np.median(worth) - 3), rel=0.35)


def test_block_means_leave_invalid_samples_aside():
    image = np.arange(48.0).reshape(6, 8)
    valid = np.ones(image.shape, bool)
    valid[0, 0] = valid[2:4, :3] = False
    means, known = block_means(np.where(valid, image, np.nan), (2, 2), valid)
    assert means[0, 0] == pytest.approx((1 + 8 + 9) / 3)
    assert not known[1, 0]
    assert means[1, 0] == 0
    assert known[1, 1]
    plain, everywhere = block_means(image, (2, 2))
    assert everywhere is None
    assert plain[2, 3] == image[4:6, 6:8].mean()


def test_block_means_go_to_the_end_if_asked():
    image = np.arange(35.0).reshape(5, 7)
    means, known = block_means(image, (2, 3), to_the_end=True, least=0)
    assert known is None
    assert means.shape == (3, 3)
    assert means[2, 2] == image[4:, 6:].mean()
    assert means[0, 2] == image[:2, 6:].mean()
    valid = image != image[4, 6]
    means, known = block_means(image, (2, 3), valid, to_the_end=True, least=0)
    assert not known[2, 2]
    assert np.count_nonzero(~known) == 1


def test_pearson_of_parts_is_that_of_the_whole():
    a, b = np.random.default_rng(0).normal(size=(2, 500))
    b = 1e4 + b - 0.4 * a
    parts = [PairMoments.of(a[s], b[s]) for s in (slice(0, 3), slice(3, 3), slice(3, 500))]
    together = PairMoments.of_parts(parts).pearson()
    assert together == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-12)
    assert pearson(a, b) == pytest.approx(together, abs=1e-12)
    assert np.isnan(PairMoments.of(a, np.full_like(b, 0.1)).pearson())


def test_invalid_samples_have_no_weight_in_a_mean():
    image = np.full((30, 30), 7.0)
    valid = np.random.default_rng(0).random(image.shape) < 0.4
    valid[:10, :10] = False
    image[~valid] = np.nan

    def smooth(samples):
        return ndi.uniform_filter(samples, 5, mode="constant")

    mean, weight = normalized_convolution(image, valid, smooth)
    near = smooth(valid.astype(float)) > 1e-6
    np.testing.assert_allclose(mean[near], 7)
    assert (mean[:7, :7] == 0).all()
    assert weight.max() <= 1


def test_a_contrast_curve_tells_what_no_line_does():
    random = np.random.default_rng(0)
    moving = random.normal(size=4000)
    curve = ContrastCurve.of(moving, moving**2, 64)
    assert abs(pearson(moving, moving**2)) < 0.1
    assert curve.explained > 0.9
    np.testing.assert_allclose(curve.means[20:44], curve.intensities[20:44] ** 2, atol=0.05)
    assert ContrastCurve.of(moving, random.normal(size=4000), 8).explained < 0.02
    labels = np.repeat([0.0, 1.0, 5.0], [900, 50, 50])
    assert ContrastCurve.of(labels, -labels, 64).intensities.tolist() == [0, 1, 5]


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0, 4.0])
def test_smooth_texture_has_no_outliers(sigma):
    assert np.count_nonzero(outliers(texture((150, 150), sigma))) <= 1


@pytest.mark.parametrize("shift", [(7, -5), (2, 1), (0, 40)])
def test_a_pattern_that_stays_is_told_from_a_scene_that_moves(shift):
    random = np.random.default_rng(0)
    scene, pattern = 20 * texture((300, 300), 2), random.normal(size=(200, 200))
    y, x = shift
    frames = [scene[50:250, 50:250], scene[50 - y : 250 - y, 50 - x : 250 - x]]
    noisy = [frame + random.normal(0, 2, frame.shape) for frame in frames]
    assert not has_sensor_pattern(*noisy, shift)
    assert has_sensor_pattern(*(frame + pattern for frame in noisy), shift)
    assert not has_sensor_pattern(*(frame + pattern for frame in noisy), (0, 0))


# ------------------------------------------------------------------ columns and lines


@pytest.mark.parametrize("edges", [(83,), (40, 83, 150)])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_sharp_edges_of_the_scene_are_no_columns_of_a_camera(edges, noise):
    scene = 10 * texture((200, 200), 3) + np.random.default_rng(0).normal(0, noise, (200, 200))
    for edge in edges:
        scene[:, edge:] += 60
    assert stripes(scene) == {}
    assert stripes(scene.T) == {}


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("by_mask", [False, True])
def test_stripes_are_found_beside_what_is_invalid(axis, by_mask):
    random = np.random.default_rng(0)
    own = 5 * random.normal(size=200)
    scene = 10 * texture((200, 200), 3) + random.normal(size=(200, 200)) + own
    valid = np.ones(scene.shape, bool)
    valid[:3] = valid[:, :4] = valid[:, 90:95] = valid[:, -2:] = False
    scene, valid = np.moveaxis(scene, -1, axis), np.moveaxis(valid, -1, axis)
    scene = np.where(valid, scene, 1e4 if by_mask else np.nan)
    found = stripes(scene, valid if by_mask else None)
    assert list(found) == [axis]
    there = valid.any(axis=-3 - axis)
    assert not found[axis][~there].any()
    assert np.corrcoef(found[axis][there], own[there])[0, 1] > 0.9


@pytest.mark.parametrize("by_mask", [False, True])
def test_columns_that_stay_are_told_beside_what_is_invalid(by_mask):
    random = np.random.default_rng(0)
    scene, columns = 20 * texture((300, 300), 2), 4 * random.normal(size=200)
    frames = [scene[50:250, 50:250], scene[43:243, 55:255]]
    noisy = [frame + random.normal(0, 2, frame.shape) for frame in frames]
    valid = np.zeros((200, 200), bool)
    valid[60:-3, 4:-2] = True

    def tell(own):
        images = [np.where(valid, frame + own, 1e4 if by_mask else np.nan) for frame in noisy]
        return has_sensor_pattern(*images, (7, -5), *([valid, valid] if by_mask else []))

    assert tell(columns)
    assert not tell(0)


def test_what_a_mask_leaves_out_is_no_pattern_of_a_camera():
    random = np.random.default_rng(0)
    columns = 50 * random.normal(size=200)
    images = [10 * texture((200, 200), 2, seed) + random.normal(size=(200, 200)) for seed in (1, 2)]
    valid = np.ones((200, 200), bool)
    valid[:120] = False
    for image in images:
        image[:120] = columns
    assert not has_sensor_pattern(*images, (7, -5), valid, valid)
