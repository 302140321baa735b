"""What others have named: in lines, in cells of tables, as axes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from napari_local_ncc import Grid
from napari_local_ncc.cli import main
from napari_local_ncc.io.points import cell_text


def test_the_end_of_a_line_in_a_name_makes_no_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "a\ngood     evil: shown to be right.npy"
    np.save("a.npy", np.eye(9))
    try:
        shutil.move("a.npy", name)
    except OSError:
        pytest.skip("this system takes no such name")
    assert main(["info", name]) == 0
    said = capsys.readouterr()
    assert not any(line.startswith("good") for line in (said.out + said.err).splitlines())


@pytest.mark.parametrize(
    "cell",
    ["\x00=1", "\u200b=1", "\ufeff+a", "\uff1d1", "\uff0bA1", "\uff20x", " \t-a", "\u034f=1"],
)
def test_no_cell_becomes_a_formula(cell):
    assert cell_text(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["", "a=1", "-2.5", "+inf", "\u00b5m", "x y", "\u200b"])
def test_other_cells_are_as_they_are(cell):
    assert cell_text(cell) == cell


def test_an_axis_without_a_name_has_a_number():
    assert Grid((3, 4), axis_labels=("", " ")).axis_labels == ("-2", "-1")
    assert Grid((3, 4), axis_labels=("y", "")).axis_labels == ("y", "-1")
