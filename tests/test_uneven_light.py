"""Confidence where light and contrast are uneven, of either sign, on an instrument's grid."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, shift

from napari_local_ncc import Calibration, NCCParameters, SpatialImage, calibrate, confidence_map
from napari_local_ncc.confidence import (
    relative_contrast,
    structure_in_even_light,
    without_smooth_background,
)
from napari_local_ncc.confidence.block_grid import has_block_grid
from napari_local_ncc.confidence.even_light import even_light_reach, smooth_contrast
from napari_local_ncc.maps.map_summary import MapTally
from napari_local_ncc.ncc.moments import (
    mean_squared_step,
    window_mean,
    window_moments,
    window_weight,
)

PARAMETERS = NCCParameters(radius=6, bands=("ncc", "confidence"))


def texture(seed, sigma=1.2, shape=(200, 210)):
    made = gaussian_filter(np.random.default_rng([51, seed]).normal(size=shape), sigma)
    return made / made.std()


def confidence_of(fixed, moving, **changes):
    result = confidence_map(fixed, moving, parameters=PARAMETERS.replace(**changes))
    return np.asarray(result["confidence"]), result


@given(st.lists(st.floats(-2, 2), min_size=6, max_size=6), st.integers(9, 70), st.booleans())
def test_a_parabola_along_every_axis_is_background(coefficients, length, masked):
    y, x = np.mgrid[:length, :50] / 25.0
    terms = (1, y, x, y * x, y * y, x * x)
    surface = sum(c * t for c, t in zip(coefficients, terms, strict=True)) + 0 * x
    mask = np.ones(surface.shape, bool)
    mask[3:6, 10:20] = not masked
    rest = without_smooth_background(surface, radius=(3, 3), mask=mask)
    np.testing.assert_array_equal(np.isnan(rest), ~mask)
    tolerance = 0.2 if masked else 1e-5  # what is missing is filled by planes
    np.testing.assert_allclose(rest[mask], 0, atol=tolerance)


def test_fine_structure_stays_above_the_background():
    fine = texture(0, 1.0)
    rest = without_smooth_background(fine + np.linspace(0, 50, 210) ** 2, radius=(4, 4))
    assert np.corrcoef(fine.ravel(), rest.ravel())[0, 1] > 0.95


def test_a_common_vignette_earns_no_confidence():
    y, x = np.mgrid[-1:1:200j, -1:1:210j]
    light = 0.15 ** ((x**2 + y**2) / 2)
    outer = x**2 + y**2 > 1
    rates = []
    for seed in range(4):
        images = (light * (1000 + 60 * texture(10 * seed + k)) for k in (1, 2))
        confidence, _ = confidence_of(*images)
        rates.append([np.mean(confidence[where] >= 0.95) for where in (outer, ~outer)])
    assert np.mean(rates, axis=0).min() > 0.02
    assert np.mean(rates, axis=0).max() < 0.09


def light_that_falls_off(shape, corner):
    y, x = (np.linspace(-1, 1, n) for n in shape)
    return corner ** ((y[:, np.newaxis] ** 2 + x**2) / 2)


@pytest.mark.parametrize("radius", [3, 10])
def test_structure_in_even_light_is_that_without_the_light(radius):
    """Also at the border, where the light is steepest and there is structure on one side only."""
    bare = 1000 + 60 * texture(60)
    light = light_that_falls_off(bare.shape, 0.05)
    one, other = (structure_in_even_light(a, radius=(radius, radius)) for a in (bare, light * bare))
    for part in (slice(None), slice(0, 6), slice(-6, None)):
        assert np.std(other[part] - one[part]) < 0.2 * np.std(one[part])
        assert np.std(other[part]) == pytest.approx(np.std(one[part]), rel=0.12)


@pytest.mark.parametrize("times", [1e40, 1e-45])
def test_intensities_beyond_float32_are_judged_alike(times, rng):
    """They had no confidence, and nobody said so."""
    fixed, moving = 10 + rng.normal(size=(60, 70)) + 0.7 * rng.normal(size=(2, 60, 70))
    parameters = NCCParameters(bands=("ncc", "confidence", "classes", "shift", "shift_error"))
    wanted, found = (
        confidence_map(k * fixed, k * moving, parameters=parameters).bands.compute()
        for k in (1.0, times)
    )
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("nothing", [-1.7e308, -3.4e38, 1e200])
def test_a_masked_number_for_no_data_changes_nothing(nothing, rng):
    fixed, moving = rng.normal(size=(60, 70)) + 0.7 * rng.normal(size=(2, 60, 70))
    mask = np.ones(fixed.shape, bool)
    mask[20:31, 30:44] = False
    parameters = NCCParameters(bands=("ncc", "confidence", "classes", "ceiling"), search=2)
    wanted, found = (
        confidence_map(fixed, np.where(mask, moving, k), parameters=parameters, mask=mask)
        for k in (0.0, nothing)
    )
    for band in ("ncc", "confidence", "classes"):
        np.testing.assert_allclose(found[band], wanted[band], atol=1e-4)
    # moving's noise is told by all of its samples
    np.testing.assert_allclose(found["ceiling"], wanted["ceiling"], atol=0.1)


def test_intensities_whose_squares_are_no_numbers_are_said(rng):
    fixed, moving = 1e200 * rng.normal(size=(2, 60, 70))
    with pytest.raises(ValueError, match=r"1e\+150.* divide"):
        confidence_map(fixed, moving, parameters=NCCParameters(bands=("ncc", "classes")))


@given(st.floats(-2.4, 2.4), st.integers(40, 80), st.integers(-9, 9))  # steeper is cut off at 2.5
def test_power_that_grows_exponentially_is_known_at_every_sample(slope, length, decades):
    place = np.arange(length) / 17.0  # a half window is 16 px
    samples = 10.0**decades * np.exp(slope * place / 2) * (-1.0) ** np.arange(length)
    power = smooth_contrast(samples, radius=(2,)).astype(float) ** 2
    np.testing.assert_allclose(power, samples**2, rtol=0.15)
    inside = slice(16, -16)
    np.testing.assert_allclose(power[inside], samples[inside] ** 2, rtol=0.04)


@pytest.mark.parametrize("hole", [False, True])
@pytest.mark.parametrize("radius", [(2, 2), (5, 5), (0, 3)])
def test_a_part_in_even_light_is_that_of_the_whole(radius, hole):
    """Also where samples are missing, whose neighbours' background is found without them."""
    rng = np.random.default_rng(90)
    image = light_that_falls_off((230, 240), 0.05) * (1000 + 60 * rng.normal(size=(230, 240)))
    if hole:
        image[rng.random(image.shape) < 0.02] = np.nan
        image[120:150, 120:150] = np.nan
    whole = structure_in_even_light(image, radius=radius)
    for origin in ((3, 7), (41, 52)):
        stop = tuple(190 - o for o in origin)
        place = tuple(slice(o, o + n) for o, n in zip(origin, stop, strict=True))
        part = structure_in_even_light(image[place], radius=radius, origin=origin)
        inner = tuple(slice(r, n - r) for r, n in zip(even_light_reach(radius), stop, strict=True))
        assert part[inner].size
        np.testing.assert_allclose(part[inner], whole[place][inner], rtol=1e-6)


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_steep_light_changes_no_confidence(sigma):
    """The rim of a vignette made p too small by up to a half, as if its contrast were low."""
    images = [1000 + 60 * texture(70 + k, sigma) for k in range(2)]
    light = light_that_falls_off(images[0].shape, 0.05)
    even, _ = confidence_of(*images, radius=8)
    steep, _ = confidence_of(*(light * image for image in images), radius=8)
    outer = light < np.quantile(light, 1 / 3)
    for where in (outer, ~outer):
        assert np.mean(np.abs(steep - even)[where]) < 0.04
        assert np.abs(np.mean(steep[where] >= 0.9) - np.mean(even[where] >= 0.9)) < 0.02


def test_a_floor_in_units_of_the_images_leaves_a_null():
    fixed, moving = (500 * texture(80 + k) for k in range(2))
    fixed[:, :70] *= 0.01
    confidence, result = confidence_of(fixed, moving, min_std=50.0)
    assert not result.calibration.fallback
    assert np.isnan(confidence[:, :60]).all()
    assert np.nanmean(confidence >= 0.95) < 0.1


def test_windows_of_high_contrast_are_judged_by_their_own_kind():
    """Unrelated spots: where both windows have one, high NCC is common."""
    rates = []
    for seed in range(3):
        rng = np.random.default_rng([52, seed])
        fixed, moving = (
            300 * gaussian_filter((rng.random((220, 220)) < 1 / 400).astype(float), 1.5)
            + rng.normal(size=(220, 220))
            for _ in range(2)
        )
        confidence, _ = confidence_of(fixed, moving, radius=3)
        contrast = relative_contrast(fixed, moving, radius=(3, 3))
        thirds = np.searchsorted(np.quantile(contrast, [1 / 3, 2 / 3]), contrast)
        rates.append([np.mean(confidence[thirds == k] >= 0.95) for k in range(3)])
    mean = np.mean(rates, axis=0)
    assert mean.max() < 0.075
    assert mean.max() / mean.min() < 1.6


def test_contrast_ignores_gain_offset_and_uneven_light():
    fixed, moving = texture(3), texture(4)
    light = np.linspace(1, 3, 210)
    one = relative_contrast(fixed, moving, radius=(4, 4))
    other = relative_contrast(7 * light * fixed + 3, -2 * moving, radius=(4, 4))
    np.testing.assert_allclose(one, other, atol=0.15)


@pytest.mark.parametrize("inverted", [False, True])
def test_two_sided_confidence_has_no_sign(inverted):
    same = texture(5)
    rng = np.random.default_rng(6)
    fixed, moving = (same + rng.normal(size=same.shape) for _ in range(2))
    sign = -1 if inverted else 1
    both, result = confidence_of(fixed, sign * moving, alternative="two-sided")
    assert np.mean(both >= 0.95) > 0.9
    assert result.calibration.alternative == "two-sided"
    assert Calibration.from_dict(result.calibration.to_dict()) == result.calibration
    one, _ = confidence_of(fixed, sign * moving)
    assert (np.mean(one >= 0.95) > 0.9) == (not inverted)


@pytest.mark.parametrize("dtype", ["f4", "u2"])
def test_a_negative_is_displaced_as_its_positive_is(dtype):
    """Also where only a part is inverted: windows that hold but one sign."""
    fixed = texture(31, shape=(70, 90))
    moved = shift(fixed, (1.3, -0.6), mode="mirror")
    fixed, moved = ((300 * image + 5000).astype(dtype) for image in (fixed, moved))
    bands = ("ncc", "shift", "shift_error")
    parameters = NCCParameters(radius=4, bands=bands, alternative="two-sided")
    wanted = np.asarray(confidence_map(fixed, moved, parameters=parameters).bands)
    for columns in (90, 45):
        partly = moved.copy()
        partly[:, :columns] = 10_000 - moved[:, :columns]
        found = np.asarray(confidence_map(fixed, partly, parameters=parameters).bands)
        part = np.ones(fixed.shape, bool)
        part[:, columns - 14 : columns + 14] = columns == 90
        assert np.mean(np.isfinite(found[3, part])) > 0.9
        for band, other in zip(found[1:], wanted[1:], strict=True):
            assert np.nanmax(np.abs(band - other)[part]) < 0.01


def test_two_sided_p_is_calibrated_on_unrelated_images():
    confidence, _ = confidence_of(texture(7), texture(8), radius=3, alternative="two-sided")
    assert np.mean(confidence >= 0.95) == pytest.approx(0.05, abs=0.02)


def test_a_calibration_of_another_alternative_is_refused():
    images = texture(9), texture(10)
    calibration = calibrate(*images, radius=6)
    with pytest.raises(ValueError, match='for alternative="greater", but the map asks'):
        confidence_map(
            *images,
            parameters=PARAMETERS.replace(alternative="two-sided"),
            calibration=calibration,
        )
    with pytest.raises(ValueError, match="alternative must be one of"):
        NCCParameters(alternative="less")


def jpeg(image, quality):
    picture = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    picture.fromarray(image.astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(picture.open(file)).astype(float)


def test_the_blocks_of_jpeg_are_told_and_a_lattice_of_8_px_is_not():
    images = [np.clip(128 + 30 * texture(11 + k, 2.0), 0, 255) for k in range(2)]
    blocks = [jpeg(image, 30) for image in images]
    y, x = np.mgrid[:200, :210]
    lattice = np.sin(2 * np.pi * x / 8) + np.sin(2 * np.pi * y / 8)
    for pair, wanted in ((blocks, True), (images, False), ([lattice, lattice], False)):
        assert has_block_grid([pair], [(0, 0)], (3, 3)) is wanted
    moved = [blocks[0], np.roll(blocks[1], 3, 1)]  # not on one grid
    assert not has_block_grid([moved], [(0, 0)], (3, 3))
    result = confidence_map(*blocks, parameters=PARAMETERS.replace(radius=3))
    tally = MapTally(result.band_names, result.calibration)
    tally.add(result.bands.compute())
    assert "8 x 8 px" in tally.lines()["pattern"]


@pytest.mark.parametrize(("shared", "moved"), [(True, False), (False, False), (True, True)])
def test_bad_pixels_of_one_camera_are_said(shared, moved):
    """Not those of two cameras, nor what moves with the scene."""
    images = []
    for k in range(2):
        image = 1000 + 60 * texture(95 + k) + np.random.default_rng([56, k]).normal(size=(200, 210))
        hot = np.random.default_rng([55, 0 if shared else k]).random(image.shape) < 1 / 1500
        images.append(np.where(hot, 4000, image))
    if moved:
        images[1] = np.roll(images[1], 5, 1)
    _, result = confidence_of(*images, radius=3)
    tally = MapTally(result.band_names, result.calibration)
    tally.add(result.bands.compute())
    said = "bad pixels at the same places" in tally.lines().get("pattern", "")
    assert said == (shared and not moved)


def test_every_frame_may_be_judged_by_itself():
    frames = [np.stack([texture(20 + k, s) for s in (0.7, 3)]) for k in range(2)]
    images = [SpatialImage.from_array(each, axis_labels=("t", "y", "x")) for each in frames]
    parameters = NCCParameters(radius=4, bands=("ncc", "confidence"), per_frame=True)
    result = confidence_map(*images, parameters=parameters)
    assert len(result.calibration.nulls) == 2
    rates = np.mean(np.asarray(result["confidence"]) >= 0.95, axis=(1, 2))
    np.testing.assert_allclose(rates, 0.05, atol=0.03)


@pytest.mark.parametrize("weights", ["box", "gaussian"])
def test_moments_are_those_of_the_window(weights, rng):
    fixed, moving = rng.normal(size=(2, 30, 33)) + 1e4
    fixed[12, 14] = np.nan
    moments = window_moments(fixed, moving, radius=(3, 2), weights=weights)
    place = (slice(7, 14), slice(13, 18))
    profile = [np.ones(2 * r + 1) for r in (3, 2)]
    if weights == "gaussian":
        profile = [np.exp(-0.5 * (3 * np.arange(-r, r + 1) / r) ** 2) for r in (3, 2)]
    w = np.outer(*profile) * np.isfinite(fixed[place])
    for number, image in enumerate((fixed, moving)):
        samples = np.where(w > 0, image[place], 0)
        mean = np.sum(w * samples) / w.sum()
        variance = np.sum(w * (samples - mean) ** 2) / w.sum()
        np.testing.assert_allclose(moments.mean[number][10, 15], mean, rtol=1e-12)
        np.testing.assert_allclose(moments.variance[number][10, 15], variance, rtol=1e-6)
    np.testing.assert_allclose(moments.samples[10, 15], w.sum() ** 2 / (w**2).sum(), rtol=1e-9)


@pytest.mark.parametrize("weights", ["box", "gaussian"])
@pytest.mark.parametrize("shape", ["all", "box", "two boxes", "scattered", "nothing"])
def test_the_valid_share_of_windows_is_the_mean_of_what_is_valid(weights, shape, rng):
    """Whatever its shape: where it is a box, its sides are enough."""
    valid = np.zeros((6, 30, 33), bool)
    valid[1:5, 3:-3, 10:] = shape in ("box", "two boxes")
    valid[:2, 3:-3, :10] = shape == "two boxes"
    valid |= (shape == "all") | ((shape == "scattered") & (rng.random(valid.shape) > 0.2))
    options = {"radius": (0, 3, 2), "weights": weights, "power": 2}
    found, expected = window_weight(valid, **options), window_mean(valid, **options)
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_squared_steps_of_white_noise_are_twice_its_variance_along_each_axis(rng):
    noise = 3 * rng.normal(size=(80, 80))
    steps = mean_squared_step(noise, radius=(9, 9), weights="box")
    assert steps[20:-20, 20:-20].mean() == pytest.approx(2 * 2 * 9, rel=0.05)


def test_windows_that_a_border_cuts_off_are_judged_by_their_fewer_samples():
    rates = []
    for seed in range(5):
        images = (texture(90 + 10 * seed + k, shape=(150, 150)) for k in (1, 2))
        confidence, _ = confidence_of(*images, radius=4)
        rim = np.ones(confidence.shape, bool)
        rim[3:-3, 3:-3] = False
        rates.append(np.mean(confidence[rim] >= 0.95))
    assert 0.02 < np.mean(rates) < 0.075


@pytest.mark.parametrize("kind", ["texture", "spots"])
def test_confidence_falls_as_noise_rises(kind):
    """Of the same content, from none to twice as much noise as signal."""
    rng = np.random.default_rng(53)
    shape = (128, 132)
    same = texture(54, shape=shape)
    if kind == "spots":
        spots = gaussian_filter((rng.random(shape) < 1 / 150).astype(float), 1.5)
        same = spots / spots.std() + 0.1 * same
    means = []
    for noise in (0.0, 0.4, 1.0, 2.0):
        pair = (same + noise * rng.normal(size=shape) for _ in range(2))
        confidence, _ = confidence_of(*pair, radius=4)
        means.append(np.mean(confidence))
    assert np.max(np.diff(means)) < 0.005
    assert means[0] > 0.999 > 0.9 > means[-1]
