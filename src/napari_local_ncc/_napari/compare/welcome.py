"""What an empty viewer offers: the sample pairs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from magicgui.widgets import Container, Label, PushButton
from npe2 import PluginManager

from napari_local_ncc._napari.compare.preferences import PLUGIN

if TYPE_CHECKING:
    from napari.viewer import Viewer


def welcome(viewer: Viewer) -> Container:
    """Return a button for every sample, which opens it."""
    text = Label(name="welcome_text", value="Open two images of the same thing, or try a pair:")
    text.native.setWordWrap(True)
    buttons = []
    samples = PluginManager.instance().get_manifest(PLUGIN).contributions.sample_data or []
    for sample in samples:
        button = PushButton(
            name=f"sample_{sample.key}",
            text=sample.display_name.replace(" (", "\n("),  # two lines, or the dock would be wide
            tooltip="Two layers with a known transform between them; also under File > Open "
            "Sample > Local NCC.",
        )
        button.changed.connect(partial(_open, viewer, sample.key))
        buttons.append(button)
    group = Container(name="welcome", widgets=[text, *buttons], labels=False)
    group.margins = (0, 0, 0, 0)
    return group


def _open(viewer: Viewer, key: str, _: object = None) -> None:
    viewer.open_sample(PLUGIN, key)
