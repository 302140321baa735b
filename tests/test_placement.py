"""Transforms that a person gives: landmarks, and images moved by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.ndimage

from napari_local_ncc import Comparison, SpatialImage, register
from napari_local_ncc.cli import main
from napari_local_ncc.geometry.affine import apply_affine
from napari_local_ncc.registration import Settings, fit_landmarks, placement_transform
from napari_local_ncc.registration.initial import starts_of

FIXED = np.array([[3.0, 4.0], [3.0, 40.0], [30.0, 12.0], [25.0, 33.0]])
TURN = np.array([[0.96, -0.28, 5.0], [0.28, 0.96, -7.0], [0.0, 0.0, 1.0]])  # 16.26 degrees


def image(shape=(64, 64), **fields):
    return SpatialImage.from_array(np.zeros(shape), **fields)


@pytest.mark.parametrize("model", ["rigid", "similarity", "affine"])
def test_exact_landmarks_give_the_transform_and_miss_nothing(model):
    fit = fit_landmarks(image(), image(), FIXED, apply_affine(TURN, FIXED), model=model)
    np.testing.assert_allclose(fit.registration.matrix, TURN, atol=1e-12)
    np.testing.assert_allclose(fit.residuals, 0, atol=1e-12)


def test_a_misplaced_landmark_is_the_one_that_misses():
    moving = apply_affine(TURN, FIXED)
    moving[2] += (4, 0)
    fit = fit_landmarks(image(), image(), FIXED, moving, model="rigid")
    assert fit.residuals.argmax() == 2
    mapped = fit.registration.transform_points(FIXED)
    np.testing.assert_allclose(fit.residuals, np.linalg.norm(mapped - moving, axis=1))
    assert f"3: {fit.residuals[2]:.3g}" in str(fit)


def test_pixels_and_worlds_of_other_units_are_one_place():
    fixed = image(spacing=0.5, origin=(10, 20), units=("um", "um"))
    moving = image(spacing=(250, 250), units=("nm", "nm"))
    in_pixels = fit_landmarks(fixed, moving, FIXED, 2 * FIXED + 1, coordinates="pixels")
    fixed_world = apply_affine(fixed.grid.pixel_to_world, FIXED)
    moving_world = apply_affine(moving.grid.pixel_to_world, 2 * FIXED + 1)
    in_world = fit_landmarks(fixed, moving, fixed_world, moving_world)
    np.testing.assert_allclose(in_world.registration.matrix, in_pixels.registration.matrix)
    np.testing.assert_allclose(in_pixels.registration.translation, (-9.75, -19.75))
    assert in_pixels.unit == "micrometer"


def test_axes_of_another_order_are_matched_by_name():
    moving = image((50, 64), axis_labels=("x", "y"))
    fit = fit_landmarks(
        image(axis_labels=("y", "x")), moving, FIXED, FIXED[:, ::-1] + (2, 1), model="translation"
    )
    np.testing.assert_allclose(fit.registration.translation, (1, 2))


def test_a_series_gets_one_transform_for_all_frames():
    series = image((3, 64, 64), axis_labels=("t", "y", "x"))
    points = np.column_stack([[0, 1, 2, 0], FIXED])  # the time does not count
    fit = fit_landmarks(series, image(axis_labels=("y", "x")), points, FIXED + 1)
    np.testing.assert_allclose(fit.registration.translation, np.ones((3, 2)))
    assert len(fit.registration.reports) == 3


@pytest.mark.parametrize(
    ("fixed", "moving", "model", "words"),
    [
        (FIXED, FIXED[:3], "rigid", "4 landmarks and moving 3"),
        (FIXED[:2], FIXED[:2], "affine", "add points"),
        (np.outer([1, 2, 3], [1, 1]), np.outer([1, 2, 3], [1, 1]), "affine", "spread along 1"),
        (FIXED[:0], FIXED[:0], "translation", "0 points"),
        (FIXED[:, :1], FIXED[:, :1], "rigid", "1 coordinates"),
        (FIXED * np.nan, FIXED, "rigid", "not finite"),
    ],
)
def test_landmarks_that_do_not_do_are_refused_in_words(fixed, moving, model, words):
    with pytest.raises(ValueError, match=words):
        fit_landmarks(image(), image(), fixed, moving, model=model)


def test_comparing_by_the_placement_is_comparing_what_was_moved(rng):
    texture = scipy.ndimage.gaussian_filter(rng.normal(size=(64, 64)), 1)
    fixed = SpatialImage.from_array(texture, spacing=0.5, units=("um", "um"))
    before = SpatialImage.from_array(rng.normal(size=(60, 70)), spacing=250, units=("nm", "nm"))
    turned = np.diag([1e3, 1e3, 1.0]) @ TURN @ np.diag([1e-3, 1e-3, 1.0])
    after = before.replace(
        grid=before.grid.replace(pixel_to_world=turned @ before.grid.pixel_to_world)
    )
    moved = placement_transform(fixed, before, after)
    one = Comparison(fixed, before, registration=moved).moving_on_grid().compute()
    other = Comparison(fixed, after).moving_on_grid().compute()
    np.testing.assert_allclose(one, other, atol=1e-9)


@pytest.mark.parametrize(
    ("angle", "scale", "model"),
    [(5e-4, 1, "translation"), (0, 1 + 5e-4, "translation"), (0.2, 1 + 5e-4, "rigid")],
)
def test_a_placement_is_what_its_model_can_keep(angle, scale, model):
    fixed = image((64, 48), spacing=(500, 0.5), units=("um", "mm"))
    grid = fixed.grid
    cos, sin = np.cos(angle), np.sin(angle)
    drag = np.eye(3)
    drag[:2] = [[scale * cos, -scale * sin, 3], [scale * sin, scale * cos, -2]]
    units = np.diag([1e3, 1.0, 1.0])  # from mm
    moved = units @ drag @ np.linalg.inv(units) @ grid.pixel_to_world
    after = fixed.replace(grid=grid.replace(pixel_to_world=moved))
    found = placement_transform(fixed, fixed, after)
    assert found.model == model
    starts_of(found, grid, Settings(model))  # it is taken as a start
    linear = np.linalg.inv(units)[:2, :2] @ found.matrix[:2, :2] @ units[:2, :2]
    np.testing.assert_allclose(linear @ linear.T, np.eye(2), atol=1e-12)
    exact = grid.pixel_to_world @ np.linalg.inv(moved)
    centre = grid.corners().mean(axis=0)
    np.testing.assert_allclose(apply_affine(found.matrix, centre), apply_affine(exact, centre))


def test_a_registration_begins_where_landmarks_say(rng):
    texture = scipy.ndimage.gaussian_filter(rng.normal(size=(96, 96)), 1)
    fixed, moving = texture[:80, :80], texture[5:85, 3:83]
    here = image((80, 80))
    fit = fit_landmarks(here, here, FIXED, FIXED - (4.2, 3.3), model="translation")
    found = register(fixed, moving, model="translation", initial=fit.registration)
    np.testing.assert_allclose(found.translation, (-5, -3), atol=0.1)


@pytest.fixture
def tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.zeros((64, 64)))
    for name, points in (("f.csv", FIXED), ("m.csv", apply_affine(TURN, FIXED))):
        rows = [f"{k},{y},{x}" for k, (y, x) in enumerate(points.tolist())]
        (tmp_path / name).write_text("\n".join(["index,axis-0,axis-1", *rows]), encoding="utf-8")
    return tmp_path


def test_the_command_line_takes_tables_of_napari(tables, capsys):
    only = ["--landmarks", "f.csv", "m.csv", "--landmarks-only"]
    command = ["register", "a.npy", "a.npy", "--model", "rigid", "-o", "t.json", *only]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(told["landmarks"]["residuals"], 0, atol=1e-9)
    matrix = json.loads((tables / "t.json").read_text(encoding="utf-8"))["matrix"]
    np.testing.assert_allclose(matrix, TURN, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--landmarks", "f.csv", "short.csv"], "f.csv holds 4 but short.csv holds 3"),
        (["--landmarks", "f.csv", "none.csv"], "no file none.csv"),
        (["--landmarks", "f.csv", "3d.csv"], "more axes"),
        (["--landmarks-only"], "needs --landmarks"),
        (["--landmarks", "f.csv", "m.csv", "--initial", "phase"], "not both"),
        (
            ["--landmarks", "f.csv", "m.csv", "--landmarks-only", "--mask", "a.npy", "--strict"],
            "leave out --mask, --strict",
        ),
    ],
)
def test_tables_that_do_not_do_are_one_line(tables, capsys, options, words):
    lines = (tables / "m.csv").read_text(encoding="utf-8").splitlines()
    (tables / "short.csv").write_text("\n".join(lines[:4]), encoding="utf-8")
    (tables / "3d.csv").write_text("axis-0,axis-1,axis-2\n1,2,3\n", encoding="utf-8")
    assert main(["register", "a.npy", "a.npy", "-o", "t.json", "--model", "rigid", *options]) == 2
    error = capsys.readouterr().err.strip()
    assert words in error
    assert "\n" not in error
    assert not (tables / "t.json").exists()


def test_a_flow_does_not_overwrite_its_landmarks(tables, capsys):
    (tables / "t.zarr").mkdir()
    (tables / "f.csv").rename(tables / "t.zarr" / "f.csv")
    command = ["register", "a.npy", "a.npy", "-o", "t.json", "--model", "flow", "--overwrite"]
    assert main([*command, "--landmarks", "t.zarr/f.csv", "m.csv"]) == 2
    assert "is the input f.csv" in capsys.readouterr().err
    assert (tables / "t.zarr" / "f.csv").exists()
