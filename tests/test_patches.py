"""The patches that CONTRIBUTING shows do what it says, and touch as few files as it says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import napari_local_ncc

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"
PACKAGE = Path(napari_local_ncc.__file__).parent
USE = """
import numpy as np
from napari_local_ncc import read_map
from napari_local_ncc.cli import main
assert main(["map", "a.npy", "b.npy", "-o", "o.npz", "--bands", "ncc,difference"]) == 0
found = read_map("o.npz")
assert found.band_names == ("ncc", "difference"), found.band_names
np.testing.assert_allclose(found["difference"], np.load("a.npy") - np.load("b.npy"), atol=1e-6)
"""


@pytest.mark.skipif(shutil.which("git") is None, reason="applies patches with git")
def test_a_band_and_a_format_of_maps_are_added_by_the_patches(tmp_path):
    band, map_format = re.findall(
        r"^```diff\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert len(re.findall(r"^\+\+\+ ", band, re.MULTILINE)) <= 4
    assert len(re.findall(r"^\+\+\+ ", map_format, re.MULTILINE)) <= 2
    # with the compiled kernels beside them, which the patches do not touch
    shutil.copytree(PACKAGE, tmp_path / "src" / PACKAGE.name)
    for patch in (band, map_format):
        subprocess.run(
            ["git", "apply", "--unidiff-zero", "-"],
            input=patch, encoding="utf-8", check=True, cwd=tmp_path,
        )  # fmt: skip
    for name in "ab":
        image = np.random.default_rng(ord(name)).normal(size=(40, 40)).astype("f4")
        np.save(tmp_path / f"{name}.npy", image)
    code = f"import sys; sys.path.insert(0, 'src')\n{USE}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
