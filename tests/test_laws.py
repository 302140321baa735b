"""Laws of local NCC, and its definition, for images of every kind.

Some examples at every run; `pytest tests/test_laws.py --hypothesis-profile nightly` tries 2,000.
"""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_local_ncc import (
    Grid,
    NCCParameters,
    Registration,
    SpatialImage,
    confidence_map,
    local_ncc,
    register,
)
from napari_local_ncc.transforms.resampling import ORDERS, Sampling
from oracle import brute_force_ncc

TOLERANCE = 1e-6
DTYPES = ("?", "u1", "i1", "u2", ">i2", "i4", ">u4", "i8", "u8", "f2", ">f4", "f4", "f8", ">f8")
DIRECT = ("u1", "u2", "f4", "f8")
SIDES = (40, 9, 6, 4)  # px at most in 1 to 4 dimensions: the definition is slow


def assert_same(result, reference, tolerance=TOLERANCE):
    np.testing.assert_array_equal(np.isnan(result), np.isnan(reference))
    np.testing.assert_allclose(result, reference, rtol=0, atol=tolerance)


@st.composite
def images(draw, shape, rng, *, dtypes=DTYPES):
    """Draw an image of few or many values, of any dtype, with patterns of missing samples."""
    image = rng.integers(0, draw(st.sampled_from([2, 5, 120])), shape).astype(
        draw(st.sampled_from(dtypes))
    )
    if image.dtype.kind == "f":
        lacking = draw(st.sampled_from(["nothing", "some", "a border", "a block"]))
        bad = rng.choice([np.nan, np.inf, -np.inf])
        if lacking == "some":
            image[rng.random(shape) < 0.2] = bad
        elif lacking == "a border":
            image[..., : shape[-1] // 3] = bad
        elif lacking == "a block":
            image[tuple(slice(n // 3, 2 * n // 3 + 1) for n in shape)] = bad
    return image


@st.composite
def pairs(draw, *, dtypes=DTYPES):
    """Draw two images, a mask or none, options, and a chunking."""
    ndim = draw(st.integers(1, 4))
    shape = draw(hnp.array_shapes(min_dims=ndim, max_dims=ndim, max_side=SIDES[ndim - 1]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):  # samples of one usual dtype are read where they lie
        dtypes = (draw(st.sampled_from([d for d in dtypes if d in DIRECT] or dtypes)),)
    fixed, moving = (draw(images(shape, rng, dtypes=dtypes)) for _ in range(2))
    widest = 4 if draw(st.booleans()) else max(shape) + 3  # also windows larger than the image
    radius = list(draw(st.tuples(*[st.integers(0, widest)] * ndim).filter(any)))
    if all(radius[:4]) and ndim == 4:
        radius[draw(st.integers(0, 3))] = 0  # windows have 3 axes at most
    mask = rng.random(shape) < 0.7 if draw(st.booleans()) else None
    options = {
        "radius": tuple(radius),
        "weights": draw(st.sampled_from(["box", "gaussian"])),
        "min_valid": draw(st.sampled_from([0.0, 0.5, 0.9, 1.0])),
    }
    return fixed, moving, mask, options, tuple(tuple(_lengths(draw, n)) for n in shape)


def _lengths(draw, size):
    """Cut an axis into irregular chunks."""
    while size:
        length = draw(st.integers(1, size))
        yield length
        size -= length


@given(pairs())
def test_agrees_with_the_definition(pair):
    fixed, moving, mask, options, _ = pair
    result = local_ncc(fixed, moving, mask=mask, **options)
    assert result.dtype == np.float32
    assert_same(result, brute_force_ncc(fixed, moving, mask, **options))


@given(pairs())
def test_chunked_equals_whole(pair):
    fixed, moving, mask, options, chunks = pair
    whole = local_ncc(fixed, moving, mask=mask, **options)
    lazy = local_ncc(da.from_array(fixed, chunks), moving, mask=mask, **options)
    assert isinstance(lazy, da.Array)
    assert (lazy.dtype, lazy.shape) == (np.float32, fixed.shape)
    assert_same(lazy.compute(scheduler="sync"), whole)


@given(pairs())
def test_symmetric_and_bounded(pair):
    fixed, moving, mask, options, _ = pair
    result = local_ncc(fixed, moving, mask=mask, **options)
    assert_same(result, local_ncc(moving, fixed, mask=mask, **options))
    assert (np.abs(result[~np.isnan(result)]) <= 1).all()


@given(
    pairs(),
    st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3),
    st.integers(-(10**6), 10**6),
)
def test_gain_and_offset_change_nothing_but_the_sign(pair, gain, offset):
    fixed, moving, mask, options, _ = pair
    fixed, moving = fixed.astype(np.float64), moving.astype(np.float64)
    before = local_ncc(fixed, moving, mask=mask, **options)
    after = local_ncc(fixed, moving * gain + offset, mask=mask, **options)
    assert_same(after * np.sign(gain), before)


@given(pairs())
def test_an_image_is_one_with_itself_and_minus_one_with_its_negative(pair):
    image, _, mask, options, _ = pair
    itself = local_ncc(image, image, mask=mask, **options)
    np.testing.assert_allclose(itself[~np.isnan(itself)], 1, atol=TOLERANCE)
    if image.dtype.itemsize < 8:
        negative = -image.astype(np.float64)
        assert_same(local_ncc(image, negative, mask=mask, **options), -itself)


@given(pairs(), st.integers(0, 2**32 - 1))
def test_what_is_known_of_less_is_known_of_no_more(pair, seed):
    """Samples taken away, or more of them asked for, define no pixel that was undefined."""
    fixed, moving, mask, options, _ = pair
    defined = np.isfinite(local_ncc(fixed, moving, mask=mask, **options))
    kept = np.random.default_rng(seed).random(fixed.shape) < 0.8
    less = kept if mask is None else kept & mask
    assert not (np.isfinite(local_ncc(fixed, moving, mask=less, **options)) & ~defined).any()
    options["min_valid"] = min(1.0, options["min_valid"] + 0.2)
    assert not (np.isfinite(local_ncc(fixed, moving, mask=mask, **options)) & ~defined).any()


@given(pairs(), st.randoms())
def test_axes_may_be_named_in_any_order_and_run_either_way(pair, random):
    fixed, moving, mask, options, _ = pair
    whole = local_ncc(fixed, moving, mask=mask, **options)
    order = random.sample(range(fixed.ndim), fixed.ndim)
    flips = tuple(slice(None, None, random.choice([1, -1])) for _ in order)

    def turned(image):
        return None if image is None else image.transpose(order)[flips]

    options["radius"] = tuple(options["radius"][axis] for axis in order)
    result = local_ncc(turned(fixed), turned(moving), mask=turned(mask), **options)
    assert_same(result, turned(whole))


@given(st.data())
def test_what_is_resampled_is_the_same_bit_for_bit_in_every_box(data):
    ndim = data.draw(st.integers(2, 3))
    shape = data.draw(st.tuples(*[st.integers(4, (90, 30)[ndim - 2])] * ndim))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    image = SpatialImage.from_array(data.draw(images(shape, rng, dtypes=("u1", "u2", "f4", "f8"))))
    matrix = np.eye(ndim + 1)
    matrix[:-1] += rng.normal(0, 0.1, (ndim, ndim + 1))
    matrix[:-1, -1] = rng.normal(0, 3, ndim)
    grid, field, model = Grid(shape), None, "affine"
    if data.draw(st.booleans()):
        field, model = rng.normal(0, 1, (ndim, *shape)).astype(np.float32), "flow"
    unknown = np.array(np.nan)
    found = Registration(model, matrix, grid, unknown, unknown, unknown, field)
    sampling = Sampling.of(image, grid, found, data.draw(st.sampled_from(sorted(ORDERS))))
    ends = [sorted(data.draw(st.tuples(st.integers(0, n - 1), st.integers(1, n)))) for n in shape]
    box = tuple(slice(low, max(high, low + 1)) for low, high in ends)
    whole = sampling(tuple(slice(0, n) for n in shape))
    np.testing.assert_array_equal(sampling(box), whole[box])


@pytest.mark.parametrize("bands", [("ncc", "confidence"), ("ncc", "shift", "classes")])
def test_maps_are_the_same_bit_for_bit_over_threads_and_runs(rng, bands):
    scene = rng.normal(size=(90, 100)).cumsum(0).cumsum(1)
    fixed, moving = scene[:80, :90], scene[1:81, 2:92] + rng.normal(size=(80, 90))
    parameters = NCCParameters(radius=3, bands=bands)
    maps = [
        confidence_map(da.from_array(fixed, 20), moving, parameters=parameters).bands.compute(
            scheduler="threads", num_workers=threads
        )
        for threads in (1, 1, 4)
    ]
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])


MODELS = (
    "translation",
    pytest.param("rigid", marks=pytest.mark.nightly),
    pytest.param("flow", marks=pytest.mark.nightly),
)


@pytest.mark.parametrize("model", MODELS)
def test_registrations_are_the_same_bit_for_bit_over_threads_and_runs(model, rng):
    simpleitk = pytest.importorskip("SimpleITK")
    scene = rng.normal(size=(140, 150)).cumsum(0).cumsum(1)
    scene -= scene.mean(axis=0) + scene.mean(axis=1)[:, None]
    fixed, moving = scene[8:128, 9:139], scene[10:130, 6:136]
    threads, found = simpleitk.ProcessObject.GetGlobalDefaultNumberOfThreads(), []
    try:
        for count in (1, 1, 4):
            simpleitk.ProcessObject.SetGlobalDefaultNumberOfThreads(count)
            found.append(register(fixed, moving, model=model))
    finally:
        simpleitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    for other in found[1:]:
        np.testing.assert_array_equal(other.matrix, found[0].matrix)
        if model == "flow":
            np.testing.assert_array_equal(other.displacement, found[0].displacement)
