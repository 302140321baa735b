"""Nothing is loaded before it is needed: counted in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

READ = "from napari_local_ncc.io import read_image"
MAP = "from napari_local_ncc.cli import main; assert main({words}) == {code}"


def loaded(code, folder):
    """Return the modules that a process has loaded after some code."""
    code += "; import sys; print('LOADED', *sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True, cwd=folder
    )
    return found.stdout.rpartition("LOADED")[2].split()


def ours(modules):
    return [name for name in modules if name.partition(".")[0] == "napari_local_ncc"]


@pytest.fixture
def folder(tmp_path):
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).normal(size=(40, 40)))
    return tmp_path


def test_reading_an_image_loads_no_engine_and_no_kernel(folder):
    modules = loaded(f"{READ}; read_image('a.npy')", folder)
    assert not {"numba", "skimage", "SimpleITK", "zarr", "tifffile", "pint"} & set(modules)
    assert len(ours(loaded(READ, folder))) <= 30
    engines = [name for name in ours(modules) if ".registration" in name or ".kernels" in name]
    assert engines == []


def test_a_map_without_registration_loads_what_it_runs(folder):
    words = ["map", "a.npy", "b.npy", "-o", "o.npy"]
    modules = loaded(MAP.format(words=words, code=0), folder)
    assert not {"skimage", "SimpleITK", "dask_image", "rich", "matplotlib"} & set(modules)
    # 60 before the bands of a block became a room of three, claiming an output one of five,
    # what a box needs of a graph one of its own, and where arrays are computed two
    assert len(ours(modules)) <= 71


def test_a_command_imports_no_other(folder):
    modules = loaded(MAP.format(words=["info", "a.npy"], code=0), folder)
    assert "napari_local_ncc.cli.info" in modules
    assert "napari_local_ncc.cli.map" not in modules
    assert "numba" not in modules


@pytest.mark.parametrize(
    "words",
    [
        ["map", "a.npy", "missing.npy", "-o", "o.npy"],
        ["map", "a.npy", "b.npy", "-o", "o.png"],
        ["map", "a.npy", "b.npy", "-o", "nowhere/o.npy"],
        ["map", "a.npy", "b.npy", "-o", "a.npy"],
        ["map", "a.npy", "b.npy", "-o", "o.npy", "--weights", "round"],
        ["info", "missing.npy"],
    ],
)
def test_bad_words_are_said_before_anything_heavy_is_loaded(words, folder):
    modules = loaded(MAP.format(words=words, code=2), folder)
    assert not {"numpy", "dask", "numba", "scipy"} & set(modules)


def test_workers_are_copies_of_a_process_that_has_loaded_the_kernels(folder):
    from napari_local_ncc.cli.cluster import LOADED

    lines = "; ".join(f"import {name}" for name in LOADED)  # a fork server ignores what is missing
    modules = loaded(lines, folder)
    # the second is what numba loads with the first kernel
    assert {"napari_local_ncc.ncc.kernels.driver", "numba.np.arraymath"} <= set(modules)


def test_reducing_few_samples_loads_no_compiler(folder):
    code = "from napari_local_ncc.image.pyramid import reduce_by; import numpy as np; "
    modules = loaded(code + "assert reduce_by(np.eye(4), (2, 2)).mean() == 0.25", folder)
    assert "numba" not in modules


def test_reducing_images_to_register_loads_no_cluster(folder):
    code = """
import dask.array as da
from napari_local_ncc.image.pairing import Pair
from napari_local_ncc.image.spatial_image import SpatialImage
from napari_local_ncc.registration.multiresolution import reduce_pair
image = SpatialImage.from_array(da.ones((60, 60), chunks=13))
assert reduce_pair(Pair(image, image), 40_000).fixed.grid.shape == (20, 20)"""
    assert "distributed" not in loaded(code, folder)
