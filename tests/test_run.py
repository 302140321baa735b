"""A run in a real viewer: tiles as they land, cancelled, disturbed, repeated."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import zarr
from napari.layers import Vectors
from qtpy.QtCore import QEvent

from napari_local_ncc import local_ncc
from napari_local_ncc._napari.layers.convert import METADATA
from napari_local_ncc._napari.results import allocate as blank
from napari_local_ncc._napari.results import job, warm_up
from napari_local_ncc._napari.results.job import Landed, Outcome
from napari_local_ncc._napari.results.result_layer import ResultLayer
from napari_local_ncc._napari.results.result_spec import Product
from napari_local_ncc._napari.results.run import Run
from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.progress import Progress, Step

PLUGIN = "napari-local-ncc"


def computing_threads():
    return [t for t in threading.enumerate() if t.name.startswith("local-ncc")]


def slow_pair(viewer, dock, rng):
    """Set up a run of a few seconds, of 100 tiles: there is time to interfere with it."""
    series = rng.random((100, 400, 400), "f4")
    labels = {"axis_labels": ("t", "y", "x")}
    viewer.add_image(series, name="a", **labels)
    viewer.add_image(series + 1, name="b", **labels)
    dock["radius"].value = 60
    dock["weights"].value = "gaussian"


def is_comparing(dock):
    return dock["message"].value.startswith("Comparing: ")


@pytest.fixture
def half_way(viewer, dock, click, qtbot, rng):
    """A run of which some tiles have landed."""
    slow_pair(viewer, dock, rng)
    viewer.dims.set_current_step(0, 70)
    click(dock, "run")
    qtbot.waitUntil(
        lambda: is_comparing(dock) and int(dock["message"].value.split()[1]) > 2, timeout=60_000
    )
    return viewer.layers[-1]


def finished_frames(layer):
    return np.flatnonzero(np.isfinite(layer.data).any((1, 2)))


def test_tiles_land_in_a_layer_that_is_there_at_once(viewer, dock, half_way):
    assert half_way.name == "NCC (partial)"
    assert half_way.blending == viewer.layers["a"].blending
    frames = finished_frames(half_way)
    assert 70 in frames
    assert np.abs(frames - 70).max() < 30  # what is looked at comes first
    assert dock["progress"].native.text().endswith(" left")
    assert not half_way.metadata[METADATA]["complete"]


@pytest.mark.parametrize("on_cancel", ["keep", "remove"])
def test_cancel_leaves_or_removes_what_is_done(
    viewer, dock, click, qtbot, half_way, said, on_cancel
):
    dock["on_cancel"].value = on_cancel
    assert dock["cancel"].enabled
    assert not dock["run"].enabled
    click(dock, "cancel")
    assert dock["run"].enabled  # at once: what the threads still do is not waited for
    assert not dock["cancel"].enabled
    assert "Cancelled" in dock["message"].value
    assert (half_way in viewer.layers) == (on_cancel == "keep")
    qtbot.waitUntil(lambda: not computing_threads(), timeout=30_000)
    qtbot.wait(200)
    assert (half_way in viewer.layers) == (on_cancel == "keep")
    if on_cancel == "keep":
        assert half_way.name.endswith("(partial)")
        assert not half_way.metadata[METADATA]["complete"]
        frame = half_way.data[70]
        a = viewer.layers["a"].data[70]
        expected = local_ncc(a, a + 1, radius=60, weights="gaussian")
        np.testing.assert_allclose(frame, expected, atol=1e-6)
    assert said() == []


@pytest.mark.parametrize("keep", [True, False])
def test_what_is_left_is_said_whatever_the_run_was_at(viewer, dock, click, half_way, keep):
    """Frames that are judged are no tiles of the map, all of which may be there."""
    dock["on_cancel"].value = "keep" if keep else "remove"
    dock._control.run._take(Progress(Step.COMPARE, 100, 100))
    dock._control.run._take(Progress(Step.JUDGE, 0, 1))
    click(dock, "cancel")
    assert (half_way in viewer.layers) == keep
    words = "100 of 100 tiles are finished and kept" if keep else "nothing was added"
    assert dock["message"].value == f"Cancelled; {words}."


def test_a_new_run_after_cancel_completes_the_layer(viewer, dock, click, run, half_way):
    click(dock, "cancel")
    dock["radius"].value = 2
    run(dock)
    assert viewer.layers[2:] == [half_way]
    assert half_way.name == "NCC"
    assert half_way.metadata[METADATA]["complete"]
    assert np.isfinite(half_way.data).all()


def test_a_run_updates_its_layer_in_place(viewer, dock, click, qtbot, run):
    viewer.open_sample(PLUGIN, "slices")
    run(dock)
    layer = viewer.layers[-1]
    layer.contrast_limits, layer.colormap, layer.name = (0, 1), "viridis", "mine"
    before = layer.data
    dock["radius"].value = 9
    run(dock)
    assert viewer.layers[2:] == [layer]
    assert (layer.contrast_limits, layer.colormap.name, layer.name) == ([0, 1], "viridis", "mine")
    assert layer.metadata[METADATA]["parameters"]["radius"] == 9
    assert not np.array_equal(before, layer.data, equal_nan=True)
    dock["keep"].value = True
    run(dock)
    assert len(viewer.layers) == 4


def test_a_result_of_another_shape_is_a_new_layer(viewer, dock, run):
    viewer.open_sample(PLUGIN, "slices")
    run(dock)
    fixed = viewer.layers["fixed"]
    fixed.data = fixed.data[:200]
    run(dock)
    assert [layer.data.shape for layer in viewer.layers[2:]] == [(256, 214), (200, 214)]


def test_removing_on_cancel_puts_an_earlier_result_back(viewer, dock, click, qtbot, run, rng):
    slow_pair(viewer, dock, rng)
    dock["radius"].value = 1
    run(dock)
    layer = viewer.layers[-1]
    data, metadata = layer.data, deepcopy(layer.metadata)
    assert metadata[METADATA]["complete"]
    _, inspector = viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC inspector")
    moved = tuple(layer.translate)
    viewer.layers["a"].translate = viewer.layers["b"].translate = (0, 3, 4)
    dock["radius"].value = 80
    dock["on_cancel"].value = "remove"
    click(dock, "run")
    qtbot.waitUntil(lambda: is_comparing(dock), timeout=30_000)
    click(dock, "cancel")
    assert layer.data is data
    assert layer.metadata == metadata
    assert layer.name == "NCC"
    assert tuple(layer.translate) == moved
    assert dock["run"].enabled
    assert inspector["map"].value is layer
    qtbot.waitUntil(lambda: inspector.histogram.tally is not None, timeout=30_000)


def test_a_map_that_lost_its_record_is_no_map_any_more(viewer, dock, run):
    viewer.open_sample(PLUGIN, "slices")
    run(dock)
    layer = viewer.layers[-1]
    _, inspector = viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC inspector")
    layer.metadata = {}
    assert inspector.histogram.text.text() == "There is no map yet: run Local NCC first."
    inspector.recipe.load.click()
    inspector.recipe.copy_python.click()
    assert inspector.recipe.recipe.toPlainText() == ""


@pytest.mark.parametrize("press", ["end", "cancel"])
def test_an_error_in_a_layer_never_locks_the_widget(dock, half_way, monkeypatch, press):
    def broken(*_):
        raise RuntimeError("napari stumbles")

    monkeypatch.setattr(ResultLayer, "complete", broken)
    monkeypatch.setattr(ResultLayer, "leave", broken)
    control = dock._control
    end = {"end": lambda: control.run._finish(Outcome(None)), "cancel": control.cancel}[press]
    with pytest.raises(RuntimeError, match="napari stumbles"):
        end()
    assert dock["run"].enabled
    assert not dock["cancel"].enabled


def test_a_second_run_is_refused(viewer, dock, half_way):
    dock._begin(compare=True)  # the button is disabled; a script can still ask
    assert "One run at a time" in dock["message"].value
    assert len(viewer.layers) == 3
    dock["cancel"].native.click()


@pytest.mark.parametrize("what", ["inputs", "result", "all"])
def test_layers_removed_while_running_harm_nothing(viewer, dock, qtbot, half_way, said, what):
    gone = {"inputs": viewer.layers[:2], "result": [half_way], "all": list(viewer.layers)}[what]
    moving = viewer.layers["b"]
    for layer in gone:
        viewer.layers.remove(layer)
        if layer.name == "a":
            assert (dock["fixed"].value, dock["moving"].value) == (None, moving)
    if what == "inputs":
        assert not dock["run"].enabled
        dock["cancel"].native.click()
        assert viewer.layers == [half_way]
    assert dock["run"].enabled
    if what != "inputs":
        assert "removed" in dock["message"].value
    qtbot.waitUntil(lambda: not computing_threads(), timeout=30_000)
    assert said() == []


def test_switching_layers_while_running_harms_nothing(viewer, dock, click, half_way, rng):
    other = viewer.add_image(rng.normal(size=(9, 9)), name="other")
    dock["fixed"].value = other
    dock["moving"].value = viewer.layers["a"]
    click(dock, "cancel")
    assert half_way in viewer.layers
    assert dock["fixed"].value is other


@pytest.mark.parametrize("keep", ["keep", "remove"])
def test_closing_the_dock_ends_its_run_and_says_what_is_left(
    viewer, dock, half_way, qtbot, said, keep
):
    dock["on_cancel"].value = keep
    viewer.window.remove_dock_widget(dock.native)
    # at once, though napari keeps the widget for as long as anything else does, as this test
    ((severity, text),) = said()
    assert severity == "warning"
    assert dock["run"].enabled
    qtbot.waitUntil(lambda: not computing_threads(), timeout=60_000)
    if keep == "keep":
        assert half_way.name == "NCC (partial)"
        assert "NCC (partial) holds" in text
        assert "of 100 tiles" in text
    else:
        assert half_way not in viewer.layers
        assert "nothing was added" in text


def test_a_dock_that_is_closed_and_docked_again_runs(viewer, dock, half_way, run):
    viewer.window.remove_dock_widget(dock.native)
    viewer.window.add_dock_widget(dock.native)
    run(dock)
    assert half_way.name == "NCC"
    assert np.isfinite(half_way.data).any()


def test_what_a_widget_leaves_behind_is_said_once_it_is_gone(viewer, dock, half_way, said):
    dock._quit()  # as Qt calls it when the dock is closed for good
    ((severity, text),) = said()
    assert severity == "warning"
    assert "NCC (partial) holds" in text
    assert "Run again" in text


def test_a_run_is_left_quietly_when_qt_went_first(viewer, qapp):
    run = Run(viewer, None, keep_earlier=True)
    viewer.layers.events.removed.connect(run._layer_removed)
    run._timer.deleteLater()
    qapp.sendPostedEvents(run._timer, QEvent.Type.DeferredDelete)
    run.abandon()
    assert run._cancelled.is_set()


def test_compiling_is_no_part_of_the_calibration(dock):
    for done, text in ((0, "Preparing the calibration"), (1, "Calibrating: 1 of 24")):
        dock._report.show_progress(Progress(Step.CALIBRATE, done, 24), None)
        assert dock["message"].value == text


def test_what_a_first_run_waits_for_is_said(dock, monkeypatch):
    for is_done, text in (
        (False, "Registering (compiled once after an installation)"),
        (True, "Registering"),
    ):
        monkeypatch.setattr(warm_up, "_is_done", is_done)
        dock._report.show_progress(Progress(Step.REGISTER, 0, 1), None)
        assert dock["message"].value == text


class Watched:
    """An array that knows the largest part of it that every thread has taken at once."""

    def __init__(self, data):
        self._data = data
        self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim
        self.taken = {}

    def __getitem__(self, key):
        return self._note(self._data[key])

    def __setitem__(self, key, values):
        self._data[key] = self._note(values)

    def __array__(self, dtype=None, copy=None):
        return self._note(np.array(self._data, dtype, copy=copy))

    def _note(self, part):
        thread = threading.get_ident()
        self.taken[thread] = max(self.taken.get(thread, 0), np.size(part))
        return part


def test_the_gui_thread_stays_free_while_it_computes(viewer, dock, click, qtbot, rng, monkeypatch):
    from qtpy.QtCore import QTimer

    results = []

    def watched_levels(*arguments, **options):
        results.extend(map(Watched, blank.blank_levels(*arguments, **options)))
        return results

    monkeypatch.setattr(job, "blank_levels", watched_levels)
    slow_pair(viewer, dock, rng)
    pair = [Watched(layer.data) for layer in viewer.layers]
    for layer, data in zip(viewer.layers, pair, strict=True):
        layer.data = data
    ticks = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(is_comparing(dock)))
    timer.start(10)
    click(dock, "run")
    qtbot.waitUntil(lambda: dock["run"].enabled, timeout=60_000)
    timer.stop()
    assert sum(ticks) > 20  # for seconds of 100 tiles
    dock["preview"].value = True
    qtbot.waitUntil(lambda: "every" in dock["preview_note"].value, timeout=60_000)
    viewer.dims.set_current_step(0, 9)
    frame = 400 * 400
    for array in (*pair, *results):
        assert array.taken.pop(threading.get_ident(), 0) <= frame  # what is displayed
        assert max(array.taken.values()) >= frame // 4  # the others did the work


def test_a_large_plane_is_shown_as_a_pyramid(viewer, dock, run, rng, monkeypatch):
    monkeypatch.setattr(blank, "LARGE_PLANE", 600**2)
    data = rng.normal(size=(2, 700, 1100)).astype("f4")
    viewer.add_image(data[0], name="a")
    viewer.add_image(data[1], name="b")
    run(dock)
    ncc = viewer.layers[-1]
    assert ncc.multiscale
    assert [level.shape for level in ncc.data] == [(700, 1100), (350, 550), (175, 275)]
    np.testing.assert_allclose(ncc.data[0], local_ncc(data[0], data[1]), atol=1e-6)
    blocks = ncc.data[0].reshape(350, 2, 550, 2)
    np.testing.assert_allclose(ncc.data[1], np.nanmean(blocks, (1, 3)), atol=1e-6)
    run(dock)
    assert len(viewer.layers) == 3


def test_a_result_larger_than_the_budget_goes_to_files(viewer, dock, run, rng):
    from napari.settings import get_plugin_settings

    get_plugin_settings(PLUGIN).widget.memory = 1e-5
    data = rng.normal(size=(2, 3, 60, 70)).astype("f4")
    viewer.add_image(data[0], name="a", axis_labels=("t", "y", "x"))
    viewer.add_image(data[1], name="b", axis_labels=("t", "y", "x"))
    run(dock)
    ncc = viewer.layers[-1]
    assert isinstance(ncc.data, zarr.Array)
    np.testing.assert_allclose(ncc.data[:], local_ncc(*data, radius=(0, 4, 4)), atol=1e-6)
    folder = Path(ncc.data.store.root)
    assert folder.exists()
    viewer.dims.set_current_step(0, 2)


def test_files_of_a_result_go_when_it_goes():
    levels = blank.blank_levels(Grid((5, 6)), "f4", multiscale=False, budget=0)
    folder = Path(levels[0].store.root).parent
    assert folder.exists()
    assert np.isnan(levels[0][:]).all()
    del levels
    deadline = time.monotonic() + 5
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not folder.exists()


def test_what_lands_while_a_layer_is_added_waits_for_its_turn(viewer):
    """Adding a layer lets events in, so that messages overtake the one that added it."""
    grid = Grid((4, 5))
    product = Product(
        "ncc", "NCC", [np.zeros((4, 5), "f4")], grid, {}, {}, {"layers": {"kind": "ncc"}}, None
    )
    landed = Landed((product,), (slice(0, 4), slice(0, 5)), Progress(Step.COMPARE, 1, 1))
    run, endings = Run(viewer, None, keep_earlier=True), []
    run.ended.connect(endings.append)
    viewer.layers.events.removed.connect(run._layer_removed)

    def meanwhile(_):
        run._receive(landed)
        run._finish(Outcome(None))

    viewer.layers.events.inserted.connect(meanwhile)
    run._receive(product)
    (layer,) = viewer.layers
    assert layer.name == "NCC"
    assert layer.metadata[METADATA]["complete"]
    assert len(endings) == 1


QUIT_WHILE_RUNNING = """
import napari, numpy as np
from qtpy.QtCore import QTimer
viewer = napari.Viewer()
series = np.random.default_rng(0).normal(size=(60, 500, 500)).astype("f4")
for name in "ab":
    viewer.add_image(series, name=name, axis_labels=("t", "y", "x"))
_, widget = viewer.window.add_plugin_dock_widget("napari-local-ncc", "Local NCC")
widget["radius"].value = 60
widget["weights"].value = "gaussian"
widget["registration"].value = "none"
for name in ("confidence", "shift", "classes"):
    widget[name].value = False
widget["run"].native.click()
timer = QTimer()
def close_when_running():
    if widget["message"].value.startswith("Comparing: "):
        timer.stop()
        viewer.close()
timer.timeout.connect(close_when_running)
timer.start(20)
napari.run()
print("left the event loop")
"""


QUIT_DURING_A_FLOW = """
import threading, time
import napari, numpy as np
from qtpy.QtCore import QTimer
from napari_local_ncc.registration.flow import estimate as flow
begun = []
def slow(a, b):  # as the real one, it cannot be stopped
    begun.append(time.monotonic())
    time.sleep(3)
    return np.zeros((2, *a.shape), "f4")
flow.optical_flow_ilk = lambda a, b, **_: slow(a, b)
viewer = napari.Viewer()
images = np.random.default_rng(0).normal(size=(2, 90, 90))
for name, image in zip("ab", images):
    viewer.add_image(image, name=name)
_, widget = viewer.window.add_plugin_dock_widget("napari-local-ncc", "Local NCC")
widget["registration"].value = "flow"
widget["run"].native.click()
timer = QTimer()
def close_when_running():
    if begun:
        timer.stop()
        widget["cancel"].native.click()
        viewer.close()
timer.timeout.connect(close_when_running)
timer.start(20)
napari.run()
names = [thread.name.rstrip("_0123456789") for thread in threading.enumerate()]
print("left the event loop,", "local-ncc-register" in names)
"""


def test_quitting_after_a_flow_is_cancelled_closes_the_window_at_once(qtbot):
    """While the flow goes on; the process ends when that is through."""
    found = subprocess.run(
        [sys.executable, "-c", QUIT_DURING_A_FLOW],
        capture_output=True,
        encoding="utf-8",
        timeout=90,
    )
    assert "left the event loop, True" in found.stdout
    assert "Error" not in found.stderr + found.stdout
    assert found.returncode == 0


def test_quitting_while_running_ends_the_process(qtbot):
    """Without an error, and without waiting for the rest of the map."""
    found = subprocess.run(
        [sys.executable, "-c", QUIT_WHILE_RUNNING],
        capture_output=True,
        encoding="utf-8",
        timeout=90,
    )
    assert "left the event loop" in found.stdout
    assert "Error" not in found.stderr + found.stdout
    assert found.returncode == 0


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_layer_that_cannot_be_added_ends_the_run(viewer, dock, run, said, qtbot, fails_at):
    viewer.open_sample(PLUGIN, "slices")
    dock["add_registered"].value = True
    dock["registration"].value = "translation"
    before, count = list(viewer.layers), []

    def broken(event):
        count.append(event.value)
        if len(count) == fails_at:
            raise RuntimeError("another plugin stumbles")

    viewer.layers.events.inserted.connect(broken)
    run(dock)
    assert list(viewer.layers) == before
    ((severity, text),) = said()
    assert severity == "error"
    assert text.endswith("(RuntimeError: another plugin stumbles)")
    assert dock["message"].value == text
    qtbot.waitUntil(lambda: not computing_threads(), timeout=30_000)
    assert len(count) == fails_at


def test_a_layer_that_cannot_be_updated_is_as_before(viewer, dock, run, said, monkeypatch):
    viewer.open_sample(PLUGIN, "slices")
    run(dock)
    layer = viewer.layers[-1]
    data, metadata = layer.data, deepcopy(layer.metadata)

    def broken(*_):
        raise RuntimeError("napari stumbles")

    monkeypatch.setattr("napari_local_ncc._napari.results.result_layer.set_changed", broken)
    dock["radius"].value = 9
    run(dock)
    assert viewer.layers[2:] == [layer]
    assert layer.data is data
    assert layer.metadata == metadata
    assert layer.name == "NCC"
    ((_, text),) = said()
    assert "napari stumbles" in text


def test_arrows_that_cannot_be_added_leave_nothing(viewer, dock, click, qtbot):
    viewer.open_sample(PLUGIN, "slices")
    dock["registration"].value = "translation"
    dock["shift"].value = True

    def broken(event):
        assert not isinstance(event.value, Vectors)

    viewer.layers.events.inserted.connect(broken)
    with qtbot.captureExceptions() as raised:
        click(dock, "run")
        qtbot.waitUntil(lambda: dock["run"].enabled, timeout=60_000)
        click(dock, "view_shift")
        qtbot.waitUntil(lambda: bool(raised))
    ((_, error, _),) = raised
    assert "could not show the layer shift arrows" in str(error)
    assert not any(isinstance(layer, Vectors) for layer in viewer.layers)


def test_a_run_lives_until_its_worker_has_ended(viewer, qtbot):
    """What the worker sends must find it: PySide6 would call a method of nothing."""
    goes_on = threading.Event()

    def steps(cancelled):
        goes_on.wait(30)
        yield Progress(Step.START, 0, 1)

    run = Run(viewer, steps, keep_earlier=False)
    run.start()
    run.cancel(keep=False)
    there = weakref.ref(run)
    del run
    gc.collect()
    assert there() is not None
    goes_on.set()

    def has_gone():
        gc.collect()
        return there() is None

    qtbot.waitUntil(has_gone, timeout=20_000)
