"""Bands of a map: computed together, they are what each is when computed alone."""

import dataclasses
import tracemalloc

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from napari_local_ncc import (
    NCCParameters,
    Registration,
    SpatialImage,
    calibrate,
    confidence_map,
    local_ncc,
    local_shift,
)
from napari_local_ncc.confidence import (
    Calibration,
    effective_samples,
    noise_ceiling,
    structure_in_even_light,
)
from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.maps.bands import bands_on
from napari_local_ncc.parameters import BANDS
from napari_local_ncc.shift.dispatch import shift_of_pieces
from napari_local_ncc.transforms.resampling import resample

PLAIN = ("ncc", "confidence", "shift")  # of arrays alone, without noise and background
# With its error, a shift is given only where the window can decide.
APART = tuple(name for name in BANDS if name != "shift_error")
ALL = NCCParameters(radius=3, bands=PLAIN, search=2)


@pytest.fixture(scope="module")
def pair():
    """A texture, and it with noise moved by one column; NaN in a corner."""
    rng = np.random.default_rng(5)
    fixed = gaussian_filter(rng.normal(size=(90, 110)), 1.2).astype(np.float32)
    moving = np.roll(fixed, 1, axis=1) + 0.05 * rng.normal(size=fixed.shape).astype(np.float32)
    moving[:9, :7] = np.nan
    return fixed, moving


@pytest.fixture(scope="module")
def calibration(pair):
    return calibrate(*pair, radius=3)


def alone(pair, mask, calibration):
    """Every band by its own function, by name; and those that change where an error is wanted."""
    ncc = local_ncc(*pair, radius=3, mask=mask)
    confidence = calibration.confidence(ncc, effective_samples(*pair, radius=3, mask=mask))
    best, gain, *shift = local_shift(*pair, radius=3, search=2, mask=mask)
    whole = tuple(slice(0, n) for n in pair[0].shape)
    *_, sure_y, sure_x, sd_y, sd_x, ratio = shift_of_pieces(
        *([(whole, image)] for image in (*pair, mask) if image is not None),
        region=whole,
        radius=(3, 3),
        search=(2, 2),
        weights="box",
        min_std=0.0,
        min_valid=0.5,
        with_error=True,
    )
    names = ("ncc", "confidence", "ncc_best", "gain", "shift_y", "shift_x")
    found = dict(zip(names, (ncc, confidence, best, gain, *shift), strict=True))
    sure = {"shift_y": sure_y, "shift_x": sure_x}
    return found, sure | {"shift_sd_y": sd_y, "shift_sd_x": sd_x, "peak_ratio": ratio}


@given(
    bands=st.sets(st.sampled_from((*PLAIN, "shift_error")), min_size=1),
    chunks=st.tuples(st.integers(5, 90), st.integers(5, 110)),
    masked=st.booleans(),
)
def test_bands_together_are_the_bands_alone(pair, calibration, bands, chunks, masked):
    mask = np.ones(pair[0].shape, bool)
    mask[30:40, 50:70] = not masked
    parameters = ALL.replace(bands=tuple(bands))
    result = confidence_map(
        *(da.from_array(image, chunks=chunks) for image in pair),
        parameters=parameters,
        mask=mask if masked else None,
        calibration=calibration,
    )
    assert result.bands.numblocks[0] == 1
    found, with_error = alone(pair, mask if masked else None, calibration)
    expected = found | (with_error if "shift_error" in bands else {})
    for name, band in zip(result.band_names, result.bands.compute(), strict=True):
        np.testing.assert_allclose(band, expected[name], atol=2e-5, err_msg=name)


def test_map_without_a_calibration_makes_its_own_and_keeps_it(pair):
    result = confidence_map(*pair, parameters=ALL)
    assert result.calibration is not None
    assert result.calibration.in_even_light
    assert Calibration.from_dict(result.provenance["calibration"]) == result.calibration
    assert confidence_map(*pair, parameters=ALL.replace(bands=("ncc", "shift"))).calibration is None


@pytest.mark.parametrize("other", [{"radius": 5}, {"weights": "gaussian"}])
def test_a_calibration_for_other_windows_is_refused(pair, calibration, other):
    with pytest.raises(ValueError, match=r"holds for box windows of radius \(3, 3\)"):
        confidence_map(*pair, parameters=ALL.replace(**other), calibration=calibration)
    other = ALL.replace(bands=("ncc",), **other)
    assert confidence_map(*pair, parameters=other, calibration=calibration).calibration is None


def test_nulls_of_other_frames_are_refused_before_anything_is_computed(calibration):
    calibration = dataclasses.replace(calibration, nulls=calibration.nulls * 2)
    untouched = da.map_blocks(lambda: 1 / 0, chunks=((90,), (110,)), dtype=float)
    with pytest.raises(ValueError, match="every one of 2 frames has its own null"):
        confidence_map(untouched, untouched, parameters=ALL, calibration=calibration)


@pytest.mark.parametrize("chunks", [(1, 90, 110), (3, 90, 110), (2, 40, 41)])
@pytest.mark.parametrize("with_mask", [False, True])
def test_every_frame_is_judged_by_its_own_null(rng, chunks, with_mask):
    fixed, moving = (
        np.stack([gaussian_filter(rng.standard_normal((90, 110)), s) for s in (0.5, 1, 2)])
        for _ in range(2)
    )
    mask = rng.random(fixed.shape) > 0.1 if with_mask else None
    radius = (0, 3, 3)
    calibration = calibrate(fixed, moving, radius=radius, mask=mask, per_frame=True)
    lazy = [da.from_array(image, chunks=chunks) for image in (fixed, moving)]
    images = [
        SpatialImage.from_array(image, axis_labels=("t", "y", "x"), spatial=(False, True, True))
        for image in lazy
    ]
    result = confidence_map(
        *images, parameters=ALL.replace(bands=("confidence",)), mask=mask, calibration=calibration
    )
    ncc = local_ncc(fixed, moving, radius=radius, mask=mask)
    samples = effective_samples(fixed, moving, radius=radius, mask=mask)
    wanted = calibration.confidence(ncc, samples)
    np.testing.assert_allclose(result["confidence"].compute(), wanted, atol=2e-5)


def test_memory_of_nulls_per_frame_does_not_follow_the_series(calibration):
    """A number per pixel, of all frames at once, would be 8 times an image of bytes."""
    peaks = []
    for length in (2, 12):
        grown = dataclasses.replace(calibration, radius=(0, 3, 3), nulls=calibration.nulls * length)
        lazy = da.random.default_rng(0).random((length, 512, 512), chunks=(1, 512, 512))
        images = [
            SpatialImage.from_array(image, axis_labels=("t", "y", "x"), spatial=(False, True, True))
            for image in (lazy, lazy + 1)
        ]
        parameters = ALL.replace(bands=("confidence",))
        result = confidence_map(*images, parameters=parameters, calibration=grown)
        sink = type("Sink", (), {"__setitem__": lambda *_: None})()
        tracemalloc.start()
        result.bands.store(sink, lock=False, scheduler="sync")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_confidence_and_shift_say_what_is_true_of_the_pair(pair):
    result = confidence_map(*pair, parameters=ALL)
    inner = (slice(20, -20), slice(20, -20))
    assert np.nanmedian(result["confidence"][inner].compute()) > 0.99
    np.testing.assert_allclose(np.nanmedian(result["shift_x"][inner].compute()), 1, atol=0.02)
    np.testing.assert_allclose(np.nanmedian(result["shift_y"][inner].compute()), 0, atol=0.02)


def test_outside_the_overlap_every_band_is_undefined(pair):
    far = Grid.from_spacing((90, 110), origin=(40, 0))
    moving = SpatialImage.from_array(pair[1]).replace(grid=far)
    result = confidence_map(SpatialImage.from_array(pair[0]), moving, parameters=ALL)
    values = result.bands.compute()
    assert values.shape == (6, 90, 110)
    assert np.isnan(values[:, :36]).all()
    assert np.isfinite(values[0, 45:]).mean() > 0.8


def test_names_follow_the_axes():
    grid = Grid.from_spacing((3, 8, 9, 7), axis_labels=("t", "z", "y", "x"))
    parameters = NCCParameters(radius=2, bands=("shift",), search=(0, 1, 4, 4))
    bands = bands_on(parameters, grid.with_spatial_ndim(3))
    assert [band.name for band in bands] == ["ncc_best", "gain", "shift_z", "shift_y", "shift_x"]
    assert [band.limits for band in bands[2:]] == [(-1, 1), (-4, 4), (-4, 4)]


@pytest.mark.parametrize("search", [0, -1, 2.5, 1000, (1, 2, 3), "far"])
def test_bad_search_is_refused(search, pair):
    with pytest.raises(ValueError, match="search"):
        confidence_map(*pair, parameters=NCCParameters(bands=("shift",), search=search))


@pytest.mark.parametrize("masked", [False, True])
def test_a_registered_series_is_calibrated_as_the_resampled_one(masked):
    rng = np.random.default_rng(2)
    fixed, moving = gaussian_filter(rng.normal(size=(2, 3, 120, 130)), (0, 0, 1, 1))
    images = [SpatialImage.from_array(a, axis_labels=("t", "y", "x")) for a in (fixed, moving)]
    grid = images[0].grid
    matrix = np.tile(np.eye(3), (3, 1, 1))
    matrix[:, :2, 2] = (0.4, -0.6), (3.2, 0.0), (-1.5, 2.5)
    unknown = np.full(3, np.nan)
    registration = Registration("translation", matrix, grid, unknown, unknown, unknown)
    mask = np.ones(fixed.shape, bool)
    mask[:, 40:70, 50:80] = not masked
    parameters = NCCParameters(radius=3, bands=("confidence",))
    result = confidence_map(
        *images, parameters=parameters, registration=registration, mask=mask if masked else None
    )
    resampled = resample(images[1], grid, registration).data.compute()
    radius = parameters.radius_on(grid)
    flat = [
        structure_in_even_light(image, radius=radius, mask=mask) for image in (fixed, resampled)
    ]
    expected = calibrate(*flat, radius=radius, mask=mask, in_even_light=True)
    assert not expected.fallback
    assert len(result.calibration.nulls) == 1  # of all frames
    for found, wanted in zip(result.calibration.nulls, expected.nulls, strict=True):
        np.testing.assert_allclose(found.effective_samples, wanted.effective_samples, rtol=1e-3)
        np.testing.assert_allclose(found.quantiles, wanted.quantiles, atol=1e-3)
    assert 0 < np.nanmean(result["confidence"].compute() >= 0.95) < 0.15


@given(
    bands=st.sets(st.sampled_from(APART), min_size=1),
    chunks=st.tuples(st.integers(20, 90), st.integers(20, 110)),
)
@settings(max_examples=6, deadline=None)
def test_no_band_depends_on_the_others_or_on_chunks(pair, every_band, bands, chunks):
    parameters = NCCParameters(radius=3, bands=tuple(bands), search=2)
    lazy = [da.from_array(image, chunks=chunks) for image in pair]
    result = confidence_map(*lazy, parameters=parameters)
    values = dict(zip(result.band_names, result.bands.compute(), strict=True))
    for name, found in values.items():
        if name == "classes":
            assert np.mean(found != every_band[name]) < 0.01
        else:
            np.testing.assert_allclose(found, every_band[name], rtol=1e-4, atol=1e-3)


@pytest.fixture(scope="module")
def every_band(pair):
    result = confidence_map(*pair, parameters=NCCParameters(radius=3, bands=APART, search=2))
    return dict(zip(result.band_names, result.bands.compute(), strict=True))


def test_the_fit_is_the_line_of_least_squares(pair, every_band):
    place = (slice(37, 44), slice(57, 64))
    slope, intercept = np.polyfit(*(image[place].astype(float).ravel() for image in pair), 1)
    np.testing.assert_allclose(every_band["slope"][40, 60], slope, rtol=1e-4)
    np.testing.assert_allclose(every_band["intercept"][40, 60], intercept, atol=1e-5)


@pytest.mark.parametrize("snr", [3, 1])
def test_the_same_in_noise_reaches_the_ceiling(snr):
    rng = np.random.default_rng(8)
    same = gaussian_filter(rng.normal(size=(200, 200)), 1.5)
    same *= snr / same.std()
    images = [gain * (same + rng.normal(size=same.shape)) + 7 for gain in (1, 30)]
    result = confidence_map(*images, parameters=NCCParameters(radius=8, bands=("ncc", "ceiling")))
    ncc, ceiling = result.bands.compute()
    np.testing.assert_allclose(ceiling.mean(), ncc.mean(), atol=0.03)
    # the band's noise is that of a sample
    np.testing.assert_allclose(noise_ceiling(*images, radius=8), ceiling, atol=0.03)
    series = [np.stack([image, 3 * image]) for image in images]
    for frame in noise_ceiling(*series, radius=(0, 8, 8)):
        np.testing.assert_allclose(frame, noise_ceiling(*images, radius=8), atol=1e-5)
