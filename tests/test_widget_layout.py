"""The widget's layout: on a laptop, empty, folded, by keyboard; what it explains."""

from __future__ import annotations

import numpy as np
import pytest
from magicgui.widgets import CheckBox, Container, Label, ProgressBar
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QCheckBox, QLabel, QPushButton, QWidget

from conftest import make_plain
from napari_local_ncc._napari.compare.layout import MAIN, SPACING, Section, TextScroll
from napari_local_ncc._napari.compare.widget import _fields_of

PLUGIN = "napari-local-ncc"


def sections(dock):
    """Return the lines that unfold the sections of fields."""
    return [each._line.native for each in _fields_of(dock) if isinstance(each, Section)]


def settle(qtbot, dock):
    """Wait until the layout has found its place."""
    heights = []

    def is_still():
        fields = [dock[name].native for name in ("fixed", "run", "plan", "message")]
        heights.append([f.mapTo(dock.native, f.rect().topLeft()).y() for f in fields])
        return len(heights) > 3 and heights[-1] == heights[-2] == heights[-3]

    qtbot.wait(200)
    qtbot.waitUntil(is_still, timeout=20_000)


def test_the_layout_is_calm_on_a_laptop(viewer, dock, run, qtbot):
    window = viewer.window._qt_window
    window.resize(1366, 768)
    window.show()
    viewer.open_sample(PLUGIN, "series")
    for layer in viewer.layers:
        layer.name = f"a very long name of a file from a microscope, {layer.name}"
    fields = [dock[name].native for name in ("fixed", "moving", "radius", "search", "mask")]
    settle(qtbot, dock)
    lefts = {field.mapTo(dock.native, field.rect().topLeft()).x() for field in fields}
    assert len(lefts) == 1
    assert dock.native.width() < 440  # a scroll bar is provided for
    button = dock["run"].native
    before = button.mapTo(dock.native, button.rect().topLeft()).y()
    assert before + button.height() < 700
    run(dock)
    settle(qtbot, dock)
    assert button.mapTo(dock.native, button.rect().topLeft()).y() == before


def test_run_stays_in_sight_with_everything_unfolded(viewer, dock, qtbot):
    window = viewer.window._qt_window
    window.resize(1366, 768)
    window.show()
    viewer.open_sample(PLUGIN, "series")
    for section in sections(dock):
        section.click()
    qtbot.wait(200)
    button = dock["run"].native
    assert button.mapTo(window, button.rect().bottomLeft()).y() < 768
    assert window.height() <= 768


def test_two_docks_fit_a_laptop_whatever_is_reported(viewer, dock, run, qtbot):
    window = viewer.window._qt_window
    window.resize(1366, 768)
    window.show()
    viewer.open_sample(PLUGIN, "slices")
    settle(qtbot, dock)
    least, width = dock.native.minimumSizeHint(), dock.native.width()
    for name in ("confidence", "shift"):
        dock[name].value = True
    dock["registration"].value = "translation"
    run(dock)
    settle(qtbot, dock)
    dock["message"].value += "\n" + 40 * "a line of a report that is long enough to be wrapped "
    qtbot.wait(100)
    assert dock.native.minimumSizeHint() == least
    assert (dock.native.width(), window.height()) == (width, 768)
    main, (side, inspector) = (
        dock.native.parent(),
        viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC inspector"),
    )
    qtbot.waitUntil(lambda: side in window.tabifiedDockWidgets(main))
    qtbot.waitUntil(inspector.native.isVisible)
    assert window.height() == 768
    main.raise_()
    button = dock["run"].native
    qtbot.waitUntil(button.isVisible)
    assert button.mapTo(window, button.rect().bottomLeft()).y() < 768


def test_the_inspector_stays_where_the_main_widget_is_hidden(viewer, dock, qtbot):
    viewer.window._qt_window.show()
    dock.native.parent().hide()
    side, inspector = viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC inspector")
    qtbot.waitUntil(inspector.native.isVisible)
    qtbot.wait(50)
    assert viewer.window._qt_window.tabifiedDockWidgets(side) == []


def test_more_settings_get_the_room_and_no_bar_covers_them(viewer, dock, qtbot):
    window = viewer.window._qt_window
    window.resize(1366, 768)
    window.show()
    viewer.open_sample(PLUGIN, "slices")
    dock["more"].native.click()
    settle(qtbot, dock)
    dock["message"].value = 40 * "a line of a report that is long enough to be wrapped "
    qtbot.wait(100)
    scroll = dock._scroll
    assert scroll.height() > 380  # and the headline keeps its room
    dock["transform_section"].native.click()
    settle(qtbot, dock)
    assert scroll.verticalScrollBar().isVisible()
    assert scroll.widget().width() <= scroll.viewport().width()


def test_what_is_unfolded_is_scrolled_to(viewer, dock, qtbot):
    window = viewer.window._qt_window
    window.resize(1366, 768)
    window.show()
    viewer.open_sample(PLUGIN, "slices")
    for section in (each for each in _fields_of(dock) if isinstance(each, Section)):
        section._line.native.click()
        qtbot.wait(50)
        room = dock._scroll.viewport()
        top, bottom = (
            section.native.mapTo(room, corner).y()
            for corner in (section.native.rect().topLeft(), section.native.rect().bottomLeft())
        )
        assert top >= 0
        assert bottom < room.height() or top == 0
    assert dock._scroll.verticalScrollBar().value() > 0


def test_no_label_is_cut_off(viewer, dock, qtbot):
    viewer.window._qt_window.resize(1366, 768)
    viewer.window._qt_window.show()
    viewer.open_sample(PLUGIN, "series")
    for section in sections(dock):
        section.click()
    qtbot.wait(200)
    labels = [label for label in dock.native.findChildren(QLabel) if not label.wordWrap()]
    assert len(labels) > 10
    for label in labels:
        assert label.width() >= label.fontMetrics().horizontalAdvance(label.text()), label.text()


def test_every_field_says_what_to_choose(dock):
    fields = [f for f in _fields_of(dock) if not isinstance(f, Container | Label | ProgressBar)]
    assert len(fields) > 25
    for field in fields:
        assert len(field.tooltip or "") > 20, field.name
    assert "no proof" in dock["run"].tooltip
    assert "no proof" in dock["registration"].tooltip


def test_tab_goes_from_top_to_bottom(viewer, fresh_dock, qtbot):
    window = viewer.window._qt_window
    window.show()
    viewer.open_sample(PLUGIN, "slices")
    fresh_dock["more"].native.click()
    names = ("fixed", "moving", "registration", "radius", "confidence", "search", "mask", "more")
    names += (
        "weights",
        "exact_radius",
        "mirror",
        "refine",
        "interpolation",
        "min_std",
        "min_valid",
        "on_cancel",
    )
    names += ("add_registered", "keep", "placement_section", "transform_section", "run", "register")
    fields = [fresh_dock[name].native for name in names]
    window.activateWindow()
    fields[0].setFocus()
    qtbot.waitUntil(fields[0].hasFocus)
    visited = []
    for _ in range(100):
        focused = QApplication.focusWidget()
        if focused in fields and focused not in visited:
            visited.append(focused)
        qtbot.keyClick(focused, Qt.Key.Key_Tab)
    assert visited == fields


def test_an_empty_viewer_offers_the_samples(viewer, dock, qtbot):
    viewer.window._qt_window.show()
    qtbot.waitUntil(lambda: dock["welcome"].native.isVisible())
    assert not dock["fixed"].native.isVisible()
    dock["sample_series"].native.click()
    assert [layer.name for layer in viewer.layers] == ["reference", "drifting series"]
    qtbot.waitUntil(lambda: dock["fixed"].native.isVisible())
    assert not dock["welcome"].native.isVisible()
    assert dock["fixed"].value is viewer.layers[0]


def test_the_guide_opens(dock, qtbot):
    from qtpy.QtWidgets import QTextBrowser

    dock["guide"].native.click()
    text = dock.native.findChild(QTextBrowser)
    assert "Run" in text.toPlainText()
    assert "no proof" in text.toPlainText()
    text.parent().close()


def test_the_plan_follows_a_layer_that_is_edited(viewer, dock):
    viewer.open_sample(PLUGIN, "slices")
    assert "window 9x9 px = 9 mm" in dock["plan"].value
    for layer in viewer.layers:
        layer.scale = (0.5, 0.5)
    assert "window 9x9 px = 4.5 mm" in dock["plan"].value
    viewer.layers["moving"].units = ("pixel", "pixel")
    assert dock["unitless"].native.isVisibleTo(dock.native)


def test_the_plan_says_that_only_one_layer_has_a_pixel_size(viewer, dock):
    viewer.add_image(np.eye(40), name="a")
    viewer.add_image(np.eye(80), name="b", scale=(0.5, 0.5))
    assert "b has pixels of 0.5x0.5 without a unit, a has pixels of 1" in dock["plan"].value


def test_the_radius_may_be_a_length_or_one_per_axis(viewer, dock):
    viewer.open_sample(PLUGIN, "slices")
    windows = {"2 mm": "5x5 px = 5 mm", "1, 3": "3x7 px", "": "9x9 px = 9 mm"}
    for text, window in windows.items():
        dock["exact_radius"].value = text
        assert window in dock["plan"].value
    assert dock["radius"].enabled == (not text)


def test_limits_reach_the_map(viewer, dock, run):
    viewer.open_sample(PLUGIN, "slices")
    dock["min_std"].value = "much"
    assert "min. contrast must be a number" in dock["plan"].value
    dock["min_std"].value = "12.5"
    dock["min_valid"].value = 0.9
    run(dock)
    parameters = viewer.layers[-1].metadata[PLUGIN]["parameters"]
    assert (parameters["min_std"], parameters["min_valid"]) == (12.5, 0.9)


def test_what_is_on_at_first_gives_all_three_answers(fresh_dock):
    boxes = [field for field in _fields_of(fresh_dock) if isinstance(field, CheckBox)]
    assert {box.name for box in boxes if box.value} == {"confidence", "shift", "classes"}
    assert fresh_dock["registration"].value == "translation"


def test_every_field_has_a_name_for_who_cannot_see_it(dock):
    for field in _fields_of(dock):
        if not isinstance(field, Container):
            assert field.native.accessibleName().strip(), field.name
    assert dock["radius"].native.accessibleName() == "radius (px)"
    assert "How sure" in dock["view_confidence"].native.accessibleName()


def test_the_dock_is_narrow_and_stays_so(viewer, fresh_dock, qtbot):
    window = viewer.window._qt_window
    window.resize(1366, 700)
    window.show()
    qtbot.wait(100)
    empty = fresh_dock.native.minimumSizeHint().width()
    viewer.open_sample(PLUGIN, "series")
    qtbot.wait(100)
    width = fresh_dock.native.minimumSizeHint().width()
    assert width <= 300
    assert width == empty  # the canvas does not move when images are opened
    for section in sections(fresh_dock):
        section.click()
        assert fresh_dock.native.minimumSizeHint().width() == width


def cut_off(dock):
    """Return what is narrower than its text, or lies beside what is seen of it."""
    scroll = dock._scroll
    room = scroll.viewport().width()
    found = [f"{scroll.widget().width()} px of fields in {room}"]
    found = found if scroll.isVisible() and scroll.widget().width() > room else []
    for part in dock.native.findChildren(QWidget):
        has_text = isinstance(part, QPushButton | QCheckBox | QLabel)
        wraps = isinstance(part, QLabel) and part.wordWrap()
        if part.isVisible() and has_text and part.text() and not wraps:
            text = max(part.text().split("\n"), key=len)
            needed = part.fontMetrics().horizontalAdvance(text)
            right = part.mapTo(dock.native, part.rect().bottomRight()).x()
            if part.width() < needed or right >= dock.native.width():
                found.append(f"{part.text()!r}: {part.width()} of {needed} px, up to {right}")
    return found


@pytest.mark.parametrize("seed", range(2))
def test_no_order_of_unfolding_and_filling_cuts_anything_off(viewer, fresh_dock, run, qtbot, seed):
    rng, dock = np.random.default_rng(seed), make_plain(fresh_dock)
    window = viewer.window._qt_window
    window.resize(1366, 768)
    window.show()
    qtbot.waitUntil(lambda: dock.native.width() == dock.native.minimumSizeHint().width() > 280)

    def fit():
        dock["new_landmarks"].native.click()
        for role in ("fixed", "moving"):
            points = dock[f"{role}_points"].value
            points.data = rng.uniform(20, 120, (4, points.ndim))
        dock["fit_landmarks"].native.click()

    def rename():
        viewer.layers[0].name = "a very long name of a file from a microscope"

    def choose():
        for name in ("fixed", "registration", "weights", "landmark_model", "transform", "start"):
            dock[name].value = rng.choice(np.array(dock[name].choices, dtype=object))

    def narrow():
        window.resizeDocks([dock.native.parent()], [200], Qt.Orientation.Horizontal)

    acts = [
        fit,
        rename,
        choose,
        narrow,
        lambda: run(dock),
        lambda: dock["move"].native.click(),
        lambda: dock["details"].native.click(),
        lambda: setattr(dock["plan"], "value", 60 * "a long plan " + "/" + 90 * "x"),
        lambda: viewer.open_sample(PLUGIN, rng.choice(["slices", "series"])),
        *(section.click for section in sections(dock)),
        *(section.click for section in sections(dock)),
    ]
    viewer.open_sample(PLUGIN, "slices")
    for step in range(25):
        rng.choice(np.array(acts, dtype=object))()
        assert dock.native.minimumSizeHint().width() <= 300, step
        for _ in range(rng.integers(3)):
            QApplication.processEvents()
            assert not cut_off(dock), step
    narrow()
    settle(qtbot, dock)
    assert dock.native.width() <= 300
    assert not cut_off(dock)


def test_headline_legend_and_run_are_seen_together_in_a_low_window(viewer, fresh_dock, run, qtbot):
    window = viewer.window._qt_window
    window.resize(1366, 700)
    window.show()
    viewer.open_sample(PLUGIN, "slices")
    run(fresh_dock)
    settle(qtbot, fresh_dock)
    assert window.height() == 700
    legend = fresh_dock._panel._legend
    for part in (fresh_dock["headline"].native, legend, fresh_dock["run"].native):
        assert part.height() > 10
        assert part.visibleRegion().boundingRect() == part.rect()  # nothing of it is scrolled away
        assert part.mapTo(window, part.rect().bottomLeft()).y() < 700


def test_what_a_button_says_is_in_sight(viewer, fresh_dock, run, qtbot):
    viewer.window._qt_window.show()
    viewer.window.resize(1366, 700)
    viewer.open_sample(PLUGIN, "slices")
    run(fresh_dock)
    fresh_dock["placement_section"].native.click()
    fresh_dock["details"].native.click()  # the message stands below all figures, too
    for button, words in (("use_placement", "was not moved"), ("move", "Drag moving")):
        fresh_dock[button].native.click()
        settle(qtbot, fresh_dock)
        message = fresh_dock["message"].native
        assert words in message.text()
        assert message.visibleRegion().boundingRect() == message.rect()
    run(fresh_dock)
    settle(qtbot, fresh_dock)
    head = fresh_dock["headline"].native
    assert head.visibleRegion().boundingRect() == head.rect()


def test_what_is_found_has_a_bar_only_where_something_is_hidden(viewer, fresh_dock, run, qtbot):
    viewer.window._qt_window.show()
    viewer.open_sample(PLUGIN, "slices")
    run(fresh_dock)
    scroll = fresh_dock.native.findChild(TextScroll)
    content, bar = scroll.widget(), scroll.verticalScrollBar()
    found = (
        "Registered: moved 7.2 mm down. The images agree in 77 % of the area; 18 % are displaced"
    )
    for words in range(2, 40):
        fresh_dock["headline"].value = " ".join((3 * found).split()[:words])
        for height in (600, 660, 700, 768):
            viewer.window.resize(1366, height)
            for _ in range(3):
                QApplication.processEvents()
            last = fresh_dock["details"].native
            end = last.mapTo(content, last.rect().bottomLeft()).y() + 1
            hidden = max(0, end - scroll.viewport().height())
            assert hidden <= bar.maximum() <= hidden + SPACING, (words, height)


def test_five_clicks_from_two_layers_to_all_three_answers(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    window, clicks = viewer.window._qt_window, []
    window.resize(1366, 768)
    viewer.open_sample(PLUGIN, "slices")
    viewer.layers.selection.active = viewer.layers[0]
    qtbot.wait(300)

    def click(widget, place=None):
        clicks.append(type(widget).__name__)  # a widget would keep the window
        place = widget.rect().center() if place is None else place
        qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, pos=place)

    def click_entry(menu, text):
        (action,) = (each for each in menu.actions() if each.text() == text)
        qtbot.waitUntil(menu.isVisible)
        click(menu, menu.actionGeometry(action).center())

    bar, plugins = window.menuBar(), viewer.window.plugins_menu
    (entry,) = (each for each in bar.actions() if each.menu() is plugins)
    click(bar, bar.actionGeometry(entry).center())
    qtbot.waitUntil(plugins.isVisible)
    (ours,) = (each for each in plugins.actions() if each.menu() and each.text() == "Local NCC")
    plugins.setActiveAction(ours)  # a menu in a menu opens where the mouse rests on it
    click_entry(ours.menu(), "Local NCC (Local NCC)")
    qtbot.waitUntil(lambda: window.findChild(QWidget, MAIN) is not None)
    dock = window.findChild(QWidget, MAIN)._magic_widget
    qtbot.waitUntil(dock["run"].native.isVisible)
    click(dock["run"].native)
    qtbot.waitUntil(lambda: dock["run"].enabled, timeout=300_000)
    assert viewer.layers["NCC"].visible
    for view, name in (("confidence", "confidence"), ("shift", "|shift| (mm)")):
        click(dock[f"view_{view}"].native)
        qtbot.waitUntil(
            lambda name=name: name in viewer.layers and viewer.layers[name].visible, timeout=20_000
        )
    assert len(clicks) <= 5
