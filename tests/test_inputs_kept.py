"""No command replaces what it reads, nor what is read with it; what is doubted is said."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from napari_local_ncc import Grid, Registration
from napari_local_ncc.cli import main
from napari_local_ncc.io.outputs import check_free, files_of_input
from napari_local_ncc.transforms.report import Agreement, FrameReport

GRID = Grid((40, 40))
POINTS = "axis-0,axis-1\n1,2\n30,4\n5,33\n"
NOTE = "chance finds as much; not applied"
COMMANDS = (
    "apply flow.json b.npy -o flow.zarr",
    "apply T.json p.csv -o p.csv",
    "apply T.json b.npy --like a.npy -o a.npy",
    "map a.npy b.npy --transform flow.json -o flow.zarr",
    "map a.npy b.npy -o labels.npy --labels labels.npy --table t.csv",
    "map a.npy b.npy -o o.npy --labels labels.csv --table labels.csv",
    "map a.npy b.npy -o mask.npy --mask mask.npy",
    "map a.npy b.npy -o flow.zarr --register flow --initial flow.json",
    "register a.npy b.npy --initial T.json -o T.json",
    "register a.npy b.npy --model flow --initial flow.json -o flow.json",
    "register a.npy b.npy --landmarks p.csv q.csv -o q.csv",
    "register a.npy b.npy --mask mask.npy -o mask.npy",
    "register a.npy b.npy --moving-mask mask.npy -o mask.npy",
    "refine a.npy b.npy --transform T.json -o T.json",
    "refine a.npy b.npy --transform flow.json -o flow.json",
    "convert flow.json flow.zarr",
    "convert T.json T.json",
    "convert T.txt T.0.txt --like a.npy",
)


@pytest.fixture
def files(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, rng.normal(size=GRID.shape))
    for name in ("labels.npy", "mask.npy"):
        np.save(tmp_path / name, np.ones(GRID.shape, np.uint8))
    for name in ("p.csv", "q.csv", "labels.csv"):
        (tmp_path / name).write_text(POINTS, encoding="utf-8")
    report = FrameReport("ncc", applied=False, note=NOTE, after=Agreement(median=0.1))
    Registration.from_matrix(np.eye(3), GRID, "rigid", reports=(report,)).save(tmp_path / "T.json")
    field = np.ones((2, *GRID.shape), np.float32)
    Registration.from_matrix(np.eye(3), GRID, "flow", displacement=field).save(
        tmp_path / "flow.json"
    )
    elastix = '(Transform "TranslationTransform")\n(TransformParameters 0 0)\n'
    for name, before in (("T.0", "NoInitialTransform"), ("T", "T.0.txt")):
        (tmp_path / f"{name}.txt").write_text(
            f'{elastix}(InitialTransformParameterFileName "{before}")\n', encoding="utf-8"
        )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder):
    return {file: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_input_is_no_output(command, files, capsys):
    before = contents(files)
    assert main([*command.split(), "--overwrite"]) == 2
    assert contents(files) == before
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "is the input" in said[0] or "must end in" in said[0]


def test_a_word_that_is_no_file_and_a_folder_without_a_name_are_no_reason(files):
    (files / "phase.json").write_text("{}", encoding="utf-8")
    for path in ("phase", ".", os.sep):
        assert [file.resolve() for file in files_of_input(path)] == [Path(path).resolve()]
    assert check_free(files / "phase.json", True, ["phase", "a.npy"]) == files / "phase.json"
    with pytest.raises(ValueError, match="is the input"):
        check_free(files / "o.zarr", True, ["."])


@pytest.mark.parametrize("moved", ["b.npy", "p.csv"])
def test_a_refused_transform_is_doubted_where_it_is_applied(moved, files, capsys):
    output = f"o{moved[1:]}"
    assert main(["apply", "T.json", moved, "-o", output]) == 0
    assert f"T.json is doubtful: {NOTE}" in capsys.readouterr().err
    assert main(["apply", "T.json", moved, "-o", output, "--overwrite", "--strict"]) == 3
    assert (files / output).exists()
    assert main(["apply", "flow.json", moved, "-o", output, "--overwrite", "--strict"]) == 0


def test_a_fit_to_landmarks_is_not_doubted(files, capsys):
    words = "register a.npy b.npy --model affine --landmarks p.csv q.csv --landmarks-only -o L.json"
    assert main(words.split()) == 0
    assert main(["apply", "L.json", "b.npy", "-o", "o.npy", "--strict"]) == 0
    assert "doubtful" not in capsys.readouterr().err
