"""Placing moving by hand and by landmarks, in a real viewer."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from napari_local_ncc._napari.compare import placement_section

PLUGIN = "napari-local-ncc"
PAIRS = np.array([[40.0, 50.0], [150.0, 60.0], [90.0, 140.0]])
TRUTH = np.array([-7.2, 4.4])  # of the sample, in mm


@pytest.fixture
def placed(viewer, dock):
    viewer.open_sample(PLUGIN, "slices")
    dock["placement_section"].native.click()
    return dock


def add_landmarks(viewer, dock, fixed, moving):
    dock["new_landmarks"].native.click()
    layers = [viewer.layers[f"{role} landmarks"] for role in ("fixed", "moving")]
    assert [dock[f"{role}_points"].value for role in ("fixed", "moving")] == layers
    for layer, points in zip(layers, (fixed, moving), strict=True):
        layer.data = points
    return layers


def test_moved_by_hand_used_as_a_start_and_put_back(viewer, placed, run):
    moving = viewer.layers["moving"]
    placed["move"].native.click()
    assert (moving.mode, placed["move"].text) == ("transform", "Done")
    assert moving.opacity < 1
    moving.affine = [[1, 0, 6], [0, 1, -5], [0, 0, 1]]  # as dragging does
    placed["use_placement"].native.click()
    np.testing.assert_array_equal(moving.affine.affine_matrix, np.eye(3))
    assert (moving.mode, moving.opacity, placed["move"].text) == ("pan_zoom", 1, "Move")
    assert placed["registration"].value == "existing"  # nothing else was to be registered
    assert "shift y -6.000 mm, x 5.000 mm" in placed["message"].value
    placed["registration"].value = "translation"
    assert placed["start"].value == "by hand"
    assert "the translation begins at 'by hand'" in placed["plan"].value
    run(placed)
    found = placed._choices._transforms.named("last: translation")
    np.testing.assert_allclose(found.translation, TRUTH, atol=0.1)


def test_the_mouse_moves_it(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC")
    viewer.open_sample(PLUGIN, "slices")
    dock["placement_section"].native.click()
    qtbot.wait(300)
    dock["move"].native.click()
    native = viewer.window._qt_viewer.canvas.native
    start = QPoint(native.width() // 2, native.height() // 2)
    qtbot.mousePress(native, Qt.MouseButton.LeftButton, pos=start)
    for step in (QPoint(20, 5), QPoint(40, 10)):
        qtbot.mouseMove(native, start + step)
        qtbot.wait(50)
    qtbot.mouseRelease(native, Qt.MouseButton.LeftButton, pos=start + QPoint(40, 10))
    moved = viewer.layers["moving"].affine.translate
    assert moved[1] > moved[0] > 0
    dock["put_back"].native.click()
    np.testing.assert_array_equal(viewer.layers["moving"].affine.translate, 0)


def test_a_start_is_of_its_pair(viewer, placed):
    add_landmarks(viewer, placed, PAIRS, PAIRS + 1)
    placed["fit_landmarks"].native.click()
    assert placed["start"].value == "landmarks: rigid"
    placed["moving"].value = viewer.add_image(np.eye(20), name="another")
    assert placed["start"].value == ""


def test_what_was_not_moved_cannot_be_used(viewer, placed):
    placed["use_placement"].native.click()
    assert "was not moved" in placed["message"].value
    viewer.dims.ndisplay = 3
    placed["move"].native.click()
    assert "2-D" in placed["message"].value
    assert viewer.layers["moving"].mode == "pan_zoom"


def test_what_fails_leaves_the_layer_as_the_user_laid_it(viewer, placed, monkeypatch):
    moving = viewer.layers["moving"]
    before, laid = moving.affine.affine_matrix.copy(), [[1, 0, 6], [0, 1, -5], [0, 0, 1]]
    placed["move"].native.click()
    moving.affine = laid

    def refuse(*_, **__):
        raise ValueError("these cannot be paired")

    with monkeypatch.context() as patch:
        patch.setattr(placement_section, "placement_transform", refuse)
        placed["use_placement"].native.click()
    assert "cannot be paired" in placed["message"].value
    np.testing.assert_array_equal(moving.affine.affine_matrix, laid)
    placed["put_back"].native.click()  # where it lay is not forgotten
    np.testing.assert_array_equal(moving.affine.affine_matrix, before)


def test_the_layer_that_was_moved_is_named(viewer, placed):
    placed["move"].native.click()
    placed["moving"].value = viewer.add_image(np.eye(20), name="another")
    placed["move"].native.click()
    assert placed["message"].value.startswith("moving lies as you left it")


def test_a_layer_that_goes_while_it_is_moved_harms_nothing(viewer, placed):
    placed["move"].native.click()
    viewer.layers.remove("moving")
    for button in ("move", "use_placement", "put_back", "fit_landmarks", "new_landmarks"):
        placed[button].native.click()
        assert "choose" in placed["message"].value


def test_landmarks_are_applied_or_begun_at(viewer, placed, run):
    fixed, moving = add_landmarks(
        viewer, placed, PAIRS, PAIRS + TRUTH + [[0.5, 0], [-0.5, 0], [0, 0]]
    )
    assert list(fixed.features["number"]) == [1, 2, 3]
    placed["landmark_model"].value = "translation"
    placed["fit_landmarks"].native.click()
    said = placed["message"].value
    assert "3 pairs" in said
    assert "1: 0.5, 2: 0.5, 3: 0" in said
    assert placed["registration"].value == "existing"
    run(placed)
    matrix = viewer.layers["NCC"].metadata[PLUGIN]["registration"]["matrix"]
    np.testing.assert_allclose(np.array(matrix)[:2, 2], TRUTH, atol=1e-9)
    assert moving in viewer.layers


def test_a_model_that_cannot_keep_the_start_gives_way(viewer, placed):
    add_landmarks(viewer, placed, PAIRS, PAIRS @ [[0.96, -0.28], [0.28, 0.96]])
    placed["registration"].value = "translation"
    placed["fit_landmarks"].native.click()
    assert placed["registration"].value == "rigid"
    placed["registration"].value = "affine"
    placed["fit_landmarks"].native.click()
    assert placed["registration"].value == "affine"


@pytest.mark.parametrize(
    ("fixed", "moving", "words"),
    [
        (PAIRS, PAIRS[:2], "holds 3 but moving landmarks holds 2"),
        (PAIRS[:0], PAIRS, "holds no points"),
        (PAIRS[:1], PAIRS[:1], "take a simpler model"),
        (np.outer([1, 2, 3], [1, 1]), PAIRS, "affine"),
    ],
)
def test_landmarks_that_do_not_do_are_said(viewer, placed, fixed, moving, words):
    add_landmarks(viewer, placed, fixed, moving)
    placed["landmark_model"].value = "affine"
    placed["fit_landmarks"].native.click()
    assert words in placed["message"].value
    assert placed["start"].value == ""


def test_landmarks_of_layers_in_other_units_are_the_same_places(viewer, placed, rng):
    viewer.layers.clear()
    viewer.add_image(rng.normal(size=(60, 60)), name="a", scale=(0.5, 0.5), units=("um", "um"))
    viewer.add_image(rng.normal(size=(60, 60)), name="b", scale=(500, 500), units=("nm", "nm"))
    add_landmarks(viewer, placed, PAIRS / 3, PAIRS / 3 + 4)
    placed["landmark_model"].value = "translation"
    placed["fit_landmarks"].native.click()
    found = placed._choices._transforms.choice()
    np.testing.assert_allclose(found.translation, (2, 2))


def test_put_back_reaches_a_layer_of_an_earlier_pair(viewer, placed):
    moving, laid = viewer.layers["moving"], [[1, 0, 6], [0, 1, -5], [0, 0, 1]]
    placed["move"].native.click()
    moving.affine = laid
    placed["moving"].value = viewer.add_image(np.eye(20), name="another")
    placed["put_back"].native.click()
    assert placed["message"].value == "moving lies where it lay."
    np.testing.assert_array_equal(moving.affine.affine_matrix, np.eye(3))
    assert (moving.mode, placed["move"].text) == ("pan_zoom", "Move")
    placed["put_back"].native.click()
    assert placed["message"].value == "another was not moved."


def test_of_several_that_were_moved_the_last_is_put_back_first(viewer, placed):
    layers = [viewer.layers["moving"], viewer.add_image(np.eye(20), name="another")]
    for layer in (*layers, layers[0]):
        placed["moving"].value = layer
        placed["move"].native.click()
        layer.affine = [[1, 0, 6], [0, 1, -5], [0, 0, 1]]
        placed["move"].native.click()
    placed["moving"].value = viewer.add_image(np.eye(20), name="a third")
    told = []
    for _ in range(3):
        placed["put_back"].native.click()
        told.append(placed["message"].value)
    assert told == [
        "moving lies where it lay.",
        "another lies where it lay.",
        "a third was not moved.",
    ]


def test_register_first_does_not_begin_at_a_turned_placement(viewer, placed, run):
    add_landmarks(viewer, placed, PAIRS, PAIRS @ [[0.96, -0.28], [0.28, 0.96]])
    placed["fit_landmarks"].native.click()
    assert placed["start"].value == "landmarks: rigid"
    placed["registration"].value = "none"
    placed["shift"].value = True
    run(placed)
    assert placed["next_step"].text == "Register first"
    run(placed, "next_step")
    assert placed["start"].value == ""
    found = placed._choices._transforms.named("last: translation")
    np.testing.assert_allclose(found.translation, TRUTH, atol=0.1)
