"""The inspector in a real viewer: pointed at, dragged, exported, closed."""

from __future__ import annotations

import csv
import gc
import shlex
import threading
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from napari.utils.notifications import notification_manager
from napari.utils.theme import get_theme
from napari_matplotlib.util import style_sheet_from_theme
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QFileDialog,
    QLineEdit,
    QPlainTextEdit,
    QSlider,
    QTabBar,
    QTableWidget,
    QWidget,
)
from scipy.ndimage import gaussian_filter

from conftest import make_plain
from napari_local_ncc import read_map
from napari_local_ncc._napari.compare.layout import MAIN, dock_of
from napari_local_ncc._napari.inspect import mpl_canvas as plot
from napari_local_ncc._napari.layers.convert import METADATA, placement
from napari_local_ncc._napari.layers.map_layers import comparison_of
from napari_local_ncc._napari.results.compared_images import make_checkerboard
from napari_local_ncc._napari.results.kept_results import result_of
from napari_local_ncc.cli import main
from napari_local_ncc.progress import finish

PLUGIN = "napari-local-ncc"


@pytest.fixture
def viewer(make_napari_viewer, request):
    """A viewer, hidden (which is faster) unless the mouse is needed."""
    return make_napari_viewer(show=getattr(request, "param", False))


on_screen = pytest.mark.parametrize("viewer", [True], indirect=True)


@pytest.fixture
def run(viewer, qtbot):
    """Make a map with the main widget."""

    def run(**settings):
        widget = make_plain(viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC")[1])
        for name, value in {"keep": True, **settings}.items():
            widget[name].value = value
        before = set(viewer.layers)
        widget["run"].native.click()
        qtbot.waitUntil(lambda: widget["run"].enabled, timeout=60_000)
        (layer,) = (
            found
            for found in set(viewer.layers) - before
            if found.metadata[METADATA]["layers"]["kind"] == "ncc"
        )
        return layer

    return run


@pytest.fixture
def inspector(viewer):
    dock, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC inspector", tabify=True)
    dock.show()
    dock.raise_()
    return widget


@pytest.fixture
def settle(qtbot, inspector):
    """Wait until nothing is being counted or read."""

    def settle():
        tabs = (inspector.pixel, inspector.histogram, inspector.table)
        qtbot.waitUntil(lambda: not any(tab.latest.is_busy for tab in tabs), timeout=30_000)
        qtbot.wait(10)

    return settle


def canvas_of(viewer):
    return viewer.window._qt_viewer.canvas


def world_at(viewer, place):
    """Return what a 2-D camera shows at a place of the canvas."""
    size, camera = canvas_of(viewer).native.size(), viewer.scene.camera
    middle = np.array([size.height(), size.width()]) / 2
    return (np.array([place.y(), place.x()]) - middle) / camera.zoom + camera.center[-2:]


def middle_of(viewer):
    size = canvas_of(viewer).native.size()
    return QPoint(size.width() // 2 + 9, size.height() // 2 - 14)


@on_screen
def test_a_click_shows_the_windows_of_the_map(viewer, run, inspector, settle, qtbot):
    viewer.open_sample(PLUGIN, "slices")
    layer = run(registration="translation", weights="gaussian", radius=5)
    assert inspector["map"].value is layer
    settle()
    qtbot.wait(300)  # until the window's layout is at rest
    place = middle_of(viewer)
    expected = np.rint(layer.world_to_data(world_at(viewer, place))).astype(int)
    qtbot.mouseClick(canvas_of(viewer).native, Qt.MouseButton.LeftButton, pos=place)
    settle()
    shown = inspector.pixel.shown
    assert shown.index == tuple(expected)
    np.testing.assert_allclose(shown.pair.ncc, layer.data[shown.index], atol=1e-6)
    assert f"ncc {shown.pair.ncc:.3f}" in inspector.pixel.text.text()
    assert "11x11 px = 11x11 mm" in inspector.pixel.text.text()
    assert "changed" not in inspector.pixel.text.text()
    assert len(inspector.pixel.plot.figure.axes) == 3


@on_screen
def test_a_dragged_canvas_is_no_click_and_hovering_is_asked_for(
    viewer, run, inspector, settle, qtbot
):
    viewer.open_sample(PLUGIN, "slices")
    run()
    native, place = canvas_of(viewer).native, middle_of(viewer)
    qtbot.mousePress(native, Qt.MouseButton.LeftButton, pos=place)
    qtbot.mouseMove(native, place + QPoint(40, 0))
    qtbot.mouseRelease(native, Qt.MouseButton.LeftButton, pos=place + QPoint(40, 0))
    qtbot.mouseMove(native, place)
    settle()
    assert inspector.pixel.shown is None
    inspector.pixel.hover.click()
    qtbot.mouseMove(native, place + QPoint(5, 5))
    qtbot.waitUntil(lambda: inspector.pixel.shown is not None)


@on_screen
def test_a_series_has_a_profile_and_a_summary(viewer, run, inspector, settle, qtbot, tmp_path):
    viewer.open_sample(PLUGIN, "series")
    layer = run()
    qtbot.wait(300)
    viewer.dims.set_current_step(0, 3)
    qtbot.mouseClick(canvas_of(viewer).native, Qt.MouseButton.LeftButton, pos=middle_of(viewer))
    settle()
    first = inspector.pixel.shown
    assert first.index[0] == 3
    assert len(inspector.pixel.plot.figure.axes) == 4
    viewer.dims.set_current_step(0, 7)
    settle()
    assert inspector.pixel.shown.index == (7, *first.index[1:])
    np.testing.assert_allclose(
        inspector.pixel.shown.pair.ncc, layer.data[inspector.pixel.shown.index], atol=1e-6
    )
    table = inspector.table.table
    assert table["t"] == list(range(len(layer.data)))
    medians = np.nanmedian(layer.data, axis=(1, 2))
    np.testing.assert_allclose(table["median_ncc"], medians, atol=1e-3)
    grid = inspector.table.grid
    assert grid.rowCount() == len(layer.data)
    told = [grid.horizontalHeaderItem(k).toolTip() for k in range(grid.columnCount())]
    assert told[0].startswith("The frame")
    assert len(set(told)) == len(told)  # each says what it is
    assert len(inspector.table.plot.figure.axes) == 2


@on_screen
def test_a_threshold_is_dragged_and_becomes_a_mask(viewer, run, inspector, settle, qtbot):
    viewer.open_sample(PLUGIN, "slices")
    before = run()
    after = run(registration="translation")
    inspector.tabs.setCurrentWidget(inspector.histogram)
    settle()
    assert inspector["map"].value is after
    assert list(inspector.histogram.tallies) == ["before registration", "registered"]
    canvas = inspector.histogram.plot.canvas
    qtbot.waitUntil(lambda: canvas.width() > 200)
    canvas.draw()
    (axes,) = inspector.histogram.plot.figure.axes
    x, y = axes.transData.transform((0.85, axes.get_ylim()[1] / 2)) / canvas.device_pixel_ratio
    place = QPoint(round(x), round(canvas.height() - y))
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=place)
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=place)
    threshold = inspector.histogram.threshold.value()
    assert threshold == pytest.approx(0.85, abs=0.02)
    share = np.mean(after.data[np.isfinite(after.data)] >= threshold)
    assert f"{share:.1%} of these" in inspector.histogram.text.text()
    inspector.histogram.make_mask.click()
    qtbot.waitUntil(lambda: viewer.layers[-1] is not after, timeout=30_000)
    mask = viewer.layers[-1]
    np.testing.assert_array_equal(mask.data, after.data >= np.float32(threshold))
    assert mask.units == after.units
    inspector["map"].value = before
    settle()
    assert list(inspector.histogram.tallies) == ["registered", "before registration"]


def test_labels_get_a_table_of_their_own(viewer, run, inspector, settle, tmp_path, monkeypatch):
    viewer.open_sample(PLUGIN, "slices")
    layer = run(registration="translation")
    regions = np.zeros(layer.data.shape, np.int32)
    regions[50:90, 50:90] = 4
    regions[100:160, 60:120] = 7
    labels = viewer.add_labels(regions, name="cells", **placement(layer))
    inspector.tabs.setCurrentWidget(inspector.table)
    inspector.table.rows.setCurrentText("label of cells")
    settle()
    assert inspector.table.table["index"] == [4, 7]
    expected = [np.nanmedian(layer.data[regions == label]) for label in (4, 7)]
    np.testing.assert_allclose(labels.features["median_ncc"], expected, atol=1e-3)
    path = tmp_path / "cells.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    inspector.table.export.click()
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["index"] for row in rows] == ["4", "7"]
    np.testing.assert_allclose([float(row["median_ncc"]) for row in rows], expected, atol=1e-3)
    gone = tmp_path / "gone" / "cells.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(gone), ""))
    inspector.table.export.click()
    message = f"there is no folder {gone.parent} to write cells.csv into"
    assert inspector.table.text.text() == message


def test_the_copied_recipes_make_the_map_again(
    viewer, run, inspector, settle, tmp_path, monkeypatch, rng
):
    monkeypatch.chdir(tmp_path)
    field = rng.normal(size=(2, 60, 70)).cumsum(axis=-1).astype("f4")
    tifffile.imwrite("a.ome.tif", field, metadata={"axes": "TYX"})
    (fixed,) = viewer.open("a.ome.tif")
    viewer.add_image(np.roll(field, 2, axis=-1), name="b", **placement(fixed))
    labels = np.zeros((60, 70), int)
    labels[5:50, 8:60] = 1
    mask = viewer.add_labels(labels, name="where")
    layer = run(fixed=fixed, moving=viewer.layers["b"], mask=mask, registration="translation")
    inspector.tabs.setCurrentWidget(inspector.recipe)
    settle()
    inspector.recipe.copy_python.click()
    program = QApplication.clipboard().text()
    assert "a.ome.tif" in program
    assert "# fixed" not in program
    told = [line.removeprefix("#   ") for line in program.splitlines() if line.startswith("#   ")]
    exec("\n".join(told), {"viewer": viewer})  # in napari's console
    exec(program, {})
    np.testing.assert_array_equal(np.asarray(read_map("ncc.ome.zarr")["ncc"]), layer.data)
    inspector.recipe.copy_command.click()
    assert inspector.recipe.recipe.toPlainText() == QApplication.clipboard().text()
    words = shlex.split(QApplication.clipboard().text(), comments=True)
    words[words.index("-o") + 1] = "again.npy"
    assert main(words[1:]) == 0
    np.testing.assert_array_equal(np.load("again.npy"), layer.data)


def test_settings_come_back_from_a_layer(viewer, run, inspector, rng):
    images = [viewer.add_image(rng.normal(size=(3, 40, 40)), name=name) for name in "abc"]
    labels = viewer.add_labels(np.ones((40, 40), int), name="where")
    first = {
        "fixed": images[2],
        "moving": images[0],
        "mask": labels,
        "radius": 7,
        "weights": "gaussian",
        "registration": "translation",
        "interpolation": "cubic",
        "fixed_pick": "-3=1",
        "min_std": "0.25",
        "min_valid": 0.25,
        "search": 5,
    }
    layer = run(**first)
    run(fixed=images[0], moving=images[1], mask=None, radius=2, weights="box", fixed_pick="")
    first |= {"registration": "existing", "transform": layer.name}  # the very one, not a new one
    inspector["map"].value = layer
    inspector.recipe.load.click()
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC")
    assert {name: widget[name].value for name in first} == first
    assert "loaded" in inspector.recipe.text.text()
    viewer.layers.remove(images[2])
    inspector.recipe.load.click()
    assert "c" in inspector.recipe.text.text()


def test_it_says_what_to_do_first(viewer, run, inspector, settle, rng):
    assert "run Local NCC first" in inspector.pixel.text.text()
    for name in "ab":
        viewer.add_image(rng.normal(size=(40, 40)), name=name)
    run()
    settle()
    assert "Click a pixel" in inspector.pixel.text.text()


def test_what_is_gone_or_changed_is_said(viewer, run, inspector, settle, rng):
    a = viewer.add_image(rng.normal(size=(40, 40)), name="a")
    b = viewer.add_image(rng.normal(size=(40, 40)), name="b")
    layer = run()
    inspector.pixel.point_at(layer, (20, 20))
    settle()
    assert inspector.pixel.shown.index == (20, 20)
    inspector.pixel.point_at(layer, (99, 20))
    settle()
    assert inspector.pixel.shown.index == (20, 20)
    assert "outside the map" in inspector.pixel.text.text()
    b.data = a.data
    inspector.pixel.point_at(layer, (20, 20))
    settle()
    assert "images have changed" in inspector.pixel.text.text()
    viewer.layers.remove(b)
    inspector.pixel.point_at(layer, (20, 20))
    assert "b, of which this map was made, is not there" in inspector.pixel.text.text()


def test_deleting_maps_and_closing_harms_nothing(viewer, run, inspector, settle, qtbot, rng):
    notification_manager.records.clear()
    viewer.add_image(rng.normal(size=(40, 40)), name="a")
    viewer.add_image(rng.normal(size=(40, 40)), name="b")
    layer = run()
    inspector.pixel.point_at(layer, (20, 20))
    viewer.layers.remove(layer)
    settle()
    assert inspector["map"].value is None
    viewer.theme = "light"
    layer = run()
    viewer.window.remove_dock_widget("all")
    qtbot.wait(50)
    qtbot.mouseClick(canvas_of(viewer).native, Qt.MouseButton.LeftButton, pos=middle_of(viewer))
    viewer.theme = "dark"
    layer.data = layer.data + 1
    qtbot.wait(50)
    assert [n.message for n in notification_manager.records if str(n.severity) == "error"] == []


def test_a_closed_inspector_is_forgotten(viewer, run, qtbot, rng):
    for name in "ab":
        viewer.add_image(rng.normal(size=(40, 40)), name=name)
    layer = run()
    told = viewer.mouse_drag_callbacks, viewer.mouse_move_callbacks, viewer.scene.overlays
    before = [list(each) for each in told]
    inspector = viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC inspector")[1]
    qtbot.wait(300)
    inspector.pixel.point_at(layer, (20, 20))
    gone = weakref.ref(inspector.tabs)
    viewer.window.remove_dock_widget(inspector.native)
    assert [list(each) for each in told] == before
    del inspector
    qtbot.wait(300)
    gc.collect()
    assert gone() is None  # it has four figures


@on_screen
def test_an_inspector_that_is_closed_and_docked_again_hears_the_viewer(
    viewer, run, inspector, settle, qtbot, rng, said
):
    for name in "ab":
        viewer.add_image(rng.normal(size=(40, 40)), name=name)
    run()
    settle()
    for _ in range(2):
        viewer.window.remove_dock_widget(inspector.native)
        assert inspector._press not in viewer.mouse_drag_callbacks
        viewer.theme = "light" if viewer.theme == "dark" else "dark"
        layer = run()  # meanwhile
        viewer.window.add_dock_widget(inspector, name="inspector", tabify=True)
        dock_of(inspector.native).show()
        dock_of(inspector.native).raise_()
        qtbot.wait(50)
        assert inspector["map"].value is layer
        settle()
        look_at(viewer, inspector, (20, 21))
        settle()
        assert inspector.pixel.shown.index == (20, 21)
        assert inspector.pixel.shown.layer is layer
        assert inspector.pixel.mark.overlay.visible
        theme = get_theme(viewer.theme)
        assert inspector.pixel.plot.napari_theme_style_sheet == style_sheet_from_theme(theme)
        layer.data = np.full_like(layer.data, 0.25)
        settle()
        assert inspector.table.table["median_ncc"] == pytest.approx([0.25], abs=1e-3)
    assert viewer.mouse_drag_callbacks.count(inspector._press) == 1
    assert said() == []


def test_without_the_extra_the_rest_works(viewer, run, monkeypatch, qtbot, rng):
    for module in ("pixel_tab", "histogram_tab", "table_tab", "tab"):
        monkeypatch.setattr(f"napari_local_ncc._napari.inspect.{module}.has_plots", lambda: False)
    viewer.add_image(rng.normal(size=(40, 40)), name="a")
    viewer.add_image(rng.normal(size=(40, 40)), name="b")
    layer = run()
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC inspector", tabify=True)
    assert widget.pixel.plot.findChild(QLineEdit).text() == plot.INSTALL
    widget.pixel.point_at(layer, (20, 20))
    qtbot.waitUntil(lambda: widget.pixel.shown is not None)
    qtbot.waitUntil(lambda: bool(widget.table.table))
    np.testing.assert_allclose(widget.table.table["median_ncc"], np.median(layer.data), atol=1e-3)


def test_it_fits_a_laptop(viewer, run, inspector, settle):
    viewer.add_image(np.eye(40), name="a very long name of a file from a microscope, fixed")
    viewer.add_image(np.eye(40), name="a very long name of a file from a microscope, moving")
    layer = run()
    inspector.pixel.point_at(layer, (20, 20))
    settle()
    needed = inspector.native.minimumSizeHint()
    assert needed.width() < 400
    assert needed.height() < 620


@on_screen
def test_no_tab_widens_the_narrowest_dock(viewer, run, inspector, settle):
    viewer.open_sample(PLUGIN, "slices")
    run()
    dock = dock_of(inspector.native)
    viewer.window._qt_window.resizeDocks([dock], [300], Qt.Orientation.Horizontal)
    for tab in range(inspector.tabs.count()):
        inspector.tabs.setCurrentIndex(tab)
        settle()
        assert dock.width() <= 300, inspector.tabs.tabText(tab)


def look_at(viewer, inspector, world):
    """Inspect a place, as if it were clicked."""
    event = SimpleNamespace(position=tuple(world), pos=(0, 0), type="mouse_release")
    list(inspector._press(viewer, event))


def marked(inspector):
    """Return the middle of the mark, and half its size: of the pixel and of the window."""
    overlay = inspector.pixel.mark.overlay
    assert overlay.visible
    boxes = np.split(np.array(overlay.ends), 2)
    return [(box.min(0) + box.max(0)) / 2 for box in boxes], [np.ptp(box, 0) / 2 for box in boxes]


def differing(before, after):
    """Return the first and the last row and column in which two pictures differ."""
    where = np.nonzero((before.astype(int) != after).any(-1))
    return np.array([[axis.min(), axis.max() + 1] for axis in where])


@on_screen
def test_the_inspected_window_is_marked_on_the_canvas(viewer, run, inspector, settle, qtbot):
    viewer.open_sample(PLUGIN, "slices")
    layer = run(radius=6)
    qtbot.wait(300)
    before = viewer.window.screenshot(canvas_only=True, flash=False)
    place = middle_of(viewer)
    inspected = world_at(viewer, place)
    assert not inspector.pixel.mark.overlay.visible
    qtbot.mouseClick(canvas_of(viewer).native, Qt.MouseButton.LeftButton, pos=place)
    settle()
    index = np.rint(layer.world_to_data(inspected)).astype(int)
    centres, reaches = marked(inspector)
    np.testing.assert_allclose(centres, [layer.data_to_world(index)] * 2)
    np.testing.assert_allclose(reaches, [layer.scale * 0.5, layer.scale * 6.5])
    after = viewer.window.screenshot(canvas_only=True, flash=False)
    camera, size = viewer.scene.camera, np.array(after.shape[:2])
    edges = np.stack([centres[1] - reaches[1], centres[1] + reaches[1]])
    expected = (edges - camera.center[-2:]) * camera.zoom + size / 2
    np.testing.assert_allclose(differing(before, after).T, expected, atol=3)


@on_screen
def test_the_mark_follows_sliders_3d_and_a_map_that_is_moved(
    viewer, run, inspector, settle, qtbot, rng
):
    frames = rng.normal(size=(4, 9, 30, 40)).astype("f4")
    where = {"scale": (1, 3, 2, 2), "translate": (0, 5, 0, 7), "axis_labels": ("t", "z", "y", "x")}
    for name in "ab":
        viewer.add_image(frames, name=name, units=("s", "mm", "mm", "mm"), **where)
    layer = run(window=3, exact_radius="0, 1, 2, 3", radius=1)
    viewer.dims.set_current_step(0, 2)
    viewer.dims.set_current_step(1, 8)
    look_at(viewer, inspector, layer.data_to_world((2, 8, 11, 20)))
    settle()
    assert inspector.pixel.shown.index == (2, 8, 11, 20)
    centres, reaches = marked(inspector)
    np.testing.assert_allclose(centres, [(22, 47)] * 2)
    np.testing.assert_allclose(reaches, [(1, 1), (5, 7)])
    viewer.dims.set_current_step(1, 4)
    settle()
    assert inspector.pixel.shown.index == (2, 4, 11, 20)
    viewer.dims.ndisplay = 3
    centres, reaches = marked(inspector)
    np.testing.assert_allclose(centres, [(17, 22, 47)] * 2)
    np.testing.assert_allclose(reaches, [(1.5, 1, 1), (4.5, 5, 7)])
    viewer.dims.set_current_step(0, 1)
    settle()
    assert inspector.pixel.shown.index == (1, 4, 11, 20)
    layer.translate = (0, 0, 0, 0)
    np.testing.assert_allclose(marked(inspector)[0], [(12, 22, 40)] * 2)
    viewer.dims.ndisplay = 2
    viewer.dims.order = (2, 3, 0, 1)
    np.testing.assert_allclose(marked(inspector)[0], [(1, 12)] * 2)
    np.testing.assert_allclose(marked(inspector)[1], [(0.5, 1.5), (0.5, 4.5)])
    viewer.dims.order = (0, 1, 2, 3)
    layer.translate = where["translate"]
    viewer.dims.set_current_step(1, 0)
    look_at(viewer, inspector, layer.data_to_world((1, 0, 0, 39)))
    settle()
    assert inspector.pixel.shown.index == (1, 0, 0, 39)
    centres, reaches = marked(inspector)  # the window is clipped at the image's border
    np.testing.assert_allclose(centres, [(0, 85), (2, 82)])
    np.testing.assert_allclose(reaches, [(1, 1), (3, 4)])


@on_screen
def test_pixels_are_found_among_layers_of_other_units(viewer, run, inspector, settle, rng):
    data = rng.normal(size=(40, 50)).astype("f4")
    for name in "ab":
        viewer.add_image(data, name=name, scale=(0.5, 0.5), units=("mm", "mm"))
    layer = run(fixed=viewer.layers["a"], moving=viewer.layers["b"])
    viewer.add_image(data, name="small", units=("um", "um"))
    look_at(viewer, inspector, (10_000.0, 15_000.0))
    settle()
    assert inspector["map"].value is layer
    assert inspector.pixel.shown.index == (20, 30)
    centres, reaches = marked(inspector)
    np.testing.assert_allclose(centres, [(10_000, 15_000)] * 2)
    np.testing.assert_allclose(reaches, [(250, 250), (2250, 2250)])
    viewer.layers.remove("small")
    np.testing.assert_allclose(marked(inspector)[0], [(10, 15)] * 2)


@on_screen
def test_the_mark_is_there_only_while_the_numbers_are(
    viewer, run, inspector, settle, qtbot, said, rng
):
    for name in "ab":
        viewer.add_image(rng.normal(size=(40, 40)), name=name)
    layer = run()
    overlays = set(viewer.scene.overlays)
    mark = inspector.pixel.mark.overlay
    dock = dock_of(inspector.native)
    qtbot.wait(100)

    def inspect():
        inspector.pixel.point_at(layer, (20, 20))
        settle()
        return mark.visible

    assert inspect()
    inspector.tabs.setCurrentWidget(inspector.histogram)
    assert not mark.visible
    inspector.tabs.setCurrentWidget(inspector.pixel)
    assert mark.visible
    dock.hide()
    assert not mark.visible
    dock.show()
    dock.raise_()
    qtbot.waitUntil(lambda: mark.visible)
    inspector.pixel.point_at(layer, (99, 20))
    assert not mark.visible
    assert inspect()
    other = dock_of(viewer.window._qt_window.findChild(QWidget, MAIN))
    viewer.window._qt_window.tabifyDockWidget(dock, other)
    other.raise_()
    qtbot.waitUntil(lambda: not mark.visible)
    dock.raise_()
    qtbot.waitUntil(lambda: mark.visible)
    inspector.pixel.point_at(layer, (21, 20))  # is answered when the map is gone
    viewer.layers.remove(layer)
    settle()
    assert not mark.visible
    assert "run Local NCC first" in inspector.pixel.text.text()
    layer = run()
    assert inspect()
    inspector.native.setParent(None)
    inspector.native.deleteLater()
    qtbot.waitUntil(lambda: set(viewer.scene.overlays) == overlays)
    layer.translate = (1, 1)
    viewer.dims.ndisplay = 3
    assert said() == []


@on_screen
def test_a_mark_changes_nothing_else(viewer, run, inspector, settle, qtbot, rng):
    for name in "ab":
        viewer.add_image(rng.normal(size=(60, 60)), name=name)
    layer = run()
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC")
    dock_of(inspector.native).raise_()
    widget["preview"].value = True
    qtbot.waitUntil(lambda: "every" in widget["preview_note"].value, timeout=30_000)
    settle()
    qtbot.wait(300)
    layers, preview = list(viewer.layers), viewer.layers[-1].data
    offered = {name: widget[name].choices for name in ("fixed", "moving", "mask", "other")}
    selection = set(viewer.layers.selection)
    inspector.pixel.point_at(layer, (20, 20))
    settle()
    assert inspector.pixel.mark.overlay.visible
    assert not widget._preview._rest.isActive()
    qtbot.wait(300)
    assert viewer.layers[-1].data is preview
    assert list(viewer.layers) == layers
    assert set(viewer.layers.selection) == selection
    assert {name: widget[name].choices for name in offered} == offered


def test_strain_is_made_when_it_is_asked_for(viewer, run, inspector, settle, qtbot):
    viewer.open_sample(PLUGIN, "slices")
    layer = run(registration="translation", shift=True)
    settle()
    offered = {kind: text for text, kind in inspector._bands(None)}
    assert offered["rotation_yx"] == "rotation y to x (°)"
    inspector["band"].value = "stretch_x"
    qtbot.waitUntil(lambda: "stretch x (%)" in viewer.layers, timeout=30_000)
    made = viewer.layers["stretch x (%)"]
    assert made.data.shape == layer.data.shape
    low, high = made.contrast_limits
    assert low == -high
    assert np.isfinite(made.data).mean() > 0.5
    assert np.isnan(made.data[np.isnan(layer.data)]).mean() > 0.5
    assert "stretch_x" not in dict(inspector._bands(None)).values()
    assert made.colorbar.visible
    inspector["band"].value = "rotation_yx"
    qtbot.waitUntil(lambda: "rotation y to x (°)" in viewer.layers, timeout=30_000)
    turned = viewer.layers["rotation y to x (°)"]
    qtbot.waitUntil(lambda: turned.visible)  # it is drawn at the next turn
    with_scale = [each for each in viewer.layers if each.visible and each.colorbar.visible]
    assert with_scale == [turned]  # scales have no names


def test_strain_goes_with_the_map_that_it_was_made_of(viewer, run, inspector, settle, qtbot):
    viewer.open_sample(PLUGIN, "slices")
    run(registration="translation", shift=True, keep=False)
    settle()
    inspector["band"].value = "shear_yx"
    qtbot.waitUntil(lambda: "shear yx (%)" in viewer.layers, timeout=30_000)
    viewer.layers["moving"].data = viewer.layers["moving"].data[::-1].copy()
    main = viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC")[1]
    main["run"].native.click()
    qtbot.waitUntil(lambda: main["run"].enabled, timeout=60_000)
    assert "shear yx (%)" not in viewer.layers


def test_the_scatter_plot_is_counted_when_it_is_opened(viewer, run, inspector, settle, qtbot):
    viewer.open_sample(PLUGIN, "slices")
    layer = run(registration="translation")
    settle()
    assert inspector.scatter.found is None
    viewer.window._qt_window.show()
    inspector.tabs.setCurrentWidget(inspector.scatter)
    qtbot.waitUntil(lambda: inspector.scatter.found is not None, timeout=30_000)
    histogram, threshold = inspector.scatter.found
    assert histogram.moments.count == pytest.approx(np.isfinite(layer.data).sum(), rel=0.03)
    said = inspector.scatter.text.text()
    assert f"Pearson's r {histogram.pearson:.3f}" in said
    assert f"fixed > {threshold.fixed:.4g}" in said
    assert len(inspector.scatter.plot.figure.axes) == 2
    inspector.tabs.setCurrentWidget(inspector.pixel)
    viewer.layers.remove(layer)
    assert "no map yet" in inspector.scatter.text.text()


BY_EYE = " by eye"  # ends the names of layers that are made to look at


def test_everything_has_a_name_and_says_what_it_does(inspector):
    kinds = (QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit, QPlainTextEdit, QSlider)
    parts = [
        each
        for kind in (*kinds, QTableWidget)
        for each in inspector.native.findChildren(kind)
        if not isinstance(each.parent(), QAbstractSpinBox | QTabBar | QTableWidget)
        and "Scroll" not in type(each).__name__
        and not each.objectName().startswith("qt_")
    ]
    assert len(parts) > 15
    for part in parts:
        text = part.text() if isinstance(part, QAbstractButton) else ""
        assert (part.accessibleName() or text).strip(), part
        assert part.toolTip().strip(), part.accessibleName() or text


def looks(viewer):
    """Return how the layers look that are not made to look at."""
    return {
        layer.name: (layer.visible, layer.opacity, str(layer.blending), str(layer.colormap))
        for layer in viewer.layers
        if not layer.name.endswith(BY_EYE)
    }


def shown(viewer):
    return [layer.name for layer in viewer.layers if layer.visible]


@pytest.fixture
def blinked(viewer, qtbot, inspector):
    """Blink, and return the layers that take turns: fixed, and moving."""

    def blinked():
        seen = {}

        def both_were_seen():
            seen.update((layer.name, layer) for layer in viewer.layers if layer.visible)
            return len(seen) == 2

        inspector.eye.rate.setValue(3)
        inspector.eye.blink.click()
        qtbot.waitUntil(lambda: len(shown(viewer)) == 1, timeout=30_000)
        qtbot.waitUntil(both_were_seen, timeout=10_000)
        return tuple(seen[name] for name in sorted(seen))  # fixed comes first

    return blinked


def test_blinking_leaves_all_as_it_was(viewer, run, inspector, settle, blinked):
    viewer.open_sample(PLUGIN, "slices")
    run(registration="translation", add_registered=True)
    settle()
    before, eye = looks(viewer), inspector.eye
    layers = blinked()
    assert [layer.name for layer in layers] == ["fixed", "moving by eye"]
    registered = viewer.layers["moving on fixed"]
    np.testing.assert_allclose(layers[1].data, registered.data, rtol=1e-6)
    eye.blink.click()
    assert not eye.blink.isChecked()
    assert looks(viewer) == before
    assert not layers[1].visible


def test_by_eye_the_channel_is_shown_that_was_compared(
    viewer, run, inspector, settle, blinked, qtbot, rng
):
    scene = gaussian_filter(rng.normal(size=(3, 60, 70)), (0, 2, 2)).astype(np.float32)
    viewer.add_image(scene, name="fixed", axis_labels=("c", "y", "x"), scale=(1, 2, 2))
    viewer.add_image(scene[::-1], name="moving", axis_labels=("t", "y", "x"), scale=(1, 2, 2))
    run(fixed_pick="c=1", moving_pick="t=0")
    settle()
    viewer.dims.set_current_step(0, 2)
    fixed, moving = blinked()
    assert (fixed.name, moving.name) == ("fixed by eye", "moving by eye")
    np.testing.assert_array_equal(fixed.data, scene[1])
    np.testing.assert_array_equal(moving.data, scene[2])
    for layer in (fixed, moving):
        np.testing.assert_allclose(layer.data_to_world((3, 4)), (6, 8))
    inspector.eye.swipe.click()
    qtbot.waitUntil(lambda: shown(viewer) == ["fixed by eye", "moving by eye"], timeout=30_000)


def test_by_eye_a_colour_image_is_the_luminance_that_was_compared(
    viewer, run, inspector, settle, blinked, rng
):
    colors = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)
    viewer.add_image(colors, name="fixed", rgb=True)
    viewer.add_image(rng.random((40, 50)), name="moving")
    run()
    settle()
    fixed, _ = blinked()
    np.testing.assert_allclose(fixed.data, colors @ [0.2125, 0.7154, 0.0721], rtol=1e-5)


def test_by_eye_what_was_compared_lies_where_it_lay(viewer, run, inspector, settle, blinked):
    viewer.open_sample(PLUGIN, "slices")
    run(registration="none")
    settle()
    before = viewer.layers["fixed"].data_to_world((3, 4))
    viewer.layers["fixed"].translate = (30, 40)
    fixed, moving = blinked()
    assert fixed.name == "fixed by eye"
    for layer in (fixed, moving):
        np.testing.assert_allclose(layer.data_to_world((3, 4)), before)


def test_by_eye_nothing_outdated_is_shown(viewer, run, inspector, settle, blinked, qtbot):
    viewer.open_sample(PLUGIN, "slices")
    run(registration="none", add_registered=True)
    settle()
    moving, before = viewer.layers["moving"], looks(viewer)
    moving.data = moving.data[::-1].copy()  # the run's own registered layer is old now
    _, seen = blinked()
    np.testing.assert_array_equal(seen.data, moving.data)
    moving.data = moving.data[:, ::-1].copy()
    assert not inspector.eye.blink.isChecked()
    assert looks(viewer) == before
    assert blinked()[1] is seen  # the same layer, made anew
    np.testing.assert_array_equal(seen.data, moving.data)


def test_by_eye_nothing_comes_of_a_result_that_another_run_has_replaced(
    viewer, run, inspector, settle, qtbot
):
    viewer.open_sample(PLUGIN, "slices")
    layer = run(registration="none", keep=False)
    settle()
    eye = inspector.eye
    old = result_of(layer)
    making = make_checkerboard(
        old, comparison_of(viewer, layer), 8, ((0, 1), (0, 1)), 1e9, threading.Event()
    )
    products = finish(making)
    widget = viewer.window._qt_window.findChild(QWidget, MAIN)._magic_widget
    widget["run"].native.click()
    qtbot.waitUntil(lambda: widget["run"].enabled, timeout=60_000)
    assert result_of(layer) is not old
    eye._receive((old, products))
    assert "checkerboard" not in viewer.layers


def test_a_swipe_shows_moving_right_of_the_line(viewer, run, inspector, settle, qtbot):
    viewer.open_sample(PLUGIN, "slices")
    run(registration="translation", add_registered=True)
    settle()
    before, eye = looks(viewer), inspector.eye
    eye.swipe.click()
    qtbot.waitUntil(lambda: shown(viewer) == ["fixed", "moving by eye"], timeout=30_000)
    registered, swipe = viewer.layers["moving on fixed"], viewer.layers["moving by eye"]
    for percent in (25, 80):
        eye.line.setValue(percent)
        start = registered.data.shape[-1] - swipe.data.shape[-1]
        assert start == pytest.approx(percent / 100 * registered.data.shape[-1], abs=1)
        np.testing.assert_allclose(swipe.data, registered.data[..., start:], rtol=1e-6)
        np.testing.assert_allclose(
            swipe.data_to_world((3, 4)), registered.data_to_world((3, 4 + start))
        )
    eye.swipe.click()
    assert looks(viewer) == before
    assert not swipe.visible
    assert swipe.thumbnail[:, :8, :3].any()  # of all of it again
    np.testing.assert_allclose(swipe.data, registered.data, rtol=1e-6)
    np.testing.assert_allclose(swipe.data_to_world((3, 4)), registered.data_to_world((3, 4)))
    viewer.layers.move(viewer.layers.index(swipe), 0)
    eye.swipe.click()
    qtbot.waitUntil(lambda: shown(viewer) == ["fixed", "moving by eye"], timeout=30_000)
    viewer.layers.remove(swipe)  # it ends by itself
    assert not eye.swipe.isChecked()
    assert looks(viewer) == before


def test_a_checkerboard_is_made_of_both_images(viewer, run, inspector, settle, qtbot):
    viewer.open_sample(PLUGIN, "slices")
    run(registration="none")
    settle()
    inspector.eye.board.click()
    qtbot.waitUntil(lambda: "checkerboard" in viewer.layers, timeout=30_000)
    fixed, moving = viewer.layers["fixed"], viewer.layers["moving"]
    shown = [
        (each.data - each.contrast_limits[0]) / np.ptp(each.contrast_limits)
        for each in (fixed, moving)
    ]
    board = viewer.layers["checkerboard"]
    np.testing.assert_allclose(board.data[:32, :32], shown[0][:32, :32], atol=1e-6)
    np.testing.assert_allclose(board.data[:32, 32:64], shown[1][:32, 32:64], atol=1e-6)
    inspector.eye.square.setValue(64)
    inspector.eye.board.click()
    qtbot.waitUntil(lambda: not inspector.eye.latest.is_busy, timeout=30_000)
    np.testing.assert_allclose(board.data[:64, :64], shown[0][:64, :64], atol=1e-6)


@on_screen
def test_what_is_looked_at_by_eye_ends_where_the_tab_is_left(viewer, run, inspector, settle, qtbot):
    viewer.open_sample(PLUGIN, "slices")
    run(registration="translation", add_registered=True)
    settle()
    before = looks(viewer)
    for leave in (
        lambda: inspector.tabs.setCurrentWidget(inspector.pixel),
        lambda: viewer.window.remove_dock_widget(inspector.native),
    ):
        inspector.tabs.setCurrentWidget(inspector.eye)
        qtbot.waitUntil(inspector.eye.isVisible, timeout=20_000)
        inspector.eye.blink.click()
        qtbot.waitUntil(lambda: looks(viewer) != before, timeout=20_000)
        leave()
        qtbot.waitUntil(lambda: looks(viewer) == before, timeout=20_000)
        assert not inspector.eye.blink.isChecked()


def test_by_eye_needs_the_layers(viewer, run, inspector, settle):
    viewer.open_sample(PLUGIN, "slices")
    run()
    settle()
    viewer.layers.remove("moving")
    for button in (inspector.eye.blink, inspector.eye.swipe, inspector.eye.board):
        button.click()
        assert (
            "moving, of which this map was made, is not in the viewer" in inspector.eye.text.text()
        )
        assert not button.isChecked()


def test_by_eye_only_what_was_asked_last_comes(viewer, run, inspector, settle, qtbot):
    viewer.open_sample(PLUGIN, "slices")
    run(registration="translation")
    settle()
    eye, before = inspector.eye, looks(viewer)

    def press(*buttons):
        for button in buttons:
            button.click()
        qtbot.waitUntil(lambda: not eye.latest.is_busy, timeout=30_000)
        qtbot.wait(10)

    press(eye.blink, eye.blink)  # again before it was made
    assert looks(viewer) == before
    press(eye.blink, eye.board)
    assert looks(viewer).keys() - before.keys() == {"checkerboard"}
    assert not eye.blink.isChecked()
    viewer.layers.remove("checkerboard")
    press(eye.board, eye.blink)
    assert looks(viewer).keys() == before.keys()
    assert "moving by eye" in viewer.layers
    assert eye.blink.isChecked()
    eye.blink.click()
    assert "jumps" in eye.text.text()


def test_by_eye_a_layer_may_go_while_its_pair_is_made(viewer, run, inspector, settle, qtbot):
    viewer.open_sample(PLUGIN, "slices")
    run(registration="translation")
    settle()
    inspector.eye.swipe.click()
    viewer.layers.remove("fixed")
    qtbot.waitUntil(lambda: not inspector.eye.latest.is_busy, timeout=30_000)
    qtbot.wait(10)
    assert "is not in the viewer" in inspector.eye.text.text()
    assert not inspector.eye.swipe.isChecked()
    assert "moving by eye" not in viewer.layers


def test_a_later_run_shows_what_it_registers_beside_what_was_looked_at(
    viewer, run, inspector, settle, qtbot
):
    viewer.open_sample(PLUGIN, "slices")
    run(registration="translation")
    settle()
    eye = inspector.eye
    eye.blink.click()
    qtbot.waitUntil(lambda: "moving by eye" in viewer.layers, timeout=30_000)
    eye.blink.click()
    looked_at = viewer.layers["moving by eye"]
    assert not looked_at.visible
    run(registration="translation", add_registered=True)
    (registered,) = (
        each
        for each in viewer.layers
        if each.metadata.get(METADATA, {}).get("layers", {}).get("kind") == "registered"
    )
    assert registered is not looked_at
    assert registered.visible
