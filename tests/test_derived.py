"""What is derived of a map: strain and rotation of its shift; the scatter plot of its images."""

from __future__ import annotations

import numpy as np
import pytest

from napari_local_ncc import Comparison, Grid, NCCParameters
from napari_local_ncc.image.checkerboard import checkerboard
from napari_local_ncc.maps.derived import joint_histogram as histogram
from napari_local_ncc.maps.derived import strain_bands as module
from napari_local_ncc.maps.derived.joint_histogram import (
    automatic_threshold,
    count_pairs,
    joint_histogram,
)
from napari_local_ncc.maps.derived.strain_bands import iter_strain_band, strain_bands
from napari_local_ncc.shift.interpret import CLASSES

PLANE = NCCParameters(radius=3, bands=("ncc", "shift"), search=4)


def bands_of(shift):
    """Return the bands of a map whose windows all are displaced by a shift."""
    names = ["shift_z", "shift_y", "shift_x"][-len(shift) :]
    found = {name: np.asarray(band, np.float32) for name, band in zip(names, shift, strict=True)}
    displaced = CLASSES.index("displaced")
    return found | {"classes": np.full(shift[0].shape, displaced, np.float32)}


def whole(name, bands, parameters, grid):
    out = np.full(grid.shape, -99.0, np.float32)
    for box, values in iter_strain_band(name, bands, parameters, grid):
        assert (out[box] == -99).all()  # every pixel once
        out[box] = values
    return out


def test_the_bands_are_of_the_windowed_axes():
    plane, volume = (
        Grid((20, 30), axis_labels=("y", "x")),
        Grid((9, 9, 9), axis_labels=tuple("zyx")),
    )
    assert [band.title for band in strain_bands(PLANE, plane)] == [
        "stretch y (%)",
        "stretch x (%)",
        "shear yx (%)",
        "rotation y to x (°)",
    ]
    assert len(strain_bands(PLANE, volume)) == 9
    assert len(strain_bands(PLANE.replace(radius=(0, 3, 3)), volume)) == 4
    assert strain_bands(PLANE.replace(bands=("ncc",)), plane) == ()
    for band in strain_bands(PLANE, plane):
        assert band.limits[0] == -band.limits[1]


@pytest.mark.parametrize("spacing", [(1, 1), (2, 0.5)])
def test_a_linear_shift_has_its_strain_everywhere(spacing, monkeypatch):
    """Of the displacement u = G x of the world, whatever the pixels and the tiles."""
    monkeypatch.setattr(module, "map_chunks", lambda grid: (16, 11))
    gradient = np.array([[0.02, 0.03], [-0.01, -0.04]])
    grid = Grid.from_spacing((40, 50), spacing, axis_labels=("y", "x"))
    world = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij")) * np.reshape(
        spacing, (2, 1, 1)
    )
    shift = np.einsum("ij,jyx->iyx", gradient, world) / np.reshape(spacing, (2, 1, 1))
    wanted = {
        "stretch_y": 2.0,
        "stretch_x": -4.0,
        "shear_yx": 1.0,
        "rotation_yx": np.degrees((-0.01 - 0.03) / 2),
    }
    for name, value in wanted.items():
        found = whole(name, bands_of(shift), PLANE, grid)
        inner = found[4:-4, 4:-4]
        np.testing.assert_allclose(inner, value, atol=2e-4, err_msg=name)
        known = np.isfinite(found)
        np.testing.assert_allclose(found[known], value, atol=2e-4, err_msg=name)


def test_planes_of_a_stack_do_not_mix(rng):
    grid = Grid((3, 24, 24), axis_labels=("z", "y", "x"))
    parameters = PLANE.replace(radius=(0, 3, 3))
    slopes = np.array([0.0, 0.01, 0.02])
    shift = np.zeros((2, 3, 24, 24))
    shift[1] = slopes[:, np.newaxis, np.newaxis] * np.arange(24)
    found = whole("stretch_x", bands_of(shift), parameters, grid)
    for plane, slope in zip(found, slopes, strict=True):
        np.testing.assert_allclose(plane[4:-4, 4:-4], 100 * slope, atol=1e-4)


def test_what_cannot_be_believed_says_nothing():
    grid = Grid((40, 40), axis_labels=("y", "x"))
    bands = bands_of(np.zeros((2, 40, 40)))
    bands["classes"][:, 20:] = CLASSES.index("differs")
    bands["shift_x"][:, 20:] = 3  # what is found in what differs
    found = whole("stretch_x", bands, PLANE, grid)
    assert np.isnan(found[:, 24:]).all()
    np.testing.assert_allclose(found[4:-4, 4:20], 0, atol=1e-6)


def test_a_band_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="stretch_y, stretch_x"):
        next(iter_strain_band("shear_zx", {}, PLANE, Grid((9, 9), axis_labels=("y", "x"))))


def mixture(rng, count=40_000, slope=1.5, level=20.0):
    """Return a background without correlation, and signal that both images show."""
    signal = np.where(rng.random(count) < 0.2, rng.uniform(level, 120, count), 10.0)
    noise = rng.normal(scale=3, size=(2, count))
    return np.abs(signal + noise[0]), np.abs(slope * signal + noise[1])


@pytest.mark.parametrize("slope", [0.4, 1.5])
def test_the_threshold_parts_signal_from_background(rng, slope):
    fixed, moving = mixture(rng, slope=slope)
    found = automatic_threshold(count_pairs(fixed, moving))
    assert found.slope == pytest.approx(slope, rel=0.02)
    assert 8 < found.fixed < 25
    assert found.moving == pytest.approx(found.slope * found.fixed + found.intercept)
    above = (fixed > found.fixed) & (moving > found.moving)
    assert found.above == pytest.approx(above.mean(), abs=0.03)
    assert np.corrcoef(fixed[~above], moving[~above])[0, 1] == pytest.approx(0, abs=0.08)
    assert found.manders[0] == pytest.approx(
        fixed[moving > found.moving].sum() / fixed.sum(), abs=0.03
    )


def test_the_threshold_is_that_of_stepping_through_all_pixels(rng):
    """Of 8-bit images, whose bins are their values: the definition of Costes, step by step."""
    fixed, moving = (np.clip(image, 0, 255).astype(np.uint8) for image in mixture(rng, 4000, 0.9))
    found = automatic_threshold(count_pairs(fixed, moving))
    for t in np.arange(fixed.max() + 0.5, fixed.min(), -1):
        above = (fixed > t) & (moving > found.slope * t + found.intercept)
        if np.corrcoef(fixed[~above], moving[~above])[0, 1] <= 0:
            break
    assert found.fixed == t


def test_pearson_is_of_the_values_and_not_of_their_bins(rng):
    fixed, moving = rng.normal(size=(2, 3000)).cumsum(axis=1)
    moving[7] = 1e6  # which would leave all others one bin
    found = count_pairs(fixed, moving)
    assert found.pearson == pytest.approx(np.corrcoef(fixed, moving)[0, 1], abs=1e-12)
    assert found.counts.sum() == 3000
    assert (found.counts.sum(axis=0) > 0).sum() > 50


def test_images_that_do_not_rise_together_have_no_threshold(rng):
    fixed, moving = mixture(rng)
    assert automatic_threshold(count_pairs(fixed, -moving)) is None
    assert automatic_threshold(count_pairs(np.ones(9), np.arange(9.0))) is None
    assert np.isnan(count_pairs(np.ones(9), np.arange(9.0)).pearson)


def test_the_histogram_is_of_the_images_as_they_are_compared(rng):
    fixed = rng.integers(0, 50, (60, 70)).astype(np.uint8)
    shift = np.array([[1, 0, 3], [0, 1, -2], [0, 0, 1.0]])
    mask = np.zeros(fixed.shape, bool)
    mask[10:40, 20:50] = True
    found = joint_histogram(
        Comparison(fixed, np.roll(fixed, (3, -2), (0, 1)), mask, registration=shift)
    )
    assert found.counts.sum() == mask.sum()
    assert found.pearson == pytest.approx(1)
    np.testing.assert_array_equal(found.counts.sum(axis=1), np.bincount(fixed[mask]))


def test_of_a_large_image_a_part_is_counted_and_said(rng, monkeypatch):
    monkeypatch.setattr(histogram, "MOST", 3 * 16**2)
    monkeypatch.setattr(histogram, "EDGE", 16)
    image = rng.normal(size=(64, 64))
    found = joint_histogram(Comparison(image, image))
    assert found.share == 3 / 16
    assert found.moments.count == 3 * 16**2
    with pytest.raises(ValueError, match="no pixel counts"):
        joint_histogram(Comparison(image, image, np.zeros(image.shape)))


def test_a_checkerboard_of_parts_is_that_of_the_whole(rng):
    fixed, moving = rng.normal(size=(2, 3, 40, 50))
    fixed[0, 5, 5] = np.nan
    how = {"square": 7, "limits": [(-1, 1), (-2, 2)]}
    whole_board = checkerboard(fixed, moving, **how)
    part = checkerboard(fixed[:, 11:30, 8:], moving[:, 11:30, 8:], origin=(11, 8), **how)
    np.testing.assert_array_equal(part, whole_board[:, 11:30, 8:])
    assert np.isnan(whole_board[0, 5, 5])
    assert np.nanmin(whole_board) == 0
    assert np.nanmax(whole_board) == 1
    for words, arrays in (("one grid", (fixed, moving[0])), ("square", (fixed, moving))):
        with pytest.raises(ValueError, match=words):
            checkerboard(*arrays, square=0)
