"""What is not believed: wrong optima, shifts of unrelated images, doubtful steps, other files."""

from __future__ import annotations

import json
from concurrent.futures import CancelledError

import numpy as np
import pytest
import scipy.ndimage
from skimage import data

from napari_local_ncc import Registration, SpatialImage, register
from napari_local_ncc.cli import main
from napari_local_ncc.registration.engine_thread import Watch
from napari_local_ncc.registration.translation.array_pair import ArrayPair, standardise
from napari_local_ncc.registration.translation.candidates import search_shifts
from napari_local_ncc.transforms import write_transform


def texture(shape, seed=0, sigma=1.5):
    return scipy.ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)


def series_of(frames):
    return SpatialImage.from_array(np.stack(frames), axis_labels=("t", "y", "x"))


# ------------------------------------------------------------------ files


def test_a_flow_is_not_written_without_its_displacement(tmp_path, capsys):
    frame = texture((40, 40))
    flow = register(frame, frame, model="flow")
    with pytest.raises(ValueError, match=r"without a dense field.*\.json"):
        write_transform(flow, tmp_path / "t.tfm")
    np.save(tmp_path / "f.npy", frame)
    image, out = str(tmp_path / "f.npy"), str(tmp_path / "t.tfm")
    assert main(["register", image, image, "-o", out, "--model", "flow"]) == 2
    assert "dense field" in capsys.readouterr().err
    assert not (tmp_path / "t.tfm").exists()


def test_a_missing_folder_and_a_folder_are_named(tmp_path):
    found = register(texture((40, 40)), texture((40, 40)))
    with pytest.raises(FileNotFoundError, match="no folder"):
        write_transform(found, tmp_path / "no" / "t.tfm")
    (tmp_path / "d.json").mkdir()
    with pytest.raises(FileNotFoundError, match="no file"):
        Registration.load(tmp_path / "d.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"reports": [1]},
        {"reports": {"a": 1}},
        {"model": "flow"},  # without its field
        {"model": 3},
        {"matrix": [[1, 0, None], [0, 1, 0], [0, 0, 1]]},
        {"matrix": [[1, 0, 0], [0, 0, 0], [0, 0, 1]]},
        {"matrix": [[1, 0, 0], [0, 1, 0], [0, 1e-3, 1]]},
        {"ncc_before": [1, 2]},
        {"version": 2},
    ],
)
def test_foreign_values_are_refused(changes, tmp_path):
    path = tmp_path / "t.json"
    register(texture((40, 40)), texture((40, 40))).save(path)
    path.write_text(
        json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8"
    )
    with pytest.raises(ValueError, match="no transform of local-ncc"):
        Registration.load(path)


def test_a_transform_of_other_axes_is_named_before_the_work(tmp_path, capsys):
    register(texture((40, 40)), texture((40, 40))).save(tmp_path / "t.json")
    np.save(tmp_path / "v.npy", texture((12, 20, 20)))
    words = [str(tmp_path / name) for name in ("v.npy", "v.npy", "o.npy", "t.json")]
    code = main(["map", *words[:2], "-o", words[2], "--transform", words[3], "--ndim", "3"])
    assert code == 2
    assert "2 axes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"memory": "1GB"}, "memory must be a number of bytes"),
        ({"memory": np.nan}, "memory must be a number of bytes"),
        ({"initial": "flow"}, "initial cannot be the model flow"),
        ({"initial": np.diag([1.0, -1, 1]), "model": "rigid"}, "mirrors"),
    ],
)
def test_wrong_options_are_named(options, words):
    pytest.importorskip("SimpleITK")
    with pytest.raises(ValueError, match=words):
        register(texture((40, 40)), texture((40, 40)), **options)


# ------------------------------------------------------------------ the search


@pytest.mark.parametrize(
    ("name", "model", "degrees", "scale", "shift"),
    [
        ("page", "rigid", 7.6, 1.0, (11, -4)),
        pytest.param("rocket", "affine", -7.8, 0.9, (16, -45), marks=pytest.mark.nightly),
    ],
)
def test_the_better_optimum_is_found(name, model, degrees, scale, shift):
    """A coarse level, or too few candidates, prefers another one here."""
    pytest.importorskip("SimpleITK")
    image = np.atleast_3d(getattr(data, name)().astype(float))[..., :3].mean(axis=-1)
    image = scipy.ndimage.zoom(image, min(1, 420 / max(image.shape)), order=1)
    border = np.array(image.shape) * 17 // 100
    shape = np.array(image.shape) - 2 * border
    angle, centre = np.deg2rad(degrees), (shape - 1) / 2
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    back, offset = np.linalg.inv(turn), centre + shift - turn @ centre
    moving = scipy.ndimage.affine_transform(
        image, back, border - back @ offset, tuple(shape), order=3, cval=np.nan
    )
    fixed = image[tuple(slice(b, b + n) for b, n in zip(border, shape, strict=True))]
    found = register(fixed, moving, model=model)
    points = centre + np.array([[-30.0, -40], [0, 0], [30, 40]])
    np.testing.assert_allclose(found.transform_points(points), points @ turn.T + offset, atol=0.3)


@pytest.mark.parametrize(("name", "degrees", "scale"), [("gravel", 11, 1.0), ("brick", -9, 1.1)])
def test_texture_finer_than_the_starts_is_found(name, degrees, scale):
    """A coarse level averages it away; a brick wall looks the same a course further."""
    pytest.importorskip("SimpleITK")
    image = scipy.ndimage.zoom(getattr(data, name)().astype(float), 0.5, order=1)
    angle, centre = np.deg2rad(degrees), np.array([127.5, 127.5])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = np.array([21.0, -34.0])
    offset = centre + shift - turn @ centre
    fixed = scipy.ndimage.affine_transform(image, turn, offset, order=3, cval=np.median(image))
    found = register(fixed, image, model="similarity")
    points = centre + np.array([[-30.0, -40], [0, 0], [30, 40]])
    assert found.reports[0].applied
    np.testing.assert_allclose(found.transform_points(points), points @ turn.T + offset, atol=0.2)


# ------------------------------------------------------------------ shifts


@pytest.mark.parametrize(("sigma", "side"), [(8, 64), (16, 64), (16, 128), (0, 128)])
def test_unrelated_images_are_not_shifted(sigma, side):
    for seed in range(4):
        fixed, moving = texture((2, side, side), seed, (0, sigma, sigma))
        found = register(fixed, moving)
        (report,) = found.reports
        assert not report.applied
        assert "no shift is reliably better" in report.note
        np.testing.assert_array_equal(found.translation, 0)


def test_equal_images_are_aligned_beyond_doubt():
    frame = texture((90, 90))
    (report,) = register(frame, frame.copy()).reports
    assert report.applied
    assert not report.note
    assert report.significance > 4


def test_a_held_start_that_agrees_worse_is_said():
    frame, start = data.camera()[100:240, 100:240].astype(float), np.eye(3)
    start[:2, 2] = 40
    found = register(frame, np.roll(frame, 2, axis=0), initial=start)
    assert not found.reports[0].applied
    assert "agree worse there" in found.reports[0].note


def test_a_way_back_that_ends_elsewhere_is_a_doubt():
    """Whatever a flow makes of unrelated images, its way back is another."""
    pytest.importorskip("SimpleITK")
    fixed, moving = texture((2, 90, 90), 3, (0, 2, 2))
    found = register(fixed, moving, model="flow", consistency=True, keep_doubtful=True)
    trip = found.reports[0].round_trip
    assert (trip.median_px > 2) == ("there and back" in found.reports[0].note)
    assert trip.median_px > 1


def test_a_flow_that_folds_space_is_doubted():
    found = register(*texture((2, 120, 120), 4, (0, 1.5, 1.5)), model="flow")
    report = found.reports[0]
    assert report.volumes.folds > 1e-3 * report.volumes.cells
    assert "folded" in report.note


# ------------------------------------------------------------------ series


@pytest.mark.parametrize("model", ["translation", "rigid"])
def test_no_step_is_taken_from_a_frame_that_was_refused(model):
    pytest.importorskip("SimpleITK")
    world, drift = texture((110, 110), 1), [(0, 0), (2, -1), (0, 0), (6, -4), (7, -5)]
    frames = [np.roll(world, shift, axis=(0, 1))[15:95, 15:95] for shift in drift]
    frames[2] = np.random.default_rng(0).normal(size=(80, 80))
    series = series_of(frames)
    found = register(series, series, model=model, reference="previous")
    assert [report.applied for report in found.reports] == [True, True, False, True, True]
    points = np.array([[t, 40.0, 40.0] for t in (1, 3, 4)])
    moved = (found.transform_points(points) - points)[:, 1:]
    np.testing.assert_allclose(moved, [drift[k] for k in (1, 3, 4)], atol=0.1)


def test_what_is_chained_over_a_doubtful_step_says_so():
    world = texture((110, 110), 1)
    frames = [np.roll(world, k, axis=0)[15:95, 15:95] for k in range(3)]
    found = register(texture((80, 80), 9), series_of(frames), reference="previous")
    assert not found.reports[0].applied
    assert all("chained over a doubtful step" in report.note for report in found.reports[1:])


@pytest.mark.parametrize("reference", ["first", "previous"])
def test_a_blank_first_frame_is_no_reference(reference):
    world = texture((110, 110), 1)
    frames = [np.roll(world, 2 * k, axis=0)[15:95, 15:95] for k in range(4)]
    frames[0] = np.full((80, 80), 5.0)
    series = series_of(frames)
    found = register(series, series, reference=reference)
    np.testing.assert_allclose(found.translation[1:, 0], [0, 2, 4], atol=0.05)
    assert "the reference is time point 1" in found.reports[0].note
    assert np.isnan(found.ncc_after[0])


# ------------------------------------------------------------------ cancel


def test_the_search_for_a_shift_ends_soon_after_it_is_cancelled():
    watch = Watch()
    watch.stopped.set()
    images = [standardise(texture((600, 600)), None, name) for name in ("fixed", "moving")]
    with pytest.raises(CancelledError):
        search_shifts(ArrayPair(*images, 0.3), watch)
