"""The fused kernel: agreement with the definition, exactness where sums cancel, and laws."""

from __future__ import annotations

import itertools
import tracemalloc
import warnings
from importlib import import_module

import numba
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st
from numba.core.caching import FunctionCache

from napari_local_ncc import local_ncc
from napari_local_ncc.ncc.kernels import compilation, driver, tiles
from napari_local_ncc.ncc.kernels.running_sums import WIDEST
from napari_local_ncc.ncc.separable import ncc_by_filters
from napari_local_ncc.progress import Note
from oracle import brute_force_ncc

TOLERANCE = 1e-6
DTYPES = ("?", "u1", "i1", "u2", ">i2", "u4", "i8", "u8", "f2", ">f4", "f4", "f8", ">f8", "g")


def kernel(fixed, moving, mask=None, *, radius=3, **options):
    radius = (radius,) * fixed.ndim if np.isscalar(radius) else radius
    options = {"weights": "box", "min_std": 0.0, "min_valid": 0.5} | options
    whole = tuple(slice(0, n) for n in fixed.shape)
    images = [[(whole, image)] for image in (fixed, moving, mask) if image is not None]
    return driver.ncc_of_pieces(*images, region=whole, radius=radius, **options)


def assert_same(result, reference, tolerance=TOLERANCE):
    np.testing.assert_array_equal(np.isnan(result), np.isnan(reference))
    np.testing.assert_allclose(result, reference, rtol=0, atol=tolerance)


def assert_exact(fixed, moving, mask=None, *, radius=3, at=None, **options):
    """Compare with the definition; in a large image, on 12 x 12 pixels from each `at`."""
    result = kernel(fixed, moving, mask, radius=radius, **options)
    if at is None:
        assert_same(result, brute_force_ncc(fixed, moving, mask, radius=radius, **options))
        return result
    for corner in at:
        part = tuple(slice(i, i + 12) for i in corner)
        around = tuple(
            slice(max(s.start - radius, 0), min(s.stop + radius, n))
            for s, n in zip(part, fixed.shape, strict=True)
        )
        inner = tuple(
            slice(s.start - c.start, s.stop - c.start) for s, c in zip(part, around, strict=True)
        )
        known = None if mask is None else mask[around]
        wanted = brute_force_ncc(fixed[around], moving[around], known, radius=radius, **options)
        assert_same(result[part], wanted[inner])
    return result


def small_tiles(monkeypatch):
    monkeypatch.setattr(tiles, "PLANE_TILE", (5, 7))
    monkeypatch.setattr(tiles, "VOLUME_TILE", (3, 4, 5))
    monkeypatch.setattr(driver, "block_width", lambda side: 3)
    monkeypatch.setattr(driver, "running_block", lambda side: 3)


@st.composite
def images(draw):
    """Draw two images of any layout, a mask or none, and options."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ndim = draw(st.integers(1, 5))
    shape = tuple(rng.integers(1, [40, 14, 9, 6, 5][ndim - 1], ndim))
    radius = [int(r) for r in rng.integers(0, 5, ndim)]
    for axis in rng.permutation(ndim)[3:]:
        radius[axis] = 0
    first = draw(st.sampled_from(DTYPES))
    second = first if draw(st.booleans()) else draw(st.sampled_from(DTYPES))  # of one: in place
    pair = [_any_layout(draw, rng, shape, dtype) for dtype in (first, second)]
    mask = rng.random(shape) < 0.7 if draw(st.booleans()) else None
    options = {
        "radius": tuple(radius),
        "weights": draw(st.sampled_from(["box", "gaussian"])),
        "min_valid": draw(st.sampled_from([0.0, 0.5, 0.9, 1.0])),
    }
    return (*pair, mask, options)


def _any_layout(draw, rng, shape, dtype):
    step = draw(st.sampled_from([1, 2, -1]))
    order = draw(st.permutations(range(len(shape))))
    stored = [shape[axis] * abs(step) for axis in order]
    image = rng.integers(0, draw(st.sampled_from([2, 5, 120])), stored).astype(dtype)
    if image.dtype.kind == "f" and draw(st.booleans()):
        image[rng.random(stored) < 0.15] = rng.choice([np.nan, np.inf, -np.inf])
    image = image[(slice(None, None, step),) * len(shape)].transpose(np.argsort(order))
    repeated = draw(st.sampled_from([None, None, *range(len(shape))]))
    if repeated is not None:  # one sample of memory for all along an axis
        image = np.broadcast_to(image.take([0], axis=repeated), shape)
    image.flags.writeable = False
    return image


@given(images())
def test_agrees_with_the_definition(drawn):
    fixed, moving, mask, options = drawn
    result = kernel(fixed, moving, mask, **options)
    assert result.dtype == np.float32
    assert result.shape == fixed.shape
    assert_same(result, brute_force_ncc(fixed, moving, mask, **options))


@given(images())
def test_agrees_with_separable_filters(drawn):
    fixed, moving, mask, options = drawn
    rng = np.random.default_rng(fixed.size)
    # Structure everywhere, as the filters leave flat windows to a rounding bound.
    pair = [image.astype(np.float64) + 50 * rng.random(image.shape) for image in (fixed, moving)]
    by_filters = ncc_by_filters(*pair, mask, **options, min_std=0.0, xp=np, ndimage=scipy.ndimage)
    assert_same(kernel(*pair, mask, **options), by_filters)


@given(images())
def test_tiles_leave_no_seams(drawn):
    fixed, moving, mask, options = drawn
    whole = kernel(fixed, moving, mask, **options)
    with pytest.MonkeyPatch.context() as monkeypatch:
        small_tiles(monkeypatch)
        assert_same(kernel(fixed, moving, mask, **options), whole)


@given(images(), st.data())
def test_any_cut_gives_the_same(drawn, data):
    fixed, moving, mask, options = drawn
    whole = kernel(fixed, moving, mask, **options)
    axis = data.draw(st.integers(0, fixed.ndim - 1))
    cut, r = data.draw(st.integers(0, fixed.shape[axis])), options["radius"][axis]

    def along(array, start, stop):
        return None if array is None else array[(slice(None),) * axis + (slice(start, stop),)]

    for start, stop in ((0, cut), (cut, fixed.shape[axis])):
        low, high = max(start - r, 0), stop + r
        part = kernel(*(along(array, low, high) for array in (fixed, moving, mask)), **options)
        assert_same(along(part, start - low, stop - low), along(whole, start, stop))


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_of_whole_numbers_any_cut_gives_the_same_bits(rng, monkeypatch, dtype):
    fixed, moving = rng.integers(0, np.iinfo(dtype).max, (2, 61, 90)).astype(dtype)
    whole = kernel(fixed, moving)
    np.testing.assert_array_equal(kernel(fixed[9:40], moving[9:40])[3:-3], whole[12:37])
    masked = kernel(fixed, moving, np.ones(fixed.shape, bool))  # read tile by tile
    np.testing.assert_array_equal(masked, whole)
    small_tiles(monkeypatch)
    monkeypatch.setattr(driver, "EXACT_RUN", 5)
    np.testing.assert_array_equal(kernel(fixed, moving), whole)


@given(images(), st.data())
def test_pieces_and_a_region_give_the_same(drawn, data):
    *arrays, mask, options = drawn
    arrays += [] if mask is None else [mask]
    shape, radius = arrays[0].shape, options["radius"]
    region = tuple(
        slice(*sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2)))) if r else slice(0, n)
        for n, r in zip(shape, radius, strict=True)
    )
    cuts = [data.draw(st.integers(0, n)) if r else n for n, r in zip(shape, radius, strict=True)]
    parts = itertools.product(
        *([slice(0, c), slice(c, n)] for c, n in zip(cuts, shape, strict=True))
    )
    parts = [part for part in parts if all(p.start < p.stop for p in part)]
    images = [[(part, array[part].copy()) for part in parts] for array in arrays]
    options |= {"min_std": 0.0}
    result = driver.ncc_of_pieces(*images, region=region, **options)
    assert_same(result, kernel(*arrays, **options)[region])


@given(images())
def test_symmetric_and_bounded(drawn):
    fixed, moving, mask, options = drawn
    result = kernel(fixed, moving, mask, **options)
    assert_same(result, kernel(moving, fixed, mask, **options))
    assert (np.abs(result[~np.isnan(result)]) <= 1).all()


@given(images())
def test_equivariant_under_transposition(drawn):
    fixed, moving, mask, options = drawn
    transposed = kernel(
        fixed.T, moving.T, None if mask is None else mask.T,
        **options | {"radius": options["radius"][::-1]},
    )  # fmt: skip
    assert_same(transposed.T, kernel(fixed, moving, mask, **options))


def test_what_is_masked_does_not_matter(rng):
    fixed, moving = rng.normal(size=(2, 30, 40))
    mask = rng.random((30, 40)) < 0.6
    masked = kernel(fixed, moving, mask)
    fixed[~mask] = rng.choice([1e300, -9999.0, np.nan, np.inf], (~mask).sum())
    np.testing.assert_array_equal(kernel(fixed, moving, mask), masked)
    fixed[~mask] = np.nan
    np.testing.assert_array_equal(kernel(fixed, moving), masked)


def test_self_is_one(rng):
    image = rng.normal(size=(40, 40))
    np.testing.assert_allclose(kernel(image, image), 1, atol=TOLERANCE)
    np.testing.assert_allclose(kernel(image, 5 - 2 * image), -1, atol=TOLERANCE)


@pytest.mark.parametrize("gain", [1e-300, 1e-30, 1e-6, 1e6, 1e30, 1e300])
def test_scale_changes_nothing(rng, gain):
    fixed, moving = rng.normal(size=(2, 40, 40))
    assert_same(kernel(gain * fixed, moving), kernel(fixed, moving))
    assert_same(kernel(gain * fixed, gain * moving), kernel(fixed, moving))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_full_range(rng, dtype):
    fixed, moving = (rng.uniform(-1, 1, (2, 40, 40)) * np.finfo(dtype).max).astype(dtype)
    assert_same(kernel(fixed, moving), kernel(fixed / 1e30, moving / 1e30))


@pytest.mark.parametrize("weights", ["box", "gaussian"])
@pytest.mark.parametrize("shape", [(60, 300), (6, 20, 140)])
@pytest.mark.parametrize(
    ("dtype", "offset", "noise"),
    [
        ("u1", 128, 20),
        ("u1", 200, 1),
        ("u2", 60000, 3),
        ("u2", 60000, 500),
        ("f4", 1e4, 1),
        ("f8", 1e6, 1),
        ("f8", 1e6, 1e-6),
        ("f8", 1e12, 1),
        ("i8", 2**62, 1e5),
        ("u8", 2**63, 1e5),
    ],
)
def test_offset(rng, dtype, offset, noise, shape, weights):
    fixed = rng.normal(0, noise, shape)
    moving = fixed + rng.normal(0, noise, shape)
    if dtype in ("i8", "u8"):  # NumPy integers, as a float would round before the sum
        pair = [np.dtype(dtype).type(offset) + x.astype(dtype) for x in (fixed, moving)]
    else:
        pair = [(x + offset).astype(dtype) for x in (fixed, moving)]
    assert_exact(*pair, weights=weights, at=[(0,) * len(shape), (2,) * (len(shape) - 1) + (125,)])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("dim", [1.0, 1e-3])
def test_bright_pixel_leaves_no_trace(rng, dim, dtype):
    fixed, moving = dim * rng.random((2, 200, 300))
    fixed[100, 150] = moving[100, 153] = 1e6
    near = [(92, 140), (92, 152), (104, 140), (104, 155), (150, 150), (100, 280)]
    assert_exact(fixed.astype(dtype), moving.astype(dtype), at=near)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("bright", [1e2, 1e4, 1e6])
def test_what_has_left_running_sums_leaves_no_trace(rng, dtype, bright):
    """Sums that ran over bright planes, then over dim ones, with 10 % missing and without."""
    level = np.where(np.arange(30) < 12, bright, 1.0)[:, None, None]
    fixed, moving = (level * rng.random((2, 30, 20, 40))).astype(dtype)
    at = [(0, 0, 0), (10, 4, 20), (18, 8, 28)]
    assert_exact(fixed, moving, radius=2, at=at)
    assert_exact(fixed, moving, rng.random(fixed.shape) < 0.9, radius=2, at=at)
    assert_exact(fixed[:, :, 0], moving[:, :, 0], radius=2, at=[(0, 0), (10, 4), (18, 8)])


def test_many_bright_pixels(rng):
    fixed, moving = 1e-3 * rng.random((2, 40, 200))
    fixed[rng.random(fixed.shape) < 0.02] = 1e6
    assert_exact(fixed, moving, at=[(0, 0), (14, 90)])


def test_steep_gradient_under_small_noise(rng):
    ramp = np.add.outer(1e3 * np.arange(100), 777 * np.arange(200))
    fixed, moving = ramp + 1e-3 * rng.normal(size=(2, 100, 200))
    assert_exact(fixed, moving, at=[(0, 0), (50, 100)])
    assert_exact(fixed, moving - ramp, at=[(0, 0), (50, 100)])


@pytest.mark.parametrize("noise", [1.0, 1e-4, 1e-7])
def test_noise_on_both_sides_of_a_step(rng, noise):
    step = np.where(np.arange(200) < 100, 0.0, 1e6)
    fixed, moving = step + noise * rng.normal(size=(2, 60, 200))
    assert_exact(fixed, moving, at=[(20, 40), (20, 94), (20, 150)])


@pytest.mark.parametrize("axis", [0, 1])
def test_long_rows_and_columns_do_not_drift(rng, axis):
    fixed, moving = rng.random((2, 20_000, 300))
    if axis:
        fixed, moving = fixed.T, moving.T
    assert_exact(fixed, moving + fixed, at=[(0, 0), (144, 144), tuple(n - 12 for n in fixed.shape)])


def test_a_row_of_a_million(rng):
    fixed = rng.random((1, 1_000_000)) + 1e4
    moving = fixed + rng.random(fixed.shape)
    at = [(0, 0), (0, 524_280), (0, 999_988)]
    in_plane = assert_exact(fixed, moving, at=at)
    np.testing.assert_array_equal(kernel(fixed[0], moving[0]), in_plane[0])


@pytest.mark.parametrize("weights", ["box", "gaussian"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "f8"])
def test_flat_areas_are_undefined(rng, dtype, weights):
    fixed, moving = (100 * rng.random((2, 120, 200))).astype(dtype)
    fixed[:60] = 0
    fixed[60:, 100:] = 255 if dtype == "u1" else 65535
    fixed[90:95, 150:155] = 1  # structure within the saturated area
    result = assert_exact(fixed, moving, weights=weights, at=[(54, 94), (84, 144), (20, 20)])
    assert np.isnan(result[:57]).all()
    assert np.isnan(result[64:80, 104:]).all()


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6, 1e6 + 0.1, -1e-300, 1e300])
def test_constant_is_undefined(rng, value):
    flat, other = np.full((20, 150), value), rng.random((20, 150))
    for weights in ("box", "gaussian"):
        assert np.isnan(kernel(flat, other, weights=weights)).all()
        assert np.isnan(kernel(other, flat, weights=weights)).all()
        assert np.isnan(kernel(flat, flat, weights=weights)).all()


def test_last_bit_is_structure(rng):
    fixed = np.where(rng.random((20, 20)) < 0.5, 1e6, np.nextafter(1e6, 2e6))
    assert_exact(fixed, rng.random((20, 20)))


@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
def test_min_std_is_in_intensity_units(rng, dtype):
    fixed, moving = (100 + 10 * rng.normal(size=(2, 40, 60)) * np.linspace(0, 2, 60)).astype(dtype)
    result = assert_exact(fixed, moving, min_std=10.0, at=[(10, 20), (28, 30)])
    assert 0.2 < np.isnan(result).mean() < 0.8


def test_std_equal_to_min_std_is_undefined():
    board = np.indices((20, 20)).sum(axis=0) % 2 * 4.0
    middle = (slice(3, -3),) * 2
    std = np.std(board[:7, :7])
    assert np.isnan(kernel(board, board, min_std=float(std))[middle]).any()
    assert not np.isnan(kernel(board, board, min_std=float(std) * 0.999)[middle]).any()


@pytest.mark.parametrize("dtype", ["u2", "f4", "f8"])
@pytest.mark.parametrize("weights", ["box", "gaussian"])
@pytest.mark.parametrize("radius", [1, 8, 20])
def test_missing_samples(rng, dtype, weights, radius):
    fixed, moving = (1e4 + 10 * rng.normal(size=(2, 100, 150))).astype(dtype)
    mask = rng.random(fixed.shape) < 0.7
    mask[40:60, 60:90] = False
    if dtype != "u2":
        fixed[rng.random(fixed.shape) < 0.1] = np.nan
    for min_valid in (0.0, 0.5, 1.0):
        at = [(0, 0), (36, 50)]
        options = {"radius": radius, "weights": weights, "min_valid": min_valid}
        assert_exact(fixed, moving, mask, at=at, **options)


def test_nothing_valid(rng):
    image = rng.random((20, 30))
    assert np.isnan(kernel(image, np.full_like(image, np.nan))).all()
    assert np.isnan(kernel(image, image, np.zeros(image.shape, bool))).all()


def test_windows_along_no_axis_and_along_four(rng):
    image = rng.random((3, 4, 5, 6))
    assert np.isnan(kernel(image, image, radius=0)).all()
    assert kernel(image[:0, 0], image[:0, 0]).shape == (0, 5, 6)
    with pytest.raises(ValueError, match=r"at most 3 axes, got radius \(1, 1, 1, 1\)"):
        kernel(image, image, radius=1)


def test_the_scratch_keeps_all_digits(rng):
    """Dtypes that float32 cannot hold are read as float64, also when only one image has one."""
    wide = 2**24 + rng.integers(0, 4, (30, 40))
    narrow = rng.integers(0, 4, (30, 40)).astype("u1")
    for dtype in ("i4", "u4", "f8"):
        assert_exact(wide.astype(dtype), narrow)
        assert_exact(narrow, wide.astype(dtype))


@pytest.mark.parametrize("shape", [(600,), (70, 60), (14, 30, 20), (2, 40, 30)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
@pytest.mark.parametrize("missing", ["", "mask", "NaN"])
@pytest.mark.parametrize("tiny", [False, True])
def test_large_areas_of_one_value(rng, monkeypatch, shape, dtype, missing, tiny):
    """Windows are undefined where all samples of either image are equal, and only there."""
    if tiny:
        small_tiles(monkeypatch)
    radius = (0, 3, 2) if shape[0] == 2 else 2
    images = []
    for value in (0, -70):
        image = rng.integers(10_000, 20_000, shape)
        image[scipy.ndimage.gaussian_filter(rng.standard_normal(shape), 3) > 0] = value
        image[..., -5:] = value
        images.append(image.astype(dtype))
    known = rng.random(shape) > (0.1 if missing else 0)
    if missing == "NaN" and dtype != "i8":
        images[0][~known] = np.nan
    result = assert_exact(*images, known if missing else None, radius=radius)
    sides = [2 * r + 1 for r in np.broadcast_to(radius, len(shape))]
    constant = [
        scipy.ndimage.maximum_filter(np.where(known, image, -1e9), sides, mode="nearest")
        == scipy.ndimage.minimum_filter(np.where(known, image, 1e9), sides, mode="nearest")
        for image in images
    ]
    np.testing.assert_array_equal(np.isnan(result), constant[0] | constant[1] | ~known)
    assert 0.1 < np.isnan(result).mean() < 0.9


@pytest.mark.parametrize("dtype", ["f4", "f8", "u2"])
@pytest.mark.parametrize("missing", [False, True])
def test_dim_areas_beside_bright_ones(rng, dtype, missing):
    """No centre keeps the digits of both."""
    levels = np.repeat([100, 60_000, 7000, 100], 40)
    images = [(levels + rng.normal(0, 3, (60, 160))).astype(dtype) for _ in range(2)]
    mask = rng.random((60, 160)) > 0.05 if missing else None
    assert_exact(*images, mask, radius=20 if dtype == "u2" else 4)


@pytest.mark.parametrize("radius", [WIDEST // 2 - 1, WIDEST // 2, 2100])
def test_windows_as_wide_as_the_running_sums_take_and_wider(rng, radius):
    image = rng.random((3, 5000), np.float32)
    other = image + rng.random((3, 5000), np.float32)
    result = kernel(image, other, radius=(0, radius))
    for at in (0, 700, 2480, 4990):
        part = slice(max(0, at - radius), at + 10 + radius)
        wanted = brute_force_ncc(image[:, part], other[:, part], radius=(0, radius))
        first = at - part.start
        assert_same(result[:, at : at + 10], wanted[:, first : first + 10])


def test_memory_is_that_of_a_tile():
    fixed, moving = np.random.default_rng(0).random((2, 4096, 2048), np.float32)
    kernel(fixed[:64], moving[:64])
    tracemalloc.start()
    result = kernel(fixed, moving)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - result.nbytes < 2.7e6  # 2 % of two images of 4096 x 4096


def test_compiles_without_a_place_for_the_cache(monkeypatch):
    njit = numba.njit

    def nowhere_to_cache(*args, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(*args, **options)

    monkeypatch.setattr(numba, "njit", nowhere_to_cache)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Note)  # said once in a process
        assert compilation.kernel(lambda x: x + 1)(1) == 2


def test_machine_code_on_disk_is_that_of_all_that_is_inlined():
    """What a kernel calls is defined before it, or its digest would not hold it."""
    kernels = {
        found
        for name in ("running_sums", "stable_sums", "two_pass", "constant_windows")
        for found in vars(import_module(f"napari_local_ncc.ncc.kernels.{name}")).values()
        if isinstance(getattr(found, "_cache", None), FunctionCache)
    }
    assert len(kernels) >= 5
    for kernel in kernels:
        _, digest = kernel._cache._cache_file._source_stamp
        assert digest == compilation.source_digest(kernel.py_func)


@pytest.mark.parametrize("change", ["code", "constant", "global", "array", "none"])
def test_a_digest_tells_what_is_compiled_in(change):
    def module(inside: str, factor: float, taps: list[int]):
        names = {"FACTOR": factor, "TAPS": np.array(taps), "inner": compilation.inner}
        exec(
            f"@inner\ndef scale(x):\n    return {inside}\n"
            "def entry(x):\n    return FACTOR * scale(x) + TAPS[0]",
            names,
        )
        return names["entry"]

    first = module("2 * x", 3.0, [1, 2])
    changed = {
        "code": module("2 * x * x", 3.0, [1, 2]),
        "constant": module("4 * x", 3.0, [1, 2]),
        "global": module("2 * x", 5.0, [1, 2]),
        "array": module("2 * x", 3.0, [1, 3]),
        "none": module("2 * x", 3.0, [1, 2]),
    }[change]
    same = compilation.source_digest(first) == compilation.source_digest(changed)
    assert same == (change == "none")


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "f8"])
def test_repeated_samples_are_read_as_they_are(axis, dtype):
    line = np.random.default_rng(0).integers(0, 200, 40).astype(dtype)
    repeated = np.broadcast_to(np.expand_dims(line, axis), (40, 40))
    other = np.random.default_rng(1).integers(0, 200, (40, 40)).astype(dtype)
    for pair in ((repeated, other), (other, repeated), (repeated, repeated)):
        found = local_ncc(*pair, radius=3)
        np.testing.assert_array_equal(found, local_ncc(*(each.copy() for each in pair), radius=3))
