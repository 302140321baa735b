"""Transforms of ITK, both ways; SimpleITK itself resamples by them as the oracle."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import scipy.ndimage

from napari_local_ncc import Grid, Registration, SpatialImage, register
from napari_local_ncc.cli import main
from napari_local_ncc.transforms import read_transform, write_transform
from napari_local_ncc.transforms.resampling import resample

NAN = np.array(np.nan)


def image_of(shape, seed=0, **fields):
    noise = np.random.default_rng(seed).normal(size=shape)
    return SpatialImage.from_array(scipy.ndimage.gaussian_filter(noise, 2) + 1, **fields)


def turned(ndim, degrees=9.0):
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(ndim + 1)
    matrix[ndim - 2 : ndim, ndim - 2 : ndim] = [[cos, -sin], [sin * 1.1, cos]]
    matrix[:-1, -1] = np.arange(1, ndim + 1) / 3
    return matrix


def in_itk(itk, image):
    """The same image in ITK, placed by its spacing and origin, axes x, y, z."""
    made = itk.GetImageFromArray(np.asarray(image.data))
    made.SetSpacing(image.grid.spacing[::-1].tolist())
    made.SetOrigin(image.grid.origin[::-1].tolist())
    return made


@pytest.mark.parametrize("shape", [(40, 50), (14, 30, 40)])
def test_itk_resamples_as_we_do(shape, tmp_path):
    itk = pytest.importorskip("SimpleITK")
    ndim = len(shape)
    spacing, origin = (0.5, 0.7, 0.4)[-ndim:], (3.0, -2.0, 1.0)[-ndim:]
    fixed = image_of(shape, spacing=spacing, origin=origin)
    moving = image_of(shape, 1, spacing=spacing[::-1], origin=origin)
    ours = Registration("affine", turned(ndim), fixed.grid, NAN, NAN, NAN)
    write_transform(ours, tmp_path / "t.tfm")
    theirs = itk.Resample(
        in_itk(itk, moving),
        in_itk(itk, fixed),
        itk.ReadTransform(str(tmp_path / "t.tfm")),
        itk.sitkLinear,
        np.nan,
    )
    expected = itk.GetArrayFromImage(theirs)
    mine = np.asarray(resample(moving, fixed.grid, ours).data)
    both = np.isfinite(mine) & np.isfinite(expected)
    assert both.mean() > 0.2
    # ITK extends an image by half a pixel
    assert np.isfinite(mine).sum() <= np.isfinite(expected).sum()
    np.testing.assert_allclose(mine[both], expected[both], atol=1e-5)
    again = read_transform(tmp_path / "t.tfm", fixed.grid)
    np.testing.assert_allclose(again.matrix, ours.matrix, atol=1e-12)
    assert again.grid.units == fixed.grid.units


def test_what_itk_wrote_is_read(tmp_path):
    itk = pytest.importorskip("SimpleITK")
    grid = image_of((20, 30, 40)).grid
    turn = itk.Euler3DTransform((3.0, 2.0, 1.0), 0.1, -0.2, 0.05, (5.0, 6.0, 7.0))
    scale = itk.ScaleTransform(3, (1.1, 0.9, 1.0))
    itk.WriteTransform(itk.CompositeTransform([turn, scale]), str(tmp_path / "c.tfm"))
    itk.WriteTransform(turn, str(tmp_path / "e.txt"))
    points = np.random.default_rng(0).normal(size=(5, 3)) * 10
    for name, oracle in (("c.tfm", itk.CompositeTransform([turn, scale])), ("e.txt", turn)):
        found = read_transform(tmp_path / name, grid).transform_points(points)
        expected = [oracle.TransformPoint(p[::-1].tolist())[::-1] for p in points]
        np.testing.assert_allclose(found, expected)


@pytest.mark.realdata
@pytest.mark.parametrize("case", ["known_pd_2d", "known_t1_3d"])
def test_the_truth_files_are_read(shared_data, case):
    """What made the known pairs, in ITK's own words and in ours."""
    itk = pytest.importorskip("SimpleITK")
    folder = shared_data / "cases" / case
    record = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    spacing = record["spacing_zyx"]
    shape = np.load(folder / "moving.npy").shape
    grid = SpatialImage.from_array(np.zeros(shape), spacing=spacing).grid
    found = read_transform(folder / "T_affine.tfm", grid)
    to_px = np.linalg.inv(grid.pixel_to_world) @ found.matrix @ grid.pixel_to_world
    np.testing.assert_allclose(to_px[:-1, :-1], record["cases"]["affine"]["A"], atol=1e-4)
    np.testing.assert_allclose(to_px[:-1, -1], record["cases"]["affine"]["b"], atol=2e-2)
    spline = itk.ReadTransform(str(folder / "T_bspline.tfm"))
    points = np.random.default_rng(0).uniform(0.2, 0.8, (9, grid.ndim)) * grid.corners().max(axis=0)
    expected = [spline.TransformPoint(p[::-1].tolist())[::-1] for p in points]
    bent = read_transform(folder / "T_bspline.tfm", grid).transform_points(points)
    np.testing.assert_allclose(bent, expected, atol=0.02)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.tfm", "", "no ITK transform"),
        ("t.txt", "hello", "no transform file that is known"),
        ("t.tfm", "#Insight Transform File V1.0\n#Transform 0\nTransform: Foo\n", "no ITK"),
        ("t.json", "hello", "no transform of local-ncc"),
        ("t.mat", "hello", "no ITK transform"),
    ],
)
def test_foreign_files_are_named(tmp_path, name, text, words):
    pytest.importorskip("SimpleITK")
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        read_transform(path, image_of((9, 9)).grid)


def test_what_does_not_fit_is_named(tmp_path, monkeypatch):
    itk = pytest.importorskip("SimpleITK")
    path = tmp_path / "t.tfm"
    grid = image_of((9, 9)).grid
    with pytest.raises(FileNotFoundError, match=r"t\.tfm"):
        read_transform(path, grid)
    itk.WriteTransform(itk.Euler3DTransform(), str(path))
    with pytest.raises(ValueError, match="3-D transform"):
        read_transform(path, grid)
    with pytest.raises(ValueError, match="fixed image's grid"):
        read_transform(path)
    series = register(*np.random.default_rng(0).normal(size=(2, 9, 9)), model="none")
    stack = np.stack([np.eye(3), turned(2)])
    grid = SpatialImage.from_array(np.zeros((2, 9, 9)), axis_labels=("t", "y", "x")).grid
    nothing = np.full(2, np.nan)
    with pytest.raises(ValueError, match="2 frames"):
        write_transform(Registration("affine", stack, grid, nothing, nothing, nothing), path)
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(ImportError, match=r"napari-local-ncc\[registration\]"):
        write_transform(series, path)


def test_the_command_line_reads_and_writes_them(tmp_path, capsys):
    pytest.importorskip("SimpleITK")
    frame = np.asarray(image_of((60, 70)).data)
    np.save(tmp_path / "fixed.npy", frame[5:55, 5:60])
    np.save(tmp_path / "moving.npy", frame[2:52, 9:64])
    files = [str(tmp_path / name) for name in ("fixed.npy", "moving.npy")]
    transform = str(tmp_path / "t.tfm")
    assert main(["register", *files, "-o", transform]) == 0
    assert main(["map", *files, "-o", str(tmp_path / "o.npy"), "--transform", transform]) == 0
    assert np.nanmin(np.load(tmp_path / "o.npy")) > 0.9999
    (tmp_path / "t.tfm").write_text("broken", encoding="utf-8")
    words = ["map", *files, "-o", str(tmp_path / "o2.npy"), "--transform", transform]
    assert main(words) == 2
    assert "no ITK transform" in capsys.readouterr().err


def test_a_displacement_that_leads_nowhere_is_refused():
    field = np.zeros((2, 8, 8), np.float32)
    for value, words in ((1e30, "leads nowhere"), (np.inf, "finite")):
        field[0, 3, 3] = value
        with pytest.raises(ValueError, match=words):
            Registration.from_matrix(np.eye(3), Grid((8, 8)), "flow", displacement=field)


@pytest.mark.parametrize("lost", ["field", "matrix", "nothing"])
def test_a_flow_of_which_a_part_is_lost_is_no_file(lost, tmp_path, monkeypatch):
    itk = pytest.importorskip("SimpleITK")
    grid = Grid((30, 20))
    field = np.zeros((2, 30, 20), np.float32)
    field[:, 8:22, 6:14] = np.random.default_rng(0).normal(size=(2, 14, 8))
    flow = Registration.from_matrix(turned(2, 1.0), grid, "flow", displacement=field)
    field_lost = Registration.from_matrix(turned(2, 1.0), grid, "flow", displacement=0 * field)
    matrix_lost = Registration.from_matrix(turned(2, 1.1), grid, "flow", displacement=field)
    held = {"field": field_lost, "matrix": matrix_lost, "nothing": flow}[lost]
    write_transform(held, tmp_path / "held.h5")
    read = itk.ReadTransform
    monkeypatch.setattr(itk, "ReadTransform", lambda _: read(str(tmp_path / "held.h5")))
    if lost == "nothing":
        write_transform(flow, tmp_path / "t.h5")
    else:
        with pytest.raises(OSError, match=r"t\.h5 is not what was written"):
            write_transform(flow, tmp_path / "t.h5")
