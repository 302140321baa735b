"""How long napari's window stands still by our doing: each gap beside plain napari's.

`xvfb-run -a python benchmarks/gui_gaps.py [side [region]]` (8192 at first) compares two planes
with all three answers in a viewer, looks at each map, turns the knobs of a preview and pans; a
second process makes the same calls by hand, with arrays of the same shape and no plugin. Layers
are of the whole side, and so is what is computed, or only a square of the side `region` in its
middle, where time is short. It begins when what the dock makes ready in the background is. Of every
action it prints the longest gap between two ticks of a 5 ms timer, with and without the plugin:
in processor time of the GUI thread, which other programs hardly change, and the plugin's gap in
wall time beside it. For panning and previews it prints processor time of the whole action.

On a virtual screen drawing is done by the processor, so the gaps are those of a machine without
a graphics card. Linux only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

os.environ["NAPARI_CONFIG"] = os.path.join(tempfile.mkdtemp(), "settings.yaml")

import napari
import numpy as np
from gui_watch import Watch, core_times, let_work, watched
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QTimer
from scipy.ndimage import gaussian_filter

from napari_local_ncc._napari.layers.convert import ncc_colors
from napari_local_ncc.reports.colormap import CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable

PAINTED = 2048  # px: the side of the texture that the images repeat
STEPS = 20  # of a pan
TURNS = 5  # of a knob
MOST, MORE, TIMES = 150, 100, 2  # the targets: ms, ms beyond plain napari, times


def new_viewer() -> napari.Viewer:
    """Open a window of a laptop's size."""
    viewer = napari.Viewer()
    viewer.window.resize(1366, 768)
    return viewer


def open_pair(viewer: napari.Viewer, side: int) -> None:
    """Add two noisy images of one thing, of which one part is moved and one replaced."""
    rng = np.random.default_rng(0)
    painted = gaussian_filter(rng.normal(size=(PAINTED, PAINTED)), 2, mode="wrap") * 200
    moved = painted.copy()
    moved[:500, :500] = np.roll(painted, 2, axis=0)[:500, :500]
    moved[900:, 900:] = painted[900:, 900:][::-1, ::-1]
    for name, scene in (("fixed", painted), ("moving", moved)):
        noisy = (scene + rng.normal(size=scene.shape) * 4 + 100).clip(0, 255).astype(np.uint8)
        times = -(-side // PAINTED)
        image = np.tile(noisy, (times, times))[:side, :side]
        levels = pyramid(image, 4096)  # as a microscope's software stores it
        viewer.add_image(levels if len(levels) > 1 else image, name=name, contrast_limits=(0, 250))


def pyramid(image: np.ndarray[Any, Any], least: int) -> list[np.ndarray[Any, Any]]:
    """Return an image and its halves, until one is not larger than `least`."""
    levels = [image]
    while max(levels[-1].shape) > least:
        levels.append(levels[-1][::2, ::2].copy())
    return levels


def of_turn(watch: Watch, times: int = 1) -> float:
    """Return the GUI thread's processor time for each of some turns, in ms."""
    return 1000 * watch.computing / times


def pan(viewer: napari.Viewer) -> float:
    """Pan in steps as a mouse does, and return the GUI thread's processor time for one, in ms."""
    began, _ = core_times()
    for k in range(STEPS):
        viewer.scene.camera.center = (0, *(viewer.scene.camera.center[-2:] + np.array([9, 7 - k])))
        let_work(0.03)
    return 1000 * (core_times()[0] - began) / STEPS


class Record:
    """Keeps what was measured, and prints it as it comes."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, float]] = {}

    def gap(self, name: str, watch: Watch, **span: float) -> None:
        """Keep the longest gap of an action."""
        longest = watch.longest(**span)
        self.rows[name] = {"gap": 1000 * longest.computing, "wall": 1000 * longest.length}
        print(f"# {name}: {longest}", file=sys.stderr, flush=True)

    def cost(self, name: str, milliseconds: float) -> None:
        """Keep the processor time of an action."""
        self.rows[name] = {"cost": milliseconds}
        print(f"# {name}: {milliseconds:.1f} ms", file=sys.stderr, flush=True)

    def do(self, name: str, action: Callable[[], object], seconds: float = 1.0) -> None:
        """Do something in a turn of the event loop, and keep the longest gap of it."""
        with watched() as watch:
            QTimer.singleShot(0, action)
            let_work(seconds)
        self.gap(name, watch)


def with_plugin(side: int, region: int) -> dict[str, Any]:
    """Run, look at each map, run again, preview, pan; return what was measured."""
    viewer, record = new_viewer(), Record()
    _, widget = viewer.window.add_plugin_dock_widget("napari-local-ncc", "Local NCC")
    open_pair(viewer, side)
    if region < side:
        start, stop = (side - region) / 2, (side + region) / 2
        square = [(start, start), (start, stop), (stop, stop), (stop, start)]
        widget["mask"].value = viewer.add_shapes([square], name="region", visible=False)
    widget["registration"].value = "none"
    widget["search"].value = 2
    let_work(3)
    let_work(600, lambda: not widget._warm_up.is_busy)
    _run(widget, record, "run")
    for view in ("confidence", "classes", "shift", "ncc"):
        record.do(f"show {view}", widget[f"view_{view}"].native.click, 2)
    record.do("show classes again", widget["view_classes"].native.click)
    record.do("show ncc again", widget["view_ncc"].native.click)
    arrows = next((len(layer.data) for layer in viewer.layers if "arrows" in layer.name), 0)
    _run(widget, record, "run again")
    record.cost("pan, nothing runs", pan(viewer))
    widget["run"].native.click()
    let_work(3000, lambda: widget["message"].value.startswith("Comparing"))
    record.cost("pan during a run", pan(viewer))
    record.do("cancel", widget["cancel"].native.click)
    for layer in viewer.layers[3 if region < side else 2 :]:
        layer.visible = False
    _preview(viewer, widget, record)
    record.do("quit", lambda: viewer.window.remove_dock_widget(widget.native))
    viewer.close()  # or Python ends with a window open, and the process in a crash of Qt
    return {"rows": record.rows, "arrows": arrows}


def _run(widget: Any, record: Record, name: str) -> None:
    """Run once: its beginning, what lands, and its end are three actions."""
    with watched() as watch:
        QTimer.singleShot(0, widget["run"].native.click)
        let_work(3000, lambda: widget["message"].value.startswith("Comparing"))
        let_work(1)
    record.gap(f"{name}: begin", watch)
    ends: list[float] = []
    with watched() as watch:
        widget._control.run.ended.connect(lambda _: ends.append(watch.gaps[-1].ended))
        let_work(3000, lambda: widget["run"].enabled)
        let_work(1)
    record.gap(f"{name}: tiles land", watch, until=ends[0])
    record.gap(f"{name}: end", watch, since=ends[0] + 1e-9)


def _preview(viewer: napari.Viewer, widget: Any, record: Record) -> None:
    """Turn a knob while a preview is shown; and set the same data by hand."""
    shown: list[Any] = []

    def layer() -> Any:
        return next((each for each in viewer.layers if each.name.startswith("preview")), None)

    widget["preview"].value = True
    let_work(60, lambda: layer() is not None)
    let_work(2)
    layer().events.data.connect(lambda event: shown.append(layer().data))
    with watched() as watch:
        for k in range(TURNS):
            before = len(shown)
            widget["radius"].value = 5 + k
            let_work(60, lambda before=before: len(shown) > before)
            let_work(0.7)
    record.gap("preview: turn a knob", watch)
    record.cost("preview, a sight", of_turn(watch, len(shown)))
    data = layer().data
    widget["preview"].value = False
    let_work(1)
    by_hand = viewer.add_image(data, **ncc_colors())
    let_work(2)
    with watched() as watch:
        for _ in shown:
            by_hand.data = data.copy()
            let_work(0.7)
    record.cost("layer.data = ..., once", of_turn(watch, len(shown)))
    viewer.layers.remove(by_hand)


def by_hand(side: int, arrows: int) -> dict[str, Any]:
    """Do to a viewer what the plugin does, without it; return what was measured."""
    viewer, record = new_viewer(), Record()
    open_pair(viewer, side)
    let_work(3)
    rng = np.random.default_rng(1)
    least = 256 if side > 2048 else side
    values = pyramid(rng.random((side, side), np.float32), least)
    codes = pyramid(rng.integers(0, 4, (side, side), np.uint8), least)
    ends = rng.uniform(0, side, (arrows, 2, 2)).astype(np.float32)
    ends[:, 1] = rng.normal(size=(arrows, 2))
    shown = values if len(values) > 1 else values[0]
    made: dict[str, Any] = {}

    def image(name: str) -> None:
        made[name] = viewer.add_image(shown, multiscale=len(values) > 1, **ncc_colors())

    def labels() -> None:
        colors = DirectLabelColormap(color_dict={**dict(enumerate(CLASSES.values())), None: "red"})
        data = codes if len(codes) > 1 else codes[0]
        made["classes"] = viewer.add_labels(data, colormap=colors, opacity=1)

    def vectors() -> None:
        colors = np.array(list(CLASSES.values()))[np.arange(arrows) % 2]
        made["arrows"] = viewer.add_vectors(ends, edge_color=colors, vector_style="arrow")

    def switch(off: str, on: str) -> None:
        made[off].visible, made[on].visible = False, True

    record.do("run: begin", lambda: image("ncc"))
    with watched() as watch:
        for _ in range(5):
            values[0][: side // 4] = rng.random(dtype=np.float32)
            made["ncc"].refresh(extent=False, thumbnail=False, highlight=False)
            let_work(0.5)
    record.gap("run: tiles land", watch)
    record.do("run: end", lambda: made["ncc"].refresh(extent=False))
    made["ncc"].visible = False
    record.do("show confidence", lambda: image("confidence"))
    made["confidence"].visible = False
    record.do("show classes", labels)
    made["classes"].visible = False
    with watched() as watch:
        QTimer.singleShot(0, lambda: image("shift"))
        let_work(1)
        if arrows:
            QTimer.singleShot(0, vectors)
        let_work(1)
    record.gap("show shift", watch)
    record.do("show ncc", lambda: switch("shift", "ncc"))
    record.do("show classes again", lambda: switch("ncc", "classes"))
    record.do("show ncc again", lambda: switch("classes", "ncc"))
    record.do("run again: begin", lambda: setattr(made["ncc"], "data", shown))
    record.rows["run again: tiles land"] = record.rows["run: tiles land"]
    record.do("run again: end", lambda: made["ncc"].refresh(extent=False))
    record.do("cancel", lambda: made["ncc"].refresh(extent=False))
    viewer.close()
    return {"rows": record.rows}


def measure(*arguments: str) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, *arguments]
    found = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    return json.loads(found.stdout.splitlines()[-1])


def compare(side: int, region: int) -> None:
    """Print a table of what the plugin does beside what plain napari does."""
    ours = measure("plugin", str(side), str(region))
    plain = measure("plain", str(side), str(ours["arrows"]))
    print(f"{side} x {side}, computed {region} x {region}, {ours['arrows']} arrows; ", end="")
    print(f"{os.cpu_count()} cores, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}; longest gap, ms of processor of the GUI thread\n")
    print(f"| action (targets: <= {MOST}; less plain napari's <= {MORE}) | plugin | plain napari |")
    print("|---|--:|--:|")
    for name, row in ours["rows"].items():
        if "gap" in row:
            beside = plain["rows"].get(name, {}).get("gap")
            other = "" if beside is None else f"{beside:.0f}"
            print(f"| {name} | {row['gap']:.0f} ({row['wall']:.0f} of wall) | {other} |")
    costs = {name: row["cost"] for name, row in ours["rows"].items() if "cost" in row}
    print(f"\n| processor time of the GUI thread (targets: <= {TIMES} x) | ms | times |")
    print("|---|--:|--:|")
    for name, beside in (
        ("preview, a sight", "layer.data = ..., once"),
        ("pan during a run", "pan, nothing runs"),
    ):
        print(f"| {name} | {costs[name]:.1f} | {costs[name] / costs[beside]:.2f} |")
        print(f"| {beside} | {costs[beside]:.1f} | 1 |")


if __name__ == "__main__":
    what, *rest = sys.argv[1:] or ["8192"]
    if what == "plugin":
        print(json.dumps(with_plugin(*map(int, rest))))
    elif what == "plain":
        print(json.dumps(by_hand(*map(int, rest))))
    else:
        compare(int(what), int((rest or [what])[0]))
