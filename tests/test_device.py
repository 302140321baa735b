"""Maps whose NCC a GPU computes, with NumPy in the place of CuPy."""

from __future__ import annotations

import builtins
import sys
from operator import attrgetter

import numpy as np
import pytest

from napari_local_ncc import NCCParameters, Registration, read_image
from napari_local_ncc.cli import main
from napari_local_ncc.io import read_map
from napari_local_ncc.maps.comparison import Comparison
from napari_local_ncc.maps.pipeline import map_of
from napari_local_ncc.maps.run import run_comparison
from napari_local_ncc.ncc import dispatch
from napari_local_ncc.progress import finish


@pytest.fixture
def words(tmp_path):
    """A command; its images are of three blocks."""
    rng = np.random.default_rng(0)
    fixed = rng.integers(0, 4000, (700, 200)).astype(np.uint16)
    np.save(tmp_path / "a.npy", fixed)
    np.save(tmp_path / "b.npy", np.roll(fixed, 1, 0) // 2)
    names = [str(tmp_path / f"{name}.npy") for name in "ab"]
    return ["map", *names, "-o", str(tmp_path / "o.ome.zarr"), "--threads", "1"]


@pytest.fixture
def moved(monkeypatch):
    """The shapes of the blocks that go to the GPU."""
    shapes = []
    compute = dispatch.ncc_on_gpu

    def count(*images, **options):
        shapes.append([array.shape for ((_, array),) in images])
        return compute(*images, **options)

    monkeypatch.setattr(dispatch, "ncc_on_gpu", count)
    return shapes


def test_a_map_is_computed_on_the_gpu_block_by_block(words, gpu, moved):
    assert main([*words, "--device", "cuda", "--memory", "253MB"]) == 0
    assert moved == [[(n, 200)] * 2 for n in (260, 264, 192)]
    found = read_map(words[4])
    assert found.provenance["device"] == "cuda"
    expected = finish(map_of(Comparison(*map(read_image, words[1:3])))).bands.compute()
    np.testing.assert_allclose(found.bands, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (0.4, 1.7)])
def test_moved_and_masked_images_are_the_same_on_both(words, gpu, moved, shift):
    images = [read_image(path) for path in words[1:3]]
    matrix = np.eye(3)
    matrix[:2, 2] = shift
    there = Registration.from_matrix(matrix, images[0].grid, "translation")
    mask = np.random.default_rng(1).random(images[0].grid.shape) < 0.9
    used = NCCParameters(radius=3, weights="gaussian", min_std=5)
    comparison = Comparison(*images, mask, used, there)
    expected = finish(map_of(comparison)).bands.compute()
    assert moved == []
    found = finish(map_of(comparison, device="cuda", blocks=(128, 128))).bands.compute()
    assert len(moved) == 12
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_what_a_gpu_does_not_compute_is_said_before_any_work(words, gpu, capsys):
    assert main([*words, "--device", "cuda", "--bands", "ncc,shift"]) == 2
    assert "computes ncc only, not shift" in capsys.readouterr().err
    assert main([*words, "--device", "tpu"]) == 2
    assert "there is no device 'tpu'" in capsys.readouterr().err


def test_a_resumed_map_is_of_one_device(words, gpu, capsys):
    images = [read_image(path) for path in words[1:3]]
    from napari_local_ncc.io import map_sink

    sink = map_sink(words[4], resume=True)
    run = run_comparison(Comparison(*images), sink=sink, device="cuda", memory=253e6, threads=1)
    for event in run:
        if type(event).__name__ == "MapTile":
            break
    run.close()
    more = ["--memory", "253MB", "--resume"]
    assert main([*words, *more]) == 2
    assert "begun with other images, options or blocks" in capsys.readouterr().err
    assert main([*words, *more, "--device", "cuda"]) == 0


def test_without_cupy_or_a_gpu_there_is_one_line(words, gpu, capsys, monkeypatch):
    monkeypatch.setattr(gpu.cuda.runtime, "getDeviceCount", lambda: 0)
    assert main([*words, "--device", "cuda"]) == 2
    assert capsys.readouterr().err == "local-ncc: --device cuda (device=) finds no GPU\n"

    def no_driver():
        raise RuntimeError("cudaErrorInsufficientDriver: too old")

    monkeypatch.setattr(gpu.cuda.runtime, "getDeviceCount", no_driver)
    assert main([*words, "--device", "cuda"]) == 2
    assert "finds no GPU (cudaErrorInsufficientDriver: too old)\n" in capsys.readouterr().err
    monkeypatch.delitem(sys.modules, "cupy")
    real = builtins.__import__

    def without(name, *rest, **more):
        if name == "cupy":
            raise ImportError("no module")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main([*words, "--device", "cuda"]) == 2
    err = capsys.readouterr().err
    assert "needs CuPy" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("kind", ["runtime.CUDARuntimeError", "driver.CUDADriverError"])
def test_a_gpu_that_fails_is_told_in_one_line(words, gpu, capsys, monkeypatch, kind):
    def fail(_):
        raise attrgetter(kind)(gpu.cuda)("cudaErrorIllegalAddress: an illegal address")

    monkeypatch.setattr(gpu, "asarray", fail)
    assert main([*words, "--device", "cuda"]) == 2
    assert "fails (cudaErrorIllegalAddress: an illegal address); see" in capsys.readouterr().err
