"""Transforms in the widget: found alone, used again, carried to other layers and files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog

from napari_local_ncc.transforms import Registration

PLUGIN = "napari-local-ncc"
SHIFT = (-7.2, 4.4)  # mm: moving minus fixed, in the sample of slices


@pytest.fixture
def registered(viewer, dock, run):
    """The slices, registered without a map."""
    viewer.open_sample(PLUGIN, "slices")
    dock["registration"].value = "translation"
    run(dock, "register")
    return viewer.layers[-1]


@pytest.fixture
def files(monkeypatch, tmp_path):
    """The user chooses this file in every dialog."""
    path = tmp_path / "T.json"
    for name in ("getSaveFileName", "getOpenFileName"):
        monkeypatch.setattr(QFileDialog, name, lambda *_: (str(path), ""))
    return path


def test_register_alone_adds_the_registered_layer_and_no_map(viewer, dock, registered):
    assert [layer.name for layer in viewer.layers] == ["fixed", "moving", "moving on fixed"]
    fixed = viewer.layers["fixed"].data
    inside = np.isfinite(registered.data)
    assert np.corrcoef(fixed[inside], registered.data[inside])[0, 1] > 0.99
    matrix = np.array(registered.metadata[PLUGIN]["registration"]["matrix"])
    np.testing.assert_allclose(matrix[:2, 2], SHIFT, atol=0.05)
    assert "global NCC" in dock["message"].value


def test_register_without_a_model_is_refused(viewer, dock, click):
    viewer.open_sample(PLUGIN, "slices")
    click(dock, "register")
    assert "choose how to register" in dock["message"].value
    assert len(viewer.layers) == 2


def test_a_transform_is_used_instead_of_registering(viewer, dock, run, registered):
    dock["registration"].value = "existing"
    assert dock["transform"].value == "last: translation"
    assert "resampled by a translation" in dock["plan"].value
    run(dock)
    ncc = viewer.layers[-1]
    assert np.nanmedian(ncc.data) > 0.9
    assert (
        ncc.metadata[PLUGIN]["registration"]["matrix"]
        == registered.metadata[PLUGIN]["registration"]["matrix"]
    )


def test_the_transform_of_a_result_is_offered(viewer, dock, registered):
    viewer.window.remove_dock_widget("all")
    _, again = viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC")
    again["registration"].value = "existing"
    assert "no transform is chosen" in again["plan"].value
    again["transform"].value = "moving on fixed"
    assert "resampled by a translation" in again["plan"].value


def test_a_run_offers_its_transform_once(viewer, dock, run):
    viewer.open_sample(PLUGIN, "slices")
    dock["registration"].value = "translation"
    for name in ("confidence", "shift", "add_registered"):
        dock[name].value = True
    run(dock)
    offered = [choice for choice in dock["transform"].choices if choice is not None]
    assert sorted(offered) == ["NCC", "last: translation"]


def test_a_file_keeps_a_transform(viewer, dock, click, registered, files):
    click(dock, "save_transform")
    assert str(files) in dock["message"].value
    found = registered.metadata[PLUGIN]["registration"]
    np.testing.assert_array_equal(Registration.load(files).matrix, found["matrix"])
    document = json.loads(files.read_text(encoding="utf-8"))
    document["matrix"][0][2] = -3.0
    files.write_text(json.dumps(document), encoding="utf-8")
    click(dock, "load_transform")
    assert dock["registration"].value == "existing"
    assert dock["transform"].value == "T.json"
    assert "-3.000 mm" in dock["message"].value


def test_an_itk_file_keeps_a_transform(viewer, dock, click, registered, monkeypatch, tmp_path):
    pytest.importorskip("SimpleITK")
    for name in ("getSaveFileName", "getOpenFileName"):
        monkeypatch.setattr(QFileDialog, name, lambda *_: (str(tmp_path / "T.tfm"), ""))
    click(dock, "save_transform")
    before = dock["message"].value
    click(dock, "load_transform")
    assert dock["message"].value != before
    assert dock["transform"].value == "T.tfm"
    assert "-7.2" in dock["message"].value


def test_no_transform_is_said(viewer, dock, click):
    viewer.open_sample(PLUGIN, "slices")
    for button in ("save_transform", "apply_transform"):
        click(dock, button)
        assert "no transform is chosen" in dock["message"].value


def test_a_foreign_file_is_said_once_and_changes_nothing(
    viewer, dock, click, said, registered, files
):
    before = dock["transform"].value
    for text in ("{}", "not JSON", '{"format": "other"}'):
        files.write_text(text, encoding="utf-8")
        click(dock, "load_transform")
        assert [message for severity, message in said() if severity == "error"] == []
        assert "no transform" in dock["message"].value
        assert dock["transform"].value == before
        assert dock["registration"].value == "translation"


def test_nothing_happens_if_no_file_is_chosen(dock, click, said, registered, monkeypatch):
    for name in ("getSaveFileName", "getOpenFileName"):
        monkeypatch.setattr(QFileDialog, name, lambda *_: ("", ""))
    before = dock["message"].value
    click(dock, "save_transform")
    click(dock, "load_transform")
    assert dock["message"].value == before
    assert said() == []


def test_another_channel_is_carried_along(viewer, dock, run, registered):
    moving = viewer.layers["moving"]
    other = viewer.add_image(
        (2.0 * moving.data).astype("f4"), name="c1", scale=moving.scale, units=moving.units
    )
    dock["other"].value = other
    run(dock, "apply_transform")
    moved = viewer.layers[-1]
    assert moved.name == "c1 by translation"
    np.testing.assert_allclose(moved.data, 2 * registered.data, rtol=1e-5)
    np.testing.assert_allclose(moved.data_to_world((3, 4)), registered.data_to_world((3, 4)))


def test_labels_stay_labels(viewer, dock, run, registered):
    moving = viewer.layers["moving"]
    labels = np.zeros(moving.data.shape, np.int32)
    labels[100:140, 60:120] = 70_001
    dock["other"].value = viewer.add_labels(
        labels, name="cells", scale=moving.scale, units=moving.units
    )
    run(dock, "apply_transform")
    moved = viewer.layers[-1]
    assert type(moved).__name__ == "Labels"
    assert moved.data.dtype == np.int32
    assert set(np.unique(moved.data)) == {0, 70_001}
    rows, columns = np.nonzero(moved.data)
    np.testing.assert_allclose((rows.mean() - 119.5, columns.mean() - 89.5), (7.2, -4.4), atol=0.6)


def test_points_are_moved_to_the_fixed_image(viewer, dock, click, registered):
    moving = viewer.layers["moving"]
    points = viewer.add_points(
        [[50, 60], [100, 20]], name="dots", scale=moving.scale, units=moving.units
    )
    dock["other"].value = points
    click(dock, "apply_transform")
    moved = viewer.layers[-1]
    registration = Registration.from_dict(registered.metadata[PLUGIN]["registration"])
    back = registration.transform_points([moved.data_to_world(p) for p in moved.data])
    np.testing.assert_allclose(back, [points.data_to_world(p) for p in points.data], atol=1e-9)
    assert moved.units == registered.units


def test_points_of_other_dimensions_are_refused(viewer, dock, click, registered):
    dock["other"].value = viewer.add_points([[1, 2, 3]], name="dots")
    click(dock, "apply_transform")
    assert "dots has 3 axes" in dock["message"].value


def test_cancelling_a_registration_keeps_the_last_one(viewer, dock, click, registered, qtbot, rng):
    frames = rng.normal(size=(40, 300, 300)).astype("f4")
    for name in "ab":
        viewer.add_image(frames, name=name, axis_labels=("t", "y", "x"))
    dock["fixed"].value, dock["moving"].value = viewer.layers["a"], viewer.layers["b"]
    click(dock, "register")
    qtbot.waitUntil(lambda: "Registering" in dock["message"].value, timeout=30_000)
    click(dock, "cancel")
    assert dock["run"].enabled
    assert dock["message"].value == "Cancelled; nothing was added."
    assert dock["transform"].value == "last: translation"
    assert len(viewer.layers) == 5
