"""Confidence and residual shift in a real viewer: which layers, where, and what is said."""

from __future__ import annotations

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import scipy.ndimage
from dask.array.core import slices_from_chunks
from napari.layers import Labels, Vectors
from qtpy.QtCore import QTimer

from napari_local_ncc import NCCParameters, confidence_map
from napari_local_ncc._napari.answer.views import View
from napari_local_ncc._napari.layers.convert import METADATA, spatial_image
from napari_local_ncc._napari.layers.map_layers import kind
from napari_local_ncc._napari.results.band_layers import (
    Arrows,
    layers_of,
    put,
    settle_differences,
)
from napari_local_ncc._napari.results.kept_results import bands_beside, result_of
from napari_local_ncc._napari.results.result_spec import Output
from napari_local_ncc.image.spatial_image import SpatialImage
from napari_local_ncc.maps.map_summary import MapTally
from napari_local_ncc.shift.interpret import CLASSES, classify

PLUGIN = "napari-local-ncc"
ALL = ("ncc", "confidence", "shift")


def texture(seed, *shape):
    noise = np.random.default_rng(seed).normal(size=shape)
    return scipy.ndimage.gaussian_filter(noise, 1.2).astype("f4")


@pytest.fixture
def pair(viewer):
    """The upper half agrees, the lower is displaced by (1, -2) px, a corner differs."""
    fixed = texture(0, 110, 120)
    moving = fixed.copy()
    moving[60:] = np.roll(fixed, (1, -2), (0, 1))[60:]
    moving[85:, 80:] = texture(1, 110, 120)[85:, 80:]
    return [
        viewer.add_image(data, name=name, scale=(0.5, 0.5), units=("um", "um"))
        for data, name in ((fixed, "a"), (moving, "b"))
    ]


@pytest.fixture
def dock(dock):
    for name in ("confidence", "shift"):
        dock[name].value = True
    return dock


def layers_by_kind(viewer):
    return {kind(layer): layer for layer in viewer.layers if kind(layer)}


def shown(viewer):
    return {name for name, layer in layers_by_kind(viewer).items() if layer.visible}


def bands_of(viewer):
    """All that was computed, whether or not a layer shows it."""
    ncc = layers_by_kind(viewer)["ncc"]
    return {"ncc": ncc.data} | bands_beside(viewer, ncc)


@pytest.fixture
def show(qtbot):
    """Press the switch, and wait for the layers."""

    def show(viewer, dock, *views):
        for view in map(View, views or ("confidence", "classes", "shift")):
            dock[f"view_{view}"].native.click()
            result = result_of(layers_by_kind(viewer)["ncc"])
            wanted = {name for name in view.kinds if len(result.products[name].levels[0])}
            qtbot.waitUntil(lambda wanted=wanted: wanted <= shown(viewer))
        return layers_by_kind(viewer)

    return show


def test_all_bands_in_one_run(viewer, dock, run, pair, show):
    assert "with confidence and residual shift within 3 px" in dock["plan"].value
    run(dock)
    result = confidence_map(*map(spatial_image, pair), parameters=NCCParameters(bands=ALL))
    bands = bands_of(viewer)
    for band in result.band_names:
        np.testing.assert_array_equal(bands[band], result[band])
    assert list(layers_by_kind(viewer)) == ["ncc"]  # only what the switch shows
    for view in ("confidence", "classes", "shift", "ncc"):
        layers = show(viewer, dock, view)
        assert shown(viewer) == set(View(view).kinds)
        assert viewer.layers.selection.active == layers[View(view).kinds[0]]  # in the status bar
        assert str(dock._panel.legend)
    assert list(layers) == ["ncc", "confidence", "classes", "shift_length", "arrows"]
    names = [layer.name for layer in layers.values()]
    assert names == ["NCC", "confidence", "classes", "|shift| (µm)", "shift arrows (3x longer)"]
    assert all(layer.metadata[METADATA]["complete"] for layer in layers.values())
    np.testing.assert_allclose(
        layers["shift_length"].data, 0.5 * np.hypot(result["shift_y"], result["shift_x"]), rtol=1e-5
    )
    for title in ("NCC: median", "Confidence: ", "Detection: ", "Shift: ", "Classes: "):
        assert title in dock["message"].value


def test_details_are_those_of_the_result_that_is_turned_to(viewer, dock, run, pair):
    dock["shift_error"].value = True
    run(dock)
    first, of_first = viewer.layers[-1], dock["message"].value
    assert "shift y ± (px): median" in of_first
    assert "_sd_" not in of_first
    dock["keep"].value, dock["radius"].value = True, 6
    run(dock)
    second, of_second = viewer.layers[-1], dock["message"].value
    assert of_first != of_second
    for layer, told in ((first, of_first), (second, of_second), (first, of_first)):
        viewer.layers.selection.active = layer
        assert dock["message"].value == told
    viewer.layers.remove(first)
    assert dock["message"].value == of_second


def test_what_is_not_wanted_any_more_is_not_shown(viewer, dock, run, pair, qtbot):
    run(dock)
    for view in ("shift", "ncc"):  # before the first layer of the shift has come
        dock[f"view_{view}"].native.click()
    qtbot.wait(500)
    assert shown(viewer) == {"ncc"}


@pytest.mark.parametrize(
    ("gone", "left"), [("ncc", {"shift_length", "arrows"}), ("shift_length", set())]
)
def test_no_map_is_left_by_half(viewer, dock, run, pair, qtbot, gone, left):
    run(dock)
    removed = []
    viewer.layers.events.removed.connect(lambda event: removed.append(event.value))

    def remove(event):  # between its adding and its drawing
        if kind(event.value) == "shift_length":
            layer = layers_by_kind(viewer)[gone]
            QTimer.singleShot(0, lambda: viewer.layers.remove(layer))

    viewer.layers.events.inserted.connect(remove)
    dock["view_shift"].native.click()
    qtbot.waitUntil(lambda: bool(removed))
    qtbot.wait(300)
    qtbot.waitUntil(lambda: shown(viewer) == left)
    assert set(layers_by_kind(viewer)) - {"ncc"} == left


def test_classes_have_names_colours_and_thresholds(viewer, dock, run, pair, show):
    run(dock)
    classes = show(viewer, dock, "classes")["classes"]
    assert isinstance(classes, Labels)
    values = [bands_of(viewer)[name] for name in ("ncc", "ncc_best", "gain")]
    np.testing.assert_array_equal(classes.data, classify(*values))
    assert list(classes.features["class"]) == list(CLASSES)
    assert "alike from ncc 0.5" in dock["message"].value
    colors = {tuple(classes.get_color(label)) for label in (1, 2, 3)}
    assert len(colors) == 3
    found = {name: classes.data[place] for name, place in PLACES.items()}
    assert found == {name: CLASSES.index(name) for name in PLACES}


# By the thresholds alone, what differs cannot be told where much of a map is not alike.
PLACES = {"agrees": (30, 60), "displaced": (80, 30), "cannot tell": (100, 105)}


def test_arrows_say_where_moving_shows_it(viewer, dock, run, pair, show):
    run(dock)
    arrows = show(viewer, dock, "shift")["arrows"]
    assert isinstance(arrows, Vectors)
    displaced = (arrows.features["class"] == "displaced").to_numpy()
    inside = displaced & (arrows.data[:, 0, 0] > 65) & (arrows.data[:, 0, 1] < 70)
    assert inside.sum() > 20
    np.testing.assert_allclose(np.median(arrows.data[inside, 1], axis=0), (1, -2), atol=0.02)
    np.testing.assert_allclose(np.diff(np.unique(arrows.data[:, 0, 0])), 9)
    colors = arrows.edge_color
    assert (colors[displaced] == colors[displaced][0]).all()
    assert not (colors[displaced][0] == colors[~displaced][0]).all()
    shown = arrows.thumbnail[..., :3].reshape(-1, 3)
    for color in np.unique(colors[:, :3], axis=0):
        assert (abs(shown - 255 * color) < 1).all(axis=1).sum() > 20


@pytest.mark.parametrize("different", [14, 50])  # of 70 columns: most is alike, or too little
def test_classes_by_thresholds_do_not_depend_on_tiles(different):
    fixed, other = texture(0, 60, 70), texture(1, 60, 70)
    moving = np.where(np.arange(70) < different, other, fixed)
    result = confidence_map(fixed, moving, parameters=NCCParameters(bands=("ncc", "shift")))
    bands = np.asarray(result.bands)
    wanted = classify(*bands[:3])
    assert (wanted == CLASSES.index("differs")).any() == (different == 14)
    for side in (20, 100):
        cut = replace(result, bands=da.from_array(bands, chunks=(-1, side, side)))
        drawn = layers_of(cut, Output({}, True, (), 1e9, {}, {}), cut.grid, "a vs b")
        (product,) = (layer.product for layer in drawn if layer.product.kind == "classes")
        tally = MapTally.of(cut)
        for place in slices_from_chunks(cut.bands.chunks):
            tile = dict(zip(cut.band_names, bands[place], strict=True))
            tally.add(bands[place], place[1:])
            for layer in drawn:
                put(layer.product, place[1:], layer.of(tile))
        list(settle_differences(drawn, cut, tally))
        np.testing.assert_array_equal(product.levels[0], wanted)
        whole = [np.zeros_like(level) for level in product.levels]
        put(replace(product, levels=whole), (slice(0, 60), slice(0, 70)), wanted)
        for coarse, expected in zip(product.levels, whole, strict=True):
            np.testing.assert_array_equal(coarse, expected)
        shares = np.bincount(wanted.ravel(), minlength=len(CLASSES)) / wanted.size
        assert list(tally.shares.values()) == [
            share for name, share in zip(CLASSES, shares, strict=True) if name in tally.shares
        ]


@pytest.mark.parametrize(("side", "unit"), [(1.0, "px"), (0.5, "mm")])
def test_arrows_know_their_errors(side, unit):
    fixed = texture(0, 60, 70)
    parameters = NCCParameters(bands=("ncc", "shift", "shift_error"))
    place = {"spacing": (side, side), "units": ("pixel" if unit == "px" else unit,) * 2}
    pair = [SpatialImage.from_array(each, **place) for each in (fixed, np.roll(fixed, 1, 1))]
    result = confidence_map(*pair, parameters=parameters)
    bands = dict(zip(result.band_names, np.asarray(result.bands), strict=True))
    arrows = Arrows(result)
    arrows.add(bands, (slice(0, 60), slice(0, 70)))
    product = arrows.product(result, Output({}, False, (), 1e9, {}, {}), result.grid, "a vs b")
    layer = Vectors(product.levels[0], features=product.style["features"])
    at = tuple(layer.data[:, 0].astype(int).T)
    assert len(layer.data) > 20
    for axis in "yx":
        np.testing.assert_array_equal(
            layer.features[f"shift_sd_{axis}"], bands[f"shift_sd_{axis}"][at]
        )
    y, x, sd_y, sd_x = (bands[f"shift_{name}"][at] for name in ("y", "x", "sd_y", "sd_x"))
    lengths = side * np.hypot(y, x)
    errors = side**2 * np.hypot(y * sd_y, x * sd_x) / lengths
    said = [text.split() for text in layer.features["shift"]]
    assert all(words[1::2] == ["±", unit] for words in said)
    told = np.array([words[::2] for words in said], float)
    np.testing.assert_allclose(told, np.stack([lengths, errors], 1), atol=0.00501)


def test_a_run_updates_all_layers_in_place(viewer, dock, run, pair, show, qtbot):
    run(dock)
    show(viewer, dock)
    before = list(viewer.layers)
    old = layers_by_kind(viewer)["arrows"].data
    pair[1].data = pair[0].data
    run(dock)
    assert list(viewer.layers) == before
    layers = layers_by_kind(viewer)
    arrows = layers["arrows"]
    assert len(arrows.data) != len(old)
    assert set(arrows.features["class"]) == {"agrees"}
    dock["view_shift"].native.click()
    assert "agrees" in str(dock._panel.legend)
    assert "displaced" not in str(dock._panel.legend)  # there are none
    np.testing.assert_allclose(arrows.data[:, 1], 0, atol=1e-6)
    assert (layers["classes"].data == 1).all()
    dock["keep"].value = True
    run(dock)
    qtbot.waitUntil(lambda: len(viewer.layers) == len(before) + 3)  # it goes on showing the shift
    assert viewer.layers[-1].name.startswith("shift arrows (3x longer): a vs b")


def test_where_nothing_shifts_there_are_no_arrows(viewer, dock, run, pair, said, show):
    run(dock)
    assert "arrows" in show(viewer, dock, "shift")
    pair[1].data = np.ones_like(pair[1].data)
    run(dock)
    assert "arrows" not in layers_by_kind(viewer)
    assert "no pixel is defined" in dock["message"].value
    assert "Detection" not in dock["message"].value
    assert all(layer.metadata[METADATA]["complete"] for layer in layers_by_kind(viewer).values())
    assert said() == []


def test_what_a_run_without_bands_leaves_of_an_earlier_one(viewer, dock, run, pair, show):
    dock["registration"].value = "translation"
    dock["add_registered"].value = True
    run(dock)
    before = show(viewer, dock)
    for name in ("confidence", "shift"):
        dock[name].value = False
    dock["add_registered"].value = False
    dock["keep"].value = True
    run(dock)
    assert len(viewer.layers) == len(before) + 3  # all are kept
    viewer.layers.remove(viewer.layers[-1])
    dock["keep"].value = False
    run(dock)
    assert viewer.layers == [*pair, before["registered"], before["ncc"]]


def test_a_run_that_is_cancelled_without_a_trace_leaves_the_bands(
    viewer, dock, run, pair, click, show
):
    run(dock)
    show(viewer, dock)
    before = list(viewer.layers)
    dock["on_cancel"].value = "remove"
    click(dock, "run")
    click(dock, "cancel")
    assert list(viewer.layers) == before


def test_arrows_lie_right_on_a_rotated_anisotropic_layer(viewer, dock, run, show):
    world_step = (1.1, -0.4)  # what the scene is displaced by, in the world
    place = {"scale": (0.5, 1.5), "rotate": 30.0, "units": ("um", "um")}
    data = texture(3, 130, 120)
    viewer.add_image(data, name="a", translate=(7, 9), **place)
    viewer.add_image(data, name="b", translate=np.add((7, 9), world_step), **place)
    run(dock)
    layers = show(viewer, dock, "shift")
    arrows = layers["arrows"]
    begins = np.array([arrows.data_to_world(p) for p in arrows.data[:, 0]])
    ends = np.array([arrows.data_to_world(p) for p in arrows.data.sum(axis=1)])
    np.testing.assert_allclose(np.median(ends - begins, axis=0), world_step, atol=0.03)
    length = np.nanmedian(layers["shift_length"].data)
    assert length == pytest.approx(np.hypot(*world_step), abs=0.03)
    first = arrows.data[0, 0]
    np.testing.assert_allclose(begins[0], viewer.layers["a"].data_to_world(first))


def test_a_series_has_arrows_in_every_frame(viewer, dock, run, show):
    fixed = texture(4, 60, 70)
    moving = np.stack([np.roll(fixed, step, axis=1) for step in (0, 1, 2)])
    viewer.add_image(fixed, name="a", axis_labels=("y", "x"))
    viewer.add_image(moving, name="b", axis_labels=("t", "y", "x"))
    run(dock)
    layers = show(viewer, dock, "shift")
    assert "shift_t" not in bands_of(viewer)
    arrows = layers["arrows"].data
    for frame in range(3):
        inside = arrows[(arrows[:, 0, 0] == frame) & (arrows[:, 0, 2] > 10)]
        np.testing.assert_allclose(np.median(inside[:, 1], axis=0), (0, 0, frame), atol=0.02)


def test_a_volume_has_three_components(viewer, dock, run, show):
    fixed = texture(5, 24, 30, 32)
    place = {"axis_labels": ("z", "y", "x"), "scale": (3, 1, 1), "units": ("um",) * 3}
    viewer.add_image(fixed, name="a", **place)
    viewer.add_image(np.roll(fixed, 1, axis=0), name="b", **place)
    dock["radius"].value, dock["search"].value = 3, 1
    dock["confidence"].value = False
    dock["search"].value = 2
    run(dock)
    layers = show(viewer, dock, "shift")
    assert {"shift_z", "shift_y", "shift_x"} < set(bands_of(viewer))
    inside = layers["shift_length"].data[8:-8, 8:-8, 8:-8]
    assert np.nanmedian(inside) == pytest.approx(3, abs=0.05)  # one plane is 3 um away
    assert layers["shift_length"].contrast_limits == pytest.approx([0, 2 * np.sqrt(11)])
    middle = np.median(layers["arrows"].data[:, 1], axis=0)
    np.testing.assert_allclose(middle, (1, 0, 0), atol=0.03)


def test_a_cancelled_run_keeps_the_finished_tiles_of_all_bands(viewer, dock, click, qtbot, rng):
    series = rng.normal(size=(40, 300, 300)).astype("f4")
    for name in "ab":
        viewer.add_image(series, name=name, axis_labels=("t", "y", "x"))
    dock["radius"].value = 25
    dock["weights"].value = "gaussian"  # slow: there is time to cancel
    click(dock, "run")
    qtbot.waitUntil(
        lambda: dock["message"].value.startswith("Comparing: ") and dock["progress"].value > 2,
        timeout=60_000,
    )
    click(dock, "cancel")
    (ncc,) = layers_by_kind(viewer).values()
    assert ncc.name == "NCC (partial)"
    bands = bands_of(viewer)
    assert len(bands) == 8
    assert "arrows" not in bands  # they are drawn when all of the map is there
    inspector = viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC inspector")[1]
    inspector["band"].value = "gain"
    qtbot.waitUntil(lambda: "gain" in layers_by_kind(viewer))
    assert layers_by_kind(viewer)["gain"].name.endswith(" (partial)")
    classes = bands.pop("classes")

    def finished():
        """Return the frames that each band has; the tile under way is put into all of them."""
        maps = [np.isfinite(each) for each in bands.values()]
        return [np.flatnonzero(each.any((1, 2))) for each in (classes, *maps)]

    qtbot.waitUntil(lambda: len({tuple(frames) for frames in finished()}) == 1, timeout=10_000)
    assert 0 < len(finished()[0]) < 40


def test_the_transform_is_refined_kept_and_inspected(viewer, dock, run, click, qtbot):
    data = texture(6, 120, 130)
    rows, columns = np.indices(data.shape)
    bent = (rows + 1.5 * np.sin(columns / 25), columns + 1.2 * np.cos(rows / 30))
    viewer.add_image(data, name="a")
    viewer.add_image(scipy.ndimage.map_coordinates(data, bent, order=3, mode="nearest"), name="b")
    for name in ("confidence", "shift"):
        dock[name].value = False
    run(dock)
    before = np.nanmedian(layers_by_kind(viewer)["ncc"].data)
    dock["refine"].value = True
    run(dock)
    ncc = layers_by_kind(viewer)["ncc"]
    assert np.nanmedian(ncc.data) > max(before + 0.2, 0.9)
    assert "Refined: " in dock["message"].value
    assert " rounds: mean NCC " in dock["message"].value
    assert dock["transform"].value == "last: flow"

    _, inspector = viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC inspector")
    inspector.pixel.point_at(ncc, (50, 60))
    qtbot.waitUntil(lambda: inspector.pixel.shown is not None, timeout=30_000)
    assert inspector.pixel.shown.pair.ncc == pytest.approx(ncc.data[50, 60], abs=1e-4)
    inspector.recipe.load.click()
    assert dock["registration"].value == "existing"
    assert dock["transform"].value == ncc.name
    assert not dock["refine"].value
    values = ncc.data
    run(dock)
    np.testing.assert_array_equal(ncc.data, values)

    copy = viewer.add_image(ncc.data, name="copy", metadata=dict(ncc.metadata))
    inspector.pixel.point_at(copy, (50, 60))
    assert "the flow of copy was not kept" in inspector.pixel.text.text()


def test_only_refining_is_registering_too(viewer, dock, run, pair):
    dock["refine"].value = True
    run(dock, "register")
    assert [layer.name for layer in viewer.layers] == ["a", "b", "b on a"]
    assert "Refined: " in dock["message"].value
    assert viewer.layers[-1].metadata[METADATA]["parameters"]["bands"] == ("ncc",)


def test_the_inspector_has_the_bands_of_the_pixel_and_of_labels(
    viewer, dock, run, pair, qtbot, show
):
    run(dock)
    layers = show(viewer, dock, "classes")
    _, inspector = viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC inspector")
    inspector.pixel.point_at(layers["ncc"], layers["ncc"].data_to_world((80, 30)))
    qtbot.waitUntil(lambda: inspector.pixel.shown is not None, timeout=30_000)
    facts = inspector.pixel.text.text()
    at = {kind: values[80, 30] for kind, values in bands_of(viewer).items()}
    assert f"confidence {at['confidence']:.3f}" in facts
    steps = (f"shift {axis} {at[f'shift_{axis}'] / 2:z.3f} µm" for axis in "yx")
    assert ", ".join(steps) in facts  # pixels of 0.5 µm
    assert f"|shift| {at['shift_length']:.3f} µm" in facts
    assert f"best NCC {at['ncc_best']:.3f} there, gain {at['gain']:.3f}" in facts
    assert "_" not in facts
    inspector.table.rows.setCurrentText(f"label of {layers['classes'].name}")
    qtbot.waitUntil(lambda: "median_confidence" in inspector.table.table, timeout=30_000)
    table = inspector.table.table
    assert {"median_shift_y", "median_shift_x", "median_shift_length"} < set(table)
    row = table["index"].index(CLASSES.index("displaced"))
    assert table["median_shift_x"][row] == pytest.approx(-2, abs=0.02)
