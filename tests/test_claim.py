"""Outputs: one writer alone, and nothing that looks complete unless it is."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr

from napari_local_ncc.files.claim import claim, unfinished
from napari_local_ncc.files.move import move_new
from napari_local_ncc.files.whole import whole_file
from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.image.spatial_image import SpatialImage
from napari_local_ncc.io import check_output, iter_write_image, iter_write_map, read_map, write_map
from napari_local_ncc.maps.pipeline import ConfidenceMap
from napari_local_ncc.parameters import NCCParameters

ENDINGS = (".ome.zarr", ".ome.tif", ".npy")
CUT_SHORT = """
import os, sys
sys.path.insert(0, sys.argv[2])
from test_claim import make_map
from napari_local_ncc.io import iter_write_map
for tile in iter_write_map(make_map(), sys.argv[1], threads=1):
    os._exit(9)
"""


def make_map(edge=10):
    values = np.ones((1, 8, 40), np.float32)
    bands = da.from_array(values, chunks=(1, 8, edge))
    return ConfidenceMap(bands, ("ncc",), Grid((8, 40)), NCCParameters(), None, {})


def names_in(folder):
    return {path.name for path in folder.iterdir()}


@pytest.fixture(params=ENDINGS)
def left(request, tmp_path):
    """The name of a map whose run was killed after its first tile."""
    path = tmp_path / f"a{request.param}"
    words = [sys.executable, "-c", CUT_SHORT, str(path), str(Path(__file__).parent)]
    ended = subprocess.run(words, check=False)
    assert ended.returncode == 9
    return path


def test_what_a_killed_run_leaves_is_no_map_to_anybody(left):
    assert names_in(left.parent) == {f"{left.name}.unfinished"}
    part = unfinished(left) / left.name
    with pytest.raises(ValueError, match=r"is unfinished: .* --resume"):
        read_map(part)
    if left.suffix == ".zarr":
        values = zarr.open_array(part / "0")[...]
        assert np.isnan(values).any()
        assert not (values == 0).any()
        moved = left.with_name("moved.ome.zarr")  # out of the folder that says so
        shutil.move(part, moved)
        with pytest.raises(ValueError, match="is unfinished"):
            read_map(moved)
    elif left.suffix == ".tif":
        with pytest.raises(tifffile.TiffFileError):
            tifffile.imread(part)
    else:
        with pytest.raises(ValueError, match="pickle"):
            np.load(part)


def test_what_a_killed_run_leaves_is_named_and_goes_on_demand(left):
    with pytest.raises(FileExistsError, match=r"unfinished is what a run that was cut short left"):
        check_output(left, overwrite=False)
    with pytest.raises(FileExistsError, match="cut short"):
        write_map(make_map(), left)
    write_map(make_map(), left, overwrite=True)
    np.testing.assert_array_equal(read_map(left).bands.compute(), 1)
    assert names_in(left.parent) <= {left.name, f"{left.name}.json"}


@pytest.mark.parametrize("resume", [False, True])
def test_a_killed_run_is_resumed_to_the_same_bits(left, resume):
    computed = []

    def count(block):
        computed.append(1)
        return block

    whole = make_map()
    again = replace(whole, bands=whole.bands.map_blocks(count, dtype="f4", meta=np.zeros((0,) * 3)))
    options = {"resume": True} if resume else {"overwrite": True}
    write_map(again, left, **options)
    assert len(computed) == (3 if resume else 4)
    np.testing.assert_array_equal(read_map(left).bands.compute(), 1)
    assert names_in(left.parent) <= {left.name, f"{left.name}.json"}
    if left.suffix == ".zarr":
        yaozarrs.validate_zarr_store(left)
        assert "unfinished" not in str(dict(zarr.open_group(left).attrs))


def test_only_the_same_map_is_resumed(left):
    with pytest.raises(FileExistsError, match=r"options or blocks .* --memory and --threads"):
        write_map(make_map(20), left, resume=True)
    assert names_in(left.parent) == {f"{left.name}.unfinished"}


def test_an_input_that_changes_during_the_run_is_an_error(tmp_path):
    source = tmp_path / "in.npy"
    np.save(source, np.zeros(9))
    origin = {"source": {"path": str(source)}}
    made = replace(make_map(), provenance={"fixed": origin})
    steps = iter_write_map(made, tmp_path / "a.npy", threads=1)
    next(steps)
    source.unlink()
    with pytest.raises(OSError, match="was removed during the run: the map is not kept"):
        list(steps)
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize("ending", ENDINGS)
def test_of_two_writers_exactly_one_wins(ending, tmp_path):
    path = tmp_path / f"a{ending}"
    with closing(iter_write_map(make_map(), path, threads=1)) as winner:
        next(winner)
        for overwrite in (False, True):
            with pytest.raises(FileExistsError, match="is being written by another run"):
                write_map(make_map(), path, overwrite=overwrite)
        assert len(list(winner)) == 3
    np.testing.assert_array_equal(read_map(path).bands.compute(), 1)
    assert names_in(tmp_path) <= {path.name, f"{path.name}.json"}


def test_what_was_finished_meanwhile_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "a.npy"
    monkeypatch.setattr("napari_local_ncc.files.claim._is_same", lambda *_: False)
    with pytest.raises(FileExistsError, match="another run"), claim(path):
        pass


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_output_removed_during_the_run_is_an_error(ending, tmp_path):
    path = tmp_path / f"a{ending}"
    tiles = iter_write_map(make_map(), path, threads=1)
    next(tiles)
    unfinished(path).rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError):
        list(tiles)
    assert names_in(tmp_path) == {"elsewhere"}


def test_chunks_removed_during_the_run_are_an_error(tmp_path):
    path = tmp_path / "a.ome.zarr"
    tiles = iter_write_map(make_map(), path, threads=1)
    next(tiles)
    # the first is written; others may be under another name for a moment
    files = (unfinished(path) / path.name / "0" / "c").rglob("*")
    min(file for file in files if file.is_file()).unlink()
    with pytest.raises(FileNotFoundError, match="not there any more"):
        list(tiles)
    assert names_in(tmp_path) == set()


def test_a_full_disk_leaves_nothing(tmp_path):
    (tmp_path / "t.csv").write_text("old", encoding="utf-8")

    def fill(path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"), whole_file(tmp_path / "t.csv") as partial:
        fill(partial)
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == "old"
    with pytest.raises(OSError, match="No space"), claim(tmp_path / "a.npy") as held:
        fill(held.path)
    assert names_in(tmp_path) == {"t.csv"}


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="takes room as POSIX does")
@pytest.mark.parametrize("ending", [".ome.tif", ".npy"])
def test_room_is_taken_before_memory_is_written_to_a_full_disk(ending, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(OSError, match="No space"):
        write_map(make_map(), tmp_path / f"a{ending}")
    assert names_in(tmp_path) == set()


def test_what_is_resumed_is_kept(tmp_path):
    path = tmp_path / "a.npy"

    def begin(part):
        part.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), claim(path, resume=True) as held:
        begin(held.path)
    with claim(path, resume=True) as held:
        assert held.path.read_bytes() == b"half"
    assert names_in(tmp_path) == {"a.npy"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_output_is_in_place_only_with_what_belongs_to_it(overwrite, tmp_path, monkeypatch):
    path, names = tmp_path / "b.json", {"a.zarr", "b.json", "b.json.more"}
    moves = []

    def checked(move):
        def moved(source, to):
            move(source, to)
            moves.append(to)
            there = names & names_in(tmp_path)
            assert there == names or path.name not in there

        return moved

    if overwrite:
        for name in names:
            (tmp_path / name).write_bytes(b"old")
    with claim(path, overwrite=overwrite, beside=("a.zarr",)) as held:
        for name in names:
            held.path.with_name(name).write_bytes(b"new")
        monkeypatch.setattr(os, "rename", checked(os.rename))
        monkeypatch.setattr("napari_local_ncc.files.claim.move_new", checked(move_new))
        held.finish()
        monkeypatch.undo()
        assert len(moves) == (6 if overwrite else 3)
    assert names_in(tmp_path) == names


@pytest.fixture
def interruptible():
    """Ctrl-C is heeded, as it is not in a script's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="removes what is open")
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("resume", [False, True])
def test_an_interrupt_at_any_moment_leaves_all_or_nothing(tmp_path, resume, interruptible):
    """Python raises it where a function begins, and where one of C has ended."""
    kept = {"a.npy": "old", "a.npy.json": "old"}
    for moment in count():
        folder = tmp_path / str(moment)
        folder.mkdir()
        for name, text in kept.items():
            (folder / name).write_text(text, encoding="utf-8")
        left = moment

        def profile(_, event, __):
            nonlocal left
            left -= event in ("call", "c_return")
            if left < 0:
                sys.setprofile(None)
                signal.raise_signal(signal.SIGINT)

        try:
            sys.setprofile(profile)
            with claim(folder / "a.npy", resume=resume) as held:
                for name in kept:
                    held.path.with_name(name).write_bytes(b"new")
            sys.setprofile(None)
            break
        except KeyboardInterrupt:
            pass
        found = {path.name: path.read_text("utf-8") for path in folder.iterdir() if path.is_file()}
        assert found in (kept, dict.fromkeys(kept, "new"))
        if not resume:
            assert names_in(folder) == set(kept)
    assert moment > 100
    assert names_in(folder) == set(kept)


def test_tiles_are_not_written_on_after_an_interrupt(tmp_path, monkeypatch, interruptible):
    """Or Zarr's own thread makes the folder anew that was removed."""
    written = []
    write = zarr.Array.__setitem__

    def interrupted(array, box, values):
        signal.raise_signal(signal.SIGINT)
        write(array, box, values)
        written.append(box)

    image = SpatialImage.from_array(np.ones((8, 40), np.float32))
    steps = iter_write_image(image, tmp_path / "a.ome.zarr")
    monkeypatch.setattr(zarr.Array, "__setitem__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(steps)
    assert written
    assert names_in(tmp_path) == set()
