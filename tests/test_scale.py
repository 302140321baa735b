"""Larger than memory, and on other processes: the same map, block by block."""

from __future__ import annotations

import gc
import math
import os
import pickle
import signal

import dask
import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st

from napari_local_ncc import NCCParameters, Registration, SpatialImage, confidence_map
from napari_local_ncc.chunked import blocks, culling
from napari_local_ncc.chunked.blocks import block_edges, blocks_of
from napari_local_ncc.chunked.budget import BASE, fit_blocks, free_memory, parse_memory
from napari_local_ncc.cli import cluster, console, main
from napari_local_ncc.io import map_sink, read_image, read_map, write_map
from napari_local_ncc.io.outputs import state_of
from napari_local_ncc.maps.comparison import Comparison
from napari_local_ncc.maps.pipeline import map_of
from napari_local_ncc.maps.run import MapTile, run_comparison
from napari_local_ncc.progress import Note, Progress, Step, finish, translate
from napari_local_ncc.transforms.resampling import resample, sample_lazily

ALL = ("ncc", "confidence", "shift", "shift_error", "classes", "ceiling", "fit")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two images on disk, of whole numbers."""
    folder = tmp_path_factory.mktemp("pair")
    rng = np.random.default_rng(0)
    fixed = rng.integers(0, 4000, (150, 190)).astype(np.uint16)
    for name, image in (("a", fixed), ("b", np.roll(fixed, 1, 0) // 2)):
        np.save(folder / f"{name}.npy", image)
    return folder


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (0.4, 1.7)])
@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_blocks_are_the_whole(files, shift, interpolation):
    images = [read_image(files / f"{name}.npy") for name in "ab"]
    matrix = np.eye(3)
    matrix[:2, 2] = shift
    moved = Registration.from_matrix(matrix, images[0].grid, "translation")
    used = NCCParameters(bands=("ncc", "shift"), search=1, interpolation=interpolation)
    comparison = Comparison(*images, None, used, moved)
    whole = finish(map_of(comparison, blocks=(150, 190))).bands.compute()
    parts = finish(map_of(comparison, blocks=(37, 64))).bands
    np.testing.assert_allclose(parts.compute()[:3], whole[:3], rtol=0, atol=3e-7)
    np.testing.assert_array_equal(np.isnan(parts), np.isnan(whole))


def test_blocks_of_whole_numbers_are_the_whole_to_the_last_bit(files):
    comparison = Comparison(*(read_image(files / f"{name}.npy") for name in "ab"))
    whole = finish(map_of(comparison, blocks=(150, 190))).bands.compute()
    parts = finish(map_of(comparison, blocks=(37, 64))).bands.compute()
    np.testing.assert_array_equal(parts, whole)


def test_a_pixel_is_sampled_the_same_in_every_box(files):
    image = read_image(files / "a.npy")
    matrix = np.array([[1.01, 0.02, 3.3], [-0.015, 0.99, -2.7], [0, 0, 1]])
    moved = Registration.from_matrix(matrix, image.grid, "affine")
    whole = resample(image, image.grid, moved).data.compute()
    box = (slice(31, 140), slice(5, 102))
    part = sample_lazily(image, image.grid, moved, box).compute()
    np.testing.assert_array_equal(part, whole[box])


def test_a_block_is_one_task_that_travels(files):
    images = [read_image(files / f"{name}.npy") for name in "ab"]
    result = finish(map_of(Comparison(*images), blocks=(50, 50)))
    assert len(result.bands.__dask_graph__().layers) == 1
    assert result.bands.npartitions == 12
    again = pickle.loads(pickle.dumps(result))
    assert len(pickle.dumps(result)) < 20_000
    np.testing.assert_array_equal(again.bands.compute(), result.bands.compute())


def test_very_many_blocks_are_handed_out_without_a_graph():
    huge = da.broadcast_to(np.float32(0), (1, 2**19, 2**18), chunks=(1, 1024, 1024))
    boxes = blocks_of(huge.shape, block_edges(huge), (0, 2**18, 2**17))
    assert len(boxes) == 2**17
    assert boxes[0][1].start <= 2**18 < boxes[0][1].stop + 1024


@pytest.mark.parametrize(("shape", "edges"), [((90, 70), (20, 30)), ((5, 40, 41), (1, 10, 10))])
def test_blocks_cover_all_once(shape, edges):
    count = np.zeros(shape)
    for box in blocks_of(shape, edges, [n / 3 for n in shape]):
        count[box] += 1
    np.testing.assert_array_equal(count, 1)


def test_a_cluster_of_processes_writes_the_same_map(files, tmp_path):
    distributed = pytest.importorskip("distributed")
    images = [read_image(files / f"{name}.npy") for name in "ab"]
    comparison = Comparison(*images, None, NCCParameters(bands=ALL, search=1))
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        events = []
        run = run_comparison(comparison, sink=map_sink(tmp_path / "c.ome.zarr"), client=client)
        found = finish(translate(run, lambda event: [events.append(event)]))
        write_map(found.map, tmp_path / "c.npy", client=client)
    assert not any(event.bands for event in events if isinstance(event, MapTile))
    alone = finish(run_comparison(comparison, sink=map_sink(tmp_path / "t.ome.zarr"), threads=1))
    expected = read_map(tmp_path / "t.ome.zarr").bands.compute()
    for name in ("c.ome.zarr", "c.npy"):
        np.testing.assert_array_equal(read_map(tmp_path / name).bands.compute(), expected)
    assert found.tally.lines() == alone.tally.lines()


def test_blocks_fit_the_budget():
    plane = {"reach": (4, 4), "per_pixel": 30, "threads": 2}
    edges, threads = fit_blocks((40_000,) * 2, (True,) * 2, memory=600e6, **plane)
    assert (edges, threads) == ((2048, 2048), 2)
    need = threads * 30 * 2056**2
    edges, _ = fit_blocks((40_000,) * 2, (True,) * 2, memory=BASE + need - 1, **plane)
    assert edges == (1024, 1024)
    edges, threads = fit_blocks((40_000,) * 2, (True,) * 2, memory=BASE + 30 * 300**2, **plane)
    assert (edges, threads) == ((256, 256), 1)
    with pytest.raises(ValueError, match=r"a block of 256x256 needs .* give more memory"):
        fit_blocks((40_000,) * 2, (True,) * 2, memory=BASE, **plane)
    assert free_memory() > 0


@pytest.mark.parametrize("memory", [6e8, 1.5e9, 4e9, 16e9])
@pytest.mark.parametrize(
    ("reach", "per_pixel"), [((2, 4, 4), 76), ((6, 11, 11), 392), ((10, 12, 12), 732)]
)
def test_blocks_of_volumes_fit_the_budget(reach, per_pixel, memory):
    shape = (512, 1024, 1000)
    how = {"reach": reach, "per_pixel": per_pixel, "memory": memory}
    edges, threads = fit_blocks(shape, (True,) * 3, threads=2, **how)
    read = math.prod(e + 2 * r for e, r in zip(edges, reach, strict=True))
    assert threads * per_pixel * read <= memory - BASE
    assert 1 <= threads <= 2
    assert edges == fit_blocks((3, *shape), (False,) + (True,) * 3, threads=2, **{
        **how, "reach": (0, *reach)})[0][1:]  # fmt: skip


def test_blocks_of_volumes_have_long_rows_unless_windows_reach_far():
    how = {"memory": 4e9, "threads": 2}
    assert fit_blocks((512,) * 3, (True,) * 3, reach=(2, 4, 4), per_pixel=76, **how) == (
        (64, 128, 256),
        2,
    )
    # of cubes of 32, each would read 37 times what it computes
    far = fit_blocks((512,) * 3, (True,) * 3, reach=(36, 38, 38), per_pixel=1012, **how)
    assert far == ((48, 48, 48), 2)


@pytest.mark.parametrize("planes", [5, 16, 40])
@pytest.mark.parametrize("reach", [(2, 4, 4), (6, 11, 11)])
def test_a_thin_volume_needs_no_more_than_a_cube(planes, reach):
    shape = (planes, 400, 400)
    sides = [min(32 + 2 * r, n) for r, n in zip(reach, shape, strict=True)]
    how = {"reach": reach, "per_pixel": 400, "threads": 1}
    room = 400 * math.prod(sides)
    edges, _ = fit_blocks(shape, (True,) * 3, memory=BASE + room, **how)
    read = (min(e + 2 * r, n) for e, r, n in zip(edges, reach, shape, strict=True))
    assert 400 * math.prod(read) <= room


def test_blocks_of_a_volume_are_the_whole_to_the_last_bit(rng):
    images = rng.integers(0, 60_000, (2, 20, 36, 50)).astype(np.uint16)
    comparison = Comparison(*images, parameters=NCCParameters(radius=(2, 4, 4)))
    whole = finish(map_of(comparison, blocks=(20, 36, 50))).bands.compute()
    parts = finish(map_of(comparison, blocks=(8, 16, 32))).bands.compute()
    np.testing.assert_array_equal(parts, whole)


@pytest.mark.parametrize(("text", "number"), [("2GB", 2e9), ("600 MiB", 600 * 2**20), ("1e9", 1e9)])
def test_memory_is_read_as_written(text, number):
    assert parse_memory(text) == number


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--memory 3MB", "needs"),
        ("--memory lots", "cannot read 'lots'"),
        ("--workers 2 --scheduler tcp://127.0.0.1:9", "not both"),
        ("--scheduler nowhere", "cannot read 'nowhere' as the address of a scheduler"),
        ("--memory 300MB --refine", None),
    ],
)
def test_what_cannot_be_computed_within_means_is_said(files, tmp_path, capsys, words, told):
    names = [str(files / f"{name}.npy") for name in "ab"]
    code = main(["map", *names, "-o", str(tmp_path / "o.npy"), *words.split()])
    err = capsys.readouterr().err
    assert code == (0 if told is None else 2)
    assert told is None or (told in err and err.count("\n") <= 2)
    assert told is None or list(tmp_path.iterdir()) == []


def test_a_scheduler_without_workers_is_told_of(files, tmp_path, capsys, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    names = [str(files / f"{name}.npy") for name in "ab"]
    with distributed.LocalCluster(
        n_workers=0, host=cluster.HERE, dashboard_address=f"{cluster.HERE}:0"
    ) as empty:
        words = ["-o", str(tmp_path / "o.npy"), "--scheduler", empty.scheduler_address]
        assert main(["map", *names, *words]) == 2
    assert "has no workers; start some" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("memory", "told"), [("3MB", "--memory"), ("lots", "cannot read 'lots'")])
def test_a_refinement_that_does_not_fit_is_refused(files, tmp_path, capsys, memory, told):
    names = [str(files / f"{name}.npy") for name in "ab"]
    assert main(["refine", *names, "-o", str(tmp_path / "T.json"), "--memory", memory]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_resumed_on_the_command_line(files, tmp_path, capsys):
    names = [str(files / f"{name}.npy") for name in "ab"]
    images = [read_image(name) for name in names]
    path = tmp_path / "o.ome.zarr"
    run = run_comparison(Comparison(*images), sink=map_sink(path, resume=True))
    for event in run:
        if isinstance(event, MapTile):
            break
    run.close()
    words = ["map", *names, "-o", str(path)]
    assert main(words) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    expected = finish(map_of(Comparison(*images)))
    np.testing.assert_array_equal(read_map(path).bands.compute(), expected.bands.compute())


def test_arrays_that_no_file_holds_are_never_resumed_with_others(tmp_path):
    """An earlier run was of other samples: nothing of it may be in the map."""
    path = tmp_path / "a.npy"
    one, other = np.random.default_rng(0).normal(size=(2, 3, 30, 40))
    images = [SpatialImage.from_array(each, axis_labels=("t", "y", "x")) for each in (one, other)]
    steps = write_map.steps(confidence_map(images[0], images[0]), path, resume=True)
    assert next(steps).done < next(steps).total
    steps.close()
    with pytest.warns(Note, match="a.npy is begun anew: no file holds fixed and moving"):
        write_map(confidence_map(*images), path, resume=True)
    expected = confidence_map(*images).bands.compute()
    np.testing.assert_array_equal(read_map(path).bands.compute(), expected)


def test_the_state_of_a_pattern_is_that_of_its_files(tmp_path):
    for k in range(3):
        (tmp_path / f"scan_{k}.tif").write_bytes(b"before")
    pattern = str(tmp_path / "scan_*.tif")
    before = state_of(pattern)
    (tmp_path / "scan_7.tif").mkdir()  # as what is unfinished is, where a map is made beside
    assert before == state_of(pattern)
    (tmp_path / "scan_1.tif").write_bytes(b"afterwards")
    changed = state_of(pattern)
    (tmp_path / "scan_2.tif").rename(tmp_path / "scan_9.tif")
    assert before != changed != state_of(pattern)
    assert state_of(str(tmp_path / "none_*.tif")) is None


def test_the_state_of_a_zarr_is_that_of_its_chunks(tmp_path):
    """A chunk that is changed in place leaves the folders above as they were."""
    array = zarr.create_array(tmp_path / "a.zarr", shape=(64, 64), chunks=(8, 8), dtype="u2")
    array[...] = 1
    before = state_of(str(tmp_path / "a.zarr"))
    assert before == state_of(str(tmp_path / "a.zarr"))
    (tmp_path / "a.zarr" / "broken").symlink_to(tmp_path / "nothing")
    (tmp_path / "a.zarr" / ".DS_Store").write_bytes(b"of a desktop that showed it")
    assert before == state_of(str(tmp_path / "a.zarr"))
    array[60:, 60:] = 2
    assert before != state_of(str(tmp_path / "a.zarr"))


def test_progress_is_told_of_a_written_map(tmp_path):
    image = SpatialImage.from_array(np.random.default_rng(0).normal(size=(30, 40)))
    told = []
    steps = write_map.steps(finish(map_of(Comparison(image, image))), tmp_path / "a.npy")
    finish(translate(steps, lambda event: [told.append(event)]))
    assert [(event.done, event.total) for event in told if isinstance(event, Progress)] == [(1, 1)]


@pytest.mark.nightly
def test_blocks_of_a_lost_worker_are_computed_again(tmp_path):
    distributed = pytest.importorskip("distributed")
    noise = np.random.default_rng(0).normal(size=(2000, 2000))
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", noise)
    images = [read_image(tmp_path / f"{name}.npy") for name in "ab"]
    result = finish(map_of(Comparison(*images), blocks=(200, 200)))
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        steps = write_map.steps(result, tmp_path / "o.ome.zarr", client=client)
        for progress in steps:
            if progress.done == 5:
                os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
        assert progress.done == 100
    expected = result.bands.compute()
    np.testing.assert_array_equal(read_map(tmp_path / "o.ome.zarr").bands.compute(), expected)


def test_long_steps_say_how_long_they_take(capsys, monkeypatch):
    monkeypatch.setattr(console, "PERIOD", -1)

    def steps():
        for done in range(4):
            yield Progress(Step.COMPARE, done, 3, pixels=1000 * done)

    console.follow(steps())
    first, *then, last = capsys.readouterr().err.splitlines()
    assert first == "compare: 3 parts"
    assert [line.partition(" parts, ")[0] for line in then] == [
        "compare: 1 of 3",
        "compare: 2 of 3",
    ]
    assert all("ns/px" in line and line.endswith("s left") for line in then)
    assert last.startswith("compare: 0.0 s, ")


@pytest.mark.parametrize("ending", ["npy", "zarr", "tif"])
def test_a_box_of_a_file_is_read_at_once(tmp_path, ending, monkeypatch):
    """In pieces, as chunks have it, every strip that a window reaches into is a read."""
    samples = np.random.default_rng(0).integers(0, 4000, (70, 90)).astype(np.uint16)
    path = tmp_path / f"a.{ending}"
    if ending == "npy":
        np.save(path, samples)
    elif ending == "zarr":
        zarr.create_array(path, data=samples, chunks=(32, 32))
    else:
        tifffile.imwrite(path, samples, tile=(32, 32), compression="zlib")
    image = read_image(path)
    box = (slice(3, 40), slice(11, 80))
    pieces = image.data.rechunk((16, 16))
    np.testing.assert_array_equal(blocks.compute_block(pieces, box), samples[box])
    moved = image.data[::-1]
    np.testing.assert_array_equal(blocks.compute_block(moved, box), samples[::-1][box])
    monkeypatch.setattr(blocks, "compute_here", None)
    for each in (image, pickle.loads(pickle.dumps(image))):
        np.testing.assert_array_equal(blocks.compute_block(each.data, box), samples[box])
        row = blocks.compute_block(each.data, (5, slice(2, 9)))
        np.testing.assert_array_equal(row, samples[5, 2:9])
    part = image.crop((slice(3, 60), slice(10, None))).frame(())
    found = blocks.compute_block(part.data, box)
    np.testing.assert_array_equal(found, samples[3:60, 10:][box])


def test_planes_of_a_series_are_read_at_once(tmp_path, monkeypatch):
    """An order of axes that is no other one kept them from it."""
    samples = np.random.default_rng(0).integers(0, 4000, (5, 30, 40)).astype(np.uint16)
    np.save(tmp_path / "a.npy", samples)
    image = read_image(tmp_path / "a.npy").with_spatial_ndim(2)
    comparison = Comparison(image, image)
    monkeypatch.setattr(blocks, "compute_here", None)
    box = (slice(2, 3), slice(3, 20), slice(11, 40))
    for found in comparison.read(box):
        np.testing.assert_array_equal(found, samples[box])


class OneReader:
    """An array-like of a file that counts how often it is read."""

    reads_boxes = True

    def __init__(self, samples):
        self.samples, self.shape, self.dtype = samples, samples.shape, samples.dtype
        self.ndim, self.read = samples.ndim, 0

    def __getitem__(self, index):
        self.read += 1
        return self.samples[index]


@given(data=st.data())
def test_parts_of_parts_of_a_file_are_read_at_once(data):
    """However axes are picked and cut, and cut again, it is one read, and what NumPy gives."""
    shape = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    expected = np.arange(np.prod(shape)).reshape(shape)
    source = OneReader(expected)
    array = da.from_array(source, chunks=2, name=False, meta=np.empty((0,) * len(shape), int))
    for _ in range(data.draw(st.integers(0, 3))):
        index = [data.draw(st.integers(-n, n - 1) | st.slices(n)) for n in expected.shape]
        whole = [range(n)[part] for n, part in zip(expected.shape, index, strict=True)]
        if any(isinstance(left, range) and (left.step != 1 or not left) for left in whole):
            continue  # thinned, which costs less in pieces, or nothing left
        array, expected = blocks.take(array, index), expected[tuple(index)]
    box = tuple(slice(0, n) for n in expected.shape)
    source.read = 0
    np.testing.assert_array_equal(blocks.compute_block(array, box), expected)
    assert source.read == 1


@given(data=st.data())
def test_a_part_of_a_file_takes_steps_as_numpy_does(data):
    samples = np.arange(7 * 9).reshape(7, 9)
    array = da.from_array(OneReader(samples), chunks=2, name=False, meta=np.empty((0, 0), int))
    part = blocks.take(array, [slice(1, 6)])
    index = tuple(data.draw(st.slices(n) | st.integers(-n, n - 1)) for n in part.shape)
    np.testing.assert_array_equal(blocks.compute_block(part, index), samples[1:6][index])


@given(data=st.data())
def test_a_box_of_many_planes_takes_no_more_of_the_graph_than_it_needs(data):
    """Of delayed planes dask looked at all tasks for every box."""
    samples = np.arange(40 * 6 * 5.0).reshape(40, 6, 5)
    delayed = [da.from_delayed(dask.delayed(plane), (6, 5), float) for plane in samples]
    planes = data.draw(
        st.sampled_from([da.stack(delayed), da.ma.masked_greater(da.stack(delayed), 500)])
    )
    array = data.draw(st.sampled_from([planes, planes.rechunk((3, 4, 2)), planes[::-1], planes]))
    starts = [data.draw(st.integers(0, n - 1)) for n in array.shape]
    ends = [(a, data.draw(st.integers(a + 1, n))) for a, n in zip(starts, array.shape, strict=True)]
    box = tuple(data.draw(st.sampled_from([slice(a, b), a])) for a, b in ends)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(culling, "LISTED", 1)
        found, whole = culling.culled(array, box)[box], array[box]
        assert len(found.dask) <= 12 * (1 + whole.npartitions) + 3 * (ends[0][1] - ends[0][0])
        block = blocks.compute_block(array, box)
    np.testing.assert_array_equal(block, np.asarray(whole.compute()))


def test_the_tasks_of_an_array_are_kept_as_long_as_it_is():
    planes = [da.from_delayed(dask.delayed(np.zeros)((3, 4)), (3, 4), float) for _ in range(300)]
    array = da.stack(planes)
    del planes
    gc.collect()
    before = len(culling._graphs)
    blocks.compute_block(array, (0, slice(0, 2), slice(0, 2)))
    assert len(culling._graphs) == before + 1
    del array
    gc.collect()
    assert len(culling._graphs) == before


@pytest.mark.parametrize("shape", [(1, 40, 50), (12, 20, 30)])
def test_along_rows_of_an_image_pixels_are_sampled_as_across_them(rng, shape):
    from napari_local_ncc.transforms.linear_kernel import sample_linearly

    samples = rng.normal(size=shape).astype("f4")
    samples[..., 7:9, 5] = np.nan
    along = np.eye(3, 4)
    along[1:, 1:] = [[1.01, 0, 3.4], [0.02, 1, -5.7]]
    if shape[0] > 1:
        along[0] = [0.98, 0.01, 0, 1.3]
    across = along.copy()
    across[1, 2] = 1e-300  # which moves nothing, but is not 0
    found = [np.empty((shape[0], 30, 40), "f4") for _ in range(2)]
    for matrix, out in zip((along, across), found, strict=True):
        sample_linearly(samples, (0, 0, 0), shape, matrix, (0, 2, 3), 1e-6, out)
    np.testing.assert_array_equal(*found)
    assert 0.2 < np.isfinite(found[0]).mean() < 0.95
