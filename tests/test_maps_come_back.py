"""Maps that come back: saved and opened again by the dock, by dropping, and by napari itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import tifffile
from napari.components import ViewerModel
from napari.errors import MultipleReaderError
from napari.layers import Image
from npe2.io_utils import read
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QFileDialog

from napari_local_ncc._napari.answer.show import layers_of_run
from napari_local_ncc._napari.layers.convert import METADATA
from napari_local_ncc._napari.results import kept_results
from napari_local_ncc._napari.results.kept_results import bands_beside, keep_result, result_of
from napari_local_ncc._napari.storage.map_files import SAVED
from napari_local_ncc._napari.storage.read_map import get_reader, open_map
from napari_local_ncc._napari.storage.write_map import write_layers
from napari_local_ncc.reports.recipe import as_python

PLUGIN = "napari-local-ncc"
PLACE = {"scale": (0.5, 0.25), "translate": (3, 4), "units": ("um", "um")}
ENDINGS = (".ome.zarr", ".ncc.ome.tif")
VIEWS = ("confidence", "classes", "shift")
RECORDED = ("scale", "translate", "rotate", "shear", "contrast_limits", "opacity", "blending")

# A session of napari: a pair is compared and its map saved, or a saved one is opened; then every
# view is shown, and what the layers hold is written down.
SESSION = f"""
import json, re, sys, time
from pathlib import Path
import napari
import numpy as np
from qtpy.QtWidgets import QApplication
from napari_local_ncc._napari.answer.show import layers_of_run
from napari_local_ncc._napari.results.kept_results import result_of
from napari_local_ncc.reports.recipe import as_command_line, as_python

def wait(condition):
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end, "it does not end"
        QApplication.processEvents()

record, how, *paths = sys.argv[1:]
viewer = napari.Viewer(show=False)
_, dock = viewer.window.add_plugin_dock_widget({PLUGIN!r}, "Local NCC")
if how == "save":
    rng = np.random.default_rng(0)
    data = np.kron(rng.normal(size=(30, 35)), np.ones((3, 3))) + rng.normal(size=(90, 105)) / 9
    for name, values in (("a", data), ("b", np.roll(data, (5, -4), (0, 1)))):
        viewer.add_image(values.astype("f4"), name=name, axis_labels=("y", "x"), **{PLACE!r})
    dock["shift_error"].value = True
    dock["run"].native.click()
    wait(lambda: dock["run"].enabled)
    for path in paths:
        dock["message"].value = ""
        dock._files.save(Path(path))
        wait(lambda: dock["message"].value.startswith("Saved"))
else:
    viewer.open(paths, plugin={PLUGIN!r})
layer = dock._panel.layer
for view in {VIEWS!r}:
    dock["view_" + view].native.click()
    wait(lambda: any(kind.startswith(view) for kind in layers_of_run(viewer, layer)))
wait(lambda: "arrows" in layers_of_run(viewer, layer))

arrays, told = {{}}, {{}}
for kind, each in layers_of_run(viewer, layer).items():
    told[kind] = {{name: np.asarray(getattr(each, name)).tolist() for name in {RECORDED!r}
                   if hasattr(each, name)}}
    told[kind] |= {{"units": [str(unit) for unit in each.units], "labels": each.axis_labels}}
    told[kind] |= {{"metadata": each.metadata[{METADATA!r}], "type": type(each).__name__}}
    for name in ("colormap", "edge_colormap"):
        told[kind][name] = re.sub(" at 0x[0-9a-f]+", "", repr(getattr(each, name, None)))
    arrays[kind] = np.asarray(each.data)
kept = result_of(layer)
for name, product in kept.products.items():
    told["product " + name] = [product.name, str(product.kind)]
    arrays["product " + name] = np.asarray(product.levels[0])
recipe = layer.metadata[{METADATA!r}]
told["texts"] = [str(kept.headline), *kept.details, as_python(recipe), as_command_line(recipe)]
np.savez(record + ".npz", **arrays)
json.dump(told, open(record + ".json", "w", encoding="utf-8"), sort_keys=True)
viewer.close()
"""


@pytest.fixture
def ran(viewer, dock, run):
    """The widget after a run with all bands."""
    data = scipy.ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(60, 70)), 1.2)
    moving = np.roll(data, (1, 0), (0, 1)).astype("f4")
    for name, values in (("a", data.astype("f4")), ("b", moving)):
        viewer.add_image(values, name=name, axis_labels=("y", "x"), **PLACE)
    for name in ("confidence", "shift", "shift_error", "classes"):
        dock[name].value = True
    dock["search"].value = 2
    run(dock)
    return dock


def ncc_of(viewer):
    return next(layer for layer in viewer.layers if layer.name.startswith("NCC"))


def check_equal(new, old, viewer):
    """Check that a layer holds all that another one did."""
    np.testing.assert_array_equal(new.data, old.data)
    for name in ("scale", "translate", "contrast_limits"):
        np.testing.assert_allclose(getattr(new, name), getattr(old, name))
    assert [str(u) for u in new.units] == [str(u) for u in old.units]
    assert new.axis_labels == old.axis_labels
    np.testing.assert_array_equal(new.colormap.colors, old.colormap.colors)
    records = [layer.metadata[METADATA] for layer in (new, old)]
    assert json.dumps(records[0], sort_keys=True) == json.dumps(records[1], sort_keys=True)
    assert as_python(records[0]) == as_python(records[1])
    bands = [result_of(layer).products for layer in (new, old)]
    assert set(bands[0]) == set(bands[1])
    for name in bands[0]:
        np.testing.assert_array_equal(bands[0][name].levels[0], bands[1][name].levels[0])
        assert bands[0][name].name == bands[1][name].name
    assert str(result_of(new).headline) == str(result_of(old).headline)
    assert result_of(new).details == result_of(old).details


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_map_comes_back_whole(viewer, ran, qtbot, tmp_path, ending):
    path, old = tmp_path / f"map{ending}", ncc_of(viewer)
    ran._files.save(path)
    qtbot.waitUntil(lambda: ran["message"].value.startswith("Saved"), timeout=30_000)
    (new,) = ViewerModel().open(str(path), plugin=PLUGIN)
    check_equal(new, old, viewer)
    ran._files.load(path)
    qtbot.waitUntil(lambda: ran["run"].enabled, timeout=30_000)
    again = next(layer for layer in viewer.layers if layer.name == "NCC: a vs b")
    check_equal(again, old, viewer)
    assert ran._panel.layer == again
    ran["view_shift"].native.click()
    qtbot.waitUntil(lambda: "arrows" in layers_of_run(viewer, again))
    _, inspector = viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC inspector")
    inspector["map"].value = again
    inspector.pixel.point_at(again, again.data_to_world((30, 30)))
    qtbot.waitUntil(lambda: inspector.pixel.shown is not None, timeout=30_000)
    assert inspector.pixel.shown.pair.ncc == pytest.approx(again.data[30, 30], abs=1e-4)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Run a session of napari in a process of its own; return what its layers held."""
    folder = tmp_path_factory.mktemp("sessions")

    def run_session(name, *arguments):
        record = folder / name
        env = os.environ | {"NAPARI_CONFIG": str(folder / f"{name}.yaml")}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SESSION, str(record), *arguments],
            capture_output=True, encoding="utf-8", timeout=900, check=False, env=env,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        with np.load(f"{record}.npz") as arrays:
            return json.loads(Path(f"{record}.json").read_text("utf-8")), dict(arrays)

    return run_session


@pytest.fixture(scope="module")
def saved(session, tmp_path_factory):
    """What a session held that saved its map, and the files."""
    folder = tmp_path_factory.mktemp("maps")
    paths = {ending: str(folder / f"map{ending}") for ending in ENDINGS}
    return *session("first", "save", *paths.values()), paths


@pytest.mark.parametrize("ending", ENDINGS)
def test_napari_is_restarted_and_all_is_there(qapp, session, saved, ending):
    told, arrays, paths = saved
    told_again, arrays_again = session(f"next{ending}", "open", paths[ending])
    assert told_again == told
    assert arrays_again.keys() == arrays.keys()
    assert {"ncc", "confidence", "classes", "arrows", "product shift_sd_y"} <= arrays.keys()
    for name, values in arrays.items():
        assert arrays_again[name].dtype == values.dtype
        np.testing.assert_array_equal(arrays_again[name], values, err_msg=name)


def test_a_name_without_an_ending_takes_the_chosen_one(viewer, ran, qtbot, tmp_path, monkeypatch):
    def save(name, kind):
        answer = (str(tmp_path / name) if name else "", kind)
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: answer)
        ran["message"].value = ""
        ran["save_map"].native.click()
        qtbot.waitUntil(lambda: ran["message"].value[:7] not in ("", "Writing"), timeout=30_000)
        return ran["message"].value

    zarr, tiff = SAVED.split(";;")
    assert save("mine", zarr) == f"Saved {tmp_path / 'mine.ncc.ome.zarr'}"
    assert save("mine", tiff) == f"Saved {tmp_path / 'mine.ncc.ome.tif'}"
    assert "exists" in save("mine", zarr)  # the dialog has asked about another name
    assert save("mine.ome.tif", zarr) == f"Saved {tmp_path / 'mine.ome.tif'}"


def test_a_map_is_dropped_on_the_dock(viewer, ran, qtbot, tmp_path, click):
    path = tmp_path / "map.ome.zarr"
    ran._files.save(path)
    qtbot.waitUntil(lambda: ran["message"].value.startswith("Saved"), timeout=30_000)
    for dropped, words in ((tmp_path / "none.ome.zarr", "holds no map"), (path, "")):
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(dropped))])
        here = QPointF(5, 5)
        buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        event = QDropEvent(here, Qt.DropAction.CopyAction, data, buttons, keys)
        ran._files.eventFilter(ran.native, event)  # Qt itself drops only what was dragged
        qtbot.waitUntil(lambda: ran["run"].enabled, timeout=30_000)
        assert words in ran["message"].value
    assert [layer.name for layer in viewer.layers] == ["a", "b", "NCC", "NCC: a vs b"]


def test_napari_saves_the_whole_map(viewer, ran, tmp_path):
    old = ncc_of(viewer)
    written = viewer.layers.save(str(tmp_path / "m.ome.zarr"), plugin=PLUGIN)
    assert written == [str(tmp_path / "m.ome.zarr")]
    (new,) = open_map(written[0])
    check_equal(new, old, viewer)


def test_of_two_runs_with_one_record_the_one_that_is_shown_is_saved(viewer, ran, tmp_path):
    """As of images that were edited between them."""
    old = ncc_of(viewer)
    kept = result_of(old)
    blank = {
        name: replace(each, levels=[np.zeros_like(level) for level in each.levels])
        for name, each in kept.products.items()
    }
    earlier = Image(blank["ncc"].levels[0])
    kept_results._KEPT.clear()
    keep_result(earlier, replace(kept, products=blank))
    keep_result(old, kept)
    (path,) = viewer.layers.save(str(tmp_path / "m.ome.zarr"), plugin=PLUGIN)
    (new,) = open_map(path)
    check_equal(new, old, viewer)


def test_what_is_no_run_of_ours_is_not_saved_as_one(tmp_path):
    plain = new_layer_data({})
    with pytest.raises(ValueError, match="select its NCC layer"):
        write_layers(str(tmp_path / "x.ome.zarr"), [plain])


def new_layer_data(metadata):
    return np.zeros((5, 6), "f4"), {"metadata": metadata}, "image"


def test_a_copy_in_another_session_still_saves_its_ncc(viewer, ran, tmp_path):
    old = ncc_of(viewer)
    data, attributes, kind = old.as_layer_data_tuple()
    other = attributes["metadata"][METADATA] | {"software": "of another session"}
    attributes["metadata"] = {METADATA: other}
    (path,) = write_layers(str(tmp_path / "copy.ome.zarr"), [(data, attributes, kind)])
    (new,) = open_map(path)
    np.testing.assert_array_equal(new.data, old.data)
    assert set(bands_beside(viewer, new)) == set()


def test_what_is_no_map_of_ours_is_declined(viewer, tmp_path):
    import zarr

    zarr.create_group(tmp_path / "foreign.zarr").create_array("0", shape=(3, 3), dtype="f4")
    (tmp_path / "pictures").mkdir()
    foreign = [
        tmp_path / "foreign.zarr",
        tmp_path / "foreign.zarr/zarr.json",
        tmp_path / "pictures",
    ]
    for path in map(str, foreign):
        assert get_reader(path) is None
        with pytest.raises(ValueError, match="refused the file"):
            read([path], stack=False, plugin_name=PLUGIN)
    assert get_reader([str(tmp_path / "a"), str(tmp_path / "b")]) is None


def test_scripts_that_open_folders_of_others_go_on(viewer, tmp_path):
    """As the guide says: napari reads them itself unless it is left to choose."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", np.zeros((5, 6), "u1"))
    (layer,) = viewer.open(str(folder))
    assert layer.data.shape[-2:] == (5, 6)
    with pytest.raises(MultipleReaderError, match=PLUGIN):
        viewer.open(str(folder), plugin=None)


def test_a_flow_comes_back_with_its_map(viewer, dock, run, qtbot, tmp_path):
    frame = scipy.ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(70, 70)), 2)
    viewer.add_image(frame, name="a")
    viewer.add_image(scipy.ndimage.zoom(frame, 1.05, order=3)[:70, :70], name="b")
    dock["registration"].value = "flow"
    run(dock)
    dock._files.save(tmp_path / "flow.ome.zarr")
    qtbot.waitUntil(lambda: dock["message"].value.startswith("Saved"), timeout=30_000)
    (new,) = open_map(str(tmp_path / "flow.ome.zarr"))
    before, after = (result_of(layer).map.registration for layer in (ncc_of(viewer), new))
    np.testing.assert_array_equal(after.displacement, before.displacement)
