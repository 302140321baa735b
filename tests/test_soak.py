"""One process for a night: memory and threads are at their level after the first hundred rounds."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest

from napari_local_ncc import NCCParameters, SpatialImage, confidence_map, read_map, register
from napari_local_ncc.io import write_map
from napari_local_ncc.maps.window import window_pair

WARM = 100  # rounds, after which memory is at its level
GROWTH = 1.05
SCENE = np.random.default_rng(0).normal(size=(80, 90)).cumsum(0).cumsum(1)
PAIR = [SpatialImage.from_array(SCENE[a : a + 64, b : b + 64]) for a, b in ((4, 5), (6, 2))]


def resident():
    gc.collect()
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096


def write_and_read_a_map(folder, turn):
    ending = (".npy", ".ome.tif", ".ome.zarr")[turn % 3]
    parameters = NCCParameters(radius=3, bands=("ncc", "confidence", "shift"))
    made = confidence_map(*PAIR, parameters=parameters)
    write_map(made, folder / f"a{ending}", overwrite=True)
    read_map(folder / f"a{ending}").bands.compute()


def register_a_pair(_, turn):
    register(*PAIR, model=("translation", "flow")[turn % 8 == 0])


def look_at_a_window(_, turn):
    made = confidence_map(*PAIR)
    made.bands[:, turn % 40 : turn % 40 + 20].compute()
    window_pair(*PAIR, (turn % 60 + 2, 30))


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux for its memory")
@pytest.mark.parametrize(
    ("work", "rounds"),
    [(write_and_read_a_map, 1000), (register_a_pair, 200), (look_at_a_window, 300)],
)
def test_many_rounds_take_what_a_hundred_take(work, rounds, tmp_path):
    for turn in range(rounds):
        work(tmp_path, turn)
        if turn == WARM - 1:
            memory, threads = resident(), threading.active_count()
    print(f"{work.__name__}: {memory / 1e6:.1f} to {resident() / 1e6:.1f} MB, {threads} threads")
    assert threading.active_count() == threads
    assert resident() < GROWTH * memory
