"""Slabs: jobs that know nothing of each other write the blocks of one map, and one joins them."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zarr

from napari_local_ncc import confidence_map, read_image
from napari_local_ncc.chunked.slab import Slab
from napari_local_ncc.cli import main
from napari_local_ncc.files import claim as claims
from napari_local_ncc.files.claim import claim_part, unfinished
from napari_local_ncc.io import read_map, write_map
from napari_local_ncc.maps.comparison import Comparison
from napari_local_ncc.maps.pipeline import map_of
from napari_local_ncc.maps.stream import MapTask
from napari_local_ncc.progress import finish

BLOCKS = 12  # of 256 px, which 260 MB allow a thread
KILLED = """
import os, sys
from napari_local_ncc.cli import main
from napari_local_ncc.files.record import Record
add = Record.add
def end(self, start):
    add(self, start)
    os._exit(9)
Record.add = end
main(sys.argv[1:])
"""


@pytest.fixture
def words(tmp_path):
    """A command; the images of it are of whole numbers."""
    rng = np.random.default_rng(0)
    fixed = rng.integers(0, 4000, (700, 900)).astype(np.uint16)
    for name, image in (("a", fixed), ("b", np.roll(fixed, 1, 0) // 2)):
        np.save(tmp_path / f"{name}.npy", image)
    names = [str(tmp_path / f"{name}.npy") for name in "ab"]
    output = str(tmp_path / "o.ome.zarr")
    return ["map", *names, "-o", output, "--memory", "260MB", "--threads", "1"]


@pytest.fixture
def output(tmp_path):
    return tmp_path / "o.ome.zarr"


@pytest.fixture
def computed(monkeypatch):
    """Where blocks begin that are computed, rather than read."""
    starts = []
    call = MapTask.__call__

    def count(task, box):
        start = tuple(part.start for part in box)
        if start not in task.finished:
            starts.append(start)
        return call(task, box)

    monkeypatch.setattr(MapTask, "__call__", count)
    return starts


def all_files(folder):
    """What a Zarr holds, but for the names of its source."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "zarr.json"
    }


def test_slabs_are_joined_to_the_map_of_one_run(words, output, capsys, computed):
    whole = output.with_name("whole.ome.zarr")
    assert main([str(whole) if word == str(output) else word for word in words]) == 0
    assert len(computed) == BLOCKS
    told = capsys.readouterr().out
    for number in (3, 1, 2):  # in any order
        assert main([*words, "--slab", f"{number}/3"]) == 0
        out = capsys.readouterr().out
        assert f"slab     {number} of 3 is finished" in out
        assert not output.exists()
    part = unfinished(output) / output.name
    with pytest.raises(ValueError, match="is unfinished"):
        read_map(part)
    assert zarr.open_group(part, mode="r").attrs["napari-local-ncc"]["unfinished"]
    assert sorted(computed[BLOCKS:]) == sorted(computed[:BLOCKS])
    assert main([*words, "--join"]) == 0
    assert len(computed) == 2 * BLOCKS  # nothing is computed twice
    assert capsys.readouterr().out == told.replace("whole.ome.zarr", "o.ome.zarr")
    assert all_files(output) == all_files(whole)
    assert not unfinished(output).exists()
    documents = [dict(zarr.open_group(path, mode="r").attrs) for path in (output, whole)]
    assert documents[0]["napari-local-ncc"] == documents[1]["napari-local-ncc"]


def test_a_killed_slab_goes_on_and_none_is_joined_before(words, output, capsys, computed):
    slab = [*words, "--slab", "2/3"]
    assert subprocess.run([sys.executable, "-c", KILLED, *slab], check=False).returncode == 9
    assert main([*words, "--slab", "1/3"]) == 0
    first = len(computed)
    capsys.readouterr()
    assert main([*words, "--join"]) == 2
    err = capsys.readouterr().err
    assert "of 3 slabs these are not finished: 2, 3 (7 of 12 blocks are missing)" in err
    assert main(words) == 2  # nor is it taken for nothing
    assert "cut short left" in capsys.readouterr().err
    assert not output.exists()
    assert main(slab) == 0
    assert len(computed) - first == BLOCKS // 3 - 1  # one block was finished when it was killed
    assert main(slab) == 0  # once more is no harm
    assert len(computed) - first == BLOCKS // 3 - 1
    assert main([*words, "--join"]) == 2
    assert "not finished: 3 (4 of 12" in capsys.readouterr().err
    assert main([*words, "--slab", "3/3"]) == 0
    assert main([*words, "--join"]) == 0
    expected = finish(map_of(Comparison(*map(read_image, words[1:3])), blocks=(256, 256)))
    np.testing.assert_array_equal(read_map(output).bands, expected.bands)


def test_what_slabs_lack_is_computed_by_who_resumes(words, output, computed):
    assert main([*words, "--slab", "2/4"]) == 0
    assert main([*words, "--resume"]) == 0
    assert sorted(computed) == sorted(set(computed))
    assert len(computed) == BLOCKS
    assert np.isfinite(read_map(output).bands.compute()).all()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("--slab 1/4", "was begun with 3 slabs, not 4"),
        ("--slab 2/3 --radius 5", "begun with other images, options or blocks"),
        ("--slab 2/3 --radius 6", "or remove that folder to begin anew"),
        ("--slab 2/3 --memory 900MB", "too few for 3 slabs"),
        ("--slab 4/3", "there is no slab 4 of 3"),
        ("--slab 0/3", "count from 1"),
        ("--slab third", "write it like 3/8"),
        ("--slab 1/13", "the map has 12 blocks, too few for 13 slabs"),
        ("--slab 1/3 --join", "not two of them"),
        ("--slab 1/3 --overwrite", "not two of them; to begin all slabs anew, remove"),
        ("--slab 1/3 --register translation", "--transform T.json"),
        ("--slab 1/3 --refine", "--transform T.json"),
        ("--slab 1/3 --strict", "--strict: of the whole map"),
        ("--slab 1/3 --json", "--json: of the whole map"),
        ("--slab 1/3 --bands ncc,confidence --fdr 0.01", "--fdr: of the whole map"),
        ("--slab 1/3 --report r.html --table t.csv", "--table, --report: of the whole map"),
    ],
)
def test_slabs_that_do_not_fit_are_refused_in_a_line(
    words, output, capsys, monkeypatch, more, told
):
    monkeypatch.chdir(output.parent)
    assert main([*words, "--slab", "2/3"]) == 0
    before = {path: path.stat().st_mtime_ns for path in unfinished(output).rglob("*")}
    capsys.readouterr()
    assert main([*words, *more.split()]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") <= 3  # a line each for plan and steps before it
    after = {path: path.stat().st_mtime_ns for path in unfinished(output).rglob("*")}
    assert {path: after.get(path) for path in before if path.is_file()} == {
        path: time for path, time in before.items() if path.is_file()
    }
    assert main([*words, "--slab", "1/3"]) == 0  # nothing of it stands in the way
    assert main([*words, "--slab", "3/3"]) == 0
    assert main([*words, "--join"]) == 0


def test_slabs_need_a_budget_and_a_zarr(words, output, capsys):
    for absent in (["--memory", "260MB"], ["--threads", "1"]):
        assert main([*(word for word in words if word not in absent), "--slab", "1/3"]) == 2
        assert f"--slab needs {absent[0]}, the same for all" in capsys.readouterr().err
    other = [str(output.with_name("o.npy")) if word == str(output) else word for word in words]
    assert main([*other, "--slab", "1/3"]) == 2
    assert "write .ome.zarr, not o.npy" in capsys.readouterr().err
    assert main([*words, "--join"]) == 2
    assert "there are no slabs" in capsys.readouterr().err
    assert {path.name for path in output.parent.iterdir()} == {"a.npy", "b.npy"}


def test_room_is_asked_for_what_is_missing(words, output, capsys, monkeypatch):
    block, whole = 4 * 256**2, 4 * 700 * 900
    free = whole // 2
    real = shutil.disk_usage
    monkeypatch.setattr("shutil.disk_usage", lambda path: real(path)._replace(free=free))
    for more in ([], ["--resume"]):
        assert main([*words, *more]) == 2
        assert f"{output} needs 2.40 MiB, but its disk has 1.20 MiB free" in capsys.readouterr().err
        assert not unfinished(output).exists()
    for number in (1, 2):
        assert main([*words, "--slab", f"{number}/3"]) == 0
    free = block
    assert main([*words, "--slab", "3/3"]) == 2  # it is four blocks, cut at the borders
    assert "needs 660.94 kiB, but its disk has 256.00 kiB free" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 2
    assert "needs 660.94 kiB, but its disk has 256.00 kiB free" in capsys.readouterr().err
    free = 4 * block
    assert main([*words, "--slab", "3/3"]) == 0
    free = 0
    for number in (1, 2, 3):  # all of it is there
        assert main([*words, "--slab", f"{number}/3"]) == 0
    assert main([*words, "--join"]) == 0


@pytest.mark.parametrize("more", [["--slab", "1/3"], ["--resume"]])
def test_a_run_that_fails_before_anything_is_made_leaves_nothing(
    more, words, output, capsys, monkeypatch
):
    before = sorted(output.parent.iterdir())
    write_text = Path.write_text

    def fill(path, text, **how):
        write_text(path, text[:3], **how)
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as full:
        full.setattr(Path, "write_text", fill)
        assert main([*words, *more]) == 2
    assert "No space left" in capsys.readouterr().err
    assert sorted(output.parent.iterdir()) == before
    with claim_part(output, "2 of 3") as other:  # what another is about to make stays
        with pytest.raises(ZeroDivisionError), claim_part(output, "1 of 3"):
            raise ZeroDivisionError
        other.check()
    assert main(words) == 2
    assert "cut short left" in capsys.readouterr().err


def test_one_run_alone_makes_a_slab_and_none_joins_meanwhile(words, output, capsys):
    assert main([*words, "--slab", "1/3"]) == 0
    with claim_part(output, str(Slab(2, 3))):
        capsys.readouterr()
        for more in ("--slab 2/3", "--join", "--resume", "--overwrite"):
            assert main([*words, *more.split()]) == 2
            assert "is being written by another run" in capsys.readouterr().err
        assert main([*words, "--slab", "3/3"]) == 0
    assert main([*words, "--slab", "2/3"]) == 0
    assert main([*words, "--join"]) == 0


def test_a_lock_is_closed_before_it_goes_in_windows(output, monkeypatch):
    """It removes nothing that is open: what others have open is kept by itself."""
    folder, opened = unfinished(output), []
    unlink = type(folder).unlink

    def open_and_note(*words):
        opened.append(open(*words))  # noqa: SIM115
        return opened[-1]

    def unlink_closed(path):
        assert all(file.closed for file in opened)
        unlink(path)

    monkeypatch.setattr(claims, "open", open_and_note, raising=False)
    monkeypatch.setattr(claims, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(type(folder), "unlink", unlink_closed)
    with pytest.raises(ZeroDivisionError), claim_part(output, "1 of 3"):
        raise ZeroDivisionError
    assert opened
    assert not folder.exists()


def test_an_image_that_changed_since_is_noticed(words, output, capsys):
    for number in (1, 2):
        assert main([*words, "--slab", f"{number}/2"]) == 0
    image = np.load(words[1])
    np.save(words[1], image[::-1])
    assert main([*words, "--join"]) == 2
    assert "begun with other images" in capsys.readouterr().err
    assert not output.exists()


def test_slabs_that_begin_at_once_make_one_store(words, output):
    images = [read_image(path) for path in words[1:3]]
    result = finish(map_of(Comparison(*images), blocks=(256, 256)))
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda k: write_map(result, output, slab=(k, 6), threads=1), range(1, 7)))
    names = {path.name for path in unfinished(output).iterdir()}
    assert not any(name.startswith("new") for name in names)
    write_map(result, output, join=True)
    np.testing.assert_array_equal(read_map(output).bands, result.bands)


def test_arrays_that_no_file_holds_have_no_slabs(output):
    image = np.random.default_rng(0).normal(size=(30, 40))
    for options in ({"slab": (1, 1)}, {"join": True}):
        with pytest.raises(ValueError, match="no file holds fixed and moving"):
            write_map(confidence_map(image, image), output, **options)
    assert list(output.parent.iterdir()) == []
