"""What README and docs show is so: their code and commands run in order, from a clean folder."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import tifffile

import napari_local_ncc
from napari_local_ncc import read_image
from napari_local_ncc.cli import main
from napari_local_ncc.io.image_writing import iter_write_image
from napari_local_ncc.progress import finish

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
IN_NAPARI = "viewer."  # lines for its console, which tests of the plugin try
NOT_RUN = re.compile(r"<!-- not run: [^>]+ -->\n```.*?^```", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
SHAPE = (72, 80)


def test_the_guide_in_the_widget_is_that_of_the_docs():
    packaged = ROOT / "src" / "napari_local_ncc" / "guide.md"
    assert packaged.read_text(encoding="utf-8") == (DOCS / "guide.md").read_text(encoding="utf-8")


def blocks(page):
    """Return the code of a page: language and text, in order."""
    text = NOT_RUN.sub("", page.read_text(encoding="utf-8"))
    return [
        (language, re.sub(f"(?m)^{indent}", "", code))
        for indent, language, code in BLOCK.findall(text)
    ]


def commands(code):
    """Return the commands of this program in a shell's block."""
    lines = code.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("local-ncc ")]


RUN = [page for page in PAGES if {"python", "bash"} & {language for language, _ in blocks(page)}]
NEEDED = {
    "register.md": "SimpleITK",
    "command-line.md": "SimpleITK",
    "registration.md": "SimpleITK",
}


def write(folder, name, array, axes="YX"):
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    units = {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    metadata = {"axes": axes} | size | units
    tifffile.imwrite(folder / name, array, ome=True, metadata=metadata, photometric="minisblack")


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """The files that pages speak of: a scene, and what of it is displaced by (2, -3) px."""
    folder = tmp_path_factory.mktemp("docs")
    random = np.random.default_rng(0)
    scene = scipy.ndimage.gaussian_filter(random.normal(size=(100, 110)), 1.5)
    scene = 1000 + 200 * scene / scene.std()

    def part(y, x):
        cut = scene[14 + y : 14 + y + SHAPE[0], 15 + x : 15 + x + SHAPE[1]]
        return (cut + 20 * random.normal(size=SHAPE)).astype(np.float32)

    for name in ("fixed.tif", "fixed.ome.tif", "t1.ome.tif", "frame0.tif", "reference.tif"):
        write(folder, name, part(0, 0))
    for name in ("moving.tif", "moving.ome.tif", "pd.ome.tif", "frame1.tif", "other-channel.tif"):
        write(folder, name, part(-2, 3))
    for name in ("a.tif", "b.tif"):
        write(folder, name, np.stack([part(0, 0), part(0, 0)]), "CYX")
    write(folder, "series.tif", np.stack([part(0, 0), part(-1, 1), part(-2, 3)]), "TYX")
    labels = np.zeros(SHAPE, np.uint8)
    labels[10:30, 10:30], labels[40:60, 40:70] = 1, 2
    write(folder, "cells.tif", labels)
    write(folder, "tissue.tif", np.ones(SHAPE, np.uint8))
    (folder / "spots.csv").write_text("y,x\n10,12\n20,8\n", encoding="utf-8")
    for name, (y, x) in (("fixed.csv", (0, 0)), ("moving.csv", (2, -3))):  # as napari saves points
        points = [f"{k},{8 * k + y},{(5 * k) ** 2 % 60 + x}" for k in range(2, 7)]
        text = "\n".join(["index,axis-0,axis-1", *points])
        (folder / name).write_text(text, encoding="utf-8")
    matrix = "1,0,0\n0,1,0\n0,0,1\n"
    (folder / "matrix.csv").write_text(matrix, encoding="utf-8")
    shutil.copy(
        ROOT / "tests/elastix/2d_affine/TransformParameters.0.txt",
        folder / "TransformParameters.1.txt",
    )
    rows = [f'"Pt-{k}","true",{x},{y},{x + 1},{y - 1.5}' for k, (x, y) in enumerate(CORNERS)]
    (folder / "landmarks.csv").write_text("\n".join(rows), encoding="utf-8")
    for name, source in (("a.ome.zarr", "fixed.tif"), ("b.ome.zarr", "moving.tif")):
        finish(iter_write_image(read_image(folder / source), folder / name))
    for side in ("scans", "moving-folder"):
        (folder / side).mkdir()
        for k in range(2):
            write(folder / side, f"s{k}_ch0.tif", part(0, 0))
            write(folder / side, f"s{k}_ch1.tif", part(0, k))
    table = "fixed,moving\nfixed.tif,moving.tif\n"
    (folder / "pairs.csv").write_text(table, encoding="utf-8")
    table = "fixed,moving,transform\nfixed.tif,moving.tif,judged.json\n"
    (folder / "judged.csv").write_text(table, encoding="utf-8")
    return folder


CORNERS = [(2, 2), (35, 3), (4, 30), (33, 31), (20, 15)]  # µm


def test_few_blocks_are_not_run():
    said = [page.name for page in PAGES for _ in NOT_RUN.findall(page.read_text(encoding="utf-8"))]
    assert said == ["scale.md"] * 3  # what needs a cluster, or many cores


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_page_runs_in_order(page, files, tmp_path, monkeypatch, capsys):
    if page.name in NEEDED:
        pytest.importorskip(NEEDED[page.name])
    folder = tmp_path / "work"
    shutil.copytree(files, folder)
    monkeypatch.chdir(folder)
    if page.name == "new-engine.md":
        from napari_local_ncc.registration import ENGINES

        monkeypatch.setitem(ENGINES, "centroid", None)  # taken away again
    names: dict[str, object] = {}
    for language, code in blocks(page):
        if language == "python" and not code.startswith(IN_NAPARI):
            exec(compile(code, page.name, "exec"), names)
        if language == "bash":
            for command in commands(code):
                run(command, capsys)


def run(command, capsys):
    """Run a command as a shell would, with what another one prints in its place."""
    inner = re.search(r'"\$\((local-ncc .*)\)"', command)
    words = shlex.split(command.partition(" | ")[0], comments=True)
    if inner:
        said = StringIO()
        with redirect_stdout(said):
            assert main(shlex.split(inner[1])[1:]) == 0, inner[1]
        head = shlex.split(command[: inner.start()])
        words = [*head, said.getvalue()]
    assert main(words[1:]) == 0, (command, capsys.readouterr().err)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    made = set(hooks()["MADE"])
    for link in re.findall(r"\]\((?!https?:|#|<)([^)#\s]+)", page.read_text(encoding="utf-8")):
        target = (page.parent / link).resolve()
        is_made = target.is_relative_to(DOCS) and target.relative_to(DOCS).as_posix() in made
        assert is_made or target.exists(), link


def hooks():
    return runpy.run_path(str(DOCS / "site_hooks.py"))


def test_every_command_and_option_is_on_a_page_that_the_program_writes():
    from typer.main import get_command

    from napari_local_ncc.cli.options import app

    page = hooks()["options_page"]()
    for name, command in get_command(app).commands.items():
        assert f"\n## {name}\n" in page
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        for each in command.params:
            for word in each.opts if each.param_type_name == "option" else []:
                assert f"`{word}`" in section, (name, word)
            assert each.help, (name, each.name)


def test_every_public_name_and_parameter_is_on_a_page_that_the_program_writes():
    page = hooks()["api_page"]()
    for name in napari_local_ncc.__all__:
        assert f"::: napari_local_ncc.{name}\n" in page
    table = hooks()["parameters_page"]()
    assert table.count("\n| `") == len(napari_local_ncc.NCCParameters.__dataclass_fields__)


def test_a_stranger_s_ten_questions_have_a_page_each():
    """And it is two clicks from the first page."""
    text = (DOCS / "questions.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 10
    assert "(questions.md)" in (DOCS / "index.md").read_text(encoding="utf-8")
    for row in rows:
        page, _, section = re.search(r"\]\(([^)]+)\)", row)[1].partition("#")
        target = (DOCS / page).read_text(encoding="utf-8")
        heads = [
            re.sub(r"[^\w -]", "", head).strip() for head in re.findall(r"(?m)^#+ (.+)$", target)
        ]
        assert not section or section in [head.lower().replace(" ", "-") for head in heads]
