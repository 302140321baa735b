"""What a registration says of itself: how good, how sure, applied or not; and how it is stopped."""

from __future__ import annotations

import json
import threading
from concurrent.futures import CancelledError
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
from skimage import data

from napari_local_ncc import Registration, SpatialImage, local_ncc, register
from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.image.pairing import Pair
from napari_local_ncc.registration import iter_register
from napari_local_ncc.registration.evidence.agreement import detection_threshold, round_trip
from napari_local_ncc.reports.describe import describe_registration
from napari_local_ncc.transforms.displacement_field import Jacobian
from napari_local_ncc.transforms.report import Agreement, FrameReport, RoundTrip
from napari_local_ncc.transforms.resampling import resample


def smooth_noise(seed, sigma=2.0, shape=(2, 90, 90)):
    """Unrelated textures."""
    noise = np.random.default_rng(seed).normal(size=shape)
    return scipy.ndimage.gaussian_filter(noise, (0, *(sigma,) * (len(shape) - 1)))


def turned_camera(degrees=6.0):
    moving = data.camera()[::2, ::2].astype(float)
    return scipy.ndimage.rotate(moving, degrees, reshape=False, mode="nearest"), moving


# ------------------------------------------------------------------ nothing is made up


@pytest.mark.parametrize(("model", "sigma"), [("rigid", 1.0), ("similarity", 4.0), ("affine", 2.0)])
def test_unrelated_images_are_not_moved_unless_asked(model, sigma):
    pytest.importorskip("SimpleITK")
    fixed, moving = smooth_noise(1, sigma)
    found = register(fixed, moving, model=model)
    np.testing.assert_array_equal(found.matrix, np.eye(3))
    assert found.ncc_after == found.ncc_before
    (report,) = found.reports
    assert not report.applied
    assert report.significance < 5
    assert "not applied" in describe_registration(found)
    if sigma == 1:
        kept = register(fixed, moving, model=model, keep_doubtful=True)
        assert not np.array_equal(kept.matrix, np.eye(3))
        assert kept.reports[0].applied
        assert kept.reports[0].note
        assert "not applied" not in describe_registration(kept)


@pytest.mark.realdata
def test_other_contrast_is_no_doubt(shared_data):
    pytest.importorskip("SimpleITK")
    from napari_local_ncc import read_image

    folder = shared_data / "cases/itk_brain2d"
    fixed = read_image(folder / "BrainT1SliceBorder20.png")
    moving = read_image(folder / "BrainProtonDensitySliceR10X13Y17.png")
    found = register(fixed, moving, model="rigid")
    (report,) = found.reports
    assert report.applied
    assert report.significance >= 1.25
    assert not report.doubt


def test_a_shift_that_fits_shades_only_is_said_and_not_applied():
    """Two shades under unrelated detail: the shades say where, every window says no."""
    y, x = np.mgrid[:200, :200]
    shade = 60 * np.exp(-((y - 90) ** 2 + (x - 100) ** 2) / 40**2)
    detail = smooth_noise(3, 1.0, (1, 200, 200))[0]
    moving = np.roll(shade, (12, -9), axis=(0, 1)) + np.roll(-detail, (12, -9), axis=(0, 1))
    found = register(shade + detail, moving)
    (report,) = found.reports
    assert not report.applied
    assert "no shift is reliably better" in report.note  # the detail says so already
    np.testing.assert_array_equal(found.matrix, np.eye(3))


# ------------------------------------------------------------------ what the report says


def test_the_agreement_is_that_of_the_map():
    fixed, moving = smooth_noise(0)
    moving = np.roll(fixed, (3, -4), axis=(0, 1)) + moving / 2
    found = register(fixed, moving)
    (report,) = found.reports
    registered = resample(SpatialImage.from_array(moving), found.grid, found).data
    for agreement, partner in ((report.before, moving), (report.after, np.asarray(registered))):
        ncc = local_ncc(fixed, partner)
        assert agreement.median == pytest.approx(np.nanmedian(ncc))
    assert report.after.detected > 0.3 > 0.1 > report.before.detected
    assert "median local NCC" in describe_registration(found)


@pytest.mark.parametrize("sigma", [0.0, 0.7, 1.5])
def test_chance_exceeds_the_threshold_in_few_windows(sigma):
    fixed, moving = smooth_noise(2, sigma, (2, 300, 300))
    share = np.mean(local_ncc(fixed, moving) > detection_threshold(fixed, moving, 4))
    assert 0.02 < share < 0.09


def test_large_frames_are_compared_in_tiles():
    fixed = smooth_noise(3, 1.5, (1, 700, 800))[0]
    found = register(fixed, np.roll(fixed, (5, 6), axis=(0, 1)))
    assert found.reports[0].after.median == pytest.approx(1, abs=1e-5)


def test_there_and_back():
    pytest.importorskip("SimpleITK")
    fixed, moving = turned_camera()
    options = {"spacing": 0.5, "units": ("um", "um")}
    images = [SpatialImage.from_array(image, **options) for image in (fixed, moving)]
    found = register(*images, model="rigid", consistency=True)
    trip = found.reports[0].round_trip
    assert 0 < trip.median_px <= trip.p95_px < 0.1
    assert trip.median == pytest.approx(trip.median_px / 2)
    assert "there and back" in describe_registration(found)
    assert register(*images).reports[0].round_trip is None


def test_a_wrong_way_back_is_measured():
    image = SpatialImage.from_array(np.zeros((40, 50)), spacing=(2.0, 1.0))
    pair, shift, far = Pair(image, image), np.eye(3), np.eye(3)
    shift[0, 2], far[1, 2] = 4.0, 1e3
    still, wrong, lost = (
        Registration("translation", matrix, image.grid, *[np.nan] * 3)
        for matrix in (np.eye(3), shift, far)
    )
    trip = round_trip(still, wrong, pair)
    assert (trip.median_px, trip.p95_px, trip.median, trip.p95) == pytest.approx((2, 2, 4, 4))
    assert round_trip(lost, still, pair) is None


REPORTS = {
    "translation": FrameReport(
        "ncc",
        0.93,
        significance=3.2,
        before=Agreement(0.1, 0.04),
        after=Agreement(0.9, 0.8),
        round_trip=RoundTrip(0.1, 0.2, 0.05, 0.1),
        error_px=0.02,
        error95_px=0.05,
    ),
    "affine": FrameReport(
        "mutual information",
        -0.4,
        iterations=120,
        converged=False,
        significance=1.1,
        applied=False,
        note="no transform is better; 3 outlying samples replaced",
        remark="3 outlying samples replaced",
    ),
    "flow": FrameReport(
        "mean squared local ncc", 0.5, significance=9.0, gain=3.0, volumes=Jacobian(0.8, 1.2, 2, 99)
    ),
}


@pytest.mark.parametrize("model", REPORTS)
def test_a_report_survives_json(model, tmp_path):
    grid = SpatialImage.from_array(np.zeros((10, 11)), spacing=0.5, units=("um", "um")).grid
    matrix = np.array([[1, 0, 3.5], [0, 1, -2], [0, 0, 1]])
    field = np.ones((2, 10, 11), np.float32) if model == "flow" else None
    found = Registration.from_matrix(matrix, grid, Kind(model), displacement=field)
    ncc = {"ncc_before": np.array(0.2), "ncc_after": np.array(0.3)}
    found = replace(found, reports=(REPORTS[model],), **ncc)
    found.save(tmp_path / "t.json")
    again = Registration.load(tmp_path / "t.json")
    assert again.reports == found.reports
    assert describe_registration(again) == describe_registration(found)
    assert ("not applied" in describe_registration(again)) == (not REPORTS[model].applied)
    assert found.inverse().reports == ()


def test_transforms_saved_before_there_were_reports_are_read():
    document = json.loads(json.dumps(register(*turned_camera(0)).to_dict()))
    del document["reports"]
    assert Registration.from_dict(document).reports == ()


# ------------------------------------------------------------------ progress and cancel


def test_progress_tells_the_metric_as_it_falls():
    pytest.importorskip("SimpleITK")
    steps = iter_register(*turned_camera(), model="affine")
    told = [step.metric for step in steps if step.metric is not None]
    assert told
    assert min(told) < -0.5


def test_progress_changes_no_bit():
    pytest.importorskip("SimpleITK")
    first, again = (register(*turned_camera(), model="rigid").matrix for _ in "ab")
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("model", ["translation", "affine"])
def test_the_event_cancels(model):
    pytest.importorskip("SimpleITK")
    cancelled = threading.Event()
    steps = iter_register(*turned_camera(), model=model, cancelled=cancelled)
    next(steps)
    cancelled.set()
    with pytest.raises(CancelledError):
        list(steps)


def test_closing_ends_the_thread():
    pytest.importorskip("SimpleITK")
    before = set(threading.enumerate())
    steps = iter_register(*turned_camera(), model="affine")
    next(steps)
    next(steps)
    new = set(threading.enumerate()) - before
    steps.close()
    (thread,) = [t for t in new if t.name.startswith("local-ncc-register")]
    thread.join(60)
    assert not thread.is_alive()
