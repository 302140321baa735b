"""Laws of local NCC, and agreement with the definition and with other programs."""

from __future__ import annotations

import json
import pickle

import dask.array as da
import numpy as np
import pytest

from napari_local_ncc import local_ncc
from napari_local_ncc.ncc import separable
from napari_local_ncc.ncc.separable import ncc_by_filters

TOLERANCE = 1e-6
REFERENCE_MAPS = (
    "refmap_dev_itk_pd_t1.npz",
    "refmap_dev_known_t1_rigid_crop.npz",
    "refmap_dev_mitosis_c1_t0_t1.npz",
)


def assert_same(result, reference, tolerance=TOLERANCE):
    np.testing.assert_array_equal(np.isnan(result), np.isnan(reference))
    np.testing.assert_allclose(result, reference, rtol=0, atol=tolerance)


@pytest.mark.parametrize("weights", ["box", "gaussian"])
def test_an_image_is_one_with_itself_and_minus_one_with_its_negative(rng, weights):
    image = rng.normal(size=(30, 40))
    np.testing.assert_allclose(local_ncc(image, image, weights=weights), 1, atol=TOLERANCE)
    np.testing.assert_allclose(local_ncc(image, 3 - image, weights=weights), -1, atol=TOLERANCE)


@pytest.mark.parametrize("scale", [1e-6, 1e-4, 1, 1e4, 1e6])
@pytest.mark.parametrize("offset", [0, 1e6])
def test_flat_windows_are_undefined_at_any_scale_and_offset(rng, scale, offset):
    image = rng.normal(size=(30, 30))
    flat = image.copy()
    flat[8:22, 8:22] = 0.1
    result = local_ncc(image, flat * scale + offset * scale, radius=3)
    undefined = np.zeros(image.shape, bool)
    undefined[11:19, 11:19] = True
    np.testing.assert_array_equal(np.isnan(result), undefined)


def test_min_std_is_in_intensity_units(rng):
    noise = rng.normal(size=(40, 40))
    assert np.isfinite(local_ncc(noise, 1000 * noise, min_std=0.2)).all()
    assert np.isnan(local_ncc(noise, 1000 * noise, min_std=5.0)).all()


def test_independent_axes_are_independent(rng):
    fixed, moving = rng.normal(size=(2, 3, 12, 13))
    whole = local_ncc(fixed, moving, radius=(0, 2, 2))
    for k in range(3):
        assert_same(whole[k], local_ncc(fixed[k], moving[k], radius=2))


def test_masked_samples_have_no_influence(rng):
    fixed, moving = rng.normal(size=(2, 20, 20))
    mask = rng.random((20, 20)) < 0.8
    spoiled = np.where(mask, moving, 1e6)
    result = local_ncc(fixed, moving, mask=mask)
    assert_same(local_ncc(fixed, spoiled, mask=mask), result)
    assert_same(local_ncc(fixed, np.where(mask, moving, np.nan)), result)


def test_views_and_read_only_arrays_are_taken_as_they_are(rng):
    image = rng.normal(size=(20, 40, 2))
    fixed, moving = image[::-1, ::2, 0], image[::-1, ::2, 1].astype(">f4")
    fixed.flags.writeable = moving.flags.writeable = False
    assert_same(local_ncc(fixed, moving), local_ncc(fixed.copy(), moving.astype("f4")))


def test_a_lazy_map_can_be_sent_to_another_process(rng):
    fixed, moving = da.from_array(rng.normal(size=(2, 20, 20)), chunks=7)
    lazy = local_ncc(fixed, moving)
    assert_same(pickle.loads(pickle.dumps(lazy)).compute(), lazy.compute())


def test_images_may_be_chunked_differently(rng):
    fixed, moving = rng.normal(size=(2, 30, 41))
    mask = rng.random((30, 41)) < 0.8
    lazy = local_ncc(
        da.from_array(fixed, ((13, 17), (20, 21))),
        da.from_array(moving, 9),
        mask=da.from_array(mask, (30, 5)),
    )
    assert lazy.chunks == ((13, 17), (20, 21))
    assert_same(lazy.compute(), local_ncc(fixed, moving, mask=mask))


def test_other_array_namespaces_go_by_filters_in_chunks_too(rng, gpu):
    fixed, moving = rng.normal(size=(2, 30, 41))
    lazy = local_ncc(*(da.from_array(x, 9).map_blocks(gpu.asarray) for x in (fixed, moving)))
    assert_same(lazy.compute(scheduler="sync").get(), local_ncc(fixed, moving))


@pytest.mark.parametrize("weights", ["box", "gaussian"])
@pytest.mark.parametrize("min_std", [0.0, 2e-3])
def test_faint_windows_beside_bright_ones_are_right_by_filters_too(rng, weights, min_std):
    """Sums of squares tell nothing of what is 1e-9 of the brightest: samples are looked at."""
    pair = rng.normal(size=(2, 40, 44)) * 1e-3
    pair[1] += pair[0]
    pair[:, 20:] += 1e6 * rng.normal(size=(2, 20, 44))
    pair[:, 2:14, 2:14] = 7.0  # constant
    pair[0, 4, 30] = np.nan
    mask = rng.random((40, 44)) < 0.9
    options = {"radius": (3, 3), "weights": weights, "min_std": min_std, "min_valid": 0.5}
    found = ncc_by_filters(*pair, mask, **options)
    expected = local_ncc(*pair, mask=mask, **options)
    assert_same(found, expected)
    assert np.isfinite(expected[:16, 20:]).any() == (min_std == 0)


def test_chunks_shorter_than_a_window_are_joined(rng):
    fixed, moving = da.from_array(rng.normal(size=(2, 40, 40)), chunks=(1, 1, 40))
    assert min(local_ncc(fixed, moving, radius=3).chunks[0]) >= 7


def test_every_chunk_is_one_task_and_each_source_is_read_once(rng):
    reads = []

    def read(block):
        reads.append(block.shape)
        return block

    image = da.from_array(rng.normal(size=(40, 40)), chunks=10)
    source = image.map_blocks(read, dtype=image.dtype, meta=np.empty((0, 0)))
    lazy = local_ncc(source, image, radius=3)
    assert len(lazy.dask.layers[lazy.name]) == lazy.npartitions == 16
    lazy.compute(scheduler="sync")
    assert len(reads) == 16


@pytest.mark.realdata
@pytest.mark.parametrize("file", REFERENCE_MAPS)
@pytest.mark.parametrize("chunks", [None, 37])
def test_reference_maps_of_other_programs(shared_data, file, chunks):
    data = np.load(shared_data / "expected" / file)
    maps = [key for key in data.files if key.startswith("ncc_R")]
    assert maps
    for key in maps:
        fixed = data["a"] if chunks is None else da.from_array(data["a"], chunks)
        assert_same(np.asarray(local_ncc(fixed, data["b"], radius=int(key[5:]))), data[key])


@pytest.mark.realdata
def test_derived_cases_of_dipy(shared_data):
    table = json.loads(
        (shared_data / "expected" / "dipy_crosscorr.json").read_text(encoding="utf-8")
    )
    assert "signed r = -1" in table["cases"][1]["derived"]
    for shape in ((20, 20), (20, 20, 20)):
        ramp = np.arange(np.prod(shape)).reshape(shape) / (np.prod(shape) - 1)
        for radius in (1, 3, 6):
            result = local_ncc(ramp, ramp[(slice(None, None, -1),) * len(shape)], radius=radius)
            np.testing.assert_allclose(result, -1, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"moving": np.zeros((5, 4))}, ["(4, 5)", "(5, 4)"]),
        ({"moving": np.zeros(5)}, ["(4, 5)", "(5,)"]),
        ({"fixed": np.zeros((0, 3)), "moving": np.zeros((0, 3))}, ["empty", "(0, 3)"]),
        ({"radius": -1}, ["radius", "-1"]),
        ({"radius": 1.5}, ["radius", "1.5"]),
        ({"radius": "three"}, ["radius", "three"]),
        ({"radius": float("nan")}, ["radius", "nan"]),
        ({"radius": 0}, ["radius", "0"]),
        ({"radius": (1, 2, 3)}, ["3 values", "2 axes"]),
        ({"weights": "round"}, ["weights", "round", "gaussian"]),
        ({"min_std": -1}, ["min_std", "-1"]),
        ({"min_valid": 2}, ["min_valid", "2"]),
        ({"mask": np.ones((4, 4), bool)}, ["mask", "(4, 4)"]),
    ],
)
def test_bad_values_are_named(change, words):
    arguments = {"fixed": np.zeros((4, 5)), "moving": np.zeros((4, 5))} | change
    with pytest.raises(ValueError) as error:
        local_ncc(arguments.pop("fixed"), arguments.pop("moving"), **arguments)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("dtype", [complex, object, "U3", "datetime64[s]"])
def test_what_is_no_real_number_is_refused(dtype):
    with pytest.raises(TypeError, match="real numbers"):
        local_ncc(np.zeros((4, 4)), np.zeros((4, 4)).astype(dtype))


def test_what_a_masked_array_hides_is_no_sample(rng):
    data = rng.normal(size=(2, 20, 20))
    hidden = rng.random((20, 20)) < 0.2
    masked = np.ma.masked_array(data[0], hidden)
    assert_same(local_ncc(masked, data[1]), local_ncc(*data, mask=~hidden))


@pytest.mark.parametrize(
    ("dtype", "offset"), [("i8", 2**60), ("i8", -(2**62)), ("u8", 2**63), (">i8", 2**61)]
)
def test_integers_beyond_float64_keep_their_digits(rng, dtype, offset):
    small = rng.integers(0, 1000, (2, 30, 30))
    huge = (small.astype(object) + offset).astype(dtype)
    assert_same(local_ncc(*huge), local_ncc(*small))
    assert_same(local_ncc(da.from_array(huge[0], chunks=11), huge[1]).compute(), local_ncc(*small))


def test_unknown_chunks_are_named(rng):
    lazy = da.from_array(rng.normal(size=(20, 20)), chunks=5)
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        local_ncc(lazy[lazy[:, 0] > 0], lazy[lazy[:, 0] > 0])


def test_numpy_is_not_copied_for_dask(rng):
    fixed, moving = rng.normal(size=(2, 30, 30))
    lazy = local_ncc(da.from_array(fixed, chunks=10), moving)
    moving[:] = fixed
    np.testing.assert_allclose(lazy.compute(), 1, atol=TOLERANCE)


def test_a_mask_of_numbers_is_refused():
    with pytest.raises(TypeError, match="boolean"):
        local_ncc(np.eye(4), np.eye(4), mask=np.ones((4, 4), int))


@pytest.mark.parametrize("weights", ["box", "gaussian"])
def test_windows_of_one_value_are_not_gathered(rng, weights, monkeypatch):
    fixed, moving = rng.integers(1, 60000, (2, 60, 50)).astype(np.uint16)
    fixed[:30], moving[:, :20] = 0, 7
    mask = rng.random(fixed.shape) < 0.9
    gathered = []
    one_by_one = separable._ncc_one_by_one

    def count(images, valid, places, *rest):
        gathered.append(len(places))
        return one_by_one(images, valid, places, *rest)

    monkeypatch.setattr(separable, "_ncc_one_by_one", count)
    options = {"radius": (5, 5), "weights": weights, "min_std": 0.0, "min_valid": 0.5}
    found = ncc_by_filters(fixed, moving, mask, **options)
    assert_same(found, local_ncc(fixed, moving, mask=mask, radius=5, weights=weights))
    assert np.isnan(found).sum() > 1000
    assert sum(gathered) < 100
