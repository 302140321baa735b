"""What a first run needs is there before it: loaded, compiled, and searched for garbage."""

import os
import subprocess
import sys
import threading

import pytest

from napari_local_ncc._napari.compare import widget
from napari_local_ncc._napari.results import warm_up as module
from napari_local_ncc._napari.results.warm_up import warm_up
from napari_local_ncc.progress import finish

FIRST_RUN = """
import gc, sys, threading
import numpy as np
from napari_local_ncc import Comparison, NCCParameters, run_comparison
from napari_local_ncc._napari.results.warm_up import search_memory, warm_up
from napari_local_ncc.parameters import BANDS
from napari_local_ncc.progress import finish

assert finish(warm_up(threading.Event()))
search_memory()
modules, objects = set(sys.modules), len(gc.get_objects())
scene = (np.random.default_rng(0).random((300, 320)) * 1000).astype(np.uint16)
pair = Comparison(scene[:, 5:], scene[:, :-5], parameters=NCCParameters(bands=BANDS))
assert finish(run_comparison(pair, model="translation")).registration.reports[0].applied
print(*sorted(set(sys.modules) - modules))
print(len(gc.get_objects()) / objects - 1)
"""

QUIT = """
import napari
from qtpy.QtCore import QTimer
viewer = napari.Viewer()
_, widget = viewer.window.add_plugin_dock_widget("napari-local-ncc", "Local NCC")
timer = QTimer()
def close_when_busy():
    if widget._warm_up.is_busy:
        timer.stop()
        QTimer.singleShot({after}, viewer.close)
timer.timeout.connect(close_when_busy)
timer.start(0)
napari.run()
print("left the event loop")
"""


@pytest.mark.parametrize("after", [0, 300, 1500])
def test_quitting_meanwhile_ends_the_process_without_an_error(qtbot, after):
    done = subprocess.run(
        [sys.executable, "-c", QUIT.format(after=after)],
        capture_output=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip
    assert "left the event loop" in done.stdout
    assert "Error" not in done.stderr + done.stdout
    assert done.returncode == 0


# A script, or a notebook, without an event loop: nobody tells the workers that all is over.
END = """
import threading, time
import napari
from napari_local_ncc._napari.worker import start_worker
viewer = napari.Viewer(show=False)
begun = threading.Event()
def steps(cancelled):
    begun.set()
    yield
    threading.main_thread().join()  # until Python ends
    time.sleep(0.5)
start_worker(steps, threading.Event(), lambda message: None, lambda result: None)
assert begun.wait(60)
viewer.close()
"""


def test_a_script_that_ends_meanwhile_is_no_crash(qtbot):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", END],
        capture_output=True, encoding="utf-8", timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr


def test_a_first_run_loads_nothing_and_is_no_reason_to_search_the_memory(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FIRST_RUN],
        capture_output=True, encoding="utf-8", check=False,
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},  # nothing is compiled yet
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded, growth = done.stdout.splitlines()
    assert not loaded
    assert float(growth) < 0.05  # Python searches all of it where a quarter has come


def test_it_is_done_once(monkeypatch):
    monkeypatch.setattr(module, "_is_done", False)
    assert len(list(warm_up(threading.Event()))) > 3
    assert list(warm_up(threading.Event())) == []
    assert not finish(warm_up(threading.Event()))


def test_what_was_cancelled_is_done_the_next_time(monkeypatch):
    monkeypatch.setattr(module, "_is_done", False)
    steps = warm_up(threading.Event())
    next(steps)
    steps.close()
    assert len(list(warm_up(threading.Event()))) > 3


@pytest.mark.parametrize("closes", [False, True])
def test_the_dock_makes_ready_when_it_opens(viewer, qtbot, monkeypatch, closes):
    begun, goes_on, searched = threading.Event(), threading.Event(), []

    def steps(cancelled):
        begun.set()
        while not goes_on.wait(0.01) and not cancelled.is_set():
            yield
        return True

    monkeypatch.setattr(widget, "warm_up", steps)
    monkeypatch.setattr(
        widget, "search_memory", lambda: searched.append(threading.current_thread())
    )
    _, dock = viewer.window.add_plugin_dock_widget("napari-local-ncc", "Local NCC")
    qtbot.waitUntil(begun.is_set, timeout=20_000)
    assert dock._warm_up.is_busy
    if closes:
        dock._quit()  # as Qt calls it when the dock is closed for good
    else:
        goes_on.set()
    qtbot.waitUntil(lambda: not dock._warm_up.is_busy, timeout=20_000)
    assert searched == ([] if closes else [threading.main_thread()])


def test_a_defect_in_making_ready_is_raised(viewer, qtbot, monkeypatch):
    def steps(cancelled):
        yield
        raise RuntimeError("a defect")

    monkeypatch.setattr(widget, "warm_up", steps)
    with qtbot.captureExceptions() as raised:
        _, dock = viewer.window.add_plugin_dock_widget("napari-local-ncc", "Local NCC")
        qtbot.waitUntil(lambda: raised or not dock._warm_up.is_busy, timeout=20_000)
        qtbot.wait(100)
    assert [str(error) for _, error, _ in raised] == ["a defect"]
