"""Pairing, resampling and the map itself, on images whose truth is known."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_local_ncc import (
    Grid,
    NCCParameters,
    Registration,
    SpatialImage,
    confidence_map,
    local_ncc,
    register,
)
from napari_local_ncc.geometry.affine import apply_affine
from napari_local_ncc.image.pairing import pair_images
from napari_local_ncc.transforms.resampling import mask_on, resample


def pattern(world):
    """Return a smooth function of the world, shape (...) from (..., ndim)."""
    return sum(np.sin(0.9 * c + k) + np.cos(0.31 * c * (k + 1)) for k, c in enumerate(world))


def sampled(grid, name="image"):
    pixels = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    world = apply_affine(grid.pixel_to_world, pixels)
    return SpatialImage(da.from_array(pattern(np.moveaxis(world, -1, 0))), grid, name)


def rotated(angle, spacing, origin, shape):
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.eye(3)
    matrix[:2, :2] = np.array([[c, -s], [s, c]]) * spacing
    matrix[:2, 2] = origin
    return Grid(shape, matrix, ("um", "um"))


@given(
    st.floats(-3, 3), st.floats(0.05, 0.2), st.floats(0.05, 0.1), st.tuples(*[st.floats(-1, 1)] * 2)
)
def test_one_world_sampled_on_two_grids_agrees(angle, spacing, other, origin):
    fixed = sampled(rotated(0, spacing, (0, 0), (60, 70)))
    moving = sampled(rotated(angle, other, origin, (80, 90)))
    in_nm = moving.replace(grid=moving.grid.in_units(("nm", "nm")))
    try:
        result = confidence_map(fixed, in_nm)
    except ValueError as error:
        if "do not overlap" not in str(error):
            raise
        return
    ncc = result["ncc"].compute()
    np.testing.assert_array_equal(result.grid.pixel_to_world, fixed.grid.pixel_to_world)
    if np.isfinite(ncc).any():
        assert np.nanmin(ncc) > 0.99


@given(st.tuples(*[st.integers(-25, 25)] * 2), st.sampled_from(["u1", ">u2", "i4", "f4", "f8"]))
def test_whole_pixel_shifts_take_pixels_as_they_are(offset, dtype):
    data = np.random.default_rng(0).integers(0, 250, (20, 22)).astype(dtype)
    moving = SpatialImage.from_array(data, spacing=0.3, origin=0.3 * np.array(offset))
    grid = Grid.from_spacing((24, 18), 0.3)
    samples = np.asarray(resample(moving, grid).data)
    for p in np.ndindex(24, 18):
        q = tuple(np.subtract(p, offset))
        inside = all(0 <= i < n for i, n in zip(q, data.shape, strict=True))
        assert samples[p] == data[q] if inside else np.isnan(samples[p])


def test_equal_grids_share_the_array_and_its_dtype(rng):
    image = SpatialImage.from_array(rng.integers(0, 9, (20, 20)).astype("u2"))
    same = resample(image, image.grid)
    assert same.data.dtype == np.uint16
    np.testing.assert_array_equal(same.data, image.data)


def test_border_samples_survive_rounding():
    fixed = Grid.from_spacing((31, 31), 0.1)
    moving = SpatialImage.from_array(np.ones((11, 11), "f4"), spacing=0.3)
    assert np.isfinite(np.asarray(resample(moving, fixed).data)).all()


def test_linear_interpolation_is_exact_on_a_plane_in_every_chunk():
    y, x = np.mgrid[:900, :850]
    moving = SpatialImage.from_array((2.0 * y - x).astype("f4"))
    grid = Grid.from_spacing((800, 800), 1.0, (10.25, 20.5))
    y, x = np.mgrid[:800, :800]
    np.testing.assert_allclose(
        np.asarray(resample(moving, grid).data), 2 * (y + 10.25) - (x + 20.5), atol=1e-3
    )


def test_invalid_samples_stay_invalid(rng):
    data = rng.normal(size=(20, 20))
    data[5, 6] = np.nan
    moving = SpatialImage.from_array(data, origin=0.5)
    sampled_nan = np.isnan(np.asarray(resample(moving, Grid((20, 20))).data))
    assert sampled_nan[5:7, 6:8].all()
    assert sampled_nan[0].all()
    assert sampled_nan[:, 0].all()
    assert sampled_nan.sum() == 4 + 39


def image(shape, labels, **fields):
    data = np.random.default_rng(len(shape)).normal(size=shape)
    return SpatialImage.from_array(data, "".join(labels), axis_labels=tuple(labels), **fields)


@pytest.mark.parametrize(
    ("fixed", "moving", "shape"),
    [
        ((9, 9), (9, 9), (9, 9)),
        ((4, 9, 9), (9, 9), (4, 9, 9)),
        ((9, 9), (4, 9, 9), (4, 9, 9)),
        ((1, 9, 9), (4, 9, 9), (4, 9, 9)),
        ((4, 9, 9), (1, 9, 9), (4, 9, 9)),
    ],
)
def test_a_static_image_meets_every_frame(fixed, moving, shape):
    labels = {2: "yx", 3: "tyx"}
    a, b = image(fixed, labels[len(fixed)]), image(moving, labels[len(moving)])
    result = confidence_map(a, b, parameters=NCCParameters(radius=2))
    assert result.grid.shape == shape
    expected = local_ncc(
        *(np.broadcast_to(x.data, shape) for x in (a, b)), radius=(0,) * (len(shape) - 2) + (2, 2)
    )
    np.testing.assert_allclose(result["ncc"].compute(), expected)


def test_series_axes_are_matched_by_label():
    a, b = image((3, 2, 8, 8), "tcyx"), image((2, 8, 8), "cyx")
    pair = pair_images(a, b)
    assert pair.moving.grid.axis_labels == ("t", "c", "y", "x")
    np.testing.assert_array_equal(pair.moving.data[1], b.data)


def test_series_of_other_order_are_transposed():
    a, b = image((3, 2, 8, 8), "tcyx"), image((2, 3, 8, 8), "ctyx")
    np.testing.assert_array_equal(
        pair_images(a, b).moving.data, np.swapaxes(np.asarray(b.data), 0, 1)
    )


@pytest.mark.parametrize(
    ("fixed", "moving", "words"),
    [
        (image((5, 9, 9), "zyx"), image((9, 9), "yx"), ["3 spatial", "2", "plane by plane"]),
        (image((5, 9, 9), "tyx"), image((4, 9, 9), "tyx"), ["5 samples", "'t'", "4"]),
        (image((5, 9, 9), "tyx"), image((5, 9, 9), "cyx"), ["('t',)", "('c',)"]),
        (
            image((9, 9), "yx", units=("um", "um")),
            image((9, 9), "yx", units=("um", "um"), origin=(0, 100)),
            ["do not overlap", "x 0 to 8 µm", "x 100 to 108 µm"],
        ),
    ],
)
def test_what_cannot_be_paired_is_named(fixed, moving, words):
    with pytest.raises(ValueError) as error:
        confidence_map(fixed, moving)
    assert all(word in str(error.value) for word in words), error.value


def test_the_registered_image_is_what_is_compared(rng):
    """The recipe that this project began with registered the images and then forgot it."""
    fixed = rng.normal(size=(60, 60))
    moving = np.roll(fixed, (5, -3), axis=(0, 1))
    registration = register(fixed, moving)
    before = confidence_map(fixed, moving)["ncc"].compute()
    after = confidence_map(fixed, moving, registration=registration)["ncc"].compute()
    assert abs(np.nanmedian(before)) < 0.1
    np.testing.assert_allclose(after[np.isfinite(after)], 1, atol=1e-6)


def test_a_mask_lies_on_its_own_grid(rng):
    fixed, moving = (SpatialImage.from_array(rng.normal(size=(40, 40))) for _ in range(2))
    coarse = np.zeros((10, 10), int)
    coarse[2:7, 2:7] = 5
    mask = SpatialImage.from_array(coarse, spacing=4.0, origin=1.5)
    on_fixed = np.asarray(mask_on(mask, fixed))
    expected = np.kron(coarse, np.ones((4, 4))) > 0
    np.testing.assert_array_equal(on_fixed, expected)
    result = confidence_map(fixed, moving, mask=mask)["ncc"].compute()
    np.testing.assert_allclose(
        result, local_ncc(np.asarray(fixed.data), np.asarray(moving.data), mask=expected)
    )


def test_a_mask_of_another_shape_is_named(rng):
    with pytest.raises(ValueError, match=r"mask has shape \(4, 4\)"):
        confidence_map(np.eye(9), np.eye(9), mask=np.ones((4, 4)))


def test_provenance_says_what_was_done():
    registration = register(np.eye(12), np.eye(12), model="none")
    result = confidence_map(
        np.eye(12), np.eye(12), parameters=NCCParameters(radius=2), registration=registration
    )
    assert result.provenance["parameters"]["radius"] == 2
    assert result.provenance["fixed"]["grid"]["shape"] == [12, 12]
    again = Registration.from_dict(result.provenance["registration"])
    np.testing.assert_array_equal(again.matrix, np.eye(3))
    with pytest.raises(KeyError, match="fog"):
        result["fog"]


def test_only_the_overlap_is_computed_and_nothing_else_changes(rng, monkeypatch):
    fixed = SpatialImage.from_array(rng.normal(size=(2000, 1900)).astype("f4"))
    data = rng.normal(size=(300, 400)).astype("f4")
    moving = SpatialImage.from_array(data, origin=(100.5, 200.0))
    read = []

    def note(block, block_info=None):
        read.append(block_info[0]["chunk-location"])
        return block

    watched = fixed.replace(data=fixed.data.map_blocks(note, dtype="f4", meta=fixed.data._meta))
    read.clear()
    ncc = confidence_map(watched, moving)["ncc"].compute()
    assert len(set(read)) < fixed.data.npartitions
    registered = np.asarray(resample(moving, fixed.grid).data)
    expected = local_ncc(np.asarray(fixed.data), registered)
    np.testing.assert_array_equal(np.isnan(ncc), np.isnan(expected))
    np.testing.assert_allclose(ncc, expected, atol=1e-6)


def test_cubic_interpolation_keeps_fine_structure_and_the_border():
    y, x = np.mgrid[:60, :70].astype(float)
    moving = SpatialImage.from_array(np.sin(1.3 * y) + np.cos(1.1 * x))
    grid = Grid.from_spacing((60, 70), 1.0, 0.5)
    truth = np.sin(1.3 * (y + 0.5)) + np.cos(1.1 * (x + 0.5))
    errors = {}
    for kind in ("linear", "cubic"):
        values = np.asarray(resample(moving, grid, interpolation=kind).data)
        assert np.isnan(values[-1]).all()
        assert np.isfinite(values[:-1, :-1]).all()
        errors[kind] = np.abs(values - truth)[5:-5, 5:-5].max()
    assert errors["cubic"] < errors["linear"] / 5
    pixels = resample(moving, Grid((60, 70)), interpolation="cubic").data
    np.testing.assert_array_equal(pixels, moving.data)


def test_cubic_agrees_with_scipy_in_every_chunk(rng):
    import scipy.ndimage

    data = rng.normal(size=(900, 820))
    moving = SpatialImage.from_array(data)
    values = np.asarray(
        resample(moving, Grid.from_spacing((890, 810), 1.0, 0.3), interpolation="cubic").data
    )
    expected = scipy.ndimage.shift(data, -0.3, order=3, mode="mirror")[:890, :810]
    np.testing.assert_allclose(values, expected, atol=1e-4)


def test_cubic_marks_what_an_invalid_sample_would_spoil(rng):
    data = rng.normal(size=(40, 40))
    data[20, 20] = np.nan
    grid = Grid.from_spacing((39, 39), 1.0, 0.5)
    values = np.asarray(resample(SpatialImage.from_array(data), grid, interpolation="cubic").data)
    clean = np.nan_to_num(data)
    untouched = np.asarray(
        resample(SpatialImage.from_array(clean), grid, interpolation="cubic").data
    )
    invalid = np.isnan(values)
    assert 0 < invalid.sum() < 120
    np.testing.assert_allclose(values[~invalid], untouched[~invalid], atol=1e-6)
