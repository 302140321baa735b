"""Memory and threads of one process that makes maps, registrations and previews for long.

`xvfb-run -a python benchmarks/soak.py [ROUNDS.jsonl]` makes 100 of each, and then 1,000 maps, 200
registrations and 300 previews; each 20th round's memory and threads are a line of the file.
It ends with 1 where memory grew by more than 5 %, or there are more threads. Linux only.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["NAPARI_CONFIG"] = os.path.join(tempfile.mkdtemp(), "settings.yaml")

import napari
import numpy as np
from qtpy.QtWidgets import QApplication
from scipy.ndimage import gaussian_filter

from napari_local_ncc import NCCParameters, confidence_map, register, write_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WARM = 100  # rounds of each, before anything is held against them
COUNTS = {"map": 1000, "registration": 200, "preview": 300}
EVERY = 20  # rounds, between two looks
MOST_GROWTH = 0.05
PATIENCE = 120  # s
SIDE = 64  # px
RARE = 10  # rounds, of which one does what takes long
BANDS = ("ncc", "confidence", "shift", "classes")
MODELS = ("rigid", "affine", "flow")
ENDINGS = (".ome.zarr", ".ome.tif", ".npy")


def make_pair(seed: int) -> list[np.ndarray]:
    """Return two noisy images of one scene, a little apart."""
    rng = np.random.default_rng(seed)
    scene = gaussian_filter(rng.normal(size=(SIDE + 8, SIDE + 8)), 1.5) * 5
    cuts = (scene[:SIDE, :SIDE], scene[2 : SIDE + 2, 1 : SIDE + 1])
    return [(cut + 0.1 * rng.normal(size=cut.shape)).astype(np.float32) for cut in cuts]


def make_map(turn: int, folder: Path) -> None:
    """Make a map, every fifth into a file; one of ten has all bands."""
    fixed, moving = make_pair(turn)
    parameters = NCCParameters(radius=3, bands=("ncc",) if turn % RARE else BANDS, search=2)
    made = confidence_map(fixed, moving, parameters=parameters)
    if turn % 5:
        made.bands.compute(num_workers=2)
    else:
        write_map(made, folder / f"map{ENDINGS[turn % 3]}", overwrite=True, threads=2)


def make_registration(turn: int, _: Path) -> None:
    """Register two images by a translation; one of ten by the other models in turn."""
    rare = MODELS[turn // RARE % len(MODELS)]
    register(*make_pair(turn), model="translation" if turn % RARE else rare)


class Previews:
    """A viewer whose preview is made anew, for another window."""

    def __init__(self) -> None:
        self.viewer = napari.Viewer()
        for name, image in zip("ab", make_pair(0), strict=True):
            self.viewer.add_image(image, name=name)
        _, self.dock = self.viewer.window.add_plugin_dock_widget("napari-local-ncc", "Local NCC")
        self.dock["preview"].value = True
        self._wait(lambda: len(self.viewer.layers) == 3)
        self.seen = self.viewer.layers[-1].data

    def __call__(self, turn: int, _: Path) -> None:
        """Change the window, and wait for the preview."""
        self.dock["radius"].value = 2 + turn % 3
        self._wait(lambda: self.viewer.layers[-1].data is not self.seen)
        self._wait(lambda: not computing())
        self.seen = self.viewer.layers[-1].data

    def _wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise SystemExit("no preview came")
            QApplication.processEvents()
            time.sleep(0.002)


def computing() -> list[str]:
    """Return the names of the threads that compute for us."""
    return [each.name for each in threading.enumerate() if each.name.startswith("local-ncc")]


def look(what: str, turn: int) -> dict[str, Any]:
    """Return the memory of this process in MB, and how many threads it has."""
    gc.collect()
    status = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text("utf-8").splitlines()
    )
    memory = int(status["VmRSS"].split()[0]) / 1000
    return {"what": what, "turn": turn, "mb": round(memory, 1), "threads": int(status["Threads"])}


def soak(folder: Path) -> Iterator[dict[str, Any]]:
    """Do all rounds; yield what is seen: first of what was warmed up, then of each kind."""
    kinds: dict[str, Callable[[int, Path], None]] = {
        "map": make_map,
        "registration": make_registration,
        "preview": Previews(),
    }
    for make in kinds.values():
        for turn in range(WARM):
            make(turn, folder)
    yield look("warm", 0)
    for what, make in kinds.items():
        for turn in range(COUNTS[what]):
            make(WARM + turn, folder)
            if turn % EVERY == EVERY - 1:
                yield look(what, turn + 1)


def main() -> int:
    """Print what is seen, and judge the last look at each kind by the first."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    looks = []
    with tempfile.TemporaryDirectory() as folder:
        for seen in soak(Path(folder)):
            looks.append(seen)
            print(json.dumps(seen), flush=True)
            if file is not None:
                with file.open("a", encoding="utf-8") as out:
                    out.write(json.dumps(seen) + "\n")
    first, last = looks[0], looks[-1]
    grown = max(each["mb"] for each in looks) / first["mb"] - 1
    print(f"memory {first['mb']} -> {last['mb']} MB, at most {grown:+.1%}; "
          f"threads {first['threads']} -> {last['threads']}")  # fmt: skip
    return int(grown > MOST_GROWTH or last["threads"] > first["threads"])


if __name__ == "__main__":
    raise SystemExit(main())
