"""Maps that a GPU computes, with NumPy in the place of CuPy."""

from __future__ import annotations

import builtins
import sys
from operator import attrgetter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from napari_local_ncc import NCCParameters, Registration, SpatialImage, read_image
from napari_local_ncc.cli import main
from napari_local_ncc.io import read_map
from napari_local_ncc.maps.comparison import Comparison
from napari_local_ncc.maps.pipeline import map_of
from napari_local_ncc.maps.run import run_comparison
from napari_local_ncc.ncc import separable
from napari_local_ncc.progress import finish

MAX = 15


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
    """The shapes of the blocks that are compared on the GPU."""
    shapes = []
    compute = separable.ncc_by_filters

    def count(*images, **options):
        shapes.append([array.shape for array in images])
        return compute(*images, **options)

    monkeypatch.setattr(separable, "ncc_by_filters", count)
    return shapes


def test_a_map_is_computed_on_the_gpu_block_by_block(words, gpu, moved):
    assert main([*words, "--device", "cuda", "--memory", "263MB"]) == 0
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
    found, expected = on_both(comparison, blocks=(128, 128))
    assert len(moved) == 12
    alike(found, expected, 1e-6)


def on_both(comparison, **options):
    """The bands on the GPU and on the processor, by the same calibration."""
    expected = finish(map_of(comparison, **options))
    options |= {"device": "cuda", "calibration": expected.calibration}
    found = finish(map_of(comparison, **options)).bands.compute(scheduler="sync")
    assert type(found) is np.ndarray
    return found, expected.bands.compute(scheduler="sync")


def alike(found, expected, tolerance):
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@st.composite
def comparisons(draw):
    """Pairs of any shape and transform, some with invalid samples and masks."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ndim = draw(st.integers(1, 3))
    sides = {1: (30, 300), 2: (9, 60), 3: (6, 14)}[ndim]
    shape = tuple(draw(st.integers(*sides)) for _ in range(ndim))
    fixed = gaussian_filter(rng.normal(size=shape), draw(st.sampled_from([0, 1.2])))
    moving = fixed + 0.3 * fixed.std() * rng.normal(size=shape)
    kind = draw(st.sampled_from(["none", "whole", "part", "affine", "flow"]))
    whole = draw(st.sampled_from([None, np.uint16, np.int64]))
    if whole is not None:
        fixed, moving = ((3000 + 400 * image).astype(whole) for image in (fixed, moving))
        if whole is np.int64 and kind in ("none", "whole"):  # where float64 skips numbers
            fixed, moving = fixed + 2**60, moving + 2**60
    else:
        for image in (fixed, moving):
            image[rng.random(shape) < draw(st.sampled_from([0, 0.05]))] = np.nan
    mask = rng.random(shape) < 0.9 if draw(st.booleans()) else None
    images = [SpatialImage.from_array(image) for image in (fixed, moving)]
    parameters = NCCParameters(
        radius=draw(st.integers(1, 5 if ndim < 3 else 2)),
        weights=draw(st.sampled_from(["box", "gaussian"])),
        bands=("ncc", "confidence"),
        interpolation=draw(st.sampled_from(["linear", "cubic"])),
        alternative=draw(st.sampled_from(["greater", "two-sided"])),
    )
    return Comparison(*images, mask, parameters, transform(kind, images[0].grid, rng))


def transform(kind, grid, rng):
    matrix = np.eye(grid.ndim + 1)
    if kind == "none":
        return None
    if kind == "whole":
        matrix[:-1, -1] = rng.integers(-2, 3, grid.ndim)
    else:
        matrix[:-1, -1] = rng.uniform(-2, 2, grid.ndim)
    if kind == "affine":
        matrix[:-1, :-1] += rng.normal(0, 0.02, (grid.ndim, grid.ndim))
    if kind != "flow":
        return Registration.from_matrix(matrix, grid)
    flow = gaussian_filter(rng.normal(size=(grid.ndim, *grid.shape)), (0, *(3,) * grid.ndim))
    flow = flow.astype(np.float32)
    flow[:, : grid.shape[0] // 2] = 0  # where positions are whole pixels
    return Registration.from_matrix(np.eye(grid.ndim + 1), grid, "flow", displacement=flow)


@given(comparisons())
@settings(max_examples=MAX, suppress_health_check=list(HealthCheck))
def test_ncc_and_confidence_of_any_pair_are_the_same_on_both(gpu, comparison):
    ncc, confidence = zip(*on_both(comparison), strict=True)
    alike(*ncc, 1e-6)
    alike(*confidence, 1e-4)


@pytest.mark.parametrize("per_frame", [False, True])
def test_confidence_by_contrast_and_frame_is_the_same_on_both(gpu, per_frame):
    rng = np.random.default_rng(2)
    strength = np.geomspace(1, 8, 240)
    pair = strength * gaussian_filter(rng.normal(size=(2, 2, 200, 240)), (0, 0, 1, 1))
    images = [SpatialImage.from_array(image, axis_labels=("t", "y", "x")) for image in pair]
    parameters = NCCParameters(radius=3, bands=("ncc", "confidence"), per_frame=per_frame)
    comparison = Comparison(*images, parameters=parameters)
    nulls = finish(map_of(comparison)).calibration.nulls
    assert len(nulls) == 1 + per_frame
    assert len(nulls[0].strata) > 1
    found, expected = on_both(comparison, blocks=(1, 128, 128))
    alike(found, expected, 1e-4)


def test_what_a_gpu_does_not_compute_is_said_before_any_work(words, gpu, capsys):
    assert main([*words, "--device", "cuda", "--bands", "ncc,shift"]) == 2
    assert "computes ncc, confidence only, not shift" in capsys.readouterr().err
    assert main([*words, "--device", "tpu"]) == 2
    assert "there is no device 'tpu'" in capsys.readouterr().err


def test_more_memory_than_the_gpu_has_is_refused(words, gpu, capsys):
    assert main([*words, "--device", "cuda", "--memory", "9GB"]) == 2
    assert "give --memory (memory=) 4250MB or less" in capsys.readouterr().err


def test_a_resumed_map_is_of_one_device(words, gpu, capsys):
    images = [read_image(path) for path in words[1:3]]
    from napari_local_ncc.io import map_sink

    sink = map_sink(words[4], resume=True)
    run = run_comparison(Comparison(*images), sink=sink, device="cuda", memory=263e6, threads=1)
    for event in run:
        if type(event).__name__ == "MapTile":
            break
    run.close()
    more = ["--memory", "263MB", "--resume"]
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
    def fail(*_):
        raise attrgetter(kind)(gpu.cuda)("cudaErrorIllegalAddress: an illegal address")

    monkeypatch.setattr(gpu, "asarray", fail)
    assert main([*words, "--device", "cuda"]) == 2
    assert "fails (cudaErrorIllegalAddress: an illegal address); see" in capsys.readouterr().err
