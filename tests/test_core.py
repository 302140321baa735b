"""Without any extra the main job works, and what needs one says which."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

EXTRAS = (
    "SimpleITK",
    "bioio",
    "fsspec",
    "h5py",
    "imagecodecs",
    "matplotlib",
    "mrcfile",
    "napari",
    "qtpy",
)
WITHOUT = f"import sys; sys.modules.update(dict.fromkeys({EXTRAS!r}))"  # None: not importable
RUN = "; from napari_local_ncc.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def folder(tmp_path):
    """Two images of 60 x 70 px, the one displaced by (3, -2)."""
    texture = np.random.default_rng(0).normal(size=(80, 90))
    np.save(tmp_path / "a.npy", texture[10:70, 10:80])
    np.save(tmp_path / "b.npy", texture[7:67, 12:82])
    return tmp_path


def local_ncc_in(folder, *words):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + RUN, *words],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
    )


def test_a_registered_map_needs_no_extra(folder):
    done = local_ncc_in(folder, "map", "a.npy", "b.npy", "-o", "o.npy", "--register", "translation")
    assert done.returncode == 0, done.stderr
    assert "y 3.000 px, x -2.000 px" in done.stdout
    assert np.nanmin(np.load(folder / "o.npy")) > 0.999


@pytest.mark.parametrize(
    ("option", "needed"),
    [(("--register", "affine"), "[registration]"), (("--plot", "p.png"), "[plot]")],
)
def test_what_needs_an_extra_names_it_in_one_line(folder, option, needed):
    done = local_ncc_in(folder, "map", "a.npy", "b.npy", "-o", "o.npy", *option)
    assert done.returncode == 2
    assert needed in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (folder / "o.npy").exists()
