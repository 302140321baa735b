"""Engines are open: what is in the dict is a model everywhere."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage

from napari_local_ncc import Registration, SpatialImage, register
from napari_local_ncc.cli import main
from napari_local_ncc.registration import ENGINES, Engine, check_model
from napari_local_ncc.transforms import FrameReport, read_transform

DOCS = Path(__file__).parent.parent / "docs"
SHIFT = (4.0, -6.0)


@pytest.fixture
def engines(monkeypatch):
    """The dict, which the test may change."""
    kept = dict(ENGINES)
    yield ENGINES
    ENGINES.clear()
    ENGINES.update(kept)


@pytest.fixture
def centroid(engines):
    """The engine of the documents."""
    code = re.search(
        r"```python\n(import.*?)```", (DOCS / "new-engine.md").read_text(encoding="utf-8"), re.S
    )
    assert len([line for line in code[1].splitlines() if line.strip()]) <= 20
    exec(code[1], {})
    return engines["centroid"]


def blob_pair():
    y, x = np.mgrid[:60, :70]
    blob = np.exp(-((y - 28) ** 2 + (x - 36) ** 2) / 60)
    blob[blob < 0.01] = 0
    texture = scipy.ndimage.gaussian_filter(np.random.default_rng(0).normal(size=blob.shape), 1)
    fixed = blob * (1 + texture)
    return fixed, np.roll(fixed, np.array(SHIFT, int), axis=(0, 1))


def test_the_engine_of_the_documents_registers(centroid):
    found = register(*blob_pair(), model="centroid")
    np.testing.assert_allclose(found.translation, SHIFT, atol=1e-6)
    (report,) = found.reports
    assert found.model == "centroid"
    assert report.applied
    assert report.after.median > 0.999
    assert float(found.ncc_after) > 0.999 > float(found.ncc_before)
    assert 0.5 < float(found.overlap) <= 1


def test_it_is_a_model_of_the_command_line(centroid, tmp_path, capsys):
    files = [str(tmp_path / name) for name in ("fixed.npy", "moving.npy")]
    for path, image in zip(files, blob_pair(), strict=True):
        np.save(path, image)
    saved, out = tmp_path / "t.json", str(tmp_path / "o.npy")
    assert main(["register", *files, "--model", "centroid", "-o", str(saved)]) == 0
    np.testing.assert_allclose(read_transform(saved).translation, SHIFT, atol=1e-6)
    assert read_transform(saved).model == "centroid"
    assert main(["map", *files, "--register", "centroid", "-o", out]) == 0
    assert np.nanmedian(np.load(out)) > 0.999
    assert main(["map", *files, "--register", "centre", "-o", out, "--overwrite"]) == 2
    assert "translation, rigid, similarity, affine, flow, centroid" in capsys.readouterr().err


def test_it_is_a_choice_of_the_widget(centroid, make_napari_viewer):
    dock = make_napari_viewer().window.add_plugin_dock_widget("napari-local-ncc", "Local NCC")[1]
    assert {"none", *ENGINES} <= set(dock["registration"].choices)


def test_a_series_and_a_start_are_those_of_every_model(centroid):
    fixed, moving = blob_pair()
    series = np.stack([fixed, moving])
    axes = {"axis_labels": ("t", "y", "x")}
    images = [
        SpatialImage.from_array(values, **axes) for values in (np.stack([fixed, fixed]), series)
    ]
    found = register(*images, model="centroid")
    np.testing.assert_allclose(found.translation, [(0, 0), SHIFT], atol=1e-6)
    begun = register(fixed, moving, model="translation", initial="centroid")
    np.testing.assert_allclose(begun.translation, SHIFT, atol=1e-3)


def test_what_makes_windows_agree_worse_is_doubted(engines):
    """Without a word of its own, an engine is judged by the windows; the start is returned."""

    def estimate(pair, settings, start, watch):
        matrix = np.eye(3)
        matrix[0, 2] = 17
        return Registration.from_matrix(matrix, pair.fixed.grid)

    engines["wrong"] = Engine(estimate, kind="translation")
    fixed, _ = blob_pair()
    found = register(fixed, fixed.copy(), model="wrong")
    np.testing.assert_array_equal(found.matrix, np.eye(3))
    assert "windows agree worse" in found.reports[0].note
    assert not found.reports[0].applied
    kept = register(fixed, fixed.copy(), model="wrong", keep_doubtful=True)
    assert kept.translation[0] == 17
    assert "windows agree worse" in kept.reports[0].note
    engines["sure"] = replace(engines["wrong"], doubt=lambda report: "")
    assert register(fixed, fixed.copy(), model="sure").translation[0] == 17


def test_an_engine_may_bend(engines):
    def estimate(pair, settings, start, watch):
        grid = pair.fixed.grid
        field = np.zeros((2, *grid.shape), np.float32)
        field[0], field[1] = SHIFT
        report = FrameReport("by hand", 1.0)
        return Registration.from_matrix(np.eye(3), grid, displacement=field, reports=(report,))

    engines["bend"] = Engine(estimate, kind="flow")
    fixed, moving = blob_pair()
    found = register(fixed, moving, model="bend")
    assert found.model == "bend"
    assert found.reports[0].metric == "by hand"
    np.testing.assert_allclose(found.transform_points([[20.0, 30.0]]), [[24.0, 24.0]])
    same = register(fixed, fixed, model="bend")
    assert same.displacement is not None
    assert not same.displacement.any()


def test_what_an_engine_needs_is_said(engines):
    engines["far"] = replace(ENGINES["translation"], needs="no_such_module", install="far-engine")
    with pytest.raises(ImportError, match=r"far needs no_such_module; .*pip install 'far-engine'"):
        check_model("far")
    with pytest.raises(ValueError, match="must be one of none, translation"):
        check_model("farther")
    with pytest.raises(ValueError, match="not a valid Kind"):
        Engine(ENGINES["flow"].estimate, kind="bent")
    engines["deep"] = replace(ENGINES["translation"], axes=(3,))
    with pytest.raises(ValueError, match="deep needs 3 spatial axes, but there are 2"):
        register(*blob_pair(), model="deep")


def test_engines_of_installed_packages_are_found_by_name(engines, monkeypatch):
    class Point:
        name = "installed"

        def load(self):
            return ENGINES["translation"]

    places = "napari_local_ncc.registration.engines.entry_points"
    monkeypatch.setattr(places, lambda group: [Point()])
    check_model("installed")
    assert engines["installed"] is ENGINES["translation"]


def test_static_files_hold_the_models_of_the_dict():
    """If not: python docs/make_choices.py."""
    made = runpy.run_path(str(DOCS / "make_choices.py"))
    for path, text in (("MANIFEST", "manifest_text"), ("PAGE", "page_text")):
        assert made[path].read_text(encoding="utf-8") == made[text]()


def test_the_table_of_constants_is_that_of_the_code():
    """If not: python docs/make_constants.py."""
    made = runpy.run_path(str(DOCS / "make_constants.py"))
    assert made["PAGE"].read_text(encoding="utf-8") == made["page_text"]()
    numbers = made["constants"]()
    said = [constant for constant in numbers if constant.comment]
    assert len(said) >= 0.9 * len(numbers), set(numbers) - set(said)


def test_whoever_holds_a_transform_loads_no_engine(tmp_path):
    """Make, save, read, show and apply one, in a process of its own."""
    code = f"""
import sys
import numpy as np
from napari_local_ncc import Grid, Registration, SpatialImage
from napari_local_ncc.reports.describe import describe_registration
from napari_local_ncc.transforms import apply_to_image, apply_to_points, read_transform
grid = Grid((8, 9))
for found in (Registration.identity(grid), Registration.identity(grid, "flow", dense=True)):
    found.save({str(tmp_path / "t.json")!r})
    found = read_transform({str(tmp_path / "t.json")!r})
    describe_registration(found)
    np.asarray(apply_to_image(SpatialImage.from_array(np.ones((8, 9))), found).data)
    apply_to_points([[1.0, 2.0]], found)
print([name for name in sys.modules if "napari_local_ncc.registration" in name])
print([name for name in ("SimpleITK", "skimage.registration", "numba") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout.splitlines() == ["[]", "[]"]
