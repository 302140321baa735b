"""A comparison is resolved once, whoever takes it; a run is one stream of events."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import CancelledError

import dask.array as da
import numpy as np
import pytest
import scipy.ndimage

from napari_local_ncc import NCCParameters, confidence_map, register
from napari_local_ncc.cli import main
from napari_local_ncc.image.pairing import pair_images
from napari_local_ncc.image.spatial_image import SpatialImage
from napari_local_ncc.maps.comparison import Comparison
from napari_local_ncc.maps.region import region_of_map
from napari_local_ncc.maps.run import MapBegun, MapTile, progress_in, run_comparison
from napari_local_ncc.maps.window import windows_at
from napari_local_ncc.progress import Progress, Step, finish, translate
from napari_local_ncc.reports.describe import describe_comparison
from napari_local_ncc.transforms.overlap import marked_box

BANDS = NCCParameters(radius=3, bands=("ncc", "confidence", "shift"), search=2)


@pytest.fixture(scope="module")
def pair():
    """Texture, and the same moved by (3, -2) px with some noise."""
    rng = np.random.default_rng(0)
    texture = scipy.ndimage.gaussian_filter(rng.normal(size=(120, 130)), 1.5)
    moving = np.roll(texture, (3, -2), axis=(0, 1)) + 0.02 * rng.normal(size=texture.shape)
    return texture.astype("f4"), moving.astype("f4")


def calls_of(function, work):
    """Count the calls of a function while some work is done, in all of its threads."""
    calls = []

    def look(frame, event, _):
        if event == "call" and frame.f_code is function.__code__:
            calls.append(frame)

    threading.setprofile(look)
    sys.setprofile(look)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return len(calls)


def test_images_are_paired_once_in_a_whole_run(pair, tmp_path):
    def everything():
        comparison = Comparison(*pair, parameters=BANDS)
        describe_comparison(comparison)
        finish(run_comparison(comparison, model="translation", refine=True))
        windows_at(comparison, (60, 60))
        region_of_map(comparison, (slice(0, 30), slice(0, 30)))

    assert calls_of(pair_images, everything) == 1
    for name, image in zip(("a.npy", "b.npy"), pair, strict=True):
        np.save(tmp_path / name, image)
    a, b, output = (str(tmp_path / name) for name in ("a.npy", "b.npy", "o.npy"))
    words = ["map", a, b, "-o", output, "--register", "translation", "--bands", "ncc,confidence"]
    assert calls_of(pair_images, lambda: main(words)) == 1


def test_a_mask_is_paired_once_too(pair):
    mask = np.ones(pair[0].shape, bool)
    mask[:, :40] = False

    def run():
        finish(run_comparison(Comparison(*pair, mask, BANDS), model="translation", refine=True))

    assert calls_of(pair_images, run) == 2  # moving, and the mask


def test_a_run_gives_what_its_parts_give(pair):
    comparison = Comparison(*pair, parameters=BANDS)
    events = []
    run = run_comparison(comparison, model="translation")
    result = finish(translate(run, lambda event: [events.append(event)]))
    registration = register(*pair)
    np.testing.assert_array_equal(result.registration.matrix, registration.matrix)
    whole = confidence_map(*pair, parameters=BANDS, registration=registration)
    assert result.map.band_names == whole.band_names
    tiles = [event for event in events if isinstance(event, MapTile)]
    found = {name: np.full(whole.grid.shape, 7, "f4") for name in whole.band_names}
    for tile in tiles:
        for name, values in tile.bands.items():
            found[name][tile.location] = values
    np.testing.assert_array_equal(list(found.values()), whole.bands.compute())
    np.testing.assert_allclose(result.tally.summary.median, np.nanmedian(found["ncc"]), atol=2e-3)
    steps = [event.step for event in events if isinstance(event, Progress)]
    assert list(dict.fromkeys(steps)) == [Step.REGISTER, Step.CALIBRATE, Step.LOAD]
    (begun,) = (event for event in events if isinstance(event, MapBegun))
    assert begun.comparison.registration is result.registration
    assert tiles[-1].progress == Progress(Step.COMPARE, len(tiles), len(tiles))
    assert [part for event in tiles for part in progress_in(event)][-1] == tiles[-1].progress


def test_a_sink_is_kept_only_if_all_of_the_run_went_well(pair):
    kept = []

    class Sink:
        def __init__(self, result):
            self.values = np.full(result.bands.shape, np.nan, "f4")

        def __enter__(self):
            return self.values

        def __exit__(self, error, *_):
            kept.append(None if error else self.values)

    comparison = Comparison(*pair)
    finish(run_comparison(comparison, sink=Sink))
    np.testing.assert_array_equal(kept[0][0], confidence_map(*pair)["ncc"].compute())
    run = run_comparison(comparison, sink=Sink)
    while not isinstance(next(run), MapTile):
        pass
    run.close()
    assert kept[1:] == [None]


def test_a_run_ends_when_it_is_cancelled(pair):
    cancelled = threading.Event()
    run = run_comparison(Comparison(*pair), cancelled=cancelled)
    next(run)
    cancelled.set()
    with pytest.raises(CancelledError):
        finish(run)


def test_frames_are_summed_up_if_asked(pair):
    series = np.stack([pair[0], pair[1]])
    fixed = SpatialImage.from_array(series, axis_labels=("t", "y", "x"))
    comparison = Comparison(fixed, SpatialImage.from_array(pair[0], axis_labels=("y", "x")))
    result = finish(run_comparison(comparison, by_frame=True))
    assert result.frames.groups.tolist() == [0, 1]
    assert result.frames.quantile(0.5)[0] == pytest.approx(1, abs=1e-3)
    assert finish(run_comparison(comparison)).frames is None


def test_what_does_not_fit_is_said_at_once(pair):
    registration = register(*pair)
    with pytest.raises(ValueError, match="3"):
        Comparison(*np.zeros((2, 3, 40, 50)), registration=registration)
    with pytest.raises(ValueError, match="mask has shape"):
        Comparison(*pair, np.ones((3, 3)))
    with pytest.raises(ValueError, match="spatial axes"):
        Comparison(pair[0], np.zeros((3, 4, 5)))


def test_another_transform_does_not_touch_the_comparison(pair):
    comparison = Comparison(*pair)
    moved = comparison.with_registration(register(*pair))
    assert comparison.registration is None
    assert moved.pair is comparison.pair
    assert comparison.box == (slice(0, 120), slice(0, 130))
    assert moved.overlap < comparison.overlap == 1


def test_a_mask_leaves_a_box_and_its_values_are_those_of_the_whole(pair):
    mask = np.zeros(pair[0].shape, bool)
    mask[40:70, 50:90] = True
    everywhere = mask.copy()
    everywhere[[0, -1], [0, -1]] = True  # too little for a window, and the box is the image
    parameters = BANDS.replace(bands=("ncc", "confidence", "shift", "fit"))
    comparison = Comparison(*pair, mask, parameters)
    assert comparison.box == (slice(37, 73), slice(47, 93))
    assert Comparison(*pair, everywhere).box == (slice(0, 120), slice(0, 130))
    part = confidence_map(*pair, mask=mask, parameters=parameters)
    whole = confidence_map(
        *pair, mask=everywhere, parameters=parameters, calibration=part.calibration
    )
    np.testing.assert_allclose(part.bands, whole.bands, rtol=0, atol=1e-4)
    outside = np.ones(mask.shape, bool)
    outside[comparison.box] = False
    assert np.isnan(np.asarray(part.bands)[:, outside]).all()
    assert np.isfinite(part["ncc"][43:67, 53:87].compute()).all()


def test_what_lies_far_from_the_mask_is_not_read(pair):
    fixed = da.from_array(np.tile(pair[0], (6, 6)), chunks=128)
    mask = np.zeros(fixed.shape, bool)
    mask[300:360, 280:330] = True
    read = []

    def note(block, block_info):
        read.append(tuple(start for start, _ in block_info[0]["array-location"]))
        return block

    noted = fixed.map_blocks(note, dtype=fixed.dtype, meta=np.empty((0, 0), fixed.dtype))
    assert np.isfinite(confidence_map(noted, fixed, mask=mask)["ncc"].compute()).any()
    assert set(read) == {(256, 256)}


def test_the_box_of_a_mask_of_its_own_grid_holds_all_of_it(pair):
    fixed = SpatialImage.from_array(pair[0], spacing=0.5, units=("um", "um"))
    coarse = SpatialImage.from_array(np.zeros((9, 9)), spacing=4, origin=10, units=("um", "um"))
    coarse.data[2, 3:5] = 1
    comparison = Comparison(fixed, pair[1], coarse, BANDS, unitless="pixels")
    marked = np.nonzero(comparison.usable_on_grid().compute())
    for part, m in zip(comparison.box, marked, strict=True):
        assert m.min() - 4 <= part.start <= m.min() - 3  # a pixel more where it is a tie
        assert m.max() + 4 <= part.stop <= m.max() + 5


def test_a_mask_that_leaves_nothing_leaves_an_undefined_map(pair):
    comparison = Comparison(*pair, np.zeros(pair[0].shape, bool))
    assert comparison.box == comparison.overlap_box
    assert np.isnan(confidence_map(*pair, mask=comparison.mask)["ncc"].compute()).all()


def test_a_full_mask_is_read_at_its_ends_alone():
    read = []

    def note(block, block_info):
        read.append(block_info[None]["chunk-location"])
        return block

    full = da.ones((90, 90), chunks=10).map_blocks(note, dtype=float, meta=np.empty((0, 0)))
    marks = SpatialImage.from_array(full)
    assert marked_box(marks, marks.grid, (0, 0)) == (slice(0, 90), slice(0, 90))
    assert set(read) == {(0, 0), (8, 8)}
