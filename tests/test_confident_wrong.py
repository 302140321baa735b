"""Never a confident wrong shift: sparse, noisy and imperfect images, each kind of fault."""

import json
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage as ndi
from skimage import data
from skimage.io import imread

from napari_local_ncc import SpatialImage, confidence_map, register
from napari_local_ncc.evidence.burnt_in import burnt_in
from napari_local_ncc.evidence.plateaus import plateaus
from napari_local_ncc.maps.map_summary import MapTally
from napari_local_ncc.registration.evidence.judge import Verdict
from napari_local_ncc.registration.evidence.surfaces import Detail, agreeing_places
from napari_local_ncc.registration.translation.estimate import estimate_translation
from napari_local_ncc.transforms.report import MIXED, PATTERN


def texture(shape, sigma, seed=0):
    image = ndi.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return image / image.std()


def cells(side=330, count=90, seed=0):
    """Gaussian cells of sigma 4 px on an empty background."""
    y, x = np.mgrid[:side, :side]
    random = np.random.default_rng(seed)
    centres, heights = random.uniform(0, side, (count, 2)), random.uniform(30, 60, count)
    spots = zip(centres, heights, strict=True)
    return sum(h * np.exp(-((y - a) ** 2 + (x - b) ** 2) / 32) for (a, b), h in spots)


def discs(random, side=160, count=4):
    y, x = np.mgrid[:side, :side].astype(float)
    image = np.zeros((side, side))
    for _ in range(count):
        centre, radius = random.uniform(0, side, 2), random.uniform(8, 16)
        disc = np.hypot(y - centre[0], x - centre[1]) < radius
        image = np.maximum(image, disc * random.uniform(0.6, 1))
    return 20 + 100 * ndi.gaussian_filter(image, 1.5)


def noisy(image, snr, random):
    return image if snr == np.inf else image + random.normal(0, image.std() / snr, image.shape)


def crops(scene, shift, side=200, margin=60):
    y, x = shift
    there = scene[margin - y : margin - y + side, margin - x : margin - x + side]
    return scene[margin : margin + side, margin : margin + side], there


# ------------------------------------------------------------------ a pattern of the camera


@pytest.mark.parametrize("sd", [0.0, 1.0, 3.0, 8.0, 20.0])
@pytest.mark.parametrize("shift", [(7, -5), (-22, 31)])
def test_the_scene_is_followed_and_not_the_camera(sd, shift):
    random = np.random.default_rng(3)
    pattern = sd * random.normal(size=(200, 200))
    frames = [random.poisson(part + 10.0) + pattern for part in crops(cells(), shift)]
    found = register(*frames)
    (report,) = found.reports
    assert report.applied
    assert np.abs(found.translation - shift).max() < max(0.3, 1.5 * report.error95_px)
    assert ("pattern" in report.note) == (sd > 0)
    assert not report.doubt
    result = confidence_map(*frames, registration=found)
    said = MapTally.of(result).lines().get("pattern", "")
    assert (PATTERN in said) == (sd > 0)
    assert (PATTERN in json.dumps(result.provenance)) == (sd > 0)


# A pattern stronger than the scene holds the shift: one finer than the scene where both shifts
# are near one another, of any grain where they are not.
HELD = [(0.7, 3.0, 3.0, (2, 3)), (0.6, 1.5, 3.0, (2, -2)), (2.0, 3.0, 3.0, (7, -5))]


@pytest.mark.parametrize(("sigma", "grain", "sd", "shift"), HELD)
def test_of_two_motions_one_is_applied_and_the_other_said(sigma, grain, sd, shift):
    random = np.random.default_rng(11)
    pattern = sd * texture((200, 200), sigma, seed=12)
    parts = crops(texture((330, 330), grain, seed=13), shift)
    frames = [part + pattern + 0.1 * random.normal(size=part.shape) for part in parts]
    found = estimate_translation(*frames)
    missed = np.linalg.norm(found.offset - shift)
    assert found.is_reliable
    assert missed > 1
    assert found.error95_px > missed / 2
    assert any(MIXED in remark for remark in found.remarks)


def patterned(sd, shift=(7, -5)):
    random = np.random.default_rng(21)
    pattern = sd * texture((200, 200), 0.7, seed=22)
    parts = crops(texture((330, 330), 3, seed=23), shift)
    return [part + pattern + 0.1 * random.normal(size=part.shape) for part in parts]


@pytest.mark.parametrize("model", ["translation", "rigid", "affine"])
def test_a_scene_is_followed_by_every_linear_model(model):
    found = register(*patterned(0.2), model=model)
    (report,) = found.reports
    assert report.applied
    assert PATTERN in report.remark
    np.testing.assert_allclose(found.matrix[:2, 2], (7, -5), atol=0.5)


@pytest.mark.parametrize("model", ["translation", "rigid"])
def test_a_stronger_pattern_is_doubted_or_its_error_is_stated(model):
    found = register(*patterned(6.0), model=model)
    (report,) = found.reports
    missed = float(np.linalg.norm(found.matrix[:2, 2] - (7, -5)))
    assert missed < 1 or not report.applied or report.error95_px > missed / 2


@pytest.mark.parametrize("blur", [0, 0.7, 3])
@pytest.mark.parametrize("noise", [0.02, 0.3])
@pytest.mark.parametrize("angle", [0, 0.3])
def test_one_motion_is_no_two(angle, blur, noise):
    random = np.random.default_rng(14)
    image = data.camera().astype(float)[100:400, 100:400]
    image /= image.std()
    moved = ndi.rotate(ndi.shift(image, (3.3, -2.6), order=5), angle, reshape=False)
    frames = [
        part[20:-20, 20:-20] + noise * random.normal(size=(260, 260))
        for part in (image, ndi.gaussian_filter(moved, blur))
    ]
    found = estimate_translation(*frames)
    assert found.is_reliable
    assert found.error95_px < 0.5
    assert not any(MIXED in remark or PATTERN in remark for remark in found.remarks)


def test_one_motion_of_a_small_volume_is_no_two():
    """Its coarse structure is the same few grains in all parts of it."""
    volume = texture((64, 64, 64), 1.5, seed=31) + texture((64, 64, 64), 4, seed=32)
    turned = ndi.rotate(volume, 12, (1, 2), reshape=False, order=5)
    found = register(*(image[8:-8, 8:-8, 8:-8] for image in (volume, turned)), model="rigid")
    (report,) = found.reports
    assert report.applied
    assert report.error95_px < 0.1
    assert MIXED not in report.remark


def test_a_pattern_alone_moves_nothing():
    random = np.random.default_rng(4)
    pattern = 8 * random.normal(size=(200, 200))
    frames = [random.poisson(cells(200, 40, seed) + 10.0) + pattern for seed in (1, 2)]
    assert np.abs(register(*frames).translation).max() < 0.5


def test_a_pair_and_a_series_are_decided_alike():
    random, scene = np.random.default_rng(5), cells()
    pattern = 2 * random.normal(size=(200, 200))
    shifts = [(0, 0), (3, -2), (6, -4)]
    frames = [random.poisson(crops(scene, s)[1] + 10.0) + pattern for s in shifts]
    axes = {"axis_labels": ("t", "y", "x"), "spatial": (False, True, True)}
    series = SpatialImage.from_array(np.stack(frames), **axes)
    first = SpatialImage.from_array(np.stack(frames[:1] * 3), **axes)
    for found in (register(series, series, reference="first"), register(first, series)):
        np.testing.assert_allclose(found.translation, shifts, atol=0.3)
        assert all(report.applied for report in found.reports)


# ------------------------------------------------------------------ labels drawn into both


def with_label(image, value, soft=0.0):
    """Draw a scale bar and some characters, with soft edges if wanted, as exports have them."""
    text = np.kron(np.random.default_rng(5).integers(0, 2, (6, 34)), np.ones((2, 2)))
    drawn = np.zeros(image.shape)
    drawn[8:20, 8:76] = text
    drawn[-16:-11, -80:-20] = 1
    drawn = ndi.gaussian_filter(drawn, soft) if soft else drawn
    return np.round(image * (1 - drawn) + value * drawn)


@pytest.mark.parametrize("soft", [0.0, 0.4])
@pytest.mark.parametrize("value", [255, 0, 180])
@pytest.mark.parametrize("noise", [1.5, 8.0])
def test_a_label_does_not_hold_what_moved(soft, value, noise):
    random = np.random.default_rng(4)
    parts = [40 + 2.5 * part for part in crops(cells(count=25), (13, -9))]
    noisy = [part + noise * random.normal(size=part.shape) for part in parts]
    found = register(*(with_label(image, value, soft) for image in noisy))
    np.testing.assert_allclose(found.translation, (13, -9), atol=0.3)
    assert "drawn into both images left out" in found.reports[0].note


def test_a_label_does_not_hold_what_turned():
    random = np.random.default_rng(4)
    scene = 40 + 2.5 * cells(count=40)
    turned = ndi.rotate(scene, 12, reshape=False, order=3, mode="nearest")
    parts = [image[60:260, 60:260] for image in (scene, turned)]
    noisy = [part + 3 * random.normal(size=part.shape) for part in parts]
    found = register(*(with_label(image, 255) for image in noisy), model="rigid")
    assert found.reports[0].applied
    assert "drawn into both images left out" in found.reports[0].note
    assert abs(np.degrees(np.arcsin(found.matrix[..., 0, 1].item()))) == pytest.approx(12, abs=0.3)


def without_noise(count, seed, shift):
    return [40 + 2.5 * part for part in crops(cells(count=count, seed=seed), shift)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_label_that_stands_out_most_does_not_hold_what_moved(seed):
    parts = without_noise(20, seed, (33, -29))
    found = register(*(with_label(part, 255, 0.4) for part in parts))
    np.testing.assert_allclose(found.translation, (33, -29), atol=0.3)
    assert "that stays where it is, as labels do, left out" in found.reports[0].remark
    assert not found.reports[0].doubt


def test_what_few_parts_hold_where_it_is_is_said():
    found = register(*(with_label(part, 255, 0.4) for part in without_noise(12, 1, (33, -29))))
    assert "alone holds them where they are" in found.reports[0].remark


def test_a_label_on_what_moved_little_in_a_large_image_is_no_exact_shift():
    """There, a px of the judged resolution is four: the label's peak has room for the scene's."""
    side = 1200
    y, x = np.mgrid[:side, :side]
    for seed in range(2):
        random = np.random.default_rng(seed)
        places = random.uniform(150, side - 150, (6, 2))
        parts = [
            40 + sum(60.0 * ((y - a - dy) ** 2 + (x - b - dx) ** 2 < 200) for a, b in places)
            for dy, dx in ((0, 0), (12, -9))
        ]
        found = register(*(with_label(p + random.normal(0, 0.1, p.shape), 255) for p in parts))
        report = found.reports[0]
        missed = np.linalg.norm(found.translation - (12, -9))
        assert not report.applied or missed <= max(report.error95_px, 0.1)


@pytest.mark.parametrize("snr", [np.inf, 2.0, 0.5])
@pytest.mark.parametrize("count", [5, 20])
def test_few_cells_that_did_not_move_are_left_where_they_are(count, snr):
    random = np.random.default_rng(count)
    for seed in range(3):
        parts = without_noise(count, seed, (0, 0))
        found = register(*(noisy(part, snr, random) for part in parts))
        assert np.abs(found.translation).max() <= max(found.reports[0].error95_px, 0.01)


@pytest.mark.parametrize("noise", [0.0, 1.0, 20.0])
@pytest.mark.parametrize("shift", [(0, 0), (13, -9)])
def test_a_scene_is_no_label(noise, shift):
    random = np.random.default_rng(6)
    parts = [40 + 2.5 * part for part in crops(cells(count=25), shift)]
    found = burnt_in(*(np.round(p + noise * random.normal(size=p.shape)) for p in parts))
    assert found is None or found.mean() < 0.03


@pytest.mark.parametrize("mean", [0.1, 0.4, 1.0, 5.0])
@pytest.mark.parametrize("shift", [(0, 0), (13, -9)])
def test_few_photons_are_no_label(mean, shift):
    random = np.random.default_rng(7)
    frames = [random.poisson(mean * (1 + p / 20)) for p in crops(cells(count=25), shift)]
    found = burnt_in(*frames)
    assert found is None or found.mean() < 0.01


def test_a_label_is_found_in_any_unit_and_order():
    random = np.random.default_rng(8)
    parts = [40 + 2.5 * part for part in crops(cells(count=25), (13, -9))]
    one, two = (with_label(p + 3 * random.normal(size=p.shape), 255) for p in parts)
    found = burnt_in(one, two)
    assert 0.02 < found.mean() < 0.1
    np.testing.assert_array_equal(burnt_in(two, one), found)
    for unit in (1e-30, 1e30, 1e200):
        np.testing.assert_array_equal(burnt_in(one * unit, two * unit), found)
    for whole in ("uint8", "int64"):
        np.testing.assert_array_equal(burnt_in(one.astype(whole), two.astype(whole)), found)
    valid = np.ones(one.shape, bool)
    valid[:, :100] = False  # the time is left out, the scale bar is not
    half = burnt_in(one, two, valid)
    assert not half[:40].any()
    assert half[-16:-11, -80:-20].all()
    stack = burnt_in(np.stack([one, one[::-1]]), np.stack([two, two[::-1]]))
    assert stack.shape == (2, *one.shape)
    assert stack[0][found].mean() > 0.9


def test_what_has_no_label():
    image = np.random.default_rng(0).normal(size=(50, 60))
    assert burnt_in(image, image) is None
    assert burnt_in(image, image[:-1]) is None
    assert burnt_in(image[0], image[0]) is None
    assert burnt_in(image > 0, image > 0) is None
    assert burnt_in(np.full_like(image, np.nan), image) is None
    assert burnt_in(np.zeros_like(image), np.zeros_like(image)) is None


# ------------------------------------------------------------------ rims, saturation, outliers


@pytest.mark.parametrize("width", [1, 4, 20])
@pytest.mark.parametrize("value", [0.0, 4095.0])
def test_a_rim_is_no_structure(width, value):
    random = np.random.default_rng(0)
    frames = [
        np.pad(400 + 60 * part + random.normal(0, 10, part.shape), width, constant_values=value)
        for part in crops(texture((330, 330), 3), (7, -5))
    ]
    found = register(*frames)
    np.testing.assert_allclose(found.translation, (7, -5), atol=0.1)
    assert found.reports[0].applied
    assert "rim" in found.reports[0].note or "saturated" in found.reports[0].note


def test_saturated_cells_do_not_hold_or_draw():
    random = np.random.default_rng(1)
    frames = [np.minimum(random.poisson(3 * p + 10.0), 90) for p in crops(cells(), (13, -9))]
    found = register(*frames)
    np.testing.assert_allclose(found.translation, (13, -9), atol=0.2)
    assert "saturated" in found.reports[0].note


@pytest.mark.parametrize("count", [1, 6, 60])
@pytest.mark.parametrize("fixed_in_place", [False, True])
def test_hot_pixels_neither_make_nor_move_a_shift(count, fixed_in_place):
    random = np.random.default_rng(count)
    places = [tuple(random.integers(0, 200, (2, count))) for _ in range(2)]
    if fixed_in_place:
        places[1] = places[0]
    parts = crops(20 + 2 * texture((330, 330), 2), (7, -5))
    other = 20 + 2 * texture((200, 200), 2, 9)
    images = [part + random.normal(size=part.shape) for part in (*parts, other)]
    for image, place in zip(images, (*places, places[1]), strict=True):
        image[place] = 255
    fixed, moving, unrelated = images
    found = estimate_translation(fixed, moving)
    assert found.is_reliable
    np.testing.assert_allclose(found.offset, (7, -5), atol=0.05)
    wrong = estimate_translation(fixed, unrelated)
    assert not wrong.is_reliable or np.abs(wrong.offset).max() < 1


# ------------------------------------------------------------------ unrelated images


@pytest.mark.parametrize("snr", [np.inf, 2, 1, 0.5])
def test_unrelated_discs_are_not_shifted(snr):
    for seed in range(500, 504):
        random = np.random.default_rng(seed)
        pair = [noisy(discs(random), snr, random) for _ in range(2)]
        assert not estimate_translation(*pair).is_reliable


@pytest.mark.parametrize("snr", [np.inf, 5, 1])
def test_unrelated_photographs_are_not_shifted(snr):
    random = np.random.default_rng(7)
    for names in (("camera", "coins"), ("moon", "clock"), ("brick", "camera")):
        pair = [
            noisy(getattr(data, name)()[:180, :180].astype(float), snr, random) for name in names
        ]
        assert not estimate_translation(*pair).is_reliable


@pytest.mark.realdata
@pytest.mark.parametrize("frame", [0, 5, 9])
def test_channels_of_the_same_cells_are_not_shifted(shared_data, frame):
    folder = shared_data / "cases" / "mitosis_2ch_series"
    channels = [imread(folder / f"C{k}-MAX_mitosis_t00-09.tif")[frame] for k in (1, 2)]
    found = register(*channels)
    assert np.abs(found.translation).max() < 2


@pytest.mark.nightly
def test_false_alarms_are_rare():
    alarms = 0
    for seed in range(7000, 7100):
        random = np.random.default_rng(seed)
        make = (discs, lambda r: cells(160, 30, r), lambda r: texture((160, 160), 3, r))[seed % 3]
        snr = (np.inf, 2, 1, 0.5)[seed % 4]
        pair = [noisy(make(random), snr, random) for _ in range(2)]
        alarms += estimate_translation(*pair).is_reliable
    assert alarms <= 1


# ------------------------------------------------------------------ related images


@pytest.mark.parametrize("snr", [np.inf, 2, 1])
@pytest.mark.parametrize("kind", ["texture", "cells", "photograph"])
def test_shifts_of_almost_half_the_side_are_found(kind, snr):
    scene = {
        "texture": texture((330, 330), 2.5, 11),
        "cells": cells(seed=12),
        "photograph": data.camera()[100:430, 60:390].astype(float),
    }[kind]
    random = np.random.default_rng(13)
    for shift in ((60, -50), (-64, 12)):
        fixed, moving = (noisy(part, snr, random) for part in crops(scene, shift, 150, 90))
        found = estimate_translation(fixed, moving)
        assert found.is_reliable
        assert np.abs(found.offset - shift).max() < 1


def test_significance_does_not_rise_with_noise():
    for make in (lambda: texture((330, 330), 3, 21), lambda: cells(seed=22)):
        scene, found = make(), []
        for snr in (np.inf, 4, 2, 1, 0.5):
            random = np.random.default_rng(23)
            pair = [noisy(part, snr, random) for part in crops(scene, (12, 17))]
            found.append(estimate_translation(*pair).significance)
        assert all(b < 1.1 * a for a, b in pairwise(found)), found


def test_the_stated_error_holds():
    inside, errors = [], []
    for seed in range(48):
        random = np.random.default_rng(seed)
        shift = random.uniform(-3, 3, 2)
        fine = texture((480, 480), 8, seed)
        moved = ndi.shift(fine, 4 * shift, order=3)
        fixed, moving = (noisy(i[40:440:4, 40:440:4], 2, random) for i in (fine, moved))
        found = estimate_translation(fixed, moving)
        missed = float(np.linalg.norm(found.offset - shift))
        inside.append((missed <= found.error_px, missed <= found.error95_px))
        errors.append(missed)
    within68, within95 = np.mean(inside, axis=0)
    assert 0.5 <= within68 <= 0.9  # of 48; benchmarks/linear_evidence.py counts more
    assert within95 >= 0.8
    assert np.median(errors) < 0.1


def test_a_refusal_says_what_was_searched():
    found = register(texture((90, 90), 2, 1), texture((90, 90), 2, 2))
    assert "searched" in found.reports[0].note
    assert "times the best of unrelated structure" in found.reports[0].note


# ------------------------------------------------------------------ what tells little


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("stays", [True, False])
def test_columns_and_lines_of_their_own_brightness_hold_and_move_nothing(axis, stays):
    random = np.random.default_rng(6)
    shape = [200 if k == axis else 1 for k in range(2)]
    lines = [12 * random.normal(size=shape) for _ in range(2)]
    frames = [random.poisson(part + 10.0) * 1.0 for part in crops(cells(), (13, -9))]
    for frame, own in zip(frames, (lines[0], lines[0] if stays else lines[1]), strict=True):
        frame += own
    found = register(*frames)
    (report,) = found.reports
    assert report.applied
    assert report.error95_px < 1
    assert np.abs(found.translation - (13, -9)).max() < max(0.3, report.error95_px)
    assert (PATTERN in report.remark) == stays
    assert "evened" in report.remark
    others = [random.poisson(cells(200, 40, seed) + 10.0) + own for seed, own in enumerate(lines)]
    assert np.abs(register(*others).translation).max() < 0.5


def test_hot_columns_of_unrelated_images_are_no_shift():
    random = np.random.default_rng(2)
    images = [100 + 10 * texture((180, 180), 2, seed) for seed in (1, 2)]
    for image in images:
        image[:, random.integers(0, 180, 4)] += 90
    assert np.abs(register(*images).translation).max() < 0.5


def test_evidence_in_one_place_is_no_match():
    random = np.random.default_rng(0)
    grain = Detail(random.normal(size=(96, 96)).astype(np.float32), None)
    assert agreeing_places(grain, grain, np.zeros(2)) > 30
    assert agreeing_places(grain, grain, np.array([96, 0])) == 0
    spot = np.zeros((96, 96), np.float32)
    spot[34:46, 50:62] = 6
    one = Detail(spot, None)
    assert agreeing_places(one, one, np.zeros(2)) == pytest.approx(1)
    assert not Verdict(30.0, 10.0, places=2.0).is_significant
    assert Verdict(30.0, 10.0, places=4.0).is_significant


def test_stripes_tell_no_shift_along_themselves():
    random = np.random.default_rng(0)
    y, x = np.mgrid[:160, :160]
    wave = ndi.gaussian_filter1d(random.normal(size=600), 3)
    images = [
        np.interp(x + 0.4 * y + ahead, np.arange(600), wave) + random.normal(0, 0.01, x.shape)
        for ahead in (100, 112)
    ]
    found = register(*images)
    assert not found.reports[0].applied
    assert not found.translation.any()


def test_a_frame_of_the_background_is_a_rim_in_a_noisy_image():
    random = np.random.default_rng(0)
    image = np.pad(100 + 5 * random.normal(size=(90, 90)), 7, constant_values=100.0)
    rim = plateaus(image).rim
    assert rim[:7].all()
    assert not rim[8:-8, 8:-8].any()
