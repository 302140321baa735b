"""The programs of examples/ run from a clean folder, and say what they promise."""

from __future__ import annotations

import io
import json
import re
import runpy
from contextlib import redirect_stdout
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
SAID = {
    "batch": "s0_second failed",
    "cluster": "median NCC 0.89",
    "masks": "region 4: median NCC 0.9",
    "multimodal": "alike, inverted",
    "other_transform": "wrong.tfm: failed, the images fit 5.0 px",
    "own_engine": "shift [ 4. -6.]",
    "pair": "shift y -7.20",
    "series": "frame 11: 9.2% of pixels below 0.5",
    "volume": "shift [ 2.11 -3.2   4.59] mm",
    "with_xarray": "defined from y = 5.0 um on",
}
NUMBER = r"\d+(?:\.\d+)?"
NEEDED = {"cluster": "distributed", "with_xarray": "xarray", "multimodal": "SimpleITK"}


def test_each_program_is_tried_and_short():
    programs = {path.stem: path for path in FOLDER.glob("*.py")}
    assert set(programs) == set(SAID)
    for path in programs.values():
        assert len(path.read_text(encoding="utf-8").splitlines()) < 40


@pytest.mark.parametrize("name", sorted(SAID))
def test_the_program(name, tmp_path, monkeypatch, capsys):
    if name in NEEDED:
        pytest.importorskip(NEEDED[name])
    if name == "own_engine":
        from napari_local_ncc.registration import ENGINES

        monkeypatch.setitem(ENGINES, "centroid", None)  # taken away again, with what replaces it
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    assert SAID[name] in capsys.readouterr().out


def test_the_notebook_is_executed_and_runs(tmp_path, monkeypatch):
    """Its cells in their order; what it shows is what they gave."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("IPython")
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((FOLDER / "tutorial.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    shown = [text for cell in cells for text in _printed(cell)]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    said = io.StringIO()
    with redirect_stdout(said):
        names: dict[str, object] = {}
        for cell in cells:
            exec(compile("".join(cell["source"]), "tutorial", "exec"), names)
    assert re.sub(NUMBER, "#", said.getvalue()) == re.sub(NUMBER, "#", "".join(shown))
    now, then = (
        [float(n) for n in re.findall(NUMBER, text)] for text in (said.getvalue(), "".join(shown))
    )
    assert now == pytest.approx(then, rel=0.02, abs=0.01)


def _printed(cell):
    outputs = [output for output in cell["outputs"] if output["output_type"] == "stream"]
    assert not [output for output in cell["outputs"] if output["output_type"] == "error"]
    return ["".join(output["text"]) for output in outputs]
