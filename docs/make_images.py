"""Make the pictures of the docs, on a virtual screen: `xvfb-run python docs/make_images.py`.

`python docs/make_images.py --folder F --size 1920 1080 --theme light` makes all of the window in
one theme and size, to be looked at; `--only widget_several` makes those of one function.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")  # the defaults

import napari
import numpy as np
from PIL import Image
from qtpy.QtWidgets import QApplication
from scipy.ndimage import map_coordinates

from napari_local_ncc.cli import main
from napari_local_ncc.sample_data import brain_slice

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
LAPTOP = (1366, 768)


def looks() -> argparse.Namespace:
    """Return where pictures go, how large they are, and in which theme, if it is one for all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=HERE)
    parser.add_argument("--size", type=int, nargs=2, default=LAPTOP)
    parser.add_argument("--theme", choices=("dark", "light"))
    parser.add_argument("--only", nargs="+", help="functions of this file, by name")
    return parser.parse_args()


LOOKS = looks()


def demo_figure() -> None:
    """Draw the demo's figure."""
    with tempfile.TemporaryDirectory() as folder:
        main(["demo", "-o", folder])
        shutil.copy(Path(folder) / "figure.png", LOOKS.folder / "demo.png")


def open_widget(theme: str = "dark") -> tuple[napari.Viewer, Any]:
    """Open napari on a laptop's screen, with the widget."""
    viewer = napari.Viewer()
    viewer.theme = LOOKS.theme or theme
    viewer.window.resize(*LOOKS.size)
    _, widget = viewer.window.add_plugin_dock_widget("napari-local-ncc", "Local NCC")
    widget["registration"].value = "translation"  # the picture before may have gone without
    for name in ("confidence", "shift", "classes"):
        widget[name].value = True
    wait(lambda: False, seconds=1)
    return viewer, widget


def take(viewer: napari.Viewer, name: str) -> None:
    """Take the window's picture, after the canvas has been drawn."""
    wait(lambda: False, seconds=3)
    save(viewer, name)


def save(viewer: napari.Viewer, name: str) -> None:
    """Write the window's picture in 256 colours, which makes a small file.

    Colours are taken from all that there are, however few pixels have them: the scale in the dock
    would look as if it had steps.
    """
    picture = viewer.window.screenshot(canvas_only=False, flash=False)
    few = (
        Image.fromarray(picture)
        .convert("RGB")
        .quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=2)
    )
    few.save(LOOKS.folder / f"{name}.png", optimize=True)


def widget_idle_and_done(theme: str = "dark") -> None:
    """Show the widget before and after a run on the first sample."""
    viewer, widget = open_widget(theme)
    viewer.open_sample("napari-local-ncc", "slices")
    widget["registration"].value = "translation"
    viewer.canvas.overlays.scale_bar.visible = True
    if theme == "dark":
        take(viewer, "widget-idle")
    else:
        widget["more"].native.click()
    widget["run"].native.click()
    wait(lambda: widget["run"].enabled)
    take(viewer, "widget-done" if theme == "dark" else f"widget-{theme}")
    viewer.close()


def widget_running() -> None:
    """Show tiles that have landed around the middle of the view."""
    viewer, widget = open_widget()
    pair = brain_slice()
    for image in (pair.fixed, pair.moving):
        enlarged = np.kron(np.asarray(image.data), np.ones((16, 16), np.uint8))
        viewer.add_image(enlarged, name=image.name, scale=(1 / 16, 1 / 16), units=("mm", "mm"))
    wait(lambda: False, seconds=1)
    widget["radius"].value = 80
    widget["weights"].value = "gaussian"
    ncc_alone(widget)
    widget["run"].native.click()
    wait(lambda: widget["progress"].value > widget["progress"].max / 3)
    save(viewer, "widget-running")
    widget["cancel"].native.click()
    viewer.close()


def widget_3d() -> None:
    """Show a volume's map in 3-D."""
    viewer, widget = open_widget()
    viewer.open_sample("napari-local-ncc", "volumes")
    widget["registration"].value = "translation"
    widget["radius"].value = 4
    widget["weights"].value = "box"
    ncc_alone(widget)
    widget["registration"].value = "translation"
    widget["run"].native.click()
    wait(lambda: widget["run"].enabled)
    _, moving, ncc = viewer.layers
    moving.visible = False
    viewer.dims.ndisplay = 3
    ncc.depiction = "plane"
    ncc.plane.position = tuple(n / 2 for n in ncc.data.shape)
    viewer.scene.camera.angles = (-20, 30, 160)
    take(viewer, "widget-3d")
    viewer.close()


def widget_bands() -> None:
    """Show confidence and residual shift of a pair of which one part is bent and one replaced."""
    viewer, widget = open_widget()
    open_bent_pair(viewer)
    widget["registration"].value = "none"
    widget["run"].native.click()
    wait(lambda: widget["run"].enabled)
    widget["view_classes"].native.click()
    take(viewer, "widget-classes")
    widget["view_shift"].native.click()
    wait(lambda: any("arrows" in layer.name for layer in viewer.layers))
    take(viewer, "widget-bands")
    inspector = open_inspector(viewer)
    inspector.tabs.setCurrentWidget(inspector.scatter)
    wait(lambda: inspector.scatter.found is not None)
    take(viewer, "inspector-scatter")
    for layer in viewer.layers:
        layer.visible = False
    inspector["band"].value = next(
        kind for kind in inspector["band"].choices if "rotation" in str(kind)
    )
    wait(lambda: any(layer.visible for layer in viewer.layers))
    take(viewer, "inspector-rotation")
    viewer.close()


def open_bent_pair(viewer: napari.Viewer) -> None:
    """Add a slice, and the same with one part bent and one replaced."""
    image = brain_slice().fixed
    fixed = np.asarray(image.data, np.float32)
    rows, columns = np.indices(fixed.shape)
    bend = 2.5 * np.exp(-((rows - 165) ** 2 + (columns - 70) ** 2) / (2 * 30**2))
    moving = map_coordinates(fixed, (rows - bend, columns + bend), order=3)
    moving[70:110, 115:155] = moving[70:110, 115:155][::-1, ::-1]
    noise = np.random.default_rng(0).normal(scale=5, size=fixed.shape)
    for name, data in (("fixed", fixed), ("moving", moving + noise)):
        viewer.add_image(data, name=name, scale=image.grid.spacing, units=image.grid.units)


def inspector_eye() -> None:
    """Swipe between fixed and moving, which does not lie where it belongs."""
    viewer, widget = open_widget()
    viewer.open_sample("napari-local-ncc", "slices")
    ncc_alone(widget)
    widget["run"].native.click()
    wait(lambda: widget["run"].enabled)
    inspector = open_inspector(viewer)
    inspector.tabs.setCurrentWidget(inspector.eye)
    inspector.eye.swipe.click()
    wait(lambda: inspector.eye.line.isEnabled())
    take(viewer, "inspector-eye")
    viewer.close()


def widget_placement() -> None:
    """Place moving by landmarks."""
    viewer, widget = open_widget()
    viewer.open_sample("napari-local-ncc", "slices")
    widget["placement_section"].native.click()
    widget["new_landmarks"].native.click()
    seen = np.array([[62.0, 60.0], [150.0, 72.0], [105.0, 140.0], [70.0, 118.0]])
    missed = np.array([[0.4, -0.3], [-0.5, 0.1], [0.2, 0.6], [-0.1, -0.4]])
    viewer.layers["fixed landmarks"].data = seen
    viewer.layers["moving landmarks"].data = seen + missed + (-7.2, 4.4)
    widget["fit_landmarks"].native.click()
    take(viewer, "widget-placement")
    viewer.close()


def widget_several() -> None:
    """Compare several layers with fixed: displaced, displaced in one half, and no image at all."""
    viewer, widget = open_widget()
    fixed = brain_slice().fixed
    data = np.asarray(fixed.data, np.float32)
    torn = data.copy()
    torn[140:] = np.roll(data, 4, axis=1)[140:]
    place = {"scale": fixed.grid.spacing, "units": fixed.grid.units}
    rng, layers = (
        np.random.default_rng(1),
        {"round 1": data, "round 2": np.roll(data, (3, -4), (0, 1))},
    )
    layers |= {"round 3": torn, "noise": rng.normal(scale=20, size=data.shape)}
    for name, image in layers.items():
        viewer.add_image(image + rng.normal(scale=5, size=data.shape), name=name, **place)
    widget["fixed"].value = viewer.layers[0]
    widget["several_section"].native.click()
    widget["several"].value = list(viewer.layers)[1:]
    widget["run_several"].native.click()
    wait(lambda: widget["run"].enabled)
    widget._several.table.cellClicked.emit(1, 0)
    take(viewer, "widget-several")
    viewer.close()


def widget_sections() -> None:
    """Show all sections unfolded, in parts."""
    viewer, widget = open_widget()
    viewer.open_sample("napari-local-ncc", "slices")
    for name in ("more", "placement_section", "transform_section", "several_section"):
        widget[name].native.click()
        take(viewer, f"unfolded-{name}")
    viewer.close()


def open_inspector(viewer: napari.Viewer) -> Any:
    """Open the inspector in front of the widget."""
    dock, inspector = viewer.window.add_plugin_dock_widget(
        "napari-local-ncc", "Local NCC inspector", tabify=True
    )
    dock.raise_()
    wait(lambda: False, seconds=1)  # until it has joined the other's tabs
    dock.raise_()
    return inspector


def ncc_alone(widget: Any) -> None:
    """Compare images as they lie, without the other bands: the NCC is what is shown."""
    widget["registration"].value = "none"
    for name in ("confidence", "shift", "classes"):
        widget[name].value = False


def inspector_screenshots() -> None:
    """Inspect the sample pair in the dark theme, and sum up the series in the light one."""
    for sample, theme, tab, name in (
        ("slices", "dark", "pixel", "inspector"),
        ("series", "light", "table", "summary"),
    ):
        viewer, widget = open_widget(theme)
        viewer.open_sample("napari-local-ncc", sample)
        ncc_alone(widget)
        widget["registration"].value = "translation"
        widget["run"].native.click()
        wait(lambda widget=widget: widget["run"].enabled)
        inspector = open_inspector(viewer)
        layer = inspector["map"].value
        inspector.pixel.point_at(layer, layer.data_to_world((0, 130, 100)[-layer.ndim :]))
        inspector.tabs.setCurrentWidget(getattr(inspector, tab))
        parts = (inspector.pixel, inspector.histogram, inspector.table)
        wait(lambda parts=parts: not any(part.latest.is_busy for part in parts))
        take(viewer, name)
        viewer.close()


def wait(condition: Callable[[], bool], seconds: float = 300) -> None:
    """Let the window work until a condition holds."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def every_picture() -> None:
    """Make all of them; the sections and the demo only where they are wanted."""
    if LOOKS.folder == HERE:
        demo_figure()
    else:
        widget_sections()
    widget_idle_and_done()
    widget_idle_and_done("light")
    widget_running()
    widget_3d()
    widget_bands()
    widget_placement()
    widget_several()
    inspector_eye()
    inspector_screenshots()


if __name__ == "__main__":
    for function in LOOKS.only or ["every_picture"]:
        globals()[function]()
