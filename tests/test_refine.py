"""Refining follows the residual shift of a map until the map gets no better, and says so."""

import numpy as np
import pytest
import scipy.ndimage

from napari_local_ncc import NCCParameters, Registration, SpatialImage, confidence_map
from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.maps.refinement import Refinement, Round, refine

PARAMETERS = NCCParameters(radius=5, search=3)


def warped(image, amplitude, period=240.0):
    """Return an image displaced by a smooth field, and the field in px: moving(x + u) = fixed."""
    rows, columns = np.indices(image.shape, np.float64)
    u = amplitude * np.stack(
        [np.sin(2 * np.pi * columns / period), np.cos(2 * np.pi * rows / period)]
    )
    fixed = scipy.ndimage.map_coordinates(
        image, [rows + u[0], columns + u[1]], order=3, mode="nearest"
    )
    return fixed.astype(np.float32), u


@pytest.fixture(scope="module")
def texture():
    noise = np.random.default_rng(3).normal(size=(240, 260))
    return 1000 * scipy.ndimage.gaussian_filter(noise, 1.5)


def test_a_smooth_field_larger_than_the_search_is_found_in_rounds(texture):
    moving = texture.astype(np.float32)
    fixed, u = warped(texture, 4.0)
    found = refine(fixed, moving, parameters=PARAMETERS)
    inner = (slice(20, -20), slice(20, -20))
    points = np.moveaxis(np.indices(fixed.shape), 0, -1).astype(float)
    error = np.moveaxis(found.registration.transform_points(points) - points, -1, 0) - u
    assert np.median(np.hypot(*error)[inner]) < 0.1
    nccs = [seen.ncc for seen in found.rounds]
    assert len(nccs) >= 3
    assert nccs == sorted(nccs)
    assert found.rounds[-1].shift < 0.1 < found.rounds[0].shift
    mapped = confidence_map(fixed, moving, registration=found.registration, parameters=PARAMETERS)
    assert np.nanmean(mapped["ncc"].compute()) == pytest.approx(nccs[-1], abs=1e-5)
    assert "rounds: mean NCC" in str(found)
    assert [seen.length for seen in found.rounds] == [seen.shift for seen in found.rounds]  # px


def test_a_negative_is_refined_as_its_positive_where_both_signs_count(texture):
    fixed, _ = warped(texture, 2.0)
    parameters = PARAMETERS.replace(alternative="two-sided")
    both = [
        refine(fixed[:150, :160], sign * texture[:150, :160].astype("f4"), parameters=parameters)
        for sign in (1, -1)
    ]
    assert str(both[0]) == str(both[1])
    assert "mean |NCC|" in str(both[0])
    assert both[1].rounds[-1].ncc > both[1].rounds[0].ncc > 0


def test_lengths_are_told_in_the_unit_of_the_world():
    rounds = (Round(0.5, 0.2, 2.0, 0.5, 0.9), Round(0.9, 0.0, 0.2, 0.05, 0.1))
    text = str(Refinement(None, rounds, "done", "micrometer"))
    assert "residual shift 0.5 µm before, 0.05 µm after" in text


def test_images_that_agree_are_left_alone(texture):
    noise = np.random.default_rng(8).normal(size=texture.shape)
    found = refine(texture, texture + 0.3 * texture.std() * noise, parameters=PARAMETERS)
    assert found.registration is None
    assert len(found.rounds) == 1
    assert "may be chance" in found.ending


@pytest.mark.parametrize("sigma", [0.7, 1.5, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_unrelated_images_are_not_bent_onto_one_another(sigma, seed):
    rng = np.random.default_rng(seed)
    images = [scipy.ndimage.gaussian_filter(rng.normal(size=(160, 180)), sigma) for _ in "ab"]
    found = refine(*images, parameters=NCCParameters(radius=4))
    assert found.registration is None
    assert "chance" in found.ending or "no shift" in found.ending
    assert found.rounds[0].ncc < 0.1


def test_it_begins_with_what_is_given_and_interpolates_once(texture):
    fixed, u = warped(texture, 1.5)
    moving = np.roll(texture.astype(np.float32), (9, -6), axis=(0, 1))
    nan = np.array(np.nan)
    matrix = np.eye(3)
    matrix[:2, 2] = 9, -6
    start = Registration("translation", matrix, Grid(fixed.shape), nan, nan, nan)
    found = refine(fixed, moving, parameters=PARAMETERS, registration=start)
    np.testing.assert_allclose(found.registration.matrix, matrix)
    point = np.array([120.0, 130.0])
    expected = point + (9, -6) + u[:, 120, 130]
    np.testing.assert_allclose(found.registration.transform_points(point), expected, atol=0.3)


def test_world_units_anisotropic_pixels_and_frames(texture):
    still = texture[::1, ::2].astype(np.float32)
    fixed = SpatialImage.from_array(
        np.stack([still, still]), spacing=(1, 0.5, 1.0), units=("s", "um", "um"),
        axis_labels=("t", "y", "x"),
    )  # fmt: skip
    frames = [scipy.ndimage.shift(still, (1.25, 0), order=3, mode="nearest"), still]
    moving = fixed.replace(
        data=SpatialImage.from_array(np.stack(frames)).data.rechunk(fixed.data.chunks)
    )
    found = refine(fixed, moving, parameters=PARAMETERS)
    moved = found.registration.transform_points([[0, 60.0, 60.0], [1, 60.0, 60.0]])
    np.testing.assert_allclose(moved, [[0, 60.625, 60], [1, 60, 60]], atol=0.05)
    assert f"residual shift {found.rounds[0].length:.3g} µm before" in str(found)


def test_nothing_to_see_is_said():
    flat = np.zeros((40, 40), np.float32)
    found = refine(flat, flat, parameters=PARAMETERS)
    assert found.registration is None
    assert "no shift could be seen" in found.ending
