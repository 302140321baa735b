"""What a store that fails makes of reading and writing: an error, or the right result."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

import store_faults
from napari_local_ncc.files.faulty_store import Fault, FaultyStore
from napari_local_ncc.image.read_guard import ReadError
from napari_local_ncc.io import read_map, write_map
from store_faults import BAD, CHUNKS, faulty_stores, make_map, outcome_of_reading, try_fault


@pytest.mark.parametrize("turn", range(2 * len(Fault)))
def test_no_fault_is_silent(turn):
    *_, outcome = try_fault(turn)
    assert not outcome.startswith(BAD)


@pytest.mark.nightly
def test_no_fault_of_two_hundred_is_silent(capsys):
    assert store_faults.main(200, seed=1) == 0, capsys.readouterr().out


def test_what_is_wrong_is_seen_to_be_wrong():
    right = np.array([0.5, np.nan, 0.1])
    assert outcome_of_reading(right, right, []) == "right"
    assert outcome_of_reading(np.array([0.5, np.nan, np.nan]), right, ["note"]).startswith("undef")
    assert outcome_of_reading(np.array([0.5, np.nan, np.nan]), right, []) == "SILENT"
    assert outcome_of_reading(np.array([0.5, np.nan, 0.2]), right, ["note"]) == "SILENT"


def filled(fault, **how):
    """Return an array of ones in a store that begins to fail."""
    store = FaultyStore(MemoryStore(), fault, **how)
    store.active = False
    array = zarr.create_array(store, shape=(64,), chunks=(4,), dtype="u1", compressors=None)
    array[...] = 1
    store.active = True
    return store, array


def test_each_fault_is_what_it_is_called():
    assert filled("late", keys="^c/", seconds=0)[1][...].tolist() == [1] * 64
    assert filled("full")[1][...].tolist() == [1] * 64
    assert filled("lost", keys="^c/")[1][...].tolist() == [0] * 64
    array = filled("corrupted", keys="^c/")[1]
    bits = np.unpackbits(array[...] ^ 1).reshape(16, 32).sum(axis=1)
    assert bits.tolist() == [1] * 16
    assert array[...].tolist() == array[...].tolist()  # the same bits each time
    with pytest.raises(ValueError, match=r"reshape|buffer|size"):
        filled("truncated", keys="^c/")[1][...]
    with pytest.raises(PermissionError, match=r"c/\d+"):
        filled("denied", keys="^c/")[1][...]
    with pytest.raises(OSError, match="No space left"):
        filled("full")[1][:4] = 2


def test_values_that_are_written_are_lost_and_cut():
    for fault, expected in (("lost", 0), ("truncated", None), ("corrupted", 1)):
        store, array = filled(fault, keys="^c/0$")
        array[:4] = 2
        store.active = False
        if expected is None:
            with pytest.raises(ValueError, match=r"reshape|buffer|size"):
                array[:4]
        else:
            assert np.count_nonzero(array[:4] != 2) == (4 if fault == "lost" else 1)
        assert store.struck == {"c/0"}


def test_the_choice_of_keys_is_that_of_the_seed():
    def struck(seed, order):
        store, array = filled("lost", share=0.5, keys="^c/", seed=seed)
        for k in order:
            array[4 * k]
        assert pickle.loads(pickle.dumps(store))._fails("c/3") == store._fails("c/3")
        return store.struck

    assert struck(0, range(16)) == struck(0, range(15, -1, -1))
    assert struck(0, range(16)) != struck(1, range(16))
    assert 0 < len(struck(0, range(16))) < 16


def test_bad_values_are_named():
    with pytest.raises(ValueError, match="'sleepy' is not a valid Fault"):
        FaultyStore(MemoryStore(), "sleepy")
    with pytest.raises(ValueError, match=r"share must be in \[0, 1\], got 2"):
        FaultyStore(MemoryStore(), "lost", share=2)


@pytest.fixture
def written(tmp_path):
    return write_map(make_map(), tmp_path / "a.ome.zarr", threads=1)


def test_a_chunk_that_is_lost_from_a_map_is_an_error(written):
    (chunk,) = (p for p in (written / "0").rglob("*") if p.is_file() and "c" in p.parts)
    chunk.unlink()
    with pytest.raises(ReadError, match=r"a.ome.zarr/0: its chunk c/0/0/0 is gone"):
        read_map(written).bands.compute()


def test_a_bit_of_a_map_that_is_another_is_an_error(written):
    (chunk,) = (p for p in (written / "0").rglob("*") if p.is_file() and "c" in p.parts)
    content = bytearray(chunk.read_bytes())
    for place in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        chunk.write_bytes(damaged)
        with pytest.raises(ReadError, match=r"its samples .* cannot be read"):
            read_map(written).bands.compute()


@pytest.mark.parametrize("keys", [r"^zarr\.json$", r"^0/zarr\.json$", CHUNKS])
def test_a_store_that_keeps_nothing_is_no_success(keys, tmp_path):
    with faulty_stores("lost", keys=keys), pytest.raises((OSError, ValueError)):
        write_map(make_map(), tmp_path / "a.ome.zarr", threads=1)
    assert list(tmp_path.iterdir()) == []
