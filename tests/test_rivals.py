"""Outputs beside others' files: nothing that another has made is replaced or removed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from napari_local_ncc import Grid, Registration
from napari_local_ncc.files.claim import LOCK, OLD, claim, unfinished
from napari_local_ncc.files.record import Record
from napari_local_ncc.files.whole import whole_file, write_text
from napari_local_ncc.progress import Note

KILLED = """
import os, sys
from napari_local_ncc.files.record import Record
from napari_local_ncc.files.whole import whole_file
with whole_file(sys.argv[1]) as partial:
    partial.write_text("half", encoding="utf-8")
    os._exit(9)
"""


def make_flow(grid=None):
    grid = grid or Grid((8, 9))
    field = np.ones((2, *grid.shape), np.float32)
    return Registration.from_matrix(np.eye(3), grid, "flow", displacement=field)


def names_in(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("ending", ["-mine", "-12", ""])
def test_a_folder_of_another_is_kept(ending, tmp_path):
    folder = tmp_path / f"o.npy.unfinished{ending}"
    folder.mkdir()
    (folder / "precious.txt").write_text("x", encoding="utf-8")
    if ending:
        write_text(tmp_path / "o.npy", "new")
    else:
        with pytest.raises(FileExistsError, match="holds what no run of local-ncc left"):
            write_text(tmp_path / "o.npy", "new")
    assert (folder / "precious.txt").read_text(encoding="utf-8") == "x"


def test_what_a_run_moved_aside_goes_once_it_has_ended(tmp_path):
    with claim(tmp_path / "a") as held:
        held.path.write_text("new", encoding="utf-8")
        aside = tmp_path / "b.unfinished-12"
        held.folder.rename(aside)  # as while it is removed
        write_text(tmp_path / "b", "other")
        assert aside.exists()
        aside.rename(held.folder)
    (tmp_path / "b.unfinished-12").mkdir()
    (tmp_path / "b.unfinished-12" / LOCK).touch()
    write_text(tmp_path / "b", "other")
    assert names_in(tmp_path) == {"a", "b"}


def test_a_rival_that_appears_is_kept(tmp_path):
    path = tmp_path / "T.json"

    def write(text):
        with whole_file(path, overwrite=False) as partial:
            partial.write_text(text, encoding="utf-8")
            path.write_text("rival", encoding="utf-8")

    with pytest.raises(FileExistsError, match=r"was made by another meanwhile, and is kept"):
        write("mine")
    assert path.read_text(encoding="utf-8") == "rival"
    assert names_in(tmp_path) == {"T.json"}
    write_text(path, "mine")
    assert path.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("rival", ["T.json", "T.zarr"])
def test_a_flow_keeps_both_files_of_a_rival(rival, tmp_path):
    flow = make_flow()
    flow.save(tmp_path / "R.json")
    (tmp_path / f"R{rival[1:]}").rename(tmp_path / rival)
    before = names_in(tmp_path)
    with pytest.raises(FileExistsError):
        flow.save(tmp_path / "T.json", overwrite=False)
    assert names_in(tmp_path) == before
    flow.save(tmp_path / "T.json")
    np.testing.assert_array_equal(
        Registration.load(tmp_path / "T.json").displacement, flow.displacement
    )


def test_where_links_are_not_there_a_rival_is_kept_too(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    write_text(tmp_path / "t.csv", "mine", overwrite=False)
    with pytest.raises(FileExistsError, match="is kept"):
        write_text(tmp_path / "t.csv", "other", overwrite=False)
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == "mine"


def test_of_many_writers_one_wins(tmp_path):
    def write(name):
        try:
            make_flow().save(tmp_path / "T.json", overwrite=False)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(write, range(12))) == 1
    Registration.load(tmp_path / "T.json")
    assert names_in(tmp_path) == {"T.json", "T.zarr"}


def test_what_a_killed_writer_left_is_named_and_goes(tmp_path):
    path = tmp_path / "T.json"
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False).returncode == 9
    assert names_in(tmp_path) == {"T.json.unfinished"}
    with pytest.warns(Note, match=r"T.json.unfinished, which a run that was cut short left"):
        write_text(path, "new", overwrite=False)
    assert names_in(tmp_path) == {"T.json"}


def test_what_was_moved_aside_by_a_killed_writer_comes_back(tmp_path):
    folder = unfinished(tmp_path / "a.zarr")
    (folder / f"{OLD}a.zarr").mkdir(parents=True)
    (folder / LOCK).touch()
    with (
        pytest.warns(Note, match="cut short"),
        pytest.raises(FileExistsError),
        whole_file(tmp_path / "a.zarr", overwrite=False) as partial,
    ):
        partial.mkdir()
    assert names_in(tmp_path) == {"a.zarr"}


@pytest.mark.parametrize("brought", [0, 1, 2])
def test_a_writer_killed_between_two_moves_left_the_old_output_or_the_new(brought, tmp_path):
    """Its two files, of which so many were in place: never one of the old and one of the new."""
    folder = unfinished(tmp_path / "T.json")
    folder.mkdir()
    (folder / LOCK).touch()
    for k, name in enumerate(("T.json", "T.zarr")):
        (folder / f"{OLD}{name}").write_text("old", encoding="utf-8")
        at = tmp_path if k < brought else folder
        (at / name).write_text("new", encoding="utf-8")
    with (
        pytest.warns(Note, match="cut short"),
        pytest.raises(RuntimeError, match="nothing"),
        whole_file(tmp_path / "T.json", beside=("T.zarr",)),
    ):
        raise RuntimeError("nothing is written")
    assert {path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == {
        "new" if brought == 2 else "old"
    }
    assert names_in(tmp_path) == {"T.json", "T.zarr"}


@pytest.mark.parametrize(
    ("number", "words"), [(errno.EAGAIN, "another run"), (errno.ENOSYS, "no locks")]
)
def test_why_a_file_cannot_be_locked_is_said(number, words, tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match=words):
        write_text(tmp_path / "t.csv", "a")


def test_what_cannot_be_removed_at_once_is_no_error(tmp_path, monkeypatch):
    """As on NFS, which keeps a file that is open under another name."""
    unlink, calls = type(tmp_path).unlink, []

    def busy(path, missing_ok=False):
        calls.append(path)
        if len(calls) < 3:
            raise OSError(errno.EBUSY, "Device or resource busy")
        unlink(path, missing_ok=missing_ok)

    with claim(tmp_path / "t.csv") as held:
        held.path.write_text("a", encoding="utf-8")
        (held.folder / "more").touch()
        monkeypatch.setattr(type(tmp_path), "unlink", busy)
    assert names_in(tmp_path) == {"t.csv"}


def test_a_file_is_not_left_empty_where_it_cannot_be_moved(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", fail)
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_text(tmp_path / "t.csv", "a", overwrite=False)
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize("name", ["blocks.npy", "blocks.ome.zarr"])
def test_an_output_may_be_called_as_records_are(name, tmp_path):
    (tmp_path / "blocks 1 of 2").write_text("heading\n0 0\n", encoding="utf-8")
    (tmp_path / name).mkdir()
    record = Record(tmp_path / "blocks 2 of 2", "heading")
    record.close()
    assert record.finished == {(0, 0)}


def test_a_full_disk_names_the_output(tmp_path):
    def fill():
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        pytest.raises(OSError, match=r"No space left on device: '.*/t\.csv'"),
        whole_file(tmp_path / "t.csv"),
    ):
        fill()
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".h5"])
def test_what_itk_does_not_write_whole_is_told_and_not_left(ending, tmp_path, monkeypatch):
    itk = pytest.importorskip("SimpleITK")
    kind = "Transform" if ending == ".h5" else "Image"
    write = getattr(itk, f"Write{kind}")

    def cut(content, path, **options):
        write(content, path, **options)
        os.truncate(path, os.path.getsize(path) * 2 // 3)

    monkeypatch.setattr(itk, f"Write{kind}", cut)
    with pytest.raises(OSError, match=rf"flow\{ending} (is not what was|cannot be) written"):
        make_flow(Grid((40, 50))).save(tmp_path / f"flow{ending}")
    assert names_in(tmp_path) == set()


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="takes room as POSIX does")
def test_room_is_taken_before_itk_writes(tmp_path, monkeypatch):
    pytest.importorskip("SimpleITK")

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(OSError, match=r"No space left on device: '.*/flow\.nii'"):
        make_flow().save(tmp_path / "flow.nii")
    assert names_in(tmp_path) == set()
