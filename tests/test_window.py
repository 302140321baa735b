"""The window of a pixel gives the map's value there, sample by sample."""

from __future__ import annotations

import numpy as np
import pytest

from napari_local_ncc import NCCParameters, SpatialImage, confidence_map, register
from napari_local_ncc.confidence import effective_samples
from napari_local_ncc.maps.window import window_pair
from napari_local_ncc.sample_data import brain_slice, drifting_series, head_volume


def pearson(pair):
    """The definition, in float64, over the valid samples."""
    valid = pair.valid
    a, b = pair.fixed[valid].astype(float), pair.moving[valid].astype(float)
    w = pair.weights[valid]
    a, b = a - w @ a, b - w @ b
    with np.errstate(invalid="ignore"):
        return (w @ (a * b)) / np.sqrt((w @ a**2) * (w @ b**2))


def check_against_the_map(fixed, moving, points, **options):
    parameters = options.pop("parameters", NCCParameters()).replace(bands=("ncc", "shift"))
    options["parameters"] = parameters
    result = confidence_map(fixed, moving, **options)
    ncc, best, gain, *shift = np.asarray(result.bands)
    assert np.isfinite([ncc[tuple(p)] for p in points]).sum() > len(points) // 2
    for point in points:
        pair = window_pair(fixed, moving, point, **options)
        expected = ncc[tuple(point)]
        np.testing.assert_allclose(pair.ncc, expected, atol=1e-6)
        np.testing.assert_allclose(pair.best, best[tuple(point)], atol=1e-5)
        np.testing.assert_allclose(pair.gain, gain[tuple(point)], atol=1e-5)
        steps = [axis[tuple(point)] for axis in shift]
        np.testing.assert_allclose(pair.shift, steps, atol=1e-3)
        if np.isfinite(expected):
            np.testing.assert_allclose(pearson(pair), expected, atol=1e-6)
            line = pair.slope * pair.fixed + pair.offset - pair.moving
            weighted = pair.weights[pair.valid] * line[pair.valid]
            np.testing.assert_allclose(weighted.sum(), 0, atol=1e-4)
            np.testing.assert_allclose(weighted @ pair.fixed[pair.valid], 0, atol=1e-2)


def points_in(shape, rng, count=12):
    corners = [np.zeros(len(shape), int), np.array(shape) - 1]
    return [*corners, *(rng.integers(0, shape) for _ in range(count))]


@pytest.mark.parametrize("weights", ["box", "gaussian"])
@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_a_registered_pair(rng, weights, interpolation):
    pair = brain_slice()
    found = register(pair.fixed, pair.moving)
    parameters = NCCParameters(radius=(3, 5), weights=weights, interpolation=interpolation)
    inner = [rng.integers((60, 50), (200, 160)) for _ in range(12)]
    options = {"parameters": parameters, "registration": found}
    check_against_the_map(pair.fixed, pair.moving, inner, **options)


def test_a_series_against_a_static_reference(rng):
    pair = drifting_series()
    found = register(pair.fixed, pair.moving)
    inner = [rng.integers((0, 60, 50), (len(found.matrix), 200, 160)) for _ in range(8)]
    check_against_the_map(pair.fixed, pair.moving, inner, registration=found)


def test_a_volume(rng):
    pair = head_volume()
    box = (slice(20, 32), slice(40, 64), slice(40, 64))
    images = [SpatialImage(i.data[box], i.grid.crop(box)) for i in (pair.fixed, pair.moving)]
    parameters = NCCParameters(radius="4 mm", search=1)
    check_against_the_map(*images, points_in((12, 24, 24), rng, 6), parameters=parameters)


def test_masks_nan_and_borders(rng):
    fixed, moving = rng.normal(size=(2, 3, 40, 50))
    fixed[:, 10:14, 10:14] = np.nan
    mask = rng.random((40, 50)) > 0.2
    images = [SpatialImage.from_array(a, axis_labels=("t", "y", "x")) for a in (fixed, moving)]
    where = SpatialImage.from_array(mask, axis_labels=("y", "x"))
    check_against_the_map(
        *images,
        points_in((3, 40, 50), rng, 20),
        parameters=NCCParameters(weights="gaussian"),
        mask=where,
    )


def test_it_reads_only_the_window(rng):
    read = []

    class Recording:
        shape, dtype, ndim = (4096, 4096), np.dtype("f4"), 2

        def __getitem__(self, where):
            read.append(np.empty(self.shape, "u1")[where].size)
            return np.zeros(self.shape, "f4")[where]

    import dask.array as da

    lazy = da.from_array(Recording(), chunks=256, meta=np.empty((0, 0), "f4"))
    image = SpatialImage.from_array(lazy, "lazy")
    window = window_pair(image, image, (1000, 1000))
    assert np.isnan(window.ncc)
    assert sum(read) <= 2 * 256**2


def test_where_there_is_no_pixel_it_says_so(rng):
    image = rng.normal(size=(9, 9))
    for index in ((9, 0), (-1, 0), (0,)):
        with pytest.raises(IndexError, match="no pixel"):
            window_pair(image, image, index)


def test_the_window_s_size_is_physical(rng):
    image = SpatialImage.from_array(
        rng.normal(size=(30, 30)), spacing=(0.5, 0.25), units=("um", "um")
    )
    pair = window_pair(image, image, (15, 15), parameters=NCCParameters(radius="1 um"))
    assert pair.fixed.shape == (5, 9)
    np.testing.assert_allclose(pair.size, (2.5, 2.25))
    assert (pair.slope, pair.offset) == pytest.approx((1, 0))
    assert pair.ncc == pytest.approx(1)


def test_the_effective_samples_are_those_of_the_whole_image(rng):
    fixed, moving = rng.normal(size=(2, 60, 60)).cumsum(axis=-1)
    whole = effective_samples(fixed, moving, radius=4)
    for point in ((0, 0), (30, 31), (58, 3)):
        pair = window_pair(fixed, moving, point)
        np.testing.assert_allclose(pair.effective, whole[point], rtol=1e-5)
        assert 1 < pair.effective < pair.valid.sum()


def test_a_shift_is_along_the_axes_that_have_a_window(rng):
    volume = rng.normal(size=(16, 17, 18))
    parameters = NCCParameters(radius=(2, 0, 2), search=3)
    pair = window_pair(volume, np.roll(volume, (1, -2), (0, 2)), (8, 8, 8), parameters=parameters)
    assert dict(zip(pair.axes, pair.shift, strict=True)) == pytest.approx({0: 1, 2: -2}, abs=0.02)
