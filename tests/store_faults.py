"""Zarr stores that fail while they are read or written: no result may be wrong in silence.

`python tests/store_faults.py 200` writes what became of them; `test_store_faults.py` holds a few.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import LocalStore

from napari_local_ncc import NCCParameters, SpatialImage, confidence_map, read_image
from napari_local_ncc.files.faulty_store import Fault, FaultyStore
from napari_local_ncc.image.read_guard import ReadNote
from napari_local_ncc.io import read_map, write_map
from napari_local_ncc.progress import MENDABLE

IMAGE = np.random.default_rng(0).integers(1, 60000, (40, 48)).astype(np.uint16)
PARAMETERS = NCCParameters(radius=2)
CHUNKS = r"(^|/)c/"  # keys of Zarr 3
LAYOUTS = {
    "chunks": {"chunks": (16, 16), "compressors": [ZstdCodec(), Crc32cCodec()]},
    "shards": {
        "chunks": (10, 12),
        "shards": (20, 24),
        "compressors": [ZstdCodec(), Crc32cCodec()],
    },
    "plain": {"chunks": (16, 16), "compressors": [Crc32cCodec()]},
}
BAD = ("SILENT", "traceback", "left")


@contextmanager
def faulty_stores(fault, *, active=True, **how):
    """Have Zarr open every folder through a `FaultyStore`; yield those stores."""
    opened, real = [], LocalStore.open

    async def open_faulty(*args, **kwargs):
        store = FaultyStore(await real(*args, **kwargs), fault, **how)
        store.active = active
        opened.append(store)
        return store

    with mock.patch.object(LocalStore, "open", open_faulty):
        yield opened


def write_image(path, layout="chunks"):
    options = LAYOUTS[layout]
    array = zarr.create_array(path, shape=IMAGE.shape, dtype=IMAGE.dtype, fill_value=0, **options)
    array[...] = IMAGE


def make_map(image=None):
    image = SpatialImage.from_array(IMAGE) if image is None else image
    return confidence_map(image, IMAGE, parameters=PARAMETERS)


def outcome_of_reading(found, expected, notes):
    """Say what a map is worth that was computed from a store that fails."""
    if np.array_equal(found, expected, equal_nan=True):
        return "right"
    wrong = ~(np.isclose(found, expected, atol=1e-6) | np.isnan(found))
    return "undefined, and said" if notes and not wrong.any() else "SILENT"


def try_reading(fault, folder, chance):
    """Compare an image in a store that fails from the beginning, or once it is opened."""
    layout = chance.choice(sorted(LAYOUTS))
    write_image(folder / "a.zarr", layout)
    keys = CHUNKS if fault is Fault.CORRUPTED or chance.random() < 0.7 else ""
    how = {"share": chance.choice((0.1, 0.5, 1)), "seed": chance.random(), "keys": keys}
    expected = make_map()["ncc"].compute()
    at_once = chance.random() < 0.5
    with (
        warnings.catch_warnings(record=True) as caught,
        faulty_stores(fault, active=at_once, **how) as stores,
    ):
        warnings.simplefilter("always")
        try:
            image = read_image(folder / "a.zarr")
            for store in stores:
                store.active = True
            found = make_map(image)["ncc"].compute(scheduler="sync")
        except MENDABLE:
            return "refused"
    return outcome_of_reading(found, expected, [w for w in caught if w.category is ReadNote])


def try_writing(fault, folder, chance):
    """Write a map to a store that fails, and read what is there."""
    keys = CHUNKS if fault is Fault.CORRUPTED or chance.random() < 0.7 else ""
    how = {"share": chance.choice((0.1, 0.5, 1)), "seed": chance.random(), "keys": keys}
    path = folder / "a.ome.zarr"
    with faulty_stores(fault, **how):
        try:
            write_map(make_map(), path, threads=1)
        except MENDABLE:
            return "left" if list(folder.glob("a.*")) else "refused"
    try:
        found = read_map(path).bands.compute(scheduler="sync")
    except MENDABLE:
        return "refused when it is read"
    expected = make_map().bands.compute(scheduler="sync")
    return "right" if np.array_equal(found, expected, equal_nan=True) else "SILENT"


def try_fault(turn, seed=0):
    """Try one fault, of one store; return what was done, the fault, and what became of it."""
    what, fault = ("reading", "writing")[turn % 2], list(Fault)[turn // 2 % len(Fault)]
    chance = random.Random(f"{seed} {turn}")
    folder = Path(tempfile.mkdtemp(prefix="local-ncc-store-"))
    try:
        attempt = try_reading if what == "reading" else try_writing
        return what, fault, attempt(fault, folder, chance)
    except Exception as error:
        return what, fault, f"traceback ({type(error).__name__}: {error})"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(count, seed=0):
    """Try many, and print a table; the exit code says whether one was bad."""
    counts = Counter(try_fault(turn, seed) for turn in range(count))
    for (what, fault, outcome), number in sorted(counts.items()):
        print(f"{what:8} {fault.value:10} {number:4} {outcome}")
    return int(any(outcome.startswith(BAD) for _, _, outcome in counts))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
