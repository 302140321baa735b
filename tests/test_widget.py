"""The widget in a real viewer: clicked, cancelled, given bad input."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
from scipy.ndimage import gaussian_filter

from napari_local_ncc import local_ncc
from napari_local_ncc._napari.compare import widget
from napari_local_ncc._napari.layers import convert as layers
from napari_local_ncc._napari.layers.convert import METADATA

PLUGIN = "napari-local-ncc"
FIELDS = ("fixed", "moving", "registration", "radius", "weights", "mask", "run", "cancel")


def test_all_fields_are_found_by_name(dock):
    for name in FIELDS:
        assert dock[name].name == name


def menu_entries(menu, path=""):
    menu.aboutToShow.emit()
    for action in menu.actions():
        here = f"{path} > {action.text()}".replace("&", "")
        if action.menu():
            yield from menu_entries(action.menu(), here)
        else:
            yield here


def test_the_menus_offer_the_widget_and_the_samples(viewer, dock):
    bar = viewer.window._qt_window.menuBar()
    entries = [
        entry for action in bar.actions() for entry in menu_entries(action.menu(), action.text())
    ]
    ours = [entry.replace("&", "") for entry in entries if "Local NCC" in entry]
    assert [entry.split(" > ")[:2] for entry in ours] == [
        ["File", "Open Sample"],
        ["File", "Open Sample"],
        ["File", "Open Sample"],
        ["Layers", "Measure"],
        ["Layers", "Measure"],
        ["Layers", "Register"],
        ["Plugins", "Local NCC"],
        ["Plugins", "Local NCC"],
    ]


def test_it_runs_with_the_registered_layer(viewer, dock, run, qtbot):
    viewer.open_sample(PLUGIN, "slices")
    fixed, moving = viewer.layers
    assert (dock["fixed"].value, dock["moving"].value) == (fixed, moving)
    dock["registration"].value = "translation"
    dock["radius"].value = 3
    dock["add_registered"].value = True
    run(dock)
    registered, ncc = viewer.layers[2:]
    assert ncc.name == "NCC"
    assert registered.name == "moving on fixed"
    assert np.nanmedian(ncc.data) > 0.9
    np.testing.assert_allclose(
        ncc.data, local_ncc(fixed.data, registered.data, radius=3), atol=1e-6
    )
    assert not ncc.colorbar.visible  # the legend is in the dock, and costs no drawing
    assert "1 alike" in str(dock._panel.legend)
    assert ncc.contrast_limits == [-1, 1]
    assert "shift y -7.20 mm" in dock["message"].value.replace("-7.201", "-7.20")
    provenance = ncc.metadata[METADATA]
    assert provenance["parameters"]["radius"] == 3
    np.testing.assert_allclose(provenance["registration"]["matrix"][0][2], -7.2, atol=0.05)


def test_the_map_lies_exactly_on_the_fixed_layer(viewer, dock, run, rng):
    fixed = viewer.add_image(
        rng.normal(size=(4, 30, 40)),
        scale=(3, 0.5, 0.25),
        translate=(1, 2, 3),
        rotate=[[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]],
        shear=[0, 0, 0.2],
        affine=np.diag([1, 2, 2, 1]),
        units=("s", "um", "um"),
        axis_labels=("t", "y", "x"),
        name="a",
    )
    viewer.add_image(fixed.data + rng.normal(size=(4, 30, 40)), name="b", **layers.placement(fixed))
    run(dock)
    ncc = viewer.layers[-1]
    assert ncc.units == fixed.units
    assert ncc.axis_labels == fixed.axis_labels
    for point in rng.normal(size=(5, 3)) * 20:
        np.testing.assert_allclose(
            ncc.data_to_world(point), fixed.data_to_world(point), rtol=0, atol=1e-9
        )
    b = viewer.layers["b"].data
    np.testing.assert_allclose(ncc.data, local_ncc(fixed.data, b, radius=(0, 4, 4)), atol=1e-6)


def test_a_series_against_a_static_reference(viewer, dock, run):
    viewer.open_sample(PLUGIN, "series")
    dock["registration"].value = "translation"
    run(dock)
    ncc = viewer.layers[-1]
    assert ncc.data.shape == viewer.layers["drifting series"].data.shape
    assert ncc.axis_labels == ("t", "y", "x")
    assert np.nanmedian(ncc.data[5]) > 0.9
    height, width = ncc.data.shape[1:]
    changed = ncc.data[-1, height // 2 - 10 : height // 2 + 10, width // 2 - 10 : width // 2 + 10]
    assert np.nanmedian(changed) < 0.3


def test_a_volume_is_compared_in_3d(viewer, dock, run):
    viewer.open_sample(PLUGIN, "volumes")
    assert dock["window"].value == 3
    dock["registration"].value = "translation"
    run(dock)
    ncc = viewer.layers[-1]
    np.testing.assert_allclose(ncc.scale, (3, 2, 2))
    provenance = ncc.metadata[METADATA]
    np.testing.assert_allclose(
        np.array(provenance["registration"]["matrix"])[:3, 3],
        (0.7 * 3, -1.6 * 2, 2.3 * 2),
        atol=0.1,
    )


def test_undefined_has_a_colour_of_its_own(viewer, dock, run):
    viewer.open_sample(PLUGIN, "slices")
    run(dock)
    colormap = viewer.layers[-1].colormap
    drawn = colormap.map(np.linspace(0, 1, 201))[:, :3]
    undefined = colormap.map(np.array([np.nan]))[0, :3]
    assert np.linalg.norm(drawn - undefined, axis=1).min() > 0.25
    brightness = drawn @ [0.2126, 0.7152, 0.0722]
    assert brightness[100] < 0.1
    assert min(brightness[0], brightness[-1]) > 0.6


def test_a_labels_layer_is_a_mask(viewer, dock, run, rng):
    data = rng.normal(size=(2, 40, 40))
    viewer.add_image(data[0], name="a")
    viewer.add_image(data[1], name="b")
    labels = np.zeros((40, 40), int)
    labels[10:30, 10:30] = 2
    dock["mask"].value = viewer.add_labels(labels)
    run(dock)
    np.testing.assert_allclose(
        viewer.layers[-1].data, local_ncc(data[0], data[1], mask=labels > 0), atol=1e-6
    )


def test_a_region_of_interest_is_a_mask_of_shapes(viewer, dock, run, rng):
    data = rng.normal(size=(2, 40, 40))
    for name, image in zip("ab", data, strict=True):
        viewer.add_image(image, name=name)
    corners = [[9.5, 9.5], [9.5, 29.5], [29.5, 29.5], [29.5, 9.5]]
    dock["mask"].value = viewer.add_shapes([corners], shape_type="rectangle")
    run(dock)
    inside = np.zeros((40, 40), bool)
    inside[10:30, 10:30] = True
    found = viewer.layers[-1].data
    np.testing.assert_allclose(found, local_ncc(*data, mask=inside), atol=1e-6)
    assert np.isnan(found[:5]).all()  # no window there lies in it
    assert np.isfinite(found[inside]).any()


def test_layers_of_every_kind(viewer, dock, run, rng):
    grey = rng.integers(0, 255, (64, 64), dtype=np.uint8)
    kinds = {
        "rgb": (np.dstack([grey] * 3), grey),
        "multiscale": ([grey, grey[::2, ::2]], grey),
        "float16": (grey.astype("f2"), grey),
        "bool": (grey > 100, grey > 100),
    }
    for kind, (data, plain) in kinds.items():
        viewer.layers.clear()
        viewer.add_image(data, rgb=kind == "rgb", multiscale=kind == "multiscale", name="a")
        viewer.add_image(grey[::-1], name="b")
        run(dock)
        ncc = viewer.layers[-1].data
        np.testing.assert_allclose(ncc, local_ncc(plain, grey[::-1]), atol=1e-6, err_msg=kind)


def test_the_second_layer_is_chosen_as_moving_and_choices_are_kept(viewer, dock, rng):
    a, b, c = (viewer.add_image(rng.normal(size=(9, 9)), name=n) for n in "abc")
    assert (dock["fixed"].value, dock["moving"].value) == (a, b)
    dock["moving"].value = c
    viewer.add_image(rng.normal(size=(9, 9)), name="d")
    assert (dock["fixed"].value, dock["moving"].value) == (a, c)
    viewer.layers.remove(c)
    assert dock["moving"].value is not a


@pytest.mark.parametrize(("role", "other"), [("fixed", "moving"), ("moving", "fixed")])
def test_a_layer_that_went_takes_its_own_role_with_it(viewer, dock, run, rng, role, other):
    for name in "ab":
        viewer.add_image(rng.normal(size=(30, 30)), name=name)
    run(dock)
    stays = dock[other].value
    viewer.layers.remove(dock[role].value)
    assert dock[other].value is stays
    assert dock[role].value is None  # neither the result nor the other layer a second time
    assert "Two different image layers" in dock["plan"].value
    c = viewer.add_image(rng.normal(size=(30, 30)), name="c")
    assert (dock[role].value, dock[other].value) == (c, stays)
    viewer.add_image(rng.normal(size=(30, 30)), name="d")
    viewer.layers.remove(c)
    assert (dock[role].value.name, dock[other].value) == ("d", stays)


def test_an_error_goes_with_the_layers_it_was_about(viewer, dock, click, rng):
    click(dock, "run")
    assert "Two different image layers" in dock["message"].value
    for name in "ab":
        viewer.add_image(rng.normal(size=(30, 30)), name=name)
    assert dock["message"].value == ""
    assert "pixels coincide" in dock["plan"].value


def test_the_window_of_a_registration_is_said_beside_the_map(viewer, dock, run):
    viewer.open_sample(PLUGIN, "slices")
    dock["registration"].value = "translation"
    dock["radius"].value = 7
    run(dock)
    assert "after (over the whole overlap, window 9 px)" in dock["message"].value


def test_a_second_run_does_the_same_as_the_first(viewer, dock, run, rng):
    stack = rng.normal(size=(6, 30, 30))
    viewer.add_image(stack, name="a")
    viewer.add_image(stack + rng.normal(size=stack.shape), name="b")
    assert dock["window"].value == 2
    dock["window"].value = 3
    dock["keep"].value = True
    run(dock)
    run(dock)
    assert dock["window"].value == 3
    first, second = viewer.layers[2:]
    np.testing.assert_array_equal(first.data, second.data)
    np.testing.assert_allclose(first.data, local_ncc(stack, viewer.layers["b"].data), atol=1e-6)


def test_models_without_their_engine_are_greyed(viewer, monkeypatch):
    from napari_local_ncc._napari.compare import fields
    from napari_local_ncc.registration import engine

    def enabled():
        entries = fields.main_fields(viewer)["registration"].native.model()
        return [entries.item(row).isEnabled() for row in range(entries.rowCount())]

    assert enabled() == [True] * 7
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    assert enabled() == [True, True, False, False, False, True, True]


def test_a_flow_is_found_and_told(viewer, dock, run):
    frame = gaussian_filter(np.random.default_rng(0).normal(size=(80, 80)), 2)
    viewer.add_image(frame, name="fixed")
    viewer.add_image(scipy.ndimage.zoom(frame, 1.05, order=3)[:80, :80], name="moving")
    dock["registration"].value = "flow"
    run(dock)
    assert "volumes change by factors of" in dock["message"].value
    assert np.nanmedian(viewer.layers[-1].data) > 0.98


def test_results_and_points_are_no_masks(viewer, dock, run):
    viewer.open_sample(PLUGIN, "slices")
    viewer.add_points(name="dots")
    labels = viewer.add_labels(np.ones((256, 214), int))
    dock["add_registered"].value = True
    run(dock)
    assert [choice for choice in dock["mask"].choices if choice is not None] == [
        viewer.layers["fixed"],
        viewer.layers["moving"],
        labels,
    ]


def test_no_second_layer_is_said(viewer, dock, click, said, rng):
    click(dock, "run")
    assert "Two different image layers" in dock["message"].value
    viewer.add_image(rng.normal(size=(9, 9)))
    click(dock, "run")
    assert "Two different image layers" in dock["message"].value
    assert dock["plan"].native.isHidden()  # which says the same
    assert said() == []  # the line says it; nothing pops up beside it
    assert len(viewer.layers) == 1


def test_a_single_pixel_is_compared_and_the_run_ends(viewer, dock, run, rng):
    viewer.add_image(rng.random((512, 512)), name="a")
    viewer.add_image(rng.random((1, 1)), name="b")
    run(dock)
    ncc = viewer.layers[-1]
    assert ncc.metadata[METADATA]["complete"]
    assert np.isnan(ncc.data).all()  # there are fewer than three samples everywhere


@pytest.mark.parametrize(
    ("fixed", "moving", "options", "words"),
    [
        (np.eye(9), np.eye(9), {"translate": (100, 0)}, "do not overlap"),
        (np.zeros((5, 9, 9)), np.zeros((4, 9, 9)), {}, "5 samples"),
        (np.zeros((9, 9)), np.zeros((9, 9)), {"axis_labels": ("y", "t")}, "transpose"),
        (np.eye(9), np.eye(9), {"units": ("s", "s")}, "spatial axes"),
    ],
)
def test_what_cannot_be_compared_is_said_once(
    viewer, dock, run, said, fixed, moving, options, words
):
    viewer.add_image(fixed, name="a")
    viewer.add_image(moving, name="b", **options)
    run(dock)
    assert [message for severity, message in said() if severity == "error"] == []
    assert len(viewer.layers) == 2
    assert words in dock["message"].value
    assert "Traceback" not in dock["message"].value


def test_the_widget_module_does_no_mathematics():
    assert not hasattr(widget, "np")


def test_each_widget_offers_the_layers_of_its_own_viewer(make_napari_viewer, rng):
    docks = []
    for name in ("one", "two"):
        viewer = make_napari_viewer()
        docks.append(viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC")[1])
        for part in "ab":
            viewer.add_image(rng.normal(size=(9, 9)), name=f"{name} {part}")
    for dock in docks:
        dock.reset_choices()  # whichever viewer is current
    offered = [[layer.name for layer in dock["fixed"].choices] for dock in docks]
    assert offered == [["one a", "one b"], ["two a", "two b"]]


def test_a_mirror_image_is_registered_where_that_is_allowed(viewer, dock, run):
    for image, name in zip(mirror_pair(), ("fixed", "moving"), strict=True):
        viewer.add_image(image, name=name)
    dock["registration"].value = "rigid"
    run(dock, "register")
    assert "mirrored along" in dock["message"].value
    dock["mirror"].value = True
    run(dock)
    (report,) = viewer.layers["NCC"].metadata[PLUGIN]["registration"]["reports"]
    matrix = np.array(viewer.layers["NCC"].metadata[PLUGIN]["registration"]["matrix"])
    assert report["applied"]
    assert np.linalg.det(matrix) == pytest.approx(-1, abs=1e-6)
    assert np.nanmedian(viewer.layers["NCC"].data) > 0.9


def mirror_pair():
    scene = gaussian_filter(np.random.default_rng(3).normal(size=(120, 130)), 2)
    return scene[10:-10, 10:-10].astype("f4"), scene[10:-10, 10:-10][:, ::-1].astype("f4")
