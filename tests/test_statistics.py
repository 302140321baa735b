"""Confidence: effective samples, calibration on nulls of every kind, false discoveries."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pickle

import dask.array as da
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, rankdata

from napari_local_ncc import Calibration, calibrate, local_ncc
from napari_local_ncc.confidence import (
    ConfidenceTally,
    effective_samples,
    false_discovery_threshold,
    iter_calibrate,
    margin,
)
from napari_local_ncc.confidence.estimate import LOOKED_AT
from napari_local_ncc.progress import Progress, Step, finish


def texture(rng, shape, sigma=1.0):
    around = tuple(n + 20 for n in shape)
    blurred = scipy.ndimage.gaussian_filter(rng.normal(size=around), sigma)
    blurred = blurred[(slice(10, -10),) * len(shape)]
    return blurred / blurred.std()


def confidence_of(fixed, moving, radius, seed=0, **options):
    calibration = calibrate(fixed, moving, radius=radius, seed=seed, **options)
    ncc = local_ncc(fixed, moving, radius=radius, **options)
    return calibration.confidence(ncc, effective_samples(fixed, moving, radius=radius, **options))


@pytest.fixture(scope="module")
def calibration():
    rng = np.random.default_rng(1)
    return calibrate(texture(rng, (200, 220)), texture(rng, (200, 220), 2.0), radius=3)


# --- effective samples ---------------------------------------------------------------------


def brute_effective_samples(fixed, moving, valid, radius, at):
    """The definition, in one window wider than that of the NCC."""
    axes = range(fixed.ndim)
    windowed = [k for k in axes if radius[k]]
    narrow = max(radius) <= 2 and len(windowed) < 3
    reach = [max(2 * r, 6 if narrow else 0) for r in radius]
    lags = [min(2 * r if narrow else 1 + r // 2, 4) for r in radius]
    wide = tuple(
        slice(max(at[k] - reach[k], 0), at[k] + reach[k] + 1) if radius[k]
        else slice(at[k], at[k] + 1)
        for k in axes
    )  # fmt: skip
    near = tuple(slice(max(at[k] - radius[k], 0), at[k] + radius[k] + 1) for k in axes)
    inside = valid[wide]
    images = [np.where(valid, image, np.nan) for image in (fixed, moving)]
    variances = [image[wide][inside].var() for image in images]

    def difference(image, axis, lag):
        """The mean squared difference of neighbours, None where there are none."""
        starts = np.indices(fixed.shape)[(slice(None), *wide)].reshape(fixed.ndim, -1)
        ends = starts + lag * (np.arange(fixed.ndim) == axis)[:, np.newaxis]
        starts, ends = (ix[:, ends[axis] < fixed.shape[axis]] for ix in (starts, ends))
        d = image[tuple(ends)] - image[tuple(starts)]
        d = d[np.isfinite(d)]
        return (d**2).mean() if d.size else None

    if narrow:
        far = [[difference(image, k, lags[k]) for k in windowed] for image in images]
        found = [[d for d in of if d is not None] for of in far]
        variances = [
            max(np.mean(d) / 2, 1e-3 * v) if d else v for d, v in zip(found, variances, strict=True)
        ]

    def product(axis, lag):
        rs = []
        for image, variance in zip(images, variances, strict=True):
            d = difference(image, axis, lag)
            rs.append(0.0 if d is None else max(1 - d / (2 * variance), -1))
        return rs[0] * rs[1]

    share = 1.0
    for axis, r in enumerate(radius):
        if r:
            weight = 0.0 if narrow else 0.4 * max(r - 2, 0)
            far = weight * max(product(axis, lags[axis]), 0) if weight else 0.0
            share /= max(1 + 2 * (max(product(axis, 1), -0.3) + far), 0.3)
    return valid[near].sum() * share


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.booleans())
def test_effective_samples_agree_with_their_definition(seed, ndim, masked):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(8, [60, 20, 12, 9][ndim - 1], ndim))
    radius = [int(r) for r in rng.integers(1, 4 if ndim > 1 else 10, ndim)]
    if ndim == 4:
        radius[rng.integers(4)] = 0
    fixed, moving = texture(rng, shape, rng.uniform(0, 2)), texture(rng, shape, rng.uniform(0, 2))
    mask = rng.random(shape) < 0.8 if masked else None
    found = effective_samples(fixed, moving, radius=radius, mask=mask)
    assert found.dtype == np.float32
    valid = np.ones(shape, bool) if mask is None else mask
    assert np.isnan(found[~valid]).all()
    for _ in range(4):
        at = tuple(int(i) for i in rng.integers(0, shape))
        if np.isfinite(found[at]):
            wanted = brute_effective_samples(fixed, moving, valid, radius, at)
            np.testing.assert_allclose(found[at], wanted, rtol=1e-4)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["box", "gaussian"]), st.booleans())
def test_a_part_with_its_margin_gives_what_the_whole_gives(seed, weights, holes):
    rng = np.random.default_rng(seed)
    shape, radius = (70, 90), (int(rng.integers(1, 6)), int(rng.integers(0, 6)))
    fixed, moving = texture(rng, shape), 1e4 + texture(rng, shape, 2.0)
    if holes:
        fixed[rng.random(shape) < 0.1] = np.nan
    whole = effective_samples(fixed, moving, radius=radius, weights=weights)
    starts = [int(rng.integers(0, n - 1)) for n in shape]
    stops = [int(rng.integers(i + 1, n + 1)) for i, n in zip(starts, shape, strict=True)]
    around = tuple(
        slice(max(i - m, 0), j + m) for i, j, m in zip(starts, stops, margin(radius), strict=True)
    )
    region = tuple(
        slice(i - a.start, j - a.start) for i, j, a in zip(starts, stops, around, strict=True)
    )
    part = effective_samples(
        fixed[around], moving[around], radius=radius, weights=weights, region=region
    )
    expected = whole[tuple(map(slice, starts, stops))]
    np.testing.assert_allclose(part, expected, rtol=1e-5)


def test_effective_samples_ignore_gain_and_offset(rng):
    fixed, moving = texture(rng, (40, 50)), texture(rng, (40, 50))
    reference = effective_samples(fixed, moving, radius=3)
    for gain, offset in ((-2e-6, 3e-6), (1e6, -5e6)):
        other = effective_samples(fixed, gain * moving + offset, radius=3)
        np.testing.assert_allclose(other, reference, rtol=1e-3)


@pytest.mark.parametrize("shape", [(150, 170), (20, 40, 50)])
@pytest.mark.parametrize("bright", [1e7, 3e12, 1e30])
def test_one_bright_sample_leaves_windows_without_it_alone(rng, shape, bright):
    pair = [texture(rng, shape).astype("f4") for _ in range(2)]
    radius = (3,) * len(shape)
    expected = effective_samples(*pair, radius=radius)
    pair[0][tuple(n // 2 for n in shape)] = bright
    found = effective_samples(*pair, radius=radius)
    assert np.isfinite(found).all()
    far = np.ones(shape, bool)
    far[
        tuple(slice(n // 2 - m, n // 2 + m + 1) for n, m in zip(shape, margin(radius), strict=True))
    ] = False
    np.testing.assert_allclose(found[far], expected[far], rtol=1e-5)


@pytest.mark.parametrize("holes", [False, True])
def test_a_part_gives_what_the_whole_gives_beside_what_outshines_it(rng, holes):
    fixed, moving = texture(rng, (90, 120)), texture(rng, (90, 120))
    fixed[:, 60:] *= 1e8
    fixed[5:30, 5:30] = 0.25
    if holes:
        moving[rng.random(moving.shape) < 0.1] = np.nan
    whole = effective_samples(fixed, moving, radius=2)
    dim = 60 - margin((2, 2))[1]
    part = effective_samples(fixed[:, :60], moving[:, :60], radius=2)[:, :dim]
    np.testing.assert_allclose(whole[:, :dim], part, rtol=1e-5)
    assert np.isnan(part[15:20, 15:20]).all()
    assert np.isnan(part).sum() < 25 * 25 + 0.2 * holes * part.size


@pytest.mark.parametrize("offset", [2**60, -(2**62)])
def test_effective_samples_of_large_integers_are_those_of_small_ones(rng, offset):
    pair = [(100 * texture(rng, (40, 50))).astype("i8") for _ in range(2)]
    mask = rng.random((40, 50)) < 0.9
    for options in ({}, {"mask": mask}):
        np.testing.assert_array_equal(
            effective_samples(*(image + offset for image in pair), radius=3, **options),
            effective_samples(*pair, radius=3, **options),
        )


def test_finer_texture_is_worth_more_samples(rng):
    numbers = [
        np.median(effective_samples(texture(rng, (90, 90), s), texture(rng, (90, 90), s), radius=4))
        for s in (0.0, 0.7, 1.5, 3.0)
    ]
    assert all(np.diff(numbers) < 0)
    assert numbers[0] == pytest.approx(81, rel=0.1)


def test_flat_windows_are_worth_nothing_definite(rng):
    fixed, moving = texture(rng, (40, 60)), texture(rng, (40, 60))
    fixed[:, 20:] = 7.0
    numbers = effective_samples(fixed, moving, radius=2)
    assert np.isnan(numbers[:, 26:]).all()
    assert np.isfinite(numbers[:, :20]).all()


def test_effective_samples_refuse_bad_input(rng):
    image = texture(rng, (20, 20))
    with pytest.raises(ValueError, match="moving has shape"):
        effective_samples(image, image[1:], radius=2)
    with pytest.raises(TypeError, match="mask must be boolean"):
        effective_samples(image, image, radius=2, mask=np.ones((20, 20)))
    with pytest.raises(ValueError, match="at most 3 axes"):
        effective_samples(np.zeros((5,) * 4), np.zeros((5,) * 4), radius=1)


# --- calibration ---------------------------------------------------------------------------


@given(st.floats(0.1, 500), st.lists(st.floats(-1, 1), min_size=2, max_size=20))
def test_confidence_rises_with_ncc_within_0_and_1(calibration, number, nccs):
    nccs = np.sort(np.array(nccs, np.float32))
    confidence = calibration.confidence(nccs, np.full(nccs.shape, number, np.float32))
    assert confidence.dtype == np.float32
    assert np.all(np.diff(confidence) >= 0)
    assert np.all((confidence >= 0) & (confidence <= 1))


def test_confidence_is_undefined_where_either_is(calibration):
    ncc = np.array([0.3, np.nan, 0.3, np.nan], np.float32)
    numbers = np.array([9.0, 9.0, np.nan, np.nan], np.float32)
    np.testing.assert_array_equal(
        np.isnan(calibration.confidence(ncc, numbers)), [False, True, True, True]
    )


def test_thresholds_are_where_confidence_is_reached(calibration):
    for level in (0.5, 0.95, 0.99):
        for threshold in calibration.thresholds(level):
            ncc, number = np.float32([[threshold.ncc], [threshold.effective_samples]])
            assert calibration.confidence(ncc, number)[0] == pytest.approx(level, abs=0.02)


def test_fine_texture_needs_less_ncc_than_coarse(calibration):
    thresholds = calibration.thresholds()
    assert thresholds[0].effective_samples < thresholds[-1].effective_samples
    assert thresholds[0].ncc > thresholds[-1].ncc + 0.1


@pytest.mark.parametrize("radius", [2, 5])
def test_unrelated_textures_are_confident_as_rarely_as_they_should(radius):
    sigmas, rates = (0.5, 1.5, 3.0), []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        pair = [
            np.concatenate([texture(rng, (384, 200), s) for s in sigmas], axis=1) for _ in range(2)
        ]
        p = (1 - confidence_of(*pair, radius, seed)).reshape(384, 3, 200)
        rates.append([[(p[:, k] <= a).mean() / a for k in range(3)] for a in (0.05, 0.01)])
    at_5, at_1 = np.mean(rates, axis=0)
    # What is asked of many images (see benchmarks/calibration.py), and the chance of few.
    assert np.all(np.abs(at_5 - 1) < 0.35)
    assert np.all(np.abs(at_1 - 1) < 0.6)


@pytest.mark.parametrize(
    "options", [{"weights": "gaussian"}, {"mask": True}, {"seed": 5}], ids=lambda o: next(iter(o))
)
def test_unrelated_images_are_rarely_confident_in_every_setting(options):
    rng = np.random.default_rng(3)
    fixed, moving = texture(rng, (300, 300)), texture(rng, (300, 300), 2.0)
    if "mask" in options:
        options = {"mask": scipy.ndimage.gaussian_filter(rng.normal(size=fixed.shape), 4) > -0.05}
    confidence = confidence_of(fixed, moving, 3, **options)
    confidence = confidence[np.isfinite(confidence)]
    assert (confidence >= 0.95).mean() == pytest.approx(0.05, rel=0.4)
    assert (confidence >= 0.5).mean() == pytest.approx(0.5, rel=0.1)


def test_the_same_image_twice_is_confident_everywhere():
    image = texture(np.random.default_rng(0), (200, 200), 1.5)
    assert (confidence_of(image, image, 4) > 0.99).mean() > 0.99


def test_a_period_is_not_taken_for_null():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:240, :240]
    lattice = np.sin(2 * np.pi * x / 8) + np.sin(2 * np.pi * y / 8)
    fixed, moving = (lattice + 0.3 * rng.normal(size=lattice.shape) for _ in range(2))
    assert np.median(confidence_of(fixed, moving, 4)) > 0.99


def test_a_common_gradient_alone_proves_nothing():
    rng = np.random.default_rng(0)
    ramp = np.mgrid[:200, :200].sum(axis=0) / 2.0
    fixed, moving = (ramp + 0.5 * rng.normal(size=ramp.shape) for _ in range(2))
    assert (local_ncc(fixed, moving, radius=4) > 0.5).mean() > 0.9
    assert (confidence_of(fixed, moving, 4) >= 0.95).mean() < 0.1


def test_confidence_ignores_gain_and_offset(rng):
    fixed, moving = texture(rng, (120, 120)), texture(rng, (120, 120), 2.0)
    other = confidence_of(7 * fixed - 3, moving / 50 + 2, 3)
    np.testing.assert_allclose(other, confidence_of(fixed, moving, 3), atol=1e-3)


def test_the_seed_decides(rng):
    pair = texture(rng, (300, 300)), texture(rng, (300, 300))
    first, again, other = (calibrate(*pair, radius=3, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_dask_arrays_calibrate_as_numpy_arrays_do(rng):
    pair = texture(rng, (300, 260)), texture(rng, (300, 260))
    expected = calibrate(*pair, radius=3)
    assert not expected.fallback
    for chunks in ((300, 260), (64, 64), (129, 260), (40, 131)):
        lazy = [da.from_array(image, chunks=chunks) for image in pair]
        assert calibrate(*lazy, radius=3) == expected
        assert calibrate(pair[0], lazy[1], radius=3) == expected


def test_survives_json_and_pickling(calibration):
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration
    assert pickle.loads(pickle.dumps(calibration)) == calibration
    with pytest.raises(ValueError, match="no calibration"):
        Calibration.from_dict({"radius": [3, 3]})


@pytest.mark.parametrize("unknown", [("definition",), ("definition", "is_outdated")])
def test_what_an_earlier_version_calibrated_judges_no_map(unknown, calibration):
    values = {k: v for k, v in calibration.to_dict().items() if k not in unknown}
    assert not Calibration.from_dict(calibration.to_dict()).is_outdated
    assert Calibration.from_dict(calibration.to_dict() | {"definition": 1}).is_outdated
    earlier = Calibration.from_dict(values)
    assert earlier.is_outdated
    assert Calibration.from_dict(earlier.to_dict()) == earlier
    with pytest.raises(ValueError, match="earlier version"):
        earlier.check_map((40, 40), calibration.radius, calibration.weights)
    calibration.check_map((40, 40), calibration.radius, calibration.weights)


def test_too_small_an_image_falls_back_and_says_so(rng):
    pair = texture(rng, (12, 12)), texture(rng, (12, 12))
    calibration = calibrate(*pair, radius=4)
    assert "too few windows" in calibration.fallback
    confidence = calibration.confidence(
        local_ncc(*pair, radius=4), effective_samples(*pair, radius=4)
    )
    assert np.isfinite(confidence).all()
    assert (confidence >= 0.95).mean() < 0.15
    assert not calibrate(*(texture(rng, (120, 120)) for _ in range(2)), radius=4).fallback


def test_a_tiny_image_that_is_calibrated_is_judged_fairly_on_average():
    rates = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        pair = [texture(rng, (16, 16), (0.5, 1.5, 3.0)[seed % 3]) for _ in range(2)]
        assert not calibrate(*pair, radius=2).fallback
        rates.append((confidence_of(*pair, 2, seed) >= 0.95).mean())
    assert np.mean(rates) == pytest.approx(0.05, rel=0.5)


def test_constant_images_fall_back():
    calibration = calibrate(np.ones((99, 99)), np.ones((99, 99)), radius=3)
    assert calibration.fallback


def test_every_frame_may_have_its_own_null():
    rng = np.random.default_rng(0)
    fixed, moving = (
        np.stack([texture(rng, (150, 150), sigma) for sigma in (0.5, 2.5)]) for _ in range(2)
    )
    calibration = calibrate(fixed, moving, radius=(0, 3, 3), per_frame=True)
    ncc = local_ncc(fixed, moving, radius=(0, 3, 3))
    numbers = effective_samples(fixed, moving, radius=(0, 3, 3))
    whole = calibration.confidence(ncc, numbers)
    for frame in range(2):
        part = calibration.confidence(ncc[frame], numbers[frame], frame=frame)
        np.testing.assert_array_equal(whole[frame], part)
        assert (part >= 0.95).mean() == pytest.approx(0.05, rel=0.5)
        np.testing.assert_array_equal(
            calibration.confidence(ncc[frame], numbers[frame], frame=np.int64(frame)), part
        )
    turned = calibration.confidence(ncc[::-1], numbers[::-1], frame=np.array([1, 0]))
    np.testing.assert_array_equal(turned[::-1], whole)
    with pytest.raises(ValueError, match="its own null"):
        calibration.confidence(ncc[:1], numbers[:1])
    with pytest.raises(ValueError, match=r"frames of shape \(2,\), but frame has shape \(3,\)"):
        calibration.confidence(ncc, numbers, frame=np.arange(3))
    with pytest.raises(ValueError, match="must be an integer"):
        calibration.confidence(ncc, numbers, frame=np.array([0.0, 1.5]))


def test_progress_counts_tiles_and_closing_cancels(rng, monkeypatch):
    pair = texture(rng, (300, 300)), texture(rng, (300, 300))
    steps = list(iter_calibrate(*pair, radius=3))
    assert steps == [Progress(Step.CALIBRATE, k, len(steps)) for k in range(len(steps))]
    read = []
    lazy = da.from_array(pair[0], chunks=300).map_blocks(lambda x: read.append(1) or x, dtype=float)
    read.clear()
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    running = iter_calibrate(lazy, pair[1], radius=3)
    next(running)
    next(running)
    running.close()
    # A few are looked at for blocks of JPEG. Of the others one was waited for; one more may have
    # been begun, and one may just have ended.
    assert 1 <= len(read) <= LOOKED_AT + 3


def test_the_order_in_which_tiles_end_does_not_matter(rng, monkeypatch):
    pair = texture(rng, (300, 300)), texture(rng, (300, 300))
    together = calibrate(*pair, radius=3)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert calibrate(*pair, radius=3) == together


def test_tiles_are_read_where_they_lie(rng):
    pair = texture(rng, (300, 260)), texture(rng, (300, 260))
    read = []

    def parts(place):
        read.append(place)
        return [image[place] for image in pair]

    lazy = [da.map_blocks(lambda: 1 / 0, chunks=((300,), (260,)), dtype=float)] * 2
    found = finish(iter_calibrate(*lazy, radius=3, read=parts))
    assert found == calibrate(*pair, radius=3)
    assert all(part.stop - part.start < 160 for place in read for part in place)


def test_calibrate_refuses_bad_input(rng):
    image = texture(rng, (40, 40))
    with pytest.raises(ValueError, match="moving has shape"):
        calibrate(image, image[1:], radius=3)
    with pytest.raises(ValueError, match="min_valid"):
        calibrate(image, image, radius=3, min_valid=2)
    with pytest.raises(ValueError, match="at most 3 axes"):
        calibrate(np.zeros((5,) * 4), np.zeros((5,) * 4), radius=1)


@pytest.mark.parametrize("shape", [(3,), (4, 1), ()])
def test_every_ncc_needs_its_samples(calibration, shape):
    with pytest.raises(ValueError, match=r"ncc has shape \(4,\) but effective_samples has shape"):
        calibration.confidence(np.zeros(4, np.float32), np.ones(shape, np.float32))


@pytest.mark.parametrize("level", [-1, 0, 1, 1.2, np.nan])
def test_impossible_levels_are_refused(calibration, level):
    tally = ConfidenceTally()
    tally.add(np.linspace(0, 1, 9))
    for ask in (calibration.thresholds, tally.share):
        with pytest.raises(ValueError, match=r"confidence must lie within \(0, 1\)"):
            ask(level)


@pytest.mark.parametrize("frame", [-1, 2])
def test_frames_that_are_none_are_refused(calibration, frame):
    series = dataclasses.replace(calibration, nulls=calibration.nulls * 2)
    one = np.zeros(1, np.float32)
    with pytest.raises(ValueError, match="from 0 to 1"):
        series.thresholds(frame=frame)
    with pytest.raises(ValueError, match="from 0 to 1"):
        series.confidence(one, one, frame=frame)


def test_truncated_values_are_no_calibration(calibration):
    for cut in (lambda q: q[:-1], lambda q: [row[:-1] for row in q], lambda q: []):
        values = json.loads(json.dumps(calibration.to_dict()))
        values["nulls"][0]["quantiles"] = cut(values["nulls"][0]["quantiles"])
        with pytest.raises(ValueError, match="no calibration"):
            Calibration.from_dict(values)


# --- false discoveries ---------------------------------------------------------------------


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.05, 0.2]))
def test_false_discovery_threshold_accepts_what_scipy_accepts(seed, rate):
    rng = np.random.default_rng(seed)
    p = np.concatenate([rng.random(500), rng.random(100) ** 8])
    confidence = np.append(1 - p, np.nan)
    accepted = confidence[:-1] >= false_discovery_threshold(confidence, rate)
    np.testing.assert_array_equal(accepted, false_discovery_control(1 - confidence[:-1]) <= rate)


def test_a_tally_gives_the_same_without_the_map(rng):
    confidence = 1 - np.concatenate([rng.random(40_000), rng.random(10_000) ** 8]).astype("f4")
    tally = ConfidenceTally()
    for part in np.array_split(np.append(confidence, np.float32(np.nan)), 7):
        tally.add(part)
    exact, counted = false_discovery_threshold(confidence), tally.false_discovery_threshold()
    assert 1 - counted == pytest.approx(1 - exact, rel=0.02)
    assert tally.share(0.95) == pytest.approx((confidence >= 0.95).mean(), abs=0.002)


def test_noise_alone_has_nothing_to_accept(rng):
    confidence = rng.random(1000).clip(0, 0.99)
    assert false_discovery_threshold(confidence) > 1
    assert false_discovery_threshold(np.full(3, np.nan)) > 1
    assert np.isnan(ConfidenceTally().share())


# --- real data -----------------------------------------------------------------------------


def auc(score, positive):
    known = np.isfinite(score)
    ranks, positive = rankdata(score[known]), positive[known]
    n = positive.sum()
    return (ranks[positive].sum() - n * (n + 1) / 2) / (n * (~positive).sum())


@pytest.mark.realdata
@pytest.mark.parametrize("radius", [2, 3, 5])
def test_confidence_finds_planted_mismatches_as_well_as_ncc(shared_data, radius):
    pair = np.load(shared_data / "cases" / "planted_pd_2d" / "pair.npz")
    confidence = confidence_of(pair["fixed"], pair["moving"], radius)
    ncc = local_ncc(pair["fixed"], pair["moving"], radius=radius)
    assert auc(-confidence, pair["mismatch"]) >= auc(-ncc, pair["mismatch"])


@pytest.mark.realdata
def test_unrelated_real_images_are_rarely_confident(shared_data):
    brain = np.load(shared_data / "cases" / "known_pd_2d" / "moving.npy")
    head = np.load(shared_data / "cases" / "known_t1_3d" / "moving.npy")[30]
    turned = [np.rot90(head, k)[::flip] for k, flip in itertools.product((0, 1, 2), (1, -1))]
    rates = []
    for number, image in enumerate(turned):
        part = brain[60 : 60 + image.shape[0], 40 : 40 + image.shape[1]]
        confidence = confidence_of(part, image, 3, seed=number)
        rates.append((confidence[np.isfinite(confidence)] >= 0.95).mean())
    assert np.mean(rates) == pytest.approx(0.05, rel=0.5)
