"""Channels, labels and points of the moving image come onto the fixed one."""

from __future__ import annotations

import csv
import re

import dask.array as da
import numpy as np
import pytest
from scipy import ndimage

from napari_local_ncc import (
    Registration,
    SpatialImage,
    confidence_map,
    read_image,
    register,
)
from napari_local_ncc.cli import main
from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.io import iter_write_image, read_points, write_map
from napari_local_ncc.transforms import write_transform
from napari_local_ncc.transforms.apply import apply_to_image, apply_to_labels, apply_to_points
from napari_local_ncc.transforms.resampling import labels_on

TURN = np.array([[0.96, 0.1, 3.0], [-0.1, 0.97, 5.5], [0, 0, 1.0]])


def texture(shape, seed=0):
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)


def transform(grid, matrix=TURN, model="affine"):
    field = None
    if model == "flow":
        rows = np.linspace(0, np.pi, grid.shape[0])[:, None]
        field = np.stack([2 * np.sin(rows) + np.zeros(grid.shape), np.zeros(grid.shape)])
        field = field.astype(np.float32)
    return Registration(model, matrix, grid, *[np.nan] * 3, displacement=field)


@pytest.mark.parametrize("model", ["affine", "flow"])
def test_an_image_is_sampled_where_the_transform_leads(model):
    moving = texture((60, 70))
    found = transform(Grid((50, 55)), model=model)
    points = np.indices((50, 55)).reshape(2, -1).T.astype(float)
    at = found.transform_points(points).T
    expected = ndimage.map_coordinates(moving, at, order=1, cval=np.nan).reshape(50, 55)
    result = apply_to_image(SpatialImage.from_array(moving, name="other"), found)
    np.testing.assert_allclose(result.data.compute(), expected, atol=1e-6)
    assert result.name == "other"


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, bool])
def test_labels_keep_their_dtype_and_values(dtype):
    labels = np.zeros((60, 60), dtype)
    labels[20:40, 25:50] = 1 if dtype is bool else 120
    found = transform(Grid((60, 60)))
    result = apply_to_labels(SpatialImage.from_array(labels), found)
    values = result.data.compute()
    assert values.dtype == dtype
    np.testing.assert_array_equal(np.unique(values), np.unique(labels))
    points = np.indices((60, 60)).reshape(2, -1).T.astype(float)
    nearest = np.floor(found.transform_points(points) + 0.5).astype(int)
    inside = ((nearest >= 0) & (nearest < 60)).all(axis=1)
    expected = np.where(inside, labels[tuple(np.clip(nearest, 0, 59).T)], 0)
    assert np.mean(values.ravel() == expected) > 0.999  # ties may round either way
    assert apply_to_labels(SpatialImage.from_array(labels), transform(Grid((60, 60)), np.eye(3)))


@pytest.mark.parametrize("label", [2**53 + 1, -(2**53) - 1])
def test_labels_that_would_be_taken_for_others_are_refused(label):
    labels = np.full((60, 60), label, np.int64)
    moved = apply_to_labels(SpatialImage.from_array(labels), transform(Grid((60, 60))))
    with pytest.raises(ValueError, match=r"labels beyond 2\*\*53"):
        moved.data.compute()
    with pytest.raises(ValueError, match=r"labels beyond 2\*\*53"):
        labels_on(SpatialImage.from_array(labels), Grid((60, 60))).compute()


def test_a_shift_of_labels_out_of_the_field_leaves_0():
    shift = np.eye(3)
    shift[0, 2] = 30
    labels = SpatialImage.from_array(np.full((40, 40), 7, np.uint16))
    values = apply_to_labels(labels, transform(Grid((40, 40)), shift)).data.compute()
    assert (values[:10] == 7).all()
    assert (values[10:] == 0).all()


def test_labels_that_a_file_calls_none_are_no_region():
    labels = np.array([[0.0, 7.0], [np.nan, 9.0]], np.float32)
    moved = apply_to_labels(SpatialImage.from_array(labels), transform(Grid((2, 2)), np.eye(3)))
    assert moved.data.dtype.kind == "i"
    assert moved.data.compute().tolist() == [[0, 7], [0, 9]]
    assert labels_on(labels, Grid((2, 2))).compute().tolist() == [[0, 7], [0, 9]]
    xr = pytest.importorskip("xarray")
    filled = xr.DataArray(np.array([[255, 7], [3, 9]], np.uint8), dims=("y", "x"))
    filled.attrs["_FillValue"] = 255
    assert labels_on(filled, Grid((2, 2))).compute().tolist() == [[0, 7], [3, 9]]


def test_labels_are_whole_numbers():
    with pytest.raises(TypeError, match="whole numbers"):
        apply_to_labels(SpatialImage.from_array(texture((30, 30))), transform(Grid((30, 30))))


@pytest.mark.parametrize("model", ["affine", "flow"])
def test_points_come_back_from_where_the_transform_sends_them(model, rng):
    found = transform(Grid((60, 60)), model=model)
    points = rng.uniform(15, 45, (20, 2))
    back = apply_to_points(found.transform_points(points), found)
    np.testing.assert_allclose(back, points, atol=0.01)


def test_another_grid_and_other_units():
    micro = {"spacing": 0.5, "units": ("um", "um")}
    image = SpatialImage.from_array(texture((60, 60)), **micro)
    found = transform(image.grid, np.diag([1, 1, 1.0]))
    nano = Grid((30, 30), np.diag([1000.0, 1000, 1]), units=("nanometer",) * 2)
    with pytest.raises(ValueError, match="the transform is for"):
        apply_to_image(image, found, grid=nano)
    coarse = Grid((30, 30), np.diag([1.0, 1, 1]), units=image.grid.units)
    half = apply_to_image(image, found, grid=coarse).data.compute()
    np.testing.assert_allclose(half, np.asarray(image.data)[::2, ::2], atol=1e-6)


# ------------------------------------------------------------------ files


FLIPPED, TURNED = np.diag([2.0, -3.0, 0.5, 1]), np.diag([2.0, 1, 1, 1])
FLIPPED[:-1, -1] = 4, -5, 6
TURNED[1:3, 1:3] = [[0.6, -0.8], [0.8, 0.6]]


PLACES = {"moved": np.abs(FLIPPED), "flipped": FLIPPED, "turned": TURNED, "plain": np.eye(4)}
REFUSED = {
    ".ome.zarr": {("turned", "um"), ("turned", "pixel")},
    ".ome.tif": {
        ("turned", "um"), ("turned", "pixel"), ("flipped", "um"), ("flipped", "pixel"),
        ("moved", "pixel"),
    },
    ".nii.gz": set(),
}  # fmt: skip


@pytest.mark.parametrize("unit", ["um", "pixel"])
@pytest.mark.parametrize("ending", list(REFUSED))
@pytest.mark.parametrize("name", list(PLACES))
def test_an_image_is_written_where_it_lies_or_not_at_all(name, ending, unit, tmp_path):
    grid = Grid((3, 40, 50), PLACES[name], units=(unit,) * 3, axis_labels=("z", "y", "x"))
    image = SpatialImage(da.zeros(grid.shape, np.uint8), grid, "image")
    path = tmp_path / f"image{ending}"
    if (name, unit) in REFUSED[ending]:
        with pytest.raises(ValueError, match=r"which image.* cannot say; write"):
            list(iter_write_image(image, path))
        assert not path.exists()
        return
    list(iter_write_image(image, path))
    again = read_image(path).grid
    units = again.units if ending == ".nii.gz" and unit == "pixel" else grid.units
    np.testing.assert_allclose(
        again.in_units(units).pixel_to_world, grid.pixel_to_world, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("ending", [".ome.tif", ".ome.zarr", ".npy"])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_an_image_is_written_and_read_back(ending, dtype, tmp_path):
    values = np.random.default_rng(0).integers(0, 5000, (3, 40, 50)).astype(dtype)
    place = {"spacing": (1.0, 0.5, 0.5), "units": ("pixel", "um", "um")}
    image = SpatialImage.from_array(values, axis_labels=("t", "y", "x"), **place)
    path = tmp_path / f"image{ending}"
    for _ in iter_write_image(image, path):
        pass
    again = read_image(path)
    np.testing.assert_array_equal(np.asarray(again.data), values)
    assert again.data.dtype == dtype
    if ending != ".npy":
        np.testing.assert_allclose(again.grid.space().spacing, 0.5)
        assert again.grid.units[1:] == image.grid.units[1:]


def test_the_command_applies_and_says_what_there_is(tmp_path, capsys):
    moving = texture((60, 60)).astype(np.float32)
    labels = (moving > 0).astype(np.uint8) * 3
    np.save(tmp_path / "m.npy", moving)
    np.save(tmp_path / "l.npy", labels)
    np.save(tmp_path / "f.npy", moving)
    found = transform(Grid((60, 60)))
    found.save(tmp_path / "t.json")
    t, m, n, f = (str(tmp_path / name) for name in ("t.json", "m.npy", "l.npy", "f.npy"))
    assert main(["apply", t, m, "--like", f, "-o", str(tmp_path / "o.npy")]) == 0
    expected = apply_to_image(SpatialImage.from_array(moving), found).data.compute()
    np.testing.assert_array_equal(np.load(tmp_path / "o.npy"), expected)
    assert main(["apply", t, n, "--labels", "-o", str(tmp_path / "l.ome.tif")]) == 0
    moved = read_image(tmp_path / "l.ome.tif")
    assert moved.data.dtype == np.uint8
    assert set(np.unique(moved.data.compute())) == {0, 3}
    capsys.readouterr()
    for name, words in (("t.json", "rotation"), ("l.ome.tif", "uint8"), ("m.npy", "60x60")):
        assert main(["info", str(tmp_path / name)]) == 0
        assert words in capsys.readouterr().out
    pytest.importorskip("SimpleITK")
    write_transform(found, tmp_path / "t.tfm")
    assert main(["info", str(tmp_path / "t.tfm")]) == 2
    assert main(["info", str(tmp_path / "t.tfm"), "--like", f]) == 0
    assert "affine" in capsys.readouterr().out
    write_map(confidence_map(moving, moving), tmp_path / "map.ome.tif")
    assert main(["info", str(tmp_path / "map.ome.tif")]) == 0
    assert "radius 4" in capsys.readouterr().out


def test_what_is_said_of_a_map_s_transform_is_whether_it_was_relied_on(tmp_path, capsys):
    image, other = texture((60, 60)), texture((60, 60))[::-1, ::-1]
    for moving, words in ((np.roll(image, 3, 0), "Registered: moved 3 px up."), (other, "Not reg")):
        registration = register(image, moving)
        path = tmp_path / "map.ome.tif"
        write_map(confidence_map(image, moving, registration=registration), path, overwrite=True)
        assert main(["info", str(path)]) == 0
        (line,) = re.findall(r"moved +(.*)", capsys.readouterr().out)
        assert line.startswith(f"by a translation. {words}")


def test_the_command_moves_points_of_a_table(tmp_path):
    found = transform(Grid((60, 60), axis_labels=("y", "x")))
    found.save(tmp_path / "t.json")
    rows = [["name", "x", "y"], ["a", "10.5", "20"], ["b", "30", "40"]]
    with (tmp_path / "p.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    words = ["apply", str(tmp_path / "t.json"), str(tmp_path / "p.csv")]
    assert main([*words, "-o", str(tmp_path / "o.csv")]) == 0
    moved = read_points(tmp_path / "o.csv", ("y", "x"))
    assert moved.header == rows[0]
    assert [row[0] for row in moved.rows] == ["a", "b"]
    np.testing.assert_allclose(
        found.transform_points(moved.coordinates), [[20, 10.5], [40, 30]], atol=1e-9
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [("a,b\n1,2\n", "needs y, x or axis-0, axis-1"), ("y,x\n1,two\n", "no number")],
)
def test_a_wrong_table_is_named(text, words, tmp_path, capsys):
    transform(Grid((60, 60), axis_labels=("y", "x"))).save(tmp_path / "t.json")
    (tmp_path / "p.csv").write_text(text, encoding="utf-8")
    out = str(tmp_path / "o.csv")
    assert main(["apply", str(tmp_path / "t.json"), str(tmp_path / "p.csv"), "-o", out]) == 2
    assert words in capsys.readouterr().err
    assert main(["info", str(tmp_path / "nothing.tif")]) == 2
    assert "nothing.tif" in capsys.readouterr().err
