"""Tables of a map, against NumPy on the whole array."""

from __future__ import annotations

import csv
import sys

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_local_ncc import NCCParameters, SpatialImage, confidence_map, local_ncc
from napari_local_ncc.chunked.tiles import compute_tiles
from napari_local_ncc.cli import main
from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.maps.grouped_histogram import GroupTally
from napari_local_ncc.maps.map_summary import MapTally
from napari_local_ncc.maps.pipeline import ConfidenceMap
from napari_local_ncc.reports.tables import (
    Distribution,
    LabelRow,
    LabelTable,
    frame_table,
    label_table,
    write_csv,
)
from napari_local_ncc.reports.vectors import vector_table


def make_map(values, bands=("ncc",), **place):
    grid = Grid.from_spacing(values.shape[1:], **place)
    lazy = da.from_array(values, chunks=(1, *(7 for _ in grid.shape)))
    return ConfidenceMap(lazy, bands, grid, NCCParameters(), None, {})


@given(
    hnp.arrays(
        "f4",
        (40,),
        elements=st.floats(-1, 1, width=32) | st.just(float(np.nan)),
    ),
    hnp.arrays("i8", (40,), elements=st.integers(-3, 3)),
    st.integers(1, 39),
    st.floats(-1, 1),
)
def test_a_tally_in_parts_is_numpy_on_the_whole(values, groups, cut, threshold):
    tally = GroupTally()
    tally.add(groups[:cut], values[:cut])
    tally.add(groups[cut:], values[cut:])
    assert tally.groups.tolist() == sorted(set(groups.tolist()))
    for k, group in enumerate(tally.groups):
        own = values[groups == group]
        known = own[np.isfinite(own)]
        assert tally.pixels[k] == own.size
        assert tally.defined[k] == known.size / own.size
        for share in (0.25, 0.5, 0.75):
            expected = np.nan
            if known.size:
                expected = np.quantile(known, share, method="inverted_cdf")
            np.testing.assert_allclose(tally.quantile(share)[k], expected, atol=5.1e-5)
        above = (
            (np.rint(known / 1e-4) >= np.rint(threshold / 1e-4)).mean() if known.size else np.nan
        )
        np.testing.assert_allclose(tally.share_above(threshold)[k], above)


@given(
    hnp.arrays("f4", (30,), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)
def test_values_of_any_magnitude_are_counted_to_a_share_of_themselves(values, threshold):
    groups = np.arange(30) % 2
    tally = GroupTally(relative=True)
    tally.add(groups, values)
    for k in range(2):
        known = values[k::2][np.isfinite(values[k::2])].astype(float)
        assert tally.defined[k] == known.size / 15
        if known.size:
            expected = np.quantile(known, 0.5, method="inverted_cdf")
            np.testing.assert_allclose(tally.quantile(0.5)[k], expected, rtol=1e-4, atol=1e-41)
            sure = known[~np.isclose(known, threshold, rtol=2e-4, atol=1e-41)]
            above, rest = (sure >= threshold).sum(), known.size - sure.size
            assert above <= round(tally.share_above(threshold)[k] * known.size) <= above + rest


@pytest.mark.parametrize("gain", [1e-7, 1.0, 1e7])
def test_the_line_of_fit_is_told_whatever_the_units_of_the_images(rng, gain):
    fixed = rng.normal(size=(30, 40)).astype("f4") + 9
    labels = SpatialImage.from_array(np.repeat([[1], [2]], 15, axis=0) * np.ones(40, int))
    result = confidence_map(fixed, gain * fixed, parameters=NCCParameters(bands=("ncc", "fit")))
    columns = label_table(result, labels).columns()
    np.testing.assert_allclose(columns["median_slope"], [gain] * 2, rtol=1e-3)
    tally = MapTally.of(result)
    tally.add(result.bands.compute(), (slice(0, 30), slice(0, 40)))
    assert float(tally.lines()["slope"].split()[1][:-1]) == pytest.approx(gain, rel=1e-3)


def test_a_region_says_how_much_of_it_has_a_shift(rng):
    values = rng.uniform(-1, 1, (4, 20, 30)).astype("f4")
    values[2:, :18, :15] = np.nan  # most of the first region has none
    labels = np.repeat([[1, 2]], 15, axis=1) * np.ones((20, 1), int)
    result = make_map(values, ("ncc", "gain", "shift_y", "shift_x"), axis_labels=("y", "x"))
    columns = label_table(result, SpatialImage.from_array(labels)).columns()
    assert columns["defined"] == [1, 1]
    assert columns["defined_shift"] == pytest.approx([0.1, 1])


def test_all_groups_together_are_one_map(rng):
    values = rng.uniform(-1, 1, 500)
    values[:50] = np.nan
    tally = GroupTally()
    tally.add(np.arange(500) % 7, values)
    edges = np.linspace(-1, 1, 11)
    np.testing.assert_array_equal(
        tally.histogram(edges), np.histogram(np.rint(values[50:] * 1e4) / 1e4, edges)[0]
    )
    both = tally.together()
    assert (both.groups.tolist(), both.pixels.tolist(), both.defined.tolist()) == (
        [0],
        [500],
        [0.9],
    )
    np.testing.assert_allclose(both.quantile(0.5), np.median(values[50:]), atol=5e-3)


def test_the_frame_table_is_each_frame_s_distribution(rng):
    values = rng.uniform(-1, 1, (1, 2, 3, 20, 15)).astype("f4")
    values[0, 1, 2] = np.nan
    result = make_map(values, axis_labels=("t", "c", "y", "x"))
    tally = GroupTally()
    for tile in compute_tiles(result["ncc"]):
        tally.add_frames(tile.location, tile.data, result.grid)
    table = frame_table(tally, result.grid, 0.2).columns()
    assert list(zip(table["t"], table["c"], strict=True)) == list(np.ndindex(2, 3))
    for row, index in enumerate(np.ndindex(2, 3)):
        frame = values[(0, *index)]
        if index == (1, 2):
            assert np.isnan(table["median_ncc"][row])
            assert table["defined"][row] == 0
            continue
        quartiles = np.quantile(frame, (0.25, 0.5, 0.75))
        found = [table[name][row] for name in ("lower_ncc", "median_ncc", "upper_ncc")]
        np.testing.assert_allclose(found, quartiles, atol=0.02)
        np.testing.assert_allclose(table["above_0.2"][row], (frame >= 0.2).mean(), atol=0.01)


def test_the_label_table_is_each_region_s_distribution(rng):
    values = rng.uniform(-1, 1, (2, 30, 40)).astype("f4")
    values[0, :10] = np.nan
    labels = rng.integers(0, 4, (30, 40)) * 100_000_000
    result = make_map(values, ("ncc", "confidence"))
    table = label_table(result, SpatialImage.from_array(labels), threshold=0).columns()
    assert table["index"] == [100_000_000, 200_000_000, 300_000_000]
    assert label_table(result, labels, threshold=0).columns() == table  # an array, too
    for row, label in enumerate(table["index"]):
        ncc, confidence = values[:, labels == label]
        assert table["pixels"][row] == ncc.size
        np.testing.assert_allclose(table["defined"][row], np.isfinite(ncc).mean())
        np.testing.assert_allclose(table["median_ncc"][row], np.nanmedian(ncc), atol=0.02)
        np.testing.assert_allclose(
            table["median_confidence"][row], np.median(confidence), atol=0.02
        )
        np.testing.assert_allclose(table["above_0"][row], np.mean(ncc[np.isfinite(ncc)] >= 0))


def test_the_label_table_has_the_errors_of_the_shift(rng):
    bands = ("ncc", "gain", "shift_y", "shift_x", "shift_sd_y", "shift_sd_x", "peak_ratio")
    values = rng.uniform(0, 0.5, (len(bands), 20, 30)).astype("f4")
    labels = rng.integers(0, 3, (20, 30))
    table = label_table(make_map(values, bands), SpatialImage.from_array(labels)).columns()
    for name in ("shift_sd_y", "shift_sd_x"):
        wanted = [np.median(values[bands.index(name), labels == k]) for k in (1, 2)]
        np.testing.assert_allclose(table[f"median_{name}"], wanted, atol=0.01)


def test_labels_lie_where_they_lie_in_the_world(rng):
    values = rng.uniform(-1, 1, (1, 3, 8, 8)).astype("f4")
    result = make_map(
        values, axis_labels=("t", "y", "x"), spacing=(1, 0.5, 0.5), units=("s", "um", "um")
    )
    coarse = np.zeros((4, 4), np.uint8)
    coarse[1:3, 1:3] = 7
    labels = SpatialImage.from_array(
        coarse, spacing=1.0, origin=0.25, units=("um", "um"), axis_labels=("y", "x")
    )
    table = label_table(result, labels).columns()
    assert table["index"] == [7]
    assert table["pixels"] == [3 * 4 * 4]
    np.testing.assert_allclose(table["median_ncc"], np.median(values[0, :, 2:6, 2:6]), atol=0.1)
    with pytest.raises(ValueError, match="relabel"):
        label_table(result, labels.replace(data=labels.data.astype("i8") * 2**31))
    with pytest.raises(ValueError, match="band ncc"):
        label_table(make_map(values, ("gain",)), labels)
    with pytest.raises(TypeError, match="whole numbers"):
        label_table(result, labels.replace(data=labels.data * 0.5))
    with pytest.raises(ValueError, match="axes"):
        label_table(make_map(values[:, 0]), SpatialImage.from_array(np.ones((3, 4, 8, 8), int)))


def test_pandas_holds_what_the_columns_hold(rng, monkeypatch):
    pandas = pytest.importorskip("pandas")
    values = rng.uniform(-1, 1, (5, 1, 24, 24)).astype("f4")
    names = ("ncc", "ncc_best", "gain", "shift_y", "shift_x")
    result = make_map(values, names)
    labels = SpatialImage.from_array(rng.integers(0, 3, (24, 24)))
    squeezed = make_map(values[:, 0], names)
    for table in (label_table(squeezed, labels), vector_table(squeezed), _frames(result)):
        frame = table.to_pandas()
        assert {name: frame[name].tolist() for name in frame} == table.columns()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        table.to_pandas()
    assert pandas


def _frames(result):
    tally = GroupTally()
    for tile in compute_tiles(result["ncc"]):
        tally.add_frames(tile.location, tile.data, result.grid)
    return frame_table(tally, result.grid)


def test_csv_leaves_the_undefined_empty(tmp_path):
    known, unknown = (Distribution(value, value, value, 1.0, 0.0) for value in (0.25, np.nan))
    rows = LabelRow(1, 4, known, {"gain": 0.5}), LabelRow(2, 6, unknown, {"gain": np.nan})
    write_csv(LabelTable(("gain",), rows, 0.2), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text(encoding="utf-8").splitlines() == [
        "index,pixels,median_ncc,lower_ncc,upper_ncc,defined,above_0.2,median_gain",
        "1,4,0.25,0.25,0.25,1,0,0.5",
        "2,6,,,,1,0,",
    ]


@pytest.fixture
def series(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    a = rng.normal(size=(4, 30, 30))
    b = a + np.arange(4)[:, None, None] * rng.normal(size=a.shape)
    np.save("a.npy", a)
    np.save("b.npy", b)
    labels = np.zeros((30, 30), np.uint16)
    labels[5:15, 5:15] = 3
    labels[20:, 20:] = 9
    np.save("l.npy", labels)
    return local_ncc(a, b, radius=(0, 4, 4))


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_writes_a_row_per_frame(series, capsys):
    words = ["map", "a.npy", "b.npy", "-o", "o.npy", "--ndim", "2", "--table", "t.csv"]
    assert main(words) == 0
    table = rows("t.csv")
    medians = np.median(series, axis=(1, 2))
    np.testing.assert_allclose([float(row["median_ncc"]) for row in table], medians, atol=1e-3)
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("frame")]
    assert [f"median {median:.3f}" in line for median, line in zip(medians, printed, strict=True)]
    assert printed[2].startswith("frame    z=2 ")
    assert main([*words, "--overwrite"]) == 0


def test_the_command_writes_a_row_per_label(series, capsys):
    words = ["map", "a.npy", "b.npy", "-o", "o.npy", "--ndim", "2", "--labels", "l.npy"]
    assert main([*words, "--table", "t.csv"]) == 0
    table = rows("t.csv")
    assert [row["index"] for row in table] == ["3", "9"]
    inside = series[:, 5:15, 5:15]
    np.testing.assert_allclose(float(table[0]["median_ncc"]), np.median(inside), atol=5e-3)
    assert "table    t.csv" in capsys.readouterr().out
    assert main([*words, "--overwrite"]) == 2
    assert "--table" in capsys.readouterr().err
    assert main([*words, "--overwrite", "--table", "t.csv"]) == 0
    assert main(["map", "a.npy", "b.npy", "-o", "o2.npy", "--table", "a.npy"]) == 2
    assert "csv" in capsys.readouterr().err
    assert main(["map", "a.npy", "b.npy", "-o", "o2.npy", "--table", "t.csv"]) == 2
    assert "exists" in capsys.readouterr().err
