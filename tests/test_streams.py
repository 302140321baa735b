"""What the command line says where nobody listens, and in encodings that lack its characters."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_local_ncc.cli import main
from napari_local_ncc.cli.console import EscapedStream, open_closed_streams

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs a POSIX shell and /dev/full")
names_are_no_text = pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8")
PICTURE = np.random.default_rng(0).integers(0, 255, (24, 32)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", PICTURE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_in_shell(folder, words, redirected):
    """Run the command line with streams as a shell redirects them."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONWARNDEFAULTENCODING"}
    line = f"{sys.executable} -m napari_local_ncc {words} {redirected}"
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        cwd=folder, env=env, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip


@linux
@pytest.mark.parametrize("redirected", ["| true", ">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_all_files_are_written_where_nobody_listens(folder, redirected):
    words = "map a.npy a.npy -o o.npy --radius 2 --threads 1 --table t.csv"
    done = run_in_shell(folder, words, redirected)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in folder.iterdir()} == {"a.npy", "o.npy", "o.npy.json", "t.csv"}
    np.testing.assert_allclose(np.load(folder / "o.npy"), 1, atol=1e-6)


@linux
def test_a_result_that_has_no_room_is_no_success(folder):
    done = run_in_shell(folder, "info a.npy", ">/dev/full")
    assert done.returncode == 2
    assert done.stderr == (
        "local-ncc: standard output cannot be written (No space left on device)\n"
    )


@linux
def test_a_file_that_is_opened_does_not_become_standard_error():
    code = "from napari_local_ncc.cli.console import open_closed_streams; open_closed_streams(); "
    code += "import os, sys; assert open(os.devnull).fileno() > 2; print(sys.stderr.fileno())"
    line = f'{sys.executable} -c "{code}" 2>&- <&-'
    done = subprocess.run(["bash", "-c", line], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"2\n"


def test_open_streams_stay_as_they_are(capfd):
    before = sys.stdin, sys.stdout, sys.stderr
    open_closed_streams()
    assert (sys.stdin, sys.stdout, sys.stderr) == before


class Failing(io.StringIO):
    """A stream that fails as a pipe does whose reader is gone, or as a full disk."""

    encoding = "utf-8"

    def __init__(self, number, at):
        super().__init__()
        self.error, self._at = OSError(number, os.strerror(number)), at

    def write(self, text):
        raise self.error

    def flush(self):
        raise self.error

    def fileno(self):
        return self._at


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EINVAL, errno.ENOSPC])
def test_a_reader_that_goes_is_no_error_and_a_full_disk_is(number, monkeypatch):
    if number == errno.EINVAL:  # bugs.python.org/issue35754
        monkeypatch.setattr(sys, "platform", "win32")
    at = os.open(os.devnull, os.O_WRONLY)
    stream = EscapedStream(Failing(number, at))
    try:
        if number != errno.ENOSPC:
            stream.write("a")
            stream.flush()
        else:
            for write in (lambda: stream.write("a"), stream.flush):
                with pytest.raises(OSError, match=r"output cannot be written \(No space left"):
                    write()
    finally:
        os.close(at)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize(
    "name",
    ["é", "\x9b31m", "漢\u202e", "\U0001f600", pytest.param("a\udcffb", marks=names_are_no_text)],
)
def test_json_is_json_in_every_encoding(encoding, name, folder, monkeypatch):
    path = f"{name}.npy"
    np.save(folder / path, PICTURE)
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["info", path, "--json"]) == 0
    out.flush()
    text = out.buffer.getvalue().decode(encoding)
    assert json.loads(text)["file"] == path
    assert not set(text) & {"\x9b", "\u202e"}


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes")
def test_a_name_that_is_no_text_is_written_everywhere(folder):
    name = os.fsdecode(b"a\xff.npy")
    np.save(folder / name, PICTURE)
    for output in ("o.ome.zarr", "o.ome.tif", "o.npy"):
        words = ["map", name, "a.npy", "-o", output, "--radius", "2", "--report", "r.html"]
        assert main([*words, "--overwrite"]) == 0
        assert main(["info", output]) == 0
    assert "a\\udcff.npy" in Path("r.html").read_text("utf-8")


@pytest.mark.parametrize(
    "words",
    [
        ["info", ""],
        ["map", "", "a.npy", "-o", "o.npy"],
        ["map", "a.npy", "", "-o", "o.npy"],
        ["map", "a.npy", "a.npy", "-o", "o.npy", "--mask", ""],
        ["map", "a.npy", "a.npy", "-o", "o.npy", "--labels", "", "--table", "t.csv"],
        ["map", "a.npy", "a.npy", "-o", "o.npy", "--transform", ""],
        ["register", "a.npy", "a.npy", "-o", "T.json", "--mask", ""],
        ["register", "a.npy", "a.npy", "-o", "T.json", "--moving-mask", ""],
        ["register", "a.npy", "a.npy", "-o", "T.json", "--landmarks", "", ""],
        ["apply", "", "a.npy", "-o", "b.npy"],
        ["apply", "T.json", "", "-o", "b.csv"],
        ["convert", "", "T.tfm"],
        ["batch", "", "a.npy", "-o", "out"],
        ["batch", "", "-o", "out"],
    ],
)
def test_an_empty_name_is_not_the_current_folder(words, folder, capsys):
    """A shell makes one of a variable that is not set."""
    (folder / "T.json").write_text("{}", "utf-8")
    assert main([*words, "--overwrite"] if "T.json" in words else words) == 2
    assert "the name of a file is empty" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["T.json", "a.npy"]


def test_two_results_do_not_share_a_file(folder, capsys):
    words = ["map", "a.npy", "a.npy", "-o", "o.npy", "--bands", "ncc,shift,shift_error"]
    assert main([*words, "--table", "x.csv", "--vectors", "./x.csv"]) == 2
    assert "x.csv is given for two results" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["a.npy"]


def test_a_library_that_finds_no_room_lacks_memory(folder, capsys, monkeypatch):
    def fail(*_, **__):
        try:
            raise ImportError("libx.so: failed to map segment from shared object")
        except ImportError:
            raise ImportError("this needs x; install it") from None

    monkeypatch.setattr("napari_local_ncc.io.reading.open_image", fail)
    assert main(["info", "a.npy"]) == 2
    assert "the memory does not suffice (none is left)" in capsys.readouterr().err
