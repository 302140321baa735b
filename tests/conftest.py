"""What the tests share: real data, the brute-force oracle, image strategies."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import sys
import tempfile
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from on_gpu import stand_in

ROOT = Path(__file__).parents[1]
# Before napari is imported: the settings of whoever runs the tests are not touched.
CONFIG = Path(tempfile.mkdtemp(prefix="local-ncc-tests-"))
atexit.register(shutil.rmtree, CONFIG, ignore_errors=True)
os.environ["NAPARI_CONFIG"] = str(CONFIG / "settings.yaml")

settings.register_profile(
    "project",
    deadline=None,
    max_examples=50,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "nightly",
    settings.get_profile("project"),
    max_examples=2000,
    derandomize=False,
    print_blob=True,
)
settings.load_profile("project")


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what opens windows in one worker, unless each worker has a screen of its own."""
    if getattr(sys.modules.get("pytest_xvfb"), "xvfb_instance", None) is not None:
        return
    for item in items:
        if {"qtbot", "viewer", "make_napari_viewer"} & set(item.fixturenames):
            item.add_marker(pytest.mark.xdist_group("windows"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data with known truth, kept outside the repository."""
    path = Path(os.environ.get("LNCC_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        if os.environ.get("LNCC_REQUIRE_DATA"):
            pytest.fail(f"the real data are required but {path} is not there")
        pytest.skip(f"no real data at {path}; set LNCC_DATA")
    return path


@pytest.fixture(scope="session")
def repository() -> Path:
    return ROOT


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def default_preferences():
    """Every test starts with the plugin's defaults, whatever the one before has used."""
    if "napari.settings" in sys.modules:
        sys.modules["napari.settings"]._clear_plugin_settings_cache()
    (CONFIG / "napari-local-ncc.yaml").unlink(missing_ok=True)


@pytest.fixture(scope="session")
def napari_loaded():
    """Pay once for what napari does again for every viewer, and for every layer that goes.

    It searches the whole memory for garbage: what is imported now is none. And it reads the
    manifests of all plugins, in Python.
    """
    from napari._qt.qt_main_window import Window
    from npe2.manifest import _bases

    from napari_local_ncc._napari.compare.widget import LocalNCCWidget
    from napari_local_ncc._napari.results import warm_up
    from napari_local_ncc.maps.pipeline import load_kernel

    assert Window
    assert LocalNCCWidget
    load_kernel()
    with pytest.MonkeyPatch.context() as patch:
        if hasattr(_bases, "_load_yaml_no_duplicates"):  # older ones have another reader
            parse = cache(_bases._load_yaml_no_duplicates)

            def read(stream):
                return deepcopy(parse(stream if isinstance(stream, str) else stream.read()))

            patch.setattr(_bases, "_load_yaml_no_duplicates", read)
        patch.setattr(warm_up, "_is_done", True)  # it would compute beside the first tests
        gc.collect()
        gc.freeze()
        yield
        gc.unfreeze()


@pytest.fixture
def make_napari_viewer(napari_loaded, make_napari_viewer):
    # A worker's thread would free what is left of earlier viewers, and PySide6 deadlocks there.
    gc.collect()
    return make_napari_viewer


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def fresh_dock(viewer):
    """The widget as the Plugins menu opens it."""
    _, docked = viewer.window.add_plugin_dock_widget("napari-local-ncc", "Local NCC")
    return docked


def make_plain(dock):
    """Set the widget to the quickest: the NCC alone, of images as they lie."""
    dock["registration"].value = "none"
    for name in ("confidence", "shift", "classes"):
        dock[name].value = False
    return dock


@pytest.fixture
def dock(fresh_dock):
    """The widget, set to the quickest."""
    return make_plain(fresh_dock)


@pytest.fixture
def click(qtbot):
    def click(dock, name):
        dock[name].native.click()

    return click


@pytest.fixture
def run(qtbot, click):
    """Press Run (or what starts something else) and wait for the end."""

    def run(dock, button="run"):
        click(dock, button)
        qtbot.waitUntil(lambda: dock["run"].enabled, timeout=300_000)

    return run


@pytest.fixture
def said():
    """The notifications of this test."""
    from napari.utils.notifications import notification_manager

    notification_manager.records.clear()
    return lambda: [(str(n.severity), n.message) for n in notification_manager.records]


@pytest.fixture
def gpu(monkeypatch):
    """NumPy and SciPy in the place of CuPy, with one GPU."""
    modules = stand_in()
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return modules["cupy"]
