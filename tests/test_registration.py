"""`register`: from images in the world to a transform of worlds."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st
from skimage.io import imread

from napari_local_ncc import Registration, SpatialImage, confidence_map, read_image, register
from napari_local_ncc.registration import iter_register
from napari_local_ncc.reports.describe import describe_registration


def texture(shape, seed=0):
    return scipy.ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)


@pytest.mark.realdata
def test_itk_shift_is_exact(shared_data):
    folder = shared_data / "cases" / "itk_brain2d"
    case = json.loads((shared_data / "expected" / "itk_examples.json").read_text(encoding="utf-8"))[
        "cases"
    ][0]
    fixed = read_image(folder / "BrainProtonDensitySliceBorder20.png")
    moving = read_image(folder / "BrainProtonDensitySliceShifted13x17y.png")
    found = register(fixed, moving)
    assert found.translation.tolist() == case["true"][::-1]
    assert found.ncc_before < found.ncc_after


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("frame", "step"), [("04", 0.4), ("08", 0.8), ("10", 1.0), ("25", 25.0), ("50", 50.0)]
)
def test_pyvale_subpixel_shifts(shared_data, frame, step):
    folder = shared_data / "cases" / "dic_pyvale_rigid"
    fixed = read_image(folder / "rigid_cam0_frame00.tiff")
    moving = read_image(folder / f"rigid_cam0_frame{frame}.tiff")
    np.testing.assert_allclose(register(fixed, moving).translation, (-step, step), atol=0.02)


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["X75Y75", "X-130Y130", "X130Y130"])
def test_padfield_masked_pairs_are_exact(shared_data, name):
    folder = shared_data / "cases" / "skimage_padfield_masked"
    table = json.loads(
        (shared_data / "expected" / "skimage_phase_cross_correlation.json").read_text(
            encoding="utf-8"
        )
    )
    x, y = next(
        case["expected_shift_xy"] for case in table["cases"] if name in str(case.get("files"))
    )
    fixed, moving = (imread(folder / f"{kind}{name}.png") for kind in ("Original", "Transformed"))
    found = register(fixed, moving, mask=fixed != 0, moving_mask=moving != 0)
    # The table gives the shift to apply to moving; ours leads from fixed to moving.
    assert found.translation.tolist() == [-y, -x]


@pytest.mark.realdata
@pytest.mark.parametrize("case", ["known_pd_2d", "known_t1_3d"])
def test_known_translations_in_physical_units(shared_data, case):
    folder = shared_data / "cases" / case
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    spacing = truth["spacing_zyx"]
    unit = {"spacing": spacing, "units": ("mm",) * len(spacing)}
    fixed = SpatialImage.from_array(np.load(folder / "fixed_translation.npy"), **unit)
    moving = SpatialImage.from_array(np.load(folder / "moving.npy"), **unit)
    found = register(fixed, moving).translation / spacing
    np.testing.assert_allclose(found, truth["cases"]["translation"]["b"], atol=0.05)


@given(
    st.tuples(*[st.integers(-12, 12)] * 2),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.tuples(*[st.floats(-9, 9)] * 2),
)
def test_the_shift_is_in_world_coordinates(step, spacing, origin):
    world = texture((90, 90))
    fixed = SpatialImage.from_array(world[20:70, 20:70], spacing=spacing)
    a, b = step
    moving = SpatialImage.from_array(
        world[20 + a : 70 + a, 20 + b : 70 + b], spacing=spacing, origin=origin
    )
    found = register(fixed, moving)
    expected = np.array(origin) - np.multiply(step, spacing)
    np.testing.assert_allclose(found.translation, expected, atol=1e-9)
    np.testing.assert_allclose(found.transform_points([[1.0, 2.0]]), [np.add(expected, (1, 2))])


def test_images_of_other_pixel_size_and_place_are_registered():
    world = scipy.ndimage.gaussian_filter(texture((200, 200)), 2)
    fixed = SpatialImage.from_array(world[20:150, 30:160], origin=(20, 30))
    moving = SpatialImage.from_array(world[::2, ::2], spacing=2.0, origin=(107.0, -53.0))
    found = register(fixed, moving)
    np.testing.assert_allclose(found.translation, (107, -53), atol=0.05)


def test_a_series_is_registered_frame_by_frame():
    frame = texture((60, 60))
    drift = np.array([(0, 0), (2, -3), (4, 5)])
    series = np.stack([np.roll(frame, step, axis=(0, 1)) for step in drift])
    moving = SpatialImage.from_array(
        series, spacing=(5, 0.5, 0.5), units=("s", "um", "um"), axis_labels=("t", "y", "x")
    )
    fixed = SpatialImage.from_array(frame, spacing=0.5, units=("um", "um"))
    found = register(fixed, moving)
    np.testing.assert_allclose(found.translation, drift * 0.5)
    points = found.transform_points([[0.0, 1, 1], [5.2, 1, 1], [99.0, 1, 1]])
    np.testing.assert_allclose(points, [[0, 1, 1], [5.2, 2, -0.5], [99, 3, 3.5]])
    steps = dict.fromkeys((s.done, s.total) for s in iter_register(fixed, moving))
    assert list(steps) == [(0, 3), (1, 3), (2, 3)]


def test_a_blank_frame_moves_as_its_neighbour_and_is_named():
    frame = texture((60, 60))
    drift = [(0, 0), (2, -3), (4, 5)]
    series = np.stack([np.roll(frame, step, axis=(0, 1)) for step in drift])
    series[1] = 0
    moving = SpatialImage.from_array(series, axis_labels=("t", "y", "x"))
    found = register(SpatialImage.from_array(frame), moving)
    np.testing.assert_allclose(found.translation, [(0, 0), (0, 0), (4, 5)])
    np.testing.assert_array_equal(np.isnan(found.ncc_after), (False, True, False))
    assert "could not be registered move as the nearest that could: 1" in describe_registration(
        found
    )
    with pytest.raises(ValueError, match="constant"):
        register(SpatialImage.from_array(frame), moving.replace(data=moving.data * 0))


@pytest.mark.parametrize("seed", range(6))
def test_noise_is_not_moved(seed):
    fixed, moving = np.random.default_rng(seed).normal(size=(2, 128, 128))
    found = register(fixed, moving)
    np.testing.assert_array_equal(found.translation, 0)
    assert "no shift is reliably better" in describe_registration(found)


def test_channels_share_one_transform():
    frame = texture((2, 60, 60))
    unit = {"axis_labels": ("c", "y", "x")}
    fixed = SpatialImage.from_array(frame, **unit)
    moving = SpatialImage.from_array(np.roll(frame, (3, -4), axis=(1, 2)), **unit)
    found = register(fixed, moving)
    np.testing.assert_allclose(found.translation, [(3, -4), (3, -4)])
    assert {(step.done, step.total) for step in iter_register(fixed, moving)} == {(0, 1)}


def test_a_rotated_world_gets_the_shift_along_its_own_axes():
    frame = texture((80, 80))
    fixed = SpatialImage.from_array(frame[10:60, 10:60])
    turned = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    fixed = fixed.replace(grid=fixed.grid.replace(pixel_to_world=turned))
    moving = fixed.replace(data=SpatialImage.from_array(frame[13:63, 8:58]).data)
    found = register(fixed, moving)
    np.testing.assert_allclose(found.translation, turned[:2, :2] @ (-3, 2))


def test_the_least_overlap_can_be_chosen():
    """A narrow overlap is believed if it is nearly perfect, or if it is asked for."""
    world = texture((60, 200)) / 0.2
    fixed, moving = world[:, :110], world[:, 90:]
    np.testing.assert_allclose(register(fixed, moving).translation, (0, -90))
    noisy = moving + np.random.default_rng(1).normal(0, 0.8, moving.shape)
    found = register(fixed, noisy, min_overlap=0.1)
    np.testing.assert_allclose(found.translation, (0, -90), atol=0.2)
    assert found.ncc_after < 0.9
    assert abs(register(fixed, noisy).translation[1]) < 80


@pytest.mark.parametrize("model", ["rigid", "similarity", "affine"])
def test_the_other_models_are_found_in_world_coordinates(model):
    pytest.importorskip("SimpleITK")
    frame = scipy.ndimage.gaussian_filter(texture((140, 120)), 1.5)
    angle, centre = np.radians(7.0), np.array([35.0, 60.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    unit = {"spacing": (0.5, 1.0), "units": ("um", "um")}
    fixed = SpatialImage.from_array(frame, **unit)
    y, x = np.mgrid[:140, :120]
    world = np.stack([y * 0.5, x * 1.0], axis=-1) - centre
    sources = (world @ turn + centre) / (0.5, 1.0)
    turned = scipy.ndimage.map_coordinates(frame, np.moveaxis(sources, -1, 0), mode="nearest")
    moving = SpatialImage.from_array(300 - 40 * turned, **unit)
    found = register(fixed, moving, model=model)
    points = np.array([[20.0, 40], [50, 80], [35, 60]])
    expected = (points - centre) @ turn.T + centre
    np.testing.assert_allclose(found.transform_points(points), expected, atol=0.15)
    assert "rotation 7." in describe_registration(found) or "rotation 6.9" in (
        describe_registration(found)
    )
    assert Registration.from_dict(found.to_dict()).model == model


def test_units_may_differ_between_axes():
    pytest.importorskip("SimpleITK")
    frame = scipy.ndimage.gaussian_filter(texture((120, 120)), 1.5)
    turned = scipy.ndimage.rotate(frame, 8, reshape=False, mode="nearest")
    angles = []
    for spacing, units in (((0.1, 0.1), ("um", "um")), ((0.1, 100), ("um", "nm"))):
        fixed, moving = (
            SpatialImage.from_array(image, spacing=spacing, units=units)
            for image in (frame, turned)
        )
        found = register(fixed, moving, model="rigid")
        assert found.ncc_after > 0.99
        angles.append(describe_registration(found).split("rotation ")[1][:5])
    assert angles[0] == angles[1]


def test_offsets_and_scales_cost_no_digits():
    pytest.importorskip("SimpleITK")
    frame = scipy.ndimage.gaussian_filter(texture((100, 100)), 1.5)
    turned = scipy.ndimage.rotate(frame, 5, reshape=False, mode="nearest")
    plain = register(frame, turned, model="rigid").matrix
    for change in (lambda x: 1000 * x + 1e10, lambda x: x * 1e39):
        found = register(change(frame), change(turned), model="rigid").matrix
        np.testing.assert_allclose(found, plain, atol=1e-3)


def test_sparse_spots_are_not_moved_to_a_sliver():
    """Eight spots at SNR 3: another spot fits as well in a corner, but says less."""
    rng = np.random.default_rng(0)
    spots = np.zeros((96, 96))
    for _ in range(8):
        spots[tuple(rng.integers(0, 96, 2))] = 1
    spots = scipy.ndimage.gaussian_filter(spots, 1.2)
    spots = (spots - spots.mean()) / spots.std()
    fixed = spots[16:80, 16:80] + rng.normal(size=(64, 64)) / 3
    moving = spots[11:75, 22:86] + rng.normal(size=(64, 64)) / 3
    found = register(fixed, moving, keep_doubtful=True)
    np.testing.assert_allclose(found.translation, (5, -6), atol=0.5)
    (report,) = register(fixed, moving).reports
    assert report.applied or report.doubt  # so few spots may be refused, but go nowhere else


def test_a_missing_engine_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(ImportError, match=r"napari-local-ncc\[registration\]"):
        register(texture((40, 40)), texture((40, 40)), model="affine")


def test_huge_integers_are_registered():
    frame = (texture((50, 50)) * 1000).astype("i8").astype(object) + 2**63
    moving = np.roll(frame, (2, 3), axis=(0, 1)).astype("u8")
    found = register(frame.astype("u8"), moving)
    np.testing.assert_allclose(found.translation, (2, 3))


def test_none_is_the_identity():
    found = register(np.eye(9), np.eye(9), model="none")
    np.testing.assert_array_equal(found.matrix, np.eye(3))
    assert np.isnan(found.ncc_after)


def test_it_survives_json():
    found = register(texture((40, 40)), texture((40, 40)))
    again = Registration.from_dict(json.loads(json.dumps(found.to_dict())))
    np.testing.assert_array_equal(again.matrix, found.matrix)
    assert again.ncc_after == found.ncc_after
    assert again.grid.to_dict() == found.grid.to_dict()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "warp"}, "model must be one of"),
        ({"min_overlap": 0}, "min_overlap"),
        ({"metric": "fog"}, "metric must be one of"),
        ({"moving": np.ones((40, 40))}, "constant"),
        ({"moving": np.full((40, 40), np.nan)}, "valid"),
        ({"mask": np.zeros((40, 40))}, "valid"),
        ({"mask": np.ones((4, 4))}, "mask has shape"),
        ({"moving": texture((9, 40, 40))}, "spatial axes"),
    ],
)
def test_what_cannot_be_registered_is_named(change, words):
    arguments = {"fixed": texture((40, 40)), "moving": texture((40, 40))} | change
    with pytest.raises(ValueError, match=words):
        register(arguments.pop("fixed"), arguments.pop("moving"), **arguments)


def test_inverse_and_composition_are_maps_of_points(rng):
    frame = texture((60, 60))
    there = register(frame, np.roll(frame, (3, -4), axis=(0, 1)))
    points = rng.normal(size=(5, 2)) * 20
    back = there.inverse().transform_points(there.transform_points(points))
    np.testing.assert_allclose(back, points)
    twice = there.compose(there)
    np.testing.assert_allclose(
        twice.transform_points(points), there.transform_points(there.transform_points(points))
    )
    assert np.isnan(twice.ncc_after)
    in_um = there.grid.replace(units=("um", "um"))
    with pytest.raises(ValueError, match="same units"):
        there.compose(Registration("none", np.eye(3), in_um, np.nan, np.nan, np.nan))


def test_a_saved_transform_is_the_transform(tmp_path):
    found = register(texture((3, 40, 40)), texture((3, 40, 40), seed=1))
    found.save(tmp_path / "t.json")
    again = Registration.load(tmp_path / "t.json")
    assert again.to_dict() == found.to_dict()
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


@pytest.mark.parametrize("text", ["", "{}", '{"format": "x"}', "[1]", "\x00", '"x"'])
def test_a_foreign_transform_file_is_named(tmp_path, text):
    path = tmp_path / "t.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"t\.json is no transform"):
        Registration.load(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"t\.json"):
        Registration.load(path)


def test_a_transform_for_other_images_is_named():
    found = register(np.eye(9), np.eye(9), model="none")
    volume = np.zeros((9, 9, 9))
    with pytest.raises(ValueError, match="2 axes"):
        confidence_map(volume, volume, registration=found)


def test_points_of_another_dimension_are_named():
    with pytest.raises(ValueError, match="one value per axis"):
        register(np.eye(9), np.eye(9), model="none").transform_points([1.0, 2, 3])
