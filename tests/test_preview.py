"""The live preview: what is computed, laws; and in a real viewer, turned, panned, closed."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel

from napari_local_ncc import Registration, confidence_map, local_ncc
from napari_local_ncc._napari.layers.convert import PREVIEW, layer_grid
from napari_local_ncc._napari.preview.view import View, visible_box
from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.image.spatial_image import SpatialImage
from napari_local_ncc.maps.comparison import Comparison
from napari_local_ncc.maps.region import region_of_map
from napari_local_ncc.parameters import NCCParameters

PLUGIN = "napari-local-ncc"


# ---- a part of a map


@st.composite
def boxes(draw, shape):
    box = []
    for n in shape:
        start = draw(st.integers(0, n - 1))
        box.append(slice(start, draw(st.integers(start + 1, n)), draw(st.integers(1, 5))))
    return tuple(box)


def pair_of(shape, spatial, seed=0):
    rng = np.random.default_rng(seed)
    fixed = rng.normal(size=shape)
    moving = fixed + rng.normal(size=shape)
    moving.flat[::97] = np.nan
    names = ("t", "z", "y", "x")[-len(shape) :]
    options = {"axis_labels": names, "spatial": spatial, "spacing": 0.5, "units": ("um",) * 3}
    if not all(spatial):
        options["units"] = ("s", "um", "um")
        options["axis_labels"] = ("t", "y", "x")
    return (
        SpatialImage.from_array(fixed, "a", **options),
        SpatialImage.from_array(moving, "b", **options),
    )


@pytest.mark.parametrize("weights", ["box", "gaussian"])
@pytest.mark.parametrize("spatial", [(False, True, True), (True, True, True)])
@settings(max_examples=15)
@given(data=st.data())
def test_a_part_is_what_the_whole_map_has_there(data, weights, spatial):
    fixed, moving = pair_of((6, 24, 30), spatial)
    mask = fixed.replace(data=np.abs(fixed.data) < 2)
    radius = data.draw(st.sampled_from([1, 4, "1.5 um", (0, 2, 7)]))
    parameters = NCCParameters(radius=radius, weights=weights, interpolation="linear")
    steps = data.draw(st.booleans())
    matrix = np.eye(1 + sum(spatial))
    matrix[:-1, -1] = data.draw(st.sampled_from([0, 0.5, 0.3, 1.5]))
    series = fixed.grid.series_shape
    unknown = np.full(series, np.nan)
    registration = Registration(
        "translation",
        np.broadcast_to(matrix, (*series, *matrix.shape)),
        fixed.grid,
        unknown,
        unknown,
        unknown,
    )
    options = {
        "parameters": parameters,
        "registration": data.draw(st.sampled_from([None, registration])),
        "mask": data.draw(st.sampled_from([None, mask])),
    }
    box = data.draw(boxes(fixed.grid.shape))
    if not steps:
        box = tuple(slice(part.start, part.stop) for part in box)
    whole = np.asarray(confidence_map(fixed, moving, **options)["ncc"])[box]
    part = region_of_map(Comparison(fixed, moving, **options), box)
    np.testing.assert_allclose(np.asarray(part.data), whole, rtol=0, atol=1e-6)


def test_a_part_knows_where_it_lies():
    fixed, moving = pair_of((6, 24, 30), (False, True, True))
    box = (slice(2, 3), slice(4, 20, 3), slice(7, 30, 5))
    part = region_of_map(Comparison(fixed, moving), box)
    assert part.grid.shape == part.data.shape == (1, 6, 5)
    np.testing.assert_allclose(part.grid.spacing, (0.5, 1.5, 2.5))
    np.testing.assert_allclose(part.grid.origin, (1, 2, 3.5))


def test_a_static_image_is_compared_with_the_frame_in_view():
    fixed, moving = pair_of((6, 24, 30), (False, True, True))
    still = fixed.frame((0,))
    box = (slice(3, 4), slice(0, 24), slice(0, 30))
    part = region_of_map(Comparison(still, moving), box)
    np.testing.assert_allclose(
        part.data[0], local_ncc(fixed.data[0], moving.data[3]).compute(), atol=1e-6
    )


def test_a_part_outside_moving_is_undefined():
    fixed, moving = pair_of((6, 24, 30), (True, True, True))
    place = moving.grid.pixel_to_world.copy()
    place[2, 3] += 10  # 20 px
    moving = moving.replace(grid=moving.grid.replace(pixel_to_world=place))
    box = (slice(0, 6), slice(0, 24), slice(0, 10))
    part = region_of_map(Comparison(fixed, moving, parameters=NCCParameters(radius=2)), box)
    assert np.isnan(part.data).all()


# ---- what is in view


def test_the_box_is_what_the_viewer_shows():
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((9, 400, 600)), scale=(2, 0.5, 0.5), translate=(1, 2, 3))
    viewer.canvas.size = (100, 120)
    viewer.dims.set_current_step(0, 4)
    viewer.scene.camera.zoom = 2  # a pixel of the image is a pixel of the screen
    viewer.scene.camera.center = (0, 2 + 100, 3 + 150)  # world: the image's middle
    box = visible_box(layer_grid(layer), View.of(viewer))
    assert box == (slice(4, 5, 1), slice(150, 251, 1), slice(240, 361, 1))
    viewer.scene.camera.zoom = 0.5
    box = visible_box(layer_grid(layer), View.of(viewer))
    assert [part.step for part in box] == [1, 4, 4]
    assert all(part.start % 4 == 2 for part in box[1:])  # the same samples wherever it begins


def test_the_box_follows_the_order_of_the_axes_and_the_units():
    viewer = ViewerModel()
    fine = viewer.add_image(np.zeros((30, 40, 50)), scale=(4, 1, 1), units=("nm",) * 3)
    viewer.add_image(np.zeros((30, 40, 50)), scale=(4, 1, 1), units=("um",) * 3)
    viewer.dims.order = (1, 0, 2)
    viewer.canvas.size = (1000, 1000)
    world = np.array([float((1 * unit).to("nm").magnitude) for unit in viewer.dims.units])
    viewer.dims.point = tuple(7 / world)
    viewer.scene.camera.center = (0, 0, 0)
    viewer.scene.camera.zoom = world[0]  # nm per screen pixel
    box = visible_box(layer_grid(fine), View.of(viewer))
    assert box == (slice(0, 30, 1), slice(7, 8, 1), slice(0, 50, 1))


def test_what_is_out_of_sight_is_said():
    viewer = ViewerModel()
    viewer.add_image(np.zeros((20, 20)))
    viewer.scene.camera.center = (0, 1e5, 0)
    with pytest.raises(ValueError, match="in view"):
        visible_box(Grid((20, 20)), View.of(viewer))
    viewer.dims.ndisplay = 3
    with pytest.raises(ValueError, match="2-D"):
        View.of(viewer)


# ---- in a viewer


@pytest.fixture
def viewer(make_napari_viewer):
    viewer = make_napari_viewer()
    viewer.window._qt_window.resize(1000, 700)
    return viewer


@pytest.fixture
def dock(viewer):
    _, docked = viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC")
    return docked


def previews(viewer):
    return [layer for layer in viewer.layers if PREVIEW in layer.metadata]


def is_right(viewer, **options):
    """Whether the preview is what the map of layers a and b has where it lies."""
    if not previews(viewer):
        return False
    (layer,) = previews(viewer)
    a, b = viewer.layers["a"], viewer.layers["b"]
    ncc = local_ncc(a.data, b.data, **{"radius": (0,) * (a.ndim - 2) + (4, 4)} | options)
    start = np.rint(a.world_to_data(layer.data_to_world((0,) * layer.ndim))).astype(int)
    step = np.rint(layer.scale / a.scale).astype(int)
    box = tuple(
        slice(at, at + k * n, k) for at, n, k in zip(start, layer.data.shape, step, strict=True)
    )
    shown = ncc[box]
    return shown.shape == layer.data.shape and np.allclose(
        shown, layer.data, atol=1e-6, equal_nan=True
    )


@pytest.fixture
def becomes_right(viewer, qtbot):
    def becomes_right(**options):
        qtbot.waitUntil(lambda: is_right(viewer, **options), timeout=30_000)

    return becomes_right


@pytest.fixture
def plane(viewer, rng):
    data = rng.normal(size=(120, 160))
    options = {"scale": (0.5, 0.5), "translate": (3, -2), "units": ("um", "um")}
    viewer.add_image(data, name="a", axis_labels=("y", "x"), **options)
    viewer.add_image(
        data + rng.normal(size=data.shape), name="b", axis_labels=("y", "x"), **options
    )


def test_it_comes_follows_the_knobs_and_goes(viewer, dock, plane, becomes_right, qtbot, rng):
    viewer.layers.selection = {viewer.layers["a"]}
    dock["preview"].native.click()
    becomes_right()
    (layer,) = previews(viewer)
    assert layer.units == viewer.layers["a"].units
    assert layer.axis_labels == ("y", "x")
    assert layer.contrast_limits == [-1, 1]
    assert viewer.layers.selection == {viewer.layers["a"]}
    for name in ("fixed", "moving", "mask"):
        assert layer not in dock[name].choices
    dock["radius"].value = 7
    becomes_right(radius=7)
    dock["weights"].value = "gaussian"
    becomes_right(radius=7, weights="gaussian")
    labels = viewer.add_labels(np.zeros((120, 160), int), scale=(0.5, 0.5), translate=(3, -2))
    labels.data[20:90, 30:130] = 1
    dock["mask"].value = labels
    becomes_right(radius=7, weights="gaussian", mask=labels.data > 0)
    labels.data_setitem(np.nonzero(np.ones((40, 160))), 1)  # painted
    becomes_right(radius=7, weights="gaussian", mask=labels.data > 0)
    viewer.layers["b"].data = rng.normal(size=(120, 160))
    becomes_right(radius=7, weights="gaussian", mask=labels.data > 0)
    assert previews(viewer) == [layer]
    dock["preview"].native.click()
    assert not previews(viewer)
    assert dock["preview_note"].value == ""


def test_it_follows_pan_and_zoom_in_place(viewer, dock, plane, becomes_right, qtbot):
    dock["preview"].value = True
    becomes_right()
    (layer,) = previews(viewer)
    assert layer.data.shape == (120, 160)
    viewer.scene.camera.zoom *= 8
    qtbot.waitUntil(lambda: layer.data.shape[1] < 40, timeout=30_000)
    becomes_right()
    before = layer.translate
    viewer.scene.camera.center = (0, 20, 30)
    qtbot.waitUntil(lambda: (layer.translate != before).any(), timeout=30_000)
    becomes_right()
    viewer.scene.camera.zoom /= 64
    qtbot.waitUntil(lambda: layer.scale[0] > 0.5, timeout=30_000)
    becomes_right()
    assert "one pixel in" in dock["preview_note"].value


def test_it_follows_the_slider_and_pauses_in_3d(viewer, dock, becomes_right, qtbot, rng):
    data = rng.normal(size=(5, 40, 50))
    for name in "ab":
        noisy = data + rng.normal(size=data.shape)
        viewer.add_image(noisy, name=name, axis_labels=("t", "y", "x"), scale=(2, 1, 1))
    dock["preview"].value = True
    becomes_right()
    viewer.dims.set_current_step(0, 4)
    (layer,) = previews(viewer)
    qtbot.waitUntil(lambda: layer.translate[0] == 8, timeout=30_000)
    becomes_right()
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: "2-D" in dock["preview_note"].value, timeout=30_000)
    assert not previews(viewer)
    viewer.dims.ndisplay = 2
    becomes_right()


def test_a_volume_has_the_windows_around_the_slice(viewer, dock, becomes_right, qtbot, rng):
    data = rng.normal(size=(20, 40, 50))
    for name in "ab":
        noisy = data + rng.normal(size=data.shape)
        viewer.add_image(noisy, name=name, axis_labels=("z", "y", "x"))
    dock["preview"].value = True
    becomes_right(radius=4)
    viewer.dims.order = (1, 0, 2)
    qtbot.waitUntil(lambda: previews(viewer)[0].data.shape == (20, 1, 50), timeout=30_000)
    becomes_right(radius=4)


def test_it_uses_the_last_registration_and_never_registers(viewer, dock, qtbot):
    viewer.open_sample(PLUGIN, "slices")
    dock["registration"].value = "translation"
    dock["preview"].value = True
    note = dock["preview_note"]
    qtbot.waitUntil(lambda: "NOT registered" in note.value, timeout=30_000)
    (layer,) = previews(viewer)
    assert np.nanmedian(layer.data) < 0.5
    dock["run"].native.click()
    qtbot.waitUntil(lambda: "translation of the last run" in note.value, timeout=60_000)
    result = next(each for each in viewer.layers if each.name.startswith("NCC"))
    np.testing.assert_allclose(layer.data, result.data, atol=1e-6)
    dock["registration"].value = "none"
    qtbot.waitUntil(lambda: note.value == "Preview: every pixel in view.", timeout=30_000)


def test_bad_input_is_said_quietly_and_mended(viewer, dock, plane, becomes_right, qtbot):
    dock["preview"].value = True
    becomes_right()
    b = viewer.layers["b"]
    place = b.translate
    b.translate = (1000, 1000)
    note = dock["preview_note"]
    qtbot.waitUntil(lambda: "do not overlap" in note.value, timeout=30_000)
    assert not previews(viewer)
    b.translate = place
    becomes_right()


# ---- interference


def computing_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("local-ncc")]


@pytest.fixture
def slow(viewer, dock, rng):
    """A preview of some seconds, of many tiles, zoomed out."""
    data = rng.random((3500, 3500), "f4")
    viewer.add_image(data, name="a", contrast_limits=(0, 1))
    viewer.add_image(data[::-1], name="b", contrast_limits=(0, 1))
    dock["radius"].value = 60
    dock["weights"].value = "gaussian"


def test_the_latest_wish_wins(viewer, dock, slow, becomes_right, qtbot):
    dock["preview"].value = True
    qtbot.waitUntil(lambda: bool(computing_threads()), timeout=30_000)
    dock["weights"].value = "box"
    for radius in (3, 2):
        dock["radius"].value = radius
        qtbot.wait(50)
    viewer.scene.camera.zoom *= 100
    becomes_right(radius=2)
    qtbot.waitUntil(lambda: not computing_threads(), timeout=30_000)
    qtbot.wait(300)
    assert is_right(viewer, radius=2)


def test_it_shows_tiles_before_all_are_there(viewer, dock, slow, qtbot):
    dock["preview"].value = True
    qtbot.waitUntil(lambda: bool(previews(viewer)), timeout=60_000)
    (layer,) = previews(viewer)
    undefined = np.isnan(layer.data).mean()
    assert 0 < undefined < 1
    assert "% computed" in dock["preview_note"].value
    dock["preview"].value = False
    qtbot.waitUntil(lambda: not computing_threads(), timeout=30_000)
    qtbot.wait(100)
    assert not previews(viewer)


@pytest.mark.parametrize("what", ["preview", "everything"])
def test_removing_layers_while_it_computes(viewer, dock, slow, qtbot, what):
    dock["preview"].value = True
    qtbot.waitUntil(lambda: bool(previews(viewer)), timeout=60_000)
    assert computing_threads()
    if what == "preview":
        viewer.layers.remove(previews(viewer)[0])
    else:
        viewer.layers.clear()
    assert not dock["preview"].value
    qtbot.waitUntil(lambda: not computing_threads(), timeout=30_000)
    qtbot.wait(300)
    assert not previews(viewer)


def test_it_goes_with_the_widget(viewer, dock, slow, qtbot):
    dock["preview"].value = True
    qtbot.waitUntil(lambda: bool(previews(viewer)), timeout=60_000)
    viewer.window.remove_dock_widget("all")
    qtbot.waitUntil(lambda: not previews(viewer), timeout=30_000)
    qtbot.waitUntil(lambda: not computing_threads(), timeout=30_000)
    viewer.scene.camera.zoom *= 2
    qtbot.wait(300)
    assert [layer.name for layer in viewer.layers] == ["a", "b"]


QUIT = """
import napari, numpy as np
from qtpy.QtCore import QTimer
viewer = napari.Viewer()
data = np.random.default_rng(0).random((3500, 3500), "f4")
for name in "ab":
    viewer.add_image(data, name=name, contrast_limits=(0, 1))
_, widget = viewer.window.add_plugin_dock_widget("napari-local-ncc", "Local NCC")
widget["radius"].value = 60
widget["weights"].value = "gaussian"
widget["preview"].value = True
timer = QTimer()
def close_when_shown():
    if len(viewer.layers) == 3:
        timer.stop()
        viewer.window._qt_window.close()
timer.timeout.connect(close_when_shown)
timer.start(20)
napari.run()
print("left the event loop")
"""


def test_quitting_while_it_computes(qtbot):
    found = subprocess.run(
        [sys.executable, "-c", QUIT], capture_output=True, encoding="utf-8", timeout=90
    )
    assert "left the event loop" in found.stdout
    assert "Error" not in found.stderr + found.stdout
    assert found.returncode == 0
