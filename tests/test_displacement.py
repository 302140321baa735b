"""Classes and smooth field of a residual shift."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import skimage.data

from napari_local_ncc import local_ncc, local_shift
from napari_local_ncc.confidence import noise_ceiling
from napari_local_ncc.shift.interpret import (
    CLASSES,
    class_shares,
    classify,
    coherence,
    is_believable,
    length_error,
    shift_length,
    smoothed_shift,
)

UNDEFINED, AGREES, DISPLACED, DIFFERS = range(4)
NAN = np.nan


@pytest.mark.parametrize(
    ("ncc", "best", "gain", "label"),
    [
        (NAN, NAN, NAN, UNDEFINED),
        (0.93, 0.95, 0.02, AGREES),
        (0.9, 0.95, 0.05, DISPLACED),
        (0.9985, 0.99999, 0.0015, AGREES),
        (-0.9, 0.6, 1.5, DISPLACED),
        (0.9, NAN, NAN, AGREES),
        (0.6, 0.9, 0.3, DISPLACED),
        (0.48, 0.52, 0.04, DISPLACED),
        (0.1, 0.4, 0.3, DIFFERS),
        (0.1, NAN, NAN, DIFFERS),
        (-0.9, -0.5, 0.4, DIFFERS),
    ],
)
def test_classes(ncc, best, gain, label):
    labels = classify([ncc], [best], [gain])
    assert labels.dtype == np.uint8
    assert CLASSES[labels[0]] == CLASSES[label]


def test_the_threshold_may_differ_from_pixel_to_pixel():
    ncc = np.full(3, 0.6)
    labels = classify(ncc, ncc, 0 * ncc, threshold=[0.5, 0.7, NAN])
    np.testing.assert_array_equal(labels, [AGREES, DIFFERS, DIFFERS])


@pytest.mark.parametrize(
    "options",
    [
        *({"threshold": value} for value in (0, [1.5], -0.5, np.inf)),
        *({"min_gain": value} for value in (0, -0.1, NAN, np.inf)),
        *({"samples": value} for value in (0, -81, NAN, np.inf)),
        *({"ceiling": value} for value in (-0.1, 1.1, [0.5, np.inf])),
        *({"ncc": value} for value in ([1.2], [-np.inf])),
        {"ncc_best": [2.0]},
    ],
)
def test_what_cannot_be_is_named(options):
    values = {"ncc": [0.5], "ncc_best": [0.5], "gain": [0.0]} | options
    with pytest.raises(ValueError, match=f"^{next(iter(options))} must"):
        classify(**values)


def test_what_rounding_adds_to_an_ncc_passes():
    above = [np.nextafter(np.float32(1), np.float32(2))]
    assert classify(above, above, [0.0], ceiling=above).tolist() == [AGREES]


def test_a_gain_that_is_asked_for_holds():
    """Without one a displacement that leaves clearly less counts from 0.01 on."""
    assert classify([0.9], [0.95], [0.05]).tolist() == [DISPLACED]
    assert classify([0.9], [0.95], [0.05], min_gain=0.3).tolist() == [AGREES]


def test_a_dark_background_hides_no_difference(rng):
    """A quarter of the image holds noise alone; in the rest a patch was changed."""
    fixed, other = scipy.ndimage.gaussian_filter(rng.normal(size=(2, 160, 160)), (0, 1.5, 1.5))
    moving = fixed.copy()
    moving[40:80, 100:140] = other[40:80, 100:140]
    images = np.stack([fixed, moving]) / fixed.std()
    images[..., :60] = 0
    images += 0.2 * rng.normal(size=images.shape)
    values = local_ncc(*images), *local_shift(*images)[:2]
    same, changed, dark = np.s_[10:150, 70:90], np.s_[46:74, 106:134], np.s_[:, :50]
    unsure = CLASSES.index("cannot tell")
    labels = classify(*values, ceiling=noise_ceiling(*images))
    assert np.mean(labels[same] == AGREES) > 0.99
    assert np.mean(labels[changed] == DIFFERS) > 0.7
    assert np.mean(labels[dark] == unsure) > 0.99
    assert not (classify(*values) == DIFFERS).any()  # NCCs alone do not tell, and say so


@pytest.mark.parametrize("radius", [2, 4, 7])
@pytest.mark.parametrize("snr", [5, 2, 1])
def test_the_best_of_many_in_noise_is_no_displacement(snr, radius):
    """Of the same content in noise, the best of 49 NCCs reaches the threshold by chance."""
    image = skimage.data.coins()[:200, :200].astype(float)
    noise = np.random.default_rng(43).normal(size=(2, 200, 200)) * image.std() / snr
    images, options = image + noise, {"samples": (2 * radius + 1) ** 2}
    values = local_ncc(*images, radius=radius), *local_shift(*images, radius=radius)[:2]
    highest = noise_ceiling(*images, radius=radius)
    for labels in (classify(*values, **options), classify(*values, ceiling=highest, **options)):
        assert np.mean(labels == DISPLACED) < 0.015
        assert np.mean(labels == DIFFERS) < 0.015
    moved = np.array([image, np.roll(image, 2, axis=0)]) + noise * snr / 45
    values = local_ncc(*moved, radius=radius), *local_shift(*moved, radius=radius)[:2]
    labels = classify(*values, **options)
    assert np.mean(labels[10:-10, 10:-10] == DISPLACED) > 0.7


def test_with_a_ceiling_half_of_what_could_be_common_has_to_be():
    """Unless a threshold is given, which then holds."""
    ncc, nothing = np.array([0.55, 0.75, 0.55, 0.45]), np.zeros(4)
    ceiling = [0.95, 0.95, 0.6, 0.6]
    labels = classify(ncc, ncc, nothing, ceiling=ceiling)
    np.testing.assert_array_equal(labels, [DIFFERS, AGREES, AGREES, DIFFERS])
    labels = classify(ncc, ncc, nothing, threshold=0.5, ceiling=ceiling)
    np.testing.assert_array_equal(labels, [AGREES, AGREES, AGREES, DIFFERS])


def test_an_unknown_ceiling_is_none():
    labels = classify([0.1, 0.9], [0.2, 0.9], [0.1, 0.0], ceiling=[NAN, NAN])
    np.testing.assert_array_equal(labels, [CLASSES.index("cannot tell"), AGREES])


def test_the_error_of_a_length_is_that_of_many_trials(rng):
    steps, errors = np.array([0.6, -0.8]), np.array([0.02, 0.05])
    trials = steps + errors * rng.standard_normal((200_000, 2))
    found = length_error(steps[:, np.newaxis], errors[:, np.newaxis])
    np.testing.assert_allclose(found, shift_length(trials.T).std(), rtol=0.02)
    np.testing.assert_allclose(length_error([[0.0], [0.0]], [[0.1], [0.2]]), 0.2)
    assert np.isnan(length_error([[1.0], [1.0]], [[0.1], [NAN]])).all()


def test_shares_are_of_all_pixels():
    shares = class_shares(np.array([[0, 1], [1, 3]], np.uint8))
    assert shares == {"undefined": 0.25, "agrees": 0.5, "displaced": 0, "differs": 0.25}


@pytest.mark.realdata
def test_planted_differences_differ_and_a_shifted_patch_is_displaced(shared_data):
    pair = np.load(shared_data / "cases" / "planted_pd_2d" / "pair.npz")
    fixed, moving = pair["fixed"].astype("f4"), pair["moving"].astype("f4")
    patch = (slice(100, 140), slice(90, 130))
    assert not pair["mismatch"][patch].any()
    moving[patch] = np.roll(moving, 2, axis=1)[patch]
    labels = classify(local_ncc(fixed, moving), *local_shift(fixed, moving)[:2])
    core = scipy.ndimage.binary_erosion(pair["mismatch"], iterations=4)
    assert np.mean(labels[core] == DIFFERS) > 0.6
    assert np.mean(labels[core] == AGREES) < 0.1
    assert np.mean(labels[104:136, 94:126] == DISPLACED) > 0.9


def test_a_constant_shift_stays_and_fills_the_holes(rng):
    bands = np.ones((4, 40, 50), "f4")
    bands[0] = rng.uniform(0.5, 1, (40, 50))
    bands[2], bands[3] = 2, -1
    bands[:, rng.random((40, 50)) < 0.5] = NAN
    field = smoothed_shift(bands, sigma=3)
    assert field.shape == (2, 40, 50)
    np.testing.assert_allclose(field[0], 2, rtol=5e-3)
    np.testing.assert_allclose(field[1], -1, rtol=5e-3)


def test_what_fits_badly_has_little_weight(rng):
    bands = np.ones((4, 40, 40), "f4")
    bands[0], bands[2:] = 0.95, 1
    wrong = rng.random((40, 40)) < 0.3
    bands[0, wrong], bands[2:, wrong] = 0.3, -3
    assert np.abs(smoothed_shift(bands, sigma=3) - 1).max() < 0.1


def test_far_from_all_shifts_there_is_no_displacement():
    bands = np.full((4, 60, 60), NAN, "f4")
    assert (smoothed_shift(bands, sigma=2) == 0).all()
    bands[:, :10] = 0.9
    field = smoothed_shift(bands, sigma=2)
    np.testing.assert_allclose(field[:, :10], 0.9, rtol=5e-3)
    assert (field[:, 30:] == 0).all()


def test_independent_axes_are_not_smoothed(rng):
    bands = rng.uniform(0.1, 0.9, (4, 3, 20, 20)).astype("f4")
    field = smoothed_shift(bands, sigma=(0, 2, 2))
    for k in range(3):
        np.testing.assert_allclose(field[:, k], smoothed_shift(bands[:, k], sigma=2), rtol=1e-5)
    np.testing.assert_array_equal(field, smoothed_shift(bands, sigma=np.array([0.0, 2.0, 2.0])))


@pytest.mark.parametrize("sigma", [-1, (1, 2, 3), np.nan, np.array([[1, 2]])])
def test_bad_sigmas_are_named(sigma):
    with pytest.raises(ValueError, match="sigma"):
        smoothed_shift(np.zeros((4, 5, 5)), sigma=sigma)


def test_coherence_tells_a_field_from_chance():
    rng = np.random.default_rng(0)
    rows, columns = np.indices((240, 250))
    field = np.stack([np.sin(columns / 30), np.cos(rows / 25)])
    chance = rng.normal(size=field.shape)
    window = {"radius": (4, 4), "search": (3, 3)}
    assert coherence(field, **window)[0] > 0.8
    assert abs(coherence(chance, **window)[1]) < 3
    alike, significance = coherence(field + chance, **window)
    assert 0.1 < alike < 0.8
    assert significance > 4
    assert np.isnan(coherence(np.zeros_like(field), **window)).all()
    assert np.isnan(coherence(np.full_like(field, np.nan), **window)).all()


def test_coherence_does_not_mix_frames():
    field = np.ones((2, 2, 60, 60))
    field[:, 1] = -1
    assert coherence(field, radius=(0, 4, 4), search=(0, 3, 3))[0] == pytest.approx(1)


def test_a_length_is_in_pixels_or_in_the_world():
    shift = np.array([[3.0, 0.0, NAN], [4.0, 2.0, 1.0]])
    np.testing.assert_allclose(shift_length(shift), [5, 2, NAN])
    turned = np.array([[0.0, -0.5], [2.0, 0.0]])  # a quarter turn of anisotropic pixels
    np.testing.assert_allclose(shift_length(shift, turned), [np.hypot(2, 6), 1, NAN], rtol=1e-6)


def test_what_is_displaced_or_agrees_for_sure_is_believable():
    labels = np.array([UNDEFINED, AGREES, AGREES, AGREES, DISPLACED, DIFFERS], np.uint8)
    confidence = [NAN, NAN, 0.9, 0.96, 0.1, 0.99]
    np.testing.assert_array_equal(is_believable(labels, confidence), [0, 0, 0, 1, 1, 0])
    np.testing.assert_array_equal(is_believable(labels), [0, 1, 1, 1, 1, 0])
