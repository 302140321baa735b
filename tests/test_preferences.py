"""Where the widget starts: preferences, and the last used settings."""

from __future__ import annotations

from napari.settings import get_plugin_settings

PLUGIN = "napari-local-ncc"


def open_dock(viewer):
    return viewer.window.add_plugin_dock_widget(PLUGIN, "Local NCC")[1]


def test_the_tests_leave_the_users_settings_alone(tmp_path):
    from conftest import CONFIG

    assert get_plugin_settings(PLUGIN).config_path.parent == CONFIG


def test_every_preference_is_where_the_widget_starts(make_napari_viewer):
    changed = {
        "registration": "rigid",
        "radius": 11,
        "exact_radius": "2 mm",
        "weights": "gaussian",
        "refine": True,
        "confidence": False,
        "shift": False,
        "classes": False,
        "search": 5,
        "interpolation": "cubic",
        "min_std": 1e-7,
        "min_valid": 0.25,
        "add_registered": True,
        "keep": True,
        "on_cancel": "remove",
    }
    preferences = get_plugin_settings(PLUGIN).widget
    for name, value in changed.items():
        assert getattr(preferences, name) != value
        setattr(preferences, name, value)
    dock = open_dock(make_napari_viewer())
    assert {name: type(value)(dock[name].value) for name, value in changed.items()} == changed


def test_the_last_used_settings_come_back(make_napari_viewer, run):
    viewer = make_napari_viewer()
    dock = open_dock(viewer)
    viewer.open_sample(PLUGIN, "slices")
    dock["radius"].value = 6
    dock["registration"].value = "translation"
    run(dock)
    dock["radius"].value = 7  # not used
    from napari.settings import _clear_plugin_settings_cache

    _clear_plugin_settings_cache()  # as a new session does
    again = open_dock(make_napari_viewer())
    assert (again["radius"].value, again["registration"].value) == (6, "translation")


def test_who_does_not_want_that_starts_from_fixed_preferences(make_napari_viewer, run):
    settings = get_plugin_settings(PLUGIN).widget
    settings.remember, settings.radius = False, 5
    viewer = make_napari_viewer()
    dock = open_dock(viewer)
    viewer.open_sample(PLUGIN, "slices")
    dock["radius"].value = 6
    run(dock)
    assert open_dock(make_napari_viewer())["radius"].value == 5


def test_the_preferences_window_shows_them(make_napari_viewer, qtbot):
    from napari._qt.dialogs.preferences_dialog import PreferencesDialog

    viewer = make_napari_viewer()
    dialog = PreferencesDialog(parent=viewer.window._qt_window)
    qtbot.addWidget(dialog)
    pages = [dialog._list.item(row).text() for row in range(dialog._list.count())]
    assert "Local NCC" in pages
