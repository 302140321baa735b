"""Dense flow: known warps come back, and a transform with a field is a transform like any other."""

from __future__ import annotations

import json
import threading
from concurrent.futures import CancelledError
from math import prod
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest
from scipy import ndimage

from napari_local_ncc import Registration, SpatialImage, confidence_map, read_map, register
from napari_local_ncc.cli import main
from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.io import write_map
from napari_local_ncc.registration import iter_register
from napari_local_ncc.registration.flow import estimate as flow
from napari_local_ncc.registration.flow import frame as flow_frame
from napari_local_ncc.registration.flow.estimate import iter_flow
from napari_local_ncc.reports.describe import describe_registration
from napari_local_ncc.transforms.displacement_field import jacobian
from napari_local_ncc.transforms.resampling import resample
from napari_local_ncc.transforms.warp import FlowMotion

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from numpy.typing import NDArray

    Pixels = NDArray[np.floating]


def texture(shape: tuple[int, ...], seed: int = 0) -> Pixels:
    rng = np.random.default_rng(seed)
    return sum(k * ndimage.gaussian_filter(rng.normal(size=shape), k) for k in (1.5, 3, 6))


def smooth_field(shape: tuple[int, ...], size: float, scale: float, seed: int = 1) -> Pixels:
    """A displacement in px of at most `size`, that changes over `scale` px."""
    noise = np.random.default_rng(seed).normal(size=(len(shape), *shape))
    field = np.stack([ndimage.gaussian_filter(part, scale, mode="reflect") for part in noise])
    return field * size / np.abs(field).max()


def warped(moving: Pixels, field: Pixels) -> Pixels:
    """What fixed shows: moving at p + field[p]."""
    at = np.indices(moving.shape) + field
    return ndimage.map_coordinates(moving, at, order=3, mode="nearest")


def flow_of(fixed: Pixels, moving: Pixels, **options: object) -> Pixels:
    steps = iter_flow(fixed, moving, **options)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def errors(found: Pixels, truth: Pixels) -> Pixels:
    return np.sqrt(np.square(found - truth).sum(axis=0))


def motion(found: Registration) -> Pixels:
    """Return by how many px fixed's pixels move, shape (*series, ndim, ...): start and flow."""
    grid = found.grid
    points = np.moveaxis(np.indices(grid.shape), 0, -1) @ grid.pixel_to_world[:-1, :-1].T
    points = points + grid.pixel_to_world[:-1, -1]
    series = len(grid.series_shape)
    moved = (found.transform_points(points) - points) @ np.linalg.inv(
        grid.pixel_to_world[:-1, :-1]
    ).T
    return np.moveaxis(moved[..., series:], -1, series)


def field_registration(
    field: Pixels, matrix: Pixels | None = None, grid: Grid | None = None
) -> Registration:
    ndim = len(field)
    return Registration(
        "flow",
        np.eye(ndim + 1) if matrix is None else matrix,
        grid or Grid(field.shape[1:]),
        np.nan,
        np.nan,
        np.nan,
        np.asarray(field, np.float32),
    )


# ------------------------------------------------------------------ the engine


@pytest.mark.realdata
@pytest.mark.parametrize("method", ["ilk", "tvl1"])
def test_the_known_plane(shared_data: Path, method: str) -> None:
    folder = shared_data / "cases/known_pd_2d"
    truth = np.load(folder / "truth_bspline.npz")
    fixed, moving = np.load(folder / "fixed_bspline.npy"), np.load(folder / "moving.npy")
    wrong = errors(flow_of(fixed, moving, method=method), np.moveaxis(truth["disp"], -1, 0))
    assert np.median(wrong[truth["valid"]]) <= 0.3


@pytest.mark.realdata
def test_the_known_volume_where_it_shows_anything(shared_data: Path) -> None:
    """Two thirds of the volume are air, where the warp is anybody's guess."""
    folder = shared_data / "cases/known_t1_3d"
    truth = np.load(folder / "truth_bspline.npz")
    part = (slice(18, 46), slice(20, 110), slice(20, 110))
    fixed, moving = (np.load(folder / f"{n}.npy")[part] for n in ("fixed_bspline", "moving"))
    wrong = errors(flow_of(fixed, moving), np.moveaxis(truth["disp"], -1, 0)[:, *part])
    head = ndimage.gaussian_filter(fixed.astype(float), 2) > 10
    assert np.median(wrong[truth["valid"][part] & head]) <= 0.4


@pytest.mark.parametrize("size", [1.0, 5.0])
def test_smooth_warps_come_back(size: float) -> None:
    moving = texture((150, 160))
    truth = smooth_field(moving.shape, size, 25)
    fixed = warped(moving, truth) + np.random.default_rng(2).normal(0, 0.02, moving.shape)
    wrong = errors(flow_of(fixed, moving), truth)
    assert np.median(wrong) < 0.12
    assert np.percentile(wrong[8:-8, 8:-8], 95) < 0.3


@pytest.mark.parametrize(
    "contrast",
    [
        lambda x: 1e4 - 50 * x,
        lambda x: np.exp(x),
        lambda x: np.abs(x - np.median(x)),
    ],
    ids=["inverted", "exponential", "folded"],
)
def test_other_contrasts_come_back(contrast: object) -> None:
    moving = texture((150, 160))
    truth = smooth_field(moving.shape, 3, 25)
    wrong = errors(flow_of(contrast(warped(moving, truth)), moving), truth)
    assert np.median(wrong) < 0.3


def test_gain_and_offset_change_nothing() -> None:
    moving = texture((80, 90)).astype(np.float32)
    fixed = warped(moving, smooth_field(moving.shape, 2, 20))
    plain = flow_of(fixed, moving)
    np.testing.assert_allclose(flow_of(7 * fixed + 100, 0.01 * moving - 3), plain, atol=0.02)


def test_volumes_flow_too() -> None:
    moving = texture((24, 60, 64))
    truth = smooth_field(moving.shape, 1.5, 12)
    assert np.median(errors(flow_of(warped(moving, truth), moving), truth)) < 0.15


def test_the_same_images_give_the_same_bits() -> None:
    moving = texture((70, 70))
    fixed = warped(moving, smooth_field(moving.shape, 2, 20))
    np.testing.assert_array_equal(flow_of(fixed, moving), flow_of(fixed, moving))


def test_equal_images_do_not_flow() -> None:
    image = texture((90, 90))
    assert np.abs(flow_of(image, image)).max() < 1e-3


def test_blocks_agree_with_the_whole_and_have_no_seams() -> None:
    moving = texture((330, 340))
    truth = smooth_field(moving.shape, 5, 40)
    fixed = warped(moving, truth)
    whole, blocks = flow_of(fixed, moving), flow_of(fixed, moving, whole=200 * 200)
    inner = (slice(None), slice(12, -12), slice(12, -12))
    assert np.percentile(errors(blocks, whole)[inner[1:]], 99) < 0.2
    assert np.median(errors(blocks, truth)) < 0.1
    steps = [np.abs(np.diff(x[inner], axis=1)).max(axis=(0, 2)) for x in (whole, blocks)]
    assert steps[1].max() < 1.5 * steps[0].max()


def test_large_images_are_read_block_by_block() -> None:
    sizes = []

    def seen(block: Pixels) -> Pixels:
        sizes.append(block.size)
        return block

    moving = texture((300, 300))
    lazy = da.from_array(moving, chunks=50).map_blocks(seen, meta=np.empty((0, 0)))

    class Watched:
        shape = moving.shape
        read: list[int] = []  # noqa: RUF012

        def __getitem__(self, box: tuple[slice, ...]) -> da.Array:
            self.read.append(prod(part.stop - part.start for part in box))
            return lazy[box]

    flow_of(moving, Watched(), whole=150 * 150)
    # a block is 192 px at least, reaches 96 px further where there is more, and moves a little
    assert max(Watched.read) <= (192 + 96 + 4) ** 2 < moving.size
    assert max(sizes) <= 50 * 50


def test_invalid_samples_say_nothing_and_are_filled_in() -> None:
    moving = texture((160, 160))
    truth = smooth_field(moving.shape, 3, 40)
    fixed = warped(moving, truth)
    fixed[40:60, 30:70] = np.nan
    moving = moving.copy()
    moving[100:120, 90:120] = np.inf
    found = flow_of(fixed, moving)
    assert np.isfinite(found).all()
    wrong = errors(found, truth)
    assert np.median(wrong) < 0.1
    assert np.median(wrong[40:60, 30:70]) < 0.6


def test_what_is_flat_takes_the_flow_of_what_is_not() -> None:
    moving = np.zeros((120, 120))
    moving[30:90, 30:90] = texture((60, 60)) + 10
    fixed = np.roll(moving, 2, axis=0)
    found = flow_of(fixed, moving)
    np.testing.assert_allclose(
        found[:, 45:80, 45:80],
        np.array([-2, 0])[:, None, None] + 0 * found[:, 45:80, 45:80],
        atol=0.1,
    )
    assert np.abs(found[0, 2:5, 60] + 2).max() < 1


def test_noise_moves_little_and_says_so() -> None:
    """Flow raises the NCC of anything; the report shows what it did for that."""
    fixed, moving = np.random.default_rng(3).normal(size=(2, 100, 100))
    found = register(fixed, moving, model="flow")
    assert found.reach.max() < 10
    text = describe_registration(found)
    assert "flow of up to" in text
    assert "volumes change" in text


def test_a_flow_is_a_start_for_flows_only() -> None:
    image = texture((60, 60))
    first = field_registration(smooth_field((60, 60), 2, 15))
    again = register(warped(image, first.displacement), image, model="flow", initial=first)
    assert np.median(errors(again.displacement, first.displacement)) < 0.05
    with pytest.raises(ValueError, match="initial is a flow"):
        register(image, image, model="translation", initial=first)


def test_a_flow_reports_what_it_did() -> None:
    moving = texture((100, 100))
    truth = smooth_field(moving.shape, 3, 25)
    found = register(warped(moving, truth), moving, model="flow", consistency=True)
    (report,) = found.reports
    assert report.applied
    assert report.volumes == found.jacobian()
    assert report.after.median > 0.98 > report.before.median
    assert report.round_trip is not None
    assert 0 < report.round_trip.median_px < 0.1
    text = describe_registration(found)
    assert "there and back" in text
    assert "median local NCC" in text


def spoilt() -> Generator[tuple[int, int], None, NDArray[np.float32]]:
    """An engine that makes things worse."""
    yield 0, 1
    field = np.zeros((2, 60, 60), np.float32)
    field[0] = 7.0
    return field


def test_a_flow_that_makes_it_worse_is_said_and_not_applied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "napari_local_ncc.registration.flow.frame.iter_flow", lambda *args, **options: spoilt()
    )
    image = texture((60, 60))
    start = np.eye(3)
    start[0, 2] = 0.5
    found = register(image, image, model="flow", initial=start)
    (report,) = found.reports
    assert not report.applied
    assert not found.displacement.any()
    np.testing.assert_array_equal(found.matrix, start)
    text = describe_registration(found)
    assert "agrees worse than no transform" in text
    assert "agrees worse than its start" in text
    assert "not applied" in text
    kept = register(image, image, model="flow", initial=start, keep_doubtful=True)
    assert kept.displacement[0].min() == 7
    assert report.note.startswith(kept.reports[0].note)
    assert "the start is held" in report.note


def test_what_is_said_of_the_start_is_said_of_the_flow() -> None:
    fixed, moving = texture((60, 60)), texture((60, 60), 5)
    found = register(fixed, moving, model="flow", initial="translation")
    assert "of its start: no shift is reliably better" in found.reports[0].note


@pytest.mark.parametrize("reference", ["first", "previous"])
def test_flows_of_a_series_are_composed(reference: str) -> None:
    frame = texture((80, 80))
    field = smooth_field((80, 80), 1.5, 20)
    once = warped(frame, field)
    series = SpatialImage.from_array(
        np.stack([warped(once, field), once, frame]), axis_labels=("t", "y", "x")
    )
    found = register(series, series, model="flow", reference=reference)
    first, second, third = motion(found)
    assert not first.any()
    assert np.median(errors(second, field)) < 0.1
    one = field_registration(field)
    assert np.median(errors(third, motion(one.compose(one)))) < 0.2


def test_a_flow_is_cancelled_at_once() -> None:
    cancelled = threading.Event()
    steps = iter_register(
        texture((120, 120)), texture((120, 120), 3), model="flow", cancelled=cancelled
    )
    next(steps)
    cancelled.set()
    with pytest.raises(CancelledError):
        list(steps)


def test_after_cancel_no_block_begins_and_another_flow_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Optical flow cannot be stopped in the middle: what goes on are the blocks in flight."""
    monkeypatch.setattr(flow, "CORE", {2: 32})
    monkeypatch.setattr(flow, "OVERLAP", {2: 8})
    monkeypatch.setattr(flow_frame, "WHOLE", 3000)
    begun, go_on, found = [], threading.Event(), flow.block_flow

    def held(*arguments: object, alone: bool = True) -> Pixels:
        begun.append(alone)
        assert alone or go_on.wait(60)
        return found(*arguments, alone=alone)

    monkeypatch.setattr(flow, "block_flow", held)
    fixed, moving = texture((160, 160)), texture((160, 160), 3)
    cancelled = threading.Event()
    steps = iter_register(fixed, moving, model="flow", cancelled=cancelled)
    while len(begun) < 1 + flow.THREADS:
        next(steps)
    cancelled.set()
    with pytest.raises(CancelledError):
        next(steps)
    old = [thread for thread in threading.enumerate() if thread.name.startswith("local-ncc")]
    small = np.s_[:50, :50]
    again = register(fixed[small], np.roll(fixed, 1, axis=0)[small], model="flow")
    assert np.isfinite(again.displacement).all()
    assert all(thread.is_alive() for thread in old)
    assert len(old) == 1 + flow.THREADS
    go_on.set()
    for thread in old:
        thread.join(60)
    assert begun.count(False) == flow.THREADS


@pytest.mark.parametrize(
    ("fixed", "moving", "words"),
    [
        (np.ones((40, 40)), texture((40, 40)), "constant"),
        (texture((40, 40)), np.full((40, 40), np.nan), "valid"),
        (texture((40, 40)), texture((40, 41)), "one shape"),
        (texture((4, 40)), texture((4, 40)), "at least 8 px"),
        (
            np.where(np.arange(40) < 20, texture((40, 40)), np.nan),
            np.where(np.arange(40) >= 20, texture((40, 40)), np.nan),
            "in common",
        ),
    ],
)
def test_what_cannot_flow_is_named(fixed: Pixels, moving: Pixels, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        flow_of(fixed, moving)


# ------------------------------------------------------------------ register


def test_the_flow_is_found_in_world_coordinates() -> None:
    moving = texture((120, 130))
    truth = smooth_field(moving.shape, 3, 25)
    spacing = np.array([0.5, 2.0])
    place = {"spacing": spacing, "units": ("um", "um")}
    fixed = SpatialImage.from_array(warped(moving, truth), **place, origin=(7.0, -3.0))
    found = register(
        fixed, SpatialImage.from_array(moving, **place, origin=(7.0, -3.0)), model="flow"
    )
    wrong = errors(motion(found), truth)
    assert np.median(wrong) < 0.1
    assert found.ncc_after > 0.99 > found.ncc_before
    points = np.array([[30.0, 100.0], [50.0, 61.0]])
    pixels = (points - (7, -3)) / spacing
    moved = [ndimage.map_coordinates(part, pixels.T, order=1) for part in truth]
    np.testing.assert_allclose(
        found.transform_points(points), points + np.array(moved).T * spacing, atol=0.3
    )


@pytest.mark.parametrize("given", ["model", "registration"])
def test_a_start_is_composed_with_the_flow(given: str) -> None:
    world = texture((200, 200))
    truth = smooth_field((120, 120), 2, 25)
    at = np.indices((120, 120)) + truth + 40
    fixed = ndimage.map_coordinates(world, at, order=3)
    moving = world[55:175, 28:148]
    initial = "translation" if given == "model" else register(fixed, moving)
    found = register(fixed, moving, model="flow", initial=initial)
    pixels = np.argwhere(np.ones((120, 120)))
    expected = pixels + truth.reshape(2, -1).T + (-15, 12)
    wrong = np.linalg.norm(found.transform_points(pixels) - expected, axis=1)
    assert np.median(wrong) < 0.1
    assert abs(found.matrix[0, 2] + 15) < 1.5  # the start's
    assert found.model == "flow"
    assert 0.7 < found.overlap < 0.9


def test_a_series_flows_frame_by_frame_and_channels_share() -> None:
    frame = texture((2, 70, 70))
    fields = [smooth_field((70, 70), 2, 20, seed=k) for k in (1, 2, 3)]
    fixed = np.stack([[warped(channel, field) for channel in frame] for field in fields])
    fixed[1] = 0
    unit = {"axis_labels": ("t", "c", "y", "x")}
    moving = SpatialImage.from_array(np.broadcast_to(frame, (3, *frame.shape)), **unit)
    steps = iter_register(SpatialImage.from_array(fixed, **unit), moving, model="flow")
    progress = []
    while True:
        try:
            progress.append(next(steps))
        except StopIteration as end:
            found = end.value
            break
    assert found.displacement.shape == (3, 2, 2, 70, 70)
    np.testing.assert_array_equal(found.displacement[:, 0], found.displacement[:, 1])
    for k in (0, 2):
        assert np.median(errors(motion(found)[k, 0], fields[k])) < 0.15
    np.testing.assert_array_equal(motion(found)[1], motion(found)[0])
    np.testing.assert_array_equal(np.isnan(found.ncc_after[:, 0]), (False, True, False))
    assert [p.total for p in progress[:3]] == [3, 3, 3]
    point = np.array([2.0, 1.0, 30.0, 40.0])
    np.testing.assert_allclose(
        found.transform_points(point)[2:], point[2:] + motion(found)[2, 1, :, 30, 40]
    )


def test_masks_and_methods_reach_the_engine() -> None:
    moving = texture((90, 90))
    truth = smooth_field(moving.shape, 2, 25)
    fixed, mask = warped(moving, truth), np.ones(moving.shape)
    fixed[20:50, 20:50] = texture((30, 30), seed=9)
    mask[20:50, 20:50] = 0
    masked = register(fixed, moving, model="flow", mask=mask)
    hole = (slice(None), slice(20, 50), slice(20, 50))
    assert np.median(errors(motion(masked)[hole], truth[hole])) < 0.5
    assert masked.overlap > 0.9
    other = register(fixed, moving, model="flow", mask=mask, method="tvl1")
    assert not np.array_equal(masked.displacement, other.displacement)
    with pytest.raises(ValueError, match="method must be one of"):
        register(fixed, moving, model="flow", method="demons")


# ------------------------------------------------------------------ the transform


TURN = np.array([[0.9, 0.3, 5.0], [-0.2, 1.1, -8.0], [0, 0, 1.0]])


def test_points_go_through_the_field_then_the_matrix(rng: np.random.Generator) -> None:
    field = smooth_field((40, 50), 2, 8)
    place = np.array([[0.5, 0.1, 3.0], [0.0, 2.0, -4.0], [0, 0, 1.0]])
    found = field_registration(field, TURN, Grid((40, 50), place))
    pixels = rng.uniform(-5, 55, (30, 2))
    moved = [ndimage.map_coordinates(f, pixels.T, order=1, mode="nearest") for f in field]
    points = pixels @ place[:2, :2].T + place[:2, 2]
    expected = (points + np.array(moved).T) @ TURN[:2, :2].T + TURN[:2, 2]
    np.testing.assert_allclose(found.transform_points(points), expected, atol=1e-5)


def test_composition_is_one_map_after_the_other(rng: np.random.Generator) -> None:
    grid = Grid((60, 60), np.diag([0.5, 0.5, 1]))
    first = field_registration(smooth_field((60, 60), 1, 15), TURN, grid)
    second = field_registration(smooth_field((60, 60), 1, 15, seed=4), None, grid)
    matrix = Registration("affine", TURN, grid, np.nan, np.nan, np.nan)
    points = rng.integers(0, 60, (20, 2)) * 0.5  # at the lattice both are exact
    for a, b in ((first, second), (first, matrix), (matrix, second), (second, first)):
        both = a.compose(b)
        assert both.model == "flow"
        np.testing.assert_allclose(
            both.transform_points(points), b.transform_points(a.transform_points(points)), atol=1e-4
        )


@pytest.mark.parametrize("matrix", [None, TURN])
def test_the_inverse_leads_back(rng: np.random.Generator, matrix: Pixels | None) -> None:
    found = field_registration(smooth_field((80, 80), 3, 15), matrix)
    back = found.inverse()
    points = rng.uniform(15, 65, (50, 2))
    round_trip = np.linalg.norm(
        back.transform_points(found.transform_points(points)) - points, axis=1
    )
    assert round_trip.max() < 0.05
    assert back.residual < 0.01
    assert np.isnan(found.residual)


def test_a_fold_has_no_inverse_and_is_counted() -> None:
    field = np.zeros((2, 30, 30))
    field[0, 15] = -3.0  # row 15 lands before row 14, and row 16 far from it
    folded = field_registration(field)
    volumes = folded.jacobian()
    assert (volumes.lowest, volumes.highest) == pytest.approx((-2, 4))
    assert (volumes.folds, volumes.cells) == (29, 29 * 29)
    assert folded.inverse().residual > 0.5
    assert "folded in 29 of 841 cells" in describe_registration(folded)
    assert jacobian(np.zeros((2, 30, 30), np.float32), np.eye(3)).folds == 0


def test_the_jacobian_of_a_linear_field_is_its_determinant() -> None:
    slope = np.array([[0.1, 0.05, 0], [-0.02, 0.2, 0.1], [0, 0.03, -0.15]])
    place = np.diag([0.5, 2.0, 1.0, 1.0])
    world = np.tensordot(place[:3, :3], np.indices((5, 6, 7)), axes=1)
    volumes = jacobian(np.tensordot(slope, world, axes=1).astype(np.float32), place)
    truth = np.linalg.det(np.eye(3) + slope)
    assert (volumes.lowest, volumes.highest) == pytest.approx((truth, truth), rel=1e-4)


def test_frames_of_a_series_keep_their_fields() -> None:
    fields = np.stack([smooth_field((20, 20), 2, 5, seed=k) for k in range(3)]).astype(np.float32)
    grid = Grid((3, 20, 20), axis_labels=("t", "y", "x"))
    nothing = np.full(3, np.nan)
    matrix = np.broadcast_to(np.eye(3), (3, 3, 3))
    series = Registration("flow", matrix, grid, nothing, nothing, nothing, fields)
    np.testing.assert_array_equal(series.frames([slice(1, 3)]).displacement, fields[1:])
    single = field_registration(fields[0])
    image = SpatialImage.from_array(np.stack([texture((20, 20))] * 3), axis_labels=("t", "y", "x"))
    for index, alone in ((1, fields[1]), (2, fields[2])):
        expected = resample(image.frame((index,)), image.grid.space(), field_registration(alone))
        np.testing.assert_array_equal(
            resample(image, grid, series).data[index].compute(), expected.data.compute()
        )
    every = resample(image, grid, single).data.compute()
    np.testing.assert_array_equal(every[0], every[2])


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (np.zeros((2, 9, 8), np.float32), "shape"),
        (np.zeros((2, 9, 9)), "float32"),
        (np.full((2, 9, 9), np.nan, np.float32), "finite"),
        (None, "needs a displacement"),
    ],
)
def test_a_wrong_field_is_named(field: Pixels | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Registration("flow", np.eye(3), Grid((9, 9)), np.nan, np.nan, np.nan, field)


# ------------------------------------------------------------------ files


def test_a_saved_flow_is_the_flow(tmp_path: Path) -> None:
    found = field_registration(smooth_field((40, 50), 2, 8), TURN)
    for _ in range(2):  # the second replaces the first
        found.save(tmp_path / "t.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.json", "t.zarr"]
    again = Registration.load(tmp_path / "t.json")
    np.testing.assert_array_equal(again.displacement, found.displacement)
    np.testing.assert_array_equal(again.matrix, found.matrix)
    assert json.dumps(found.to_dict()) == json.dumps(again.to_dict())
    assert len(json.dumps(found.to_dict())) < 2000
    again.save(tmp_path / "t.json")  # what was loaded does not depend on the file
    assert Registration.load(tmp_path / "t.json").residual is not None


def test_a_missing_wrong_or_damaged_field_is_named(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        field_registration(smooth_field((20, 20), 2, 8, seed=seed)).save(tmp_path / f"{name}.json")
    (tmp_path / "b.zarr").rename(tmp_path / "aside")
    with pytest.raises(FileNotFoundError, match=r"b\.zarr is missing"):
        Registration.load(tmp_path / "b.json")
    (tmp_path / "a.zarr").rename(tmp_path / "b.zarr")
    with pytest.raises(ValueError, match="another transform"):
        Registration.load(tmp_path / "b.json")
    chunk = next(
        path for path in (tmp_path / "b.zarr").rglob("*") if path.name == "0" and path.is_file()
    )
    chunk.write_bytes(b"\x00" * 9)
    with pytest.raises(ValueError, match=r"b\.zarr"):
        Registration.load(tmp_path / "b.json")


def test_a_field_replaces_nothing_else(tmp_path: Path) -> None:
    found = field_registration(smooth_field((20, 20), 2, 8))
    (tmp_path / "t.zarr").mkdir()
    (tmp_path / "t.zarr" / "precious").touch()
    with pytest.raises(FileExistsError, match="something else"):
        found.save(tmp_path / "t.json")
    assert [path.name for path in tmp_path.iterdir()] == ["t.zarr"]


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = field_registration(smooth_field((20, 20), 2, 8))
    found.save(tmp_path / "t.json")
    other = field_registration(smooth_field((20, 20), 2, 8, seed=5))
    with monkeypatch.context() as patch:
        patch.setattr("zarr.Array.__setitem__", _full)
        with pytest.raises(OSError, match="full"):
            other.save(tmp_path / "t.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.json", "t.zarr"]
    again = Registration.load(tmp_path / "t.json")
    np.testing.assert_array_equal(again.displacement, found.displacement)


def _full(*_: object) -> None:
    raise OSError("the disk is full")


def test_the_command_line_finds_saves_and_applies_a_flow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moving = texture((80, 80))
    fixed = warped(moving, smooth_field(moving.shape, 3, 20))
    np.save(tmp_path / "f.npy", fixed)
    np.save(tmp_path / "m.npy", moving)
    images = [str(tmp_path / "f.npy"), str(tmp_path / "m.npy")]
    register_it = ["register", *images, "--model", "flow", "-o", str(tmp_path / "t.json")]
    assert main(register_it) == 0
    assert "volumes change by factors of" in capsys.readouterr().out
    medians = []
    for how in (["--transform", str(tmp_path / "t.json")], ["--register", "flow"], []):
        output = tmp_path / f"{len(medians)}.npy"
        assert main(["map", *images, *how, "-o", str(output)]) == 0
        medians.append(np.nanmedian(np.load(output)))
    assert medians[0] == medians[1] > 0.98 > medians[2]
    (tmp_path / "t.json").unlink()
    assert main(register_it) == 2
    assert "t.zarr exists" in capsys.readouterr().err


# ------------------------------------------------------------------ resampling


@pytest.mark.parametrize("order", [("nearest", 0), ("linear", 1), ("cubic", 3)])
@pytest.mark.parametrize("ndim", [2, 3])
def test_resampling_agrees_with_scipy_in_any_chunks(
    order: tuple[str, int], ndim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = (24, 30, 28)[-ndim:]
    moving = texture(shape)
    field = smooth_field(shape, 3, 6)
    matrix = np.eye(ndim + 1)
    matrix[:-1, -1] = 1.3
    found = field_registration(field, matrix)
    at = np.indices(shape) + found.displacement.astype(float) + 1.3
    last = np.array(shape).reshape(-1, *(1,) * ndim) - 1
    inside = ((at >= 0) & (at <= last)).all(axis=0)
    expected = ndimage.map_coordinates(moving, at, order=order[1], mode="mirror")
    image = SpatialImage.from_array(moving)
    results = []
    for edge in (1024, 15):
        monkeypatch.setattr("napari_local_ncc.image.spatial_image.PLANE_CHUNK", edge)
        monkeypatch.setattr("napari_local_ncc.image.spatial_image.VOLUME_CHUNK", edge)
        lazy = resample(image, image.grid, found, interpolation=order[0]).data
        results.append(lazy.compute())
    assert lazy.npartitions > 1
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(np.isnan(results[0]), ~inside)
    limit = 1e-2 if order[1] == 3 else 1e-5  # the spline's margin ends somewhere
    np.testing.assert_allclose(results[0][inside], expected[inside], atol=limit)


def test_resampling_on_another_grid_reads_the_field_between_its_pixels() -> None:
    moving = texture((60, 60))
    found = field_registration(smooth_field((60, 60), 2, 10))
    finer = Grid((40, 40), np.array([[0.5, 0, 10.2], [0, 0.5, 7.7], [0, 0, 1]]))
    points = np.indices((40, 40)).reshape(2, -1).T * 0.5 + (10.2, 7.7)
    expected = ndimage.map_coordinates(moving, found.transform_points(points).T, order=1)
    image = SpatialImage.from_array(moving)
    result = resample(image, finer, found).data.compute()
    np.testing.assert_allclose(result.ravel(), expected, atol=1e-5)


def test_a_flow_that_leads_far_away_is_compared_where_it_leads() -> None:
    """The box to compute is that of what the flow brings in, not of what overlaps already."""
    world = texture((100, 160))
    fixed = SpatialImage.from_array(world[:, :100])
    moving = SpatialImage.from_array(world[:, 60:160], origin=(0, 95.0))
    field = np.zeros((2, 100, 100), np.float32)
    field[1] = 35.0
    found = field_registration(field)
    ncc = confidence_map(fixed, moving, registration=found)["ncc"].compute()
    assert np.nanmedian(ncc) > 0.999
    assert np.isfinite(ncc[:, 66:]).all()
    assert np.isnan(ncc[:, :50]).all()


def test_a_map_of_a_flow_is_written_with_what_can_be_said(tmp_path: Path) -> None:
    moving = texture((60, 60))
    found = register(warped(moving, smooth_field((60, 60), 2, 15)), moving, model="flow")
    result = confidence_map(moving, moving, registration=found)
    write_map(result, tmp_path / "m.npy")
    again = read_map(tmp_path / "m.npy")
    assert again.registration is None
    assert again.provenance["registration"]["displacement"]["shape"] == [2, 60, 60]


@pytest.mark.parametrize("far", [2.0**63, -1e300])
def test_a_flow_that_leads_beyond_all_numbers_of_pixels_reads_nothing(far):
    away = np.eye(3)
    away[1, 2] = far
    motion = FlowMotion(np.zeros((2, 8, 8), np.float32), np.eye(3), away, np.eye(2))
    rows, columns = motion.source_box((slice(0, 8), slice(0, 8)), (24, 32))
    assert rows == slice(0, 11)
    assert columns.start == columns.stop
