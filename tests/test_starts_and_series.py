"""Where a registration begins, and what the frames of a series are registered with."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from napari_local_ncc import SpatialImage, register
from napari_local_ncc.cli import main
from napari_local_ncc.reports.describe import describe_registration
from napari_local_ncc.transforms import Registration, read_transform
from napari_local_ncc.transforms.resampling import resample


def texture(shape, seed=0):
    return scipy.ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)


def blob_pair():
    """A textured object in an empty field, far displaced and turned by 3 degrees."""
    y, x = np.mgrid[:160, :160]
    window = np.exp(-(((y - 50) / 16) ** 4) - ((x - 60) / 20) ** 4)
    fixed = (texture((160, 160)) + 2) * window
    turn = scipy.ndimage.rotate(fixed, 3, reshape=False, order=3)
    return fixed, np.roll(turn, (55, 40), axis=(0, 1))


def truth_at(points):
    angle = np.radians(3.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points - 79.5) @ turn.T + 79.5 + (55, 40)


@pytest.mark.parametrize(
    "initial", ["centres", "phase", "translation", "matrix", "registration", "file", None]
)
def test_every_start_leads_there(initial, tmp_path):
    pytest.importorskip("SimpleITK")
    fixed, moving = blob_pair()
    near = np.eye(3)
    near[:2, 2] = 50, 44
    known = Registration("translation", near, SpatialImage.from_array(fixed).grid, *[np.nan] * 3)
    if initial == "file":
        known.save(tmp_path / "t.json")
    start = {"matrix": near, "registration": known, "file": tmp_path / "t.json"}.get(
        initial, initial
    )
    found = register(fixed, moving, model="rigid", initial=start)
    points = np.array([[40.0, 50], [60, 70]])
    np.testing.assert_allclose(found.transform_points(points), truth_at(points), atol=0.3)
    assert found.reports[0].applied


def test_the_identity_is_a_start_of_its_own():
    """From there a far shift is not found: it is said, and the start is kept."""
    pytest.importorskip("SimpleITK")
    found = register(*blob_pair(), model="rigid", initial="identity")
    assert not found.reports[0].applied
    np.testing.assert_array_equal(found.matrix, np.eye(3))


@pytest.mark.parametrize("initial", [None, "identity", "phase", "centres", "matrix"])
def test_a_translation_begins_anywhere(initial):
    frame = texture((90, 90))
    fixed, moving = frame[10:74, 10:74], frame[8:72, 13:77]
    near = np.eye(3)
    near[:2, 2] = 1.5, -2
    found = register(fixed, moving, initial=near if initial == "matrix" else initial)
    if initial != "centres":  # of texture cut off at the border they mean nothing
        np.testing.assert_allclose(found.translation, (2, -3), atol=1e-6)


def test_a_start_is_kept_where_nothing_is_reliable():
    start = np.eye(3)
    start[:2, 2] = 7, 3
    found = register(texture((60, 60)), texture((60, 60), 1), initial=start)
    np.testing.assert_array_equal(found.matrix, start)
    assert "no shift is reliably better" in describe_registration(found)


@pytest.mark.parametrize(
    ("initial", "words"),
    [
        ("nowhere", "neither identity, centres, phase, a model, nor a file"),
        ("rigid", "a translation cannot keep"),
        (np.eye(4), r"shape \(3, 3\)"),
        (np.diag([2.0, 2, 1]), "turns or scales"),
        (np.full((3, 3), np.nan), "finite"),
    ],
)
def test_a_wrong_start_is_named(initial, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        register(texture((40, 40)), texture((40, 40)), initial=initial)


# ------------------------------------------------------------------ series

DRIFT = np.array([[0, 0], [2, -1], [5, -1], [6, -4], [9, -6]])


def drifting(noise=0.0):
    """A series whose structure moves by DRIFT, and changes slowly."""
    world, other = texture((2, 100, 100), 3)
    frames = [
        np.roll(world + 0.3 * k * other, shift, axis=(0, 1))[20:80, 20:80]
        for k, shift in enumerate(DRIFT)
    ]
    series = np.stack(frames) + np.random.default_rng(0).normal(scale=noise, size=(5, 60, 60))
    return SpatialImage.from_array(series, axis_labels=("t", "y", "x"))


@pytest.mark.parametrize("reference", ["first", "previous"])
def test_a_drift_is_removed(reference):
    series = drifting()
    found = register(series, series, reference=reference)
    np.testing.assert_allclose(found.translation, DRIFT, atol=0.2)
    aligned = np.asarray(resample(series, series.grid, found).data)
    first = aligned[0, :-10, 8:]
    assert np.corrcoef(first.ravel(), aligned[1, :-10, 8:].ravel())[0, 1] > 0.9
    assert len(found.reports) == 5
    some = found.frames((slice(1, 4, 2),))
    assert some.reports == (found.reports[1], found.reports[3])


def test_a_series_is_brought_onto_another_images_frame():
    series = drifting()
    fixed = SpatialImage.from_array(np.roll(np.asarray(series.data[0]), (3, 2), axis=(0, 1)))
    found = register(fixed, series, reference="previous")
    np.testing.assert_allclose(found.translation, DRIFT - (3, 2), atol=0.2)


def test_a_series_with_itself_stays_in_place_frame_by_frame():
    series = drifting()
    np.testing.assert_array_equal(register(series, series).translation, 0)


def test_a_blank_frame_is_passed_over():
    series = drifting()
    values = np.array(series.data)
    values[2] = 0
    blank = series.replace(data=SpatialImage.from_array(values).data)
    found = register(blank, blank, reference="previous")
    np.testing.assert_allclose(found.translation[[0, 1, 3, 4]], DRIFT[[0, 1, 3, 4]], atol=0.2)
    assert np.isnan(found.ncc_after[2])


def test_one_transform_serves_all_frames():
    """Each frame alone is too noisy; together they say where."""
    frame = texture((60, 60))
    rng = np.random.default_rng(5)
    fixed, moving = (
        SpatialImage.from_array(
            np.roll(frame, s, axis=(0, 1)) + rng.normal(size=(20, 60, 60)),
            axis_labels=("t", "y", "x"),
        )
        for s in ((0, 0), (3, -4))
    )
    found = register(fixed, moving, series="one")
    np.testing.assert_allclose(found.translation, [(3, -4)] * 20, atol=0.3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"series": "all"}, "series must be one of"),
        ({"reference": "last"}, "reference must be one of"),
        ({"series": "one", "reference": "first"}, "static"),
    ],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        register(texture((2, 40, 40)), texture((2, 40, 40)), **options)


def test_the_command_line_knows_starts_and_series(tmp_path, capsys):
    np.save(tmp_path / "s.npy", np.asarray(drifting().data))
    series, output = str(tmp_path / "s.npy"), str(tmp_path / "t.json")
    words = ["register", series, series, "-o", output, "--ndim", "2"]
    assert main([*words, "--reference", "previous", "--initial", "identity"]) == 0
    np.testing.assert_allclose(read_transform(output).translation, DRIFT, atol=0.2)
    assert main([*words, "--overwrite", "--initial", str(tmp_path / "no.tfm")]) == 2
    assert "nor a file" in capsys.readouterr().err
