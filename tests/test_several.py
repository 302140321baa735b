"""Several layers against one fixed, in a real viewer: each gets a verdict, none stops the rest."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import scipy.ndimage
from qtpy.QtWidgets import QFileDialog

from napari_local_ncc import Registration

WORDS = ("headline", "reason")


def texture(seed):
    noise = np.random.default_rng(seed).normal(size=(136, 136))
    smooth = scipy.ndimage.gaussian_filter(noise, 1.2)
    return smooth / smooth.std()


@pytest.fixture
def layers(viewer):
    """A fixed layer, and layers that are right, displaced, and no image that can be compared."""
    scene, random = texture(1), np.random.default_rng(2)

    def shot(part):
        return (part + 0.2 * random.normal(size=part.shape)).astype("f4")

    images = {
        "fixed": scene[20:-20, 20:-20],
        "right": scene[20:-20, 20:-20],
        "displaced": scene[15:-25, 23:-17],
    }
    added = {name: viewer.add_image(shot(image), name=name) for name, image in images.items()}
    far = viewer.add_image(shot(scene), name="elsewhere", translate=(1000, 0))
    return added | {"elsewhere": far}


def names_of_visible(viewer):
    return {layer.name for layer in viewer.layers if layer.visible and layer.name[:3] == "NCC"}


def table_of(dock):
    table = dock._several.table
    rows = range(table.rowCount())
    return {table.item(row, 0).text(): table.item(row, 1).text() for row in rows}


def test_several_layers_are_compared_in_turn(viewer, dock, run, layers, tmp_path, monkeypatch):
    dock["fixed"].value, dock["moving"].value = layers["fixed"], layers["right"]
    dock["several"].value = [layers[name] for name in ("right", "elsewhere", "displaced")]
    run(dock, "run_several")
    found = table_of(dock)
    assert (found["right"], found["displaced"]) == ("good", "failed")
    assert found["elsewhere"] == "error"
    tooltip = dock._several.table.item(0, 2).toolTip().splitlines()  # a narrow column cuts it
    assert tooltip == [entry.row()[n] for entry in dock._queue.entries[:1] for n in WORDS]
    assert dock["moving"].value is layers["right"]  # as it was
    maps = [layer for layer in viewer.layers if layer.name.startswith("NCC")]
    assert [layer.name for layer in maps] == ["NCC right", "NCC displaced"]
    # a row shows its map, and hides the others
    assert names_of_visible(viewer) == {"NCC displaced"}
    dock._several.table.cellClicked.emit(0, 0)
    assert names_of_visible(viewer) == {"NCC right"}
    assert dock._panel.layer is maps[0]
    # and the table is written
    path = str(tmp_path / "pairs.csv")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (path, ""))
    dock["export_several"].native.click()
    with open(path, newline="", encoding="utf-8") as file:
        rows = {row["moving"]: row for row in csv.DictReader(file)}
    assert float(rows["displaced"]["distance_px"]) == pytest.approx(np.hypot(5, 3), abs=0.1)
    verdicts = {name: row["verdict"] for name, row in rows.items()}
    assert verdicts == {"right": "good", "elsewhere": "error", "displaced": "failed"}  # as batch
    assert "overlap" in rows["elsewhere"]["reason"]
    assert rows["elsewhere"]["distance_px"] == ""
    assert rows["right"]["headline"]


def test_each_is_registered_where_that_is_wanted(viewer, dock, run, layers):
    dock["fixed"].value = layers["fixed"]
    dock["registration"].value = "translation"
    dock["several"].value = [layers["displaced"]]
    run(dock, "run_several")
    assert table_of(dock) == {"displaced": "good"}


def test_the_settings_above_hold_for_all(viewer, dock, click, rng):
    stacks = [
        viewer.add_image(
            rng.normal(size=(4, 24, 24)), name=name, scale=(2, 1, 1), units=("um",) * 3
        )
        for name in "abc"
    ]
    for layer in stacks:
        layer.axis_labels = ("z", "y", "x")
    dock["fixed"].value, dock["moving"].value, *_ = stacks
    placed = Registration.identity(dock._choices.fixed_grid())
    dock._transforms.keep("placed", placed)
    dock._placement.reset_choices()
    assert dock["window"].value == 3  # what is proposed
    dock["window"].value, dock["start"].value = 2, "placed"
    dock["several"].value = stacks[1:]
    jobs = []
    dock._control.launch = lambda work, job: jobs.append(job)
    dock["run_several"].native.click()
    jobs += [job for _, job in dock._queue._waiting]
    assert [job.comparison.moving.name for job in jobs] == ["b", "c"]
    assert [job.comparison.radius[0] for job in jobs] == [0, 0]  # plane by plane
    assert all(job.options["initial"] is placed for job in jobs)
    ids = [job.output.layers["moving"] for job in jobs]
    assert ids == [str(layer.unique_id) for layer in stacks[1:]]
    assert (dock["window"].value, dock["start"].value) == (2, "placed")
    assert dock["moving"].value is stacks[1]


def test_cancel_ends_all(viewer, dock, qtbot, click, layers):
    dock["fixed"].value = layers["fixed"]
    dock["several"].value = [layers["right"], layers["displaced"]]
    click(dock, "run_several")
    assert not dock["run_several"].enabled
    click(dock, "cancel")
    assert dock["run"].enabled
    assert table_of(dock) == {"right": "stopped", "displaced": "stopped"}
    assert {entry.row()["verdict"] for entry in dock._queue.entries} == {""}
    qtbot.wait(100)
    assert not [layer for layer in viewer.layers if layer.name.startswith("NCC")]


def test_nothing_to_compare_is_said(viewer, dock, click, layers):
    dock["fixed"].value = layers["fixed"]
    dock["several"].value = [layers["fixed"]]
    click(dock, "run_several")
    assert "beside fixed" in dock["message"].value
    click(dock, "export_several")
    assert "no table yet" in dock["message"].value


def test_the_table_is_seen_as_soon_as_there_is_one(viewer, dock, qtbot, click, layers):
    viewer.window._qt_window.resize(1366, 768)
    viewer.window._qt_window.show()
    click(dock, "more")
    click(dock, "several_section")
    dock["fixed"].value = layers["fixed"]
    dock["several"].value = [layers["right"]]
    dock._scroll.verticalScrollBar().setValue(0)
    click(dock, "run_several")
    table = dock._several.table
    qtbot.waitUntil(lambda: table.visibleRegion().boundingRect() == table.rect(), timeout=20_000)
    click(dock, "cancel")
