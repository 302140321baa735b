"""Where the widget starts: napari's own plugin settings, shown in its Preferences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.settings import get_plugin_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

PLUGIN = "napari-local-ncc"
GIGABYTE = 10**9


def preferences() -> dict[str, Any]:
    """Return the settings, by name: the manifest's defaults, or what the user set."""
    settings: dict[str, Any] = get_plugin_settings(PLUGIN).widget.model_dump()
    return settings


def remember(used: Mapping[str, Any]) -> None:
    """Make what was used the place to start from, unless the user prefers a fixed one.

    Parameters
    ----------
    used : mapping of str to object
        Values by name; names that are no settings are left out.
    """
    settings = get_plugin_settings(PLUGIN).widget
    if settings.remember:
        settings.update({name: value for name, value in used.items() if hasattr(settings, name)})


def memory_budget() -> float:
    """Return the size up to which a result is kept in memory, in bytes."""
    return float(preferences()["memory"]) * GIGABYTE
