"""Standard output holds one document, or one table, and nothing else."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from importlib.metadata import version

import jsonschema
import numpy as np
import pytest

from napari_local_ncc.cli import main
from napari_local_ncc.reports.document import as_json


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two images of 60 x 70 px, the one displaced by (3, -2), and labels."""
    texture = np.random.default_rng(0).normal(size=(80, 90))
    np.save(tmp_path / "a.npy", texture[10:70, 10:80])
    np.save(tmp_path / "b.npy", texture[7:67, 12:82])
    labels = np.zeros((60, 70), np.uint8)
    labels[:30], labels[30:] = 1, 2
    np.save(tmp_path / "l.npy", labels)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def schema(repository):
    text = (repository / "docs" / "local-ncc-1.schema.json").read_text(encoding="utf-8")
    found = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(found)
    return found


@pytest.fixture
def ask(capsys, schema):
    """Run a command, and read the document that is all of its standard output."""

    def run(*words):
        assert main([*map(str, words), "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        jsonschema.validate(document, schema)
        assert document["command"] == words[0]
        return document

    return run


def test_register_apply_convert_refine_and_info_answer_in_documents(folder, ask):
    found = ask("register", "a.npy", "b.npy", "-o", "t.json")["registration"]
    np.testing.assert_allclose(found["shift_px"], [[3, -2]], atol=0.02)
    assert found["applied"]
    assert found["reports"][0]["error95_px"] < 1
    again = ask("info", "t.json")
    assert (again["kind"], again["registration"]["matrix"]) == ("transform", found["matrix"])
    assert ask("apply", "t.json", "b.npy", "-o", "r.npy")["outputs"] == {"image": "r.npy"}
    assert ask("convert", "t.json", "t.tfm")["outputs"] == {"transform": "t.tfm"}
    refined = ask("refine", "a.npy", "b.npy", "--transform", "t.json", "-o", "u.json")
    assert refined["refinement"]["rounds"][0]["shift"] < 0.1
    assert (folder / "u.json").exists()
    image = ask("info", "a.npy")
    assert image["kind"] == "image"
    assert [axis["size"] for axis in image["grid"]["axes"]] == [60, 70]


def test_a_map_answers_with_its_numbers(folder, ask):
    bands = "ncc,confidence,shift,shift_error,classes,ceiling"
    options = ("--register", "translation", "--bands", bands, "--radius", 3, "--table", "t.csv")
    found = ask("map", "a.npy", "b.npy", "-o", "m.ome.zarr", *options)
    assert found["ncc"]["median"] > 0.99
    assert "agree" in found["headline"]
    assert found["next_step"] is None
    assert (found["verdict"]["judgement"], found["verdict"]["right_share"]) == ("good", 1)
    assert found["confidence"]["accepted"] > 0.9
    assert found["shift"]["median_length_px"] < 0.1
    assert found["classes"]["agrees"] > 0.5
    assert sum(found["classes"].values()) == pytest.approx(1)
    assert set(found["bands"]) >= {"peak_ratio", "ceiling"}
    assert found["outputs"] == {"map": "m.ome.zarr", "table": "t.csv"}
    assert ask("info", "m.ome.zarr")["kind"] == "map"


def test_what_is_undefined_is_null(folder, ask):
    np.save(folder / "flat.npy", np.zeros((60, 70)))
    found = ask("map", "a.npy", "flat.npy", "-o", "m.npy")
    assert found["ncc"] == {"lower": None, "median": None, "upper": None, "defined": 0}
    assert as_json({"a": np.float32("nan"), "b": [np.inf, np.int64(3)]}, None) == (
        '{"a": null, "b": [null, 3]}'
    )


def test_a_table_and_a_transform_go_through_pipes(folder, capsys):
    assert main(["register", "a.npy", "b.npy", "-o", "-", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["model"] == "translation"
    assert printed.err == ""
    words = ["--transform", printed.out, "--labels", "l.npy", "--table", "-"]
    assert main(["map", "a.npy", "b.npy", "-o", "m.npy", *words]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["index"] for row in rows] == ["1", "2"]
    assert float(rows[0]["median_ncc"]) > 0.99


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("map a.npy b.npy -o m.npy --table - --json", "only one result"),
        ("register a.npy b.npy -o - --json", "only one result"),
        ("register a.npy b.npy -o - --model flow", "field"),
        ("refine a.npy b.npy -o u.tfm", "must end in .json"),
        ("refine a.npy none.npy -o u.json", "none.npy"),
    ],
)
def test_what_cannot_be_answered_is_said_in_one_line(folder, capsys, words, message):
    assert main([*words.split(), "--quiet"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert message in line


def test_a_refined_nothing_is_the_identity(folder, ask):
    found = ask("refine", "a.npy", "a.npy", "-o", "u.json")
    np.testing.assert_allclose(found["registration"]["matrix"], np.eye(3))


def test_the_version_is_said_before_anything_is_loaded():
    code = "import sys; from napari_local_ncc.cli import main; main(['--version']); "
    code += "assert 'numpy' not in sys.modules"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == f"local-ncc {version('napari-local-ncc')}\n"
