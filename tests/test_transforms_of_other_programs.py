"""Transforms of other programs: each direction against the program that it belongs to.

The files in `elastix` were written by elastix 5.2 (itk-elastix 0.25.4), with the points that its
transformix moved, on grids of anisotropic pixels and turned axes.
"""

from __future__ import annotations

import doctest
import json
import re
import shutil
import signal
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import zarr
from skimage import transform as skt

from napari_local_ncc import Grid, Registration, SpatialImage, confidence_map, register
from napari_local_ncc.cli import main
from napari_local_ncc.transforms import (
    apply_to_image,
    as_registration,
    fit_points,
    read_transform,
)

ELASTIX = Path(__file__).parent / "elastix"
SPACING, ORIGIN = (0.7, 1.1, 1.9), (3.0, -5.0, 2.0)  # x, y, z
SHAPES = {2: (60, 70), 3: (24, 40, 44)}


def turned_grid(ndim, units=()):
    """Anisotropic pixels, and axes turned by 0.3 rad."""
    cos, sin = np.cos(0.3), np.sin(0.3)
    direction = np.eye(ndim)
    direction[:2, :2] = [[cos, -sin], [sin, cos]]
    matrix = np.eye(ndim + 1)
    matrix[:-1, :-1] = (direction * SPACING[:ndim])[::-1, ::-1]
    matrix[:-1, -1] = ORIGIN[:ndim][::-1]
    return Grid(SHAPES[ndim], matrix, units)


def inner_points(grid, number=20, seed=0):
    """World positions between the pixels of a grid."""
    last = np.array(grid.shape) - 1
    pixels = np.random.default_rng(seed).uniform(0.1, 0.9, (number, grid.ndim)) * last
    return pixels @ grid.pixel_to_world[:-1, :-1].T + grid.pixel_to_world[:-1, -1]


def by_itk(transform, points):
    return np.array([transform.TransformPoint(p[::-1].tolist())[::-1] for p in points])


def an_affine(ndim):
    random = np.random.default_rng(ndim)
    matrix = np.eye(ndim + 1)
    matrix[:-1] += random.normal(scale=0.1, size=(ndim, ndim + 1))
    matrix[:-1, -1] *= 20
    return matrix


def a_flow(grid, matrix=None):
    """A smooth displacement of a few pixels on top of a matrix."""
    pixels = np.indices(grid.shape) / np.reshape(grid.shape, (-1, *(1,) * grid.ndim))
    waves = [
        np.sin(2 * np.pi * pixels[k]) * np.cos(np.pi * pixels[k - 1]) for k in range(grid.ndim)
    ]
    field = (2 * grid.spacing.min() * np.stack(waves)).astype(np.float32)
    affine = np.eye(grid.ndim + 1) if matrix is None else matrix
    return Registration.from_matrix(affine, grid, "flow", displacement=field)


# ---------------------------------------------------------------- elastix


@pytest.mark.parametrize("case", sorted(path.name for path in ELASTIX.iterdir()))
def test_elastix_moves_points_as_we_do(case, tmp_path):
    pytest.importorskip("SimpleITK")
    grid = turned_grid(int(case[0]))
    files = sorted((ELASTIX / case).glob("TransformParameters.*.txt"))
    found = read_transform(files[-1], grid)
    table = np.loadtxt(ELASTIX / case / "points.csv", delimiter=",").reshape(-1, 2, grid.ndim)
    moved = found.transform_points(table[:, 0, ::-1])[:, ::-1]
    # elastix prints 6 digits; what bends is read between pixels
    np.testing.assert_allclose(moved, table[:, 1], atol=2e-3 if "bspline" in case else 2e-6)
    assert found.grid.units == grid.units
    if found.displacement is None:
        found.save(tmp_path / "TransformParameters.0.txt")
        again = read_transform(tmp_path / "TransformParameters.0.txt", grid)
        np.testing.assert_allclose(again.matrix, found.matrix, rtol=1e-12)


@pytest.mark.parametrize("change", ["unit", "place", "flip"])
def test_a_file_for_another_world_is_refused(change, tmp_path):
    """elastix writes down what fixed image it saw; a field of ITK lies where it lies."""
    pytest.importorskip("SimpleITK")
    grid = turned_grid(2)
    place = {
        "unit": np.diag([1000, 1000, 1]) @ grid.pixel_to_world,
        "place": np.add(grid.pixel_to_world, [[0, 0, 40], [0, 0, 0], [0, 0, 0]]),
        "flip": np.diag([-1, 1, 1]) @ grid.pixel_to_world,
    }[change]
    other = grid.replace(pixel_to_world=place)
    Registration.from_matrix(np.eye(3), grid).save(tmp_path / "TransformParameters.0.txt")
    a_flow(grid).save(tmp_path / "field.nii.gz")
    for name in ("TransformParameters.0.txt", "field.nii.gz"):
        assert read_transform(tmp_path / name, grid) is not None
        with pytest.raises(ValueError, match="as many pixels as fixed, but not in its world"):
            read_transform(tmp_path / name, other)
    far = other.replace(shape=(9, 9), pixel_to_world=[[1, 0, 900], [0, 1, 0], [0, 0, 1]])
    with pytest.raises(ValueError, match="it says nothing of fixed: the field covers"):
        read_transform(tmp_path / "field.nii.gz", far)


def test_a_field_may_run_the_other_way(tmp_path):
    """Of a mirrored lattice over the same place, every point has the same displacement."""
    itk = pytest.importorskip("SimpleITK")
    grid = turned_grid(2)
    a_flow(grid).save(tmp_path / "field.nii.gz")
    field = itk.ReadImage(str(tmp_path / "field.nii.gz"))
    itk.WriteImage(itk.Flip(field, [True, False]), str(tmp_path / "flipped.nii.gz"))
    found = [read_transform(tmp_path / name, grid) for name in ("field.nii.gz", "flipped.nii.gz")]
    points = inner_points(grid)
    ours, theirs = (each.transform_points(points) for each in found)
    assert np.abs(ours - points).max() > 0.1
    np.testing.assert_allclose(theirs, ours, atol=1e-4)


@pytest.mark.parametrize("axes", ["1 0 1e308 1", "1 0 1 0", "nan 0 0 1"])
def test_a_field_that_is_nowhere_is_refused(axes, tmp_path):
    """ITK searches the turn of axes of 1e308 for ever."""
    pytest.importorskip("SimpleITK")
    grid = turned_grid(2)
    a_flow(grid).save(tmp_path / "field.mha")
    before = (tmp_path / "field.mha").read_bytes()
    after = re.sub(rb"TransformMatrix = [^\n]*", b"TransformMatrix = " + axes.encode(), before)
    assert before != after
    (tmp_path / "field.mha").write_bytes(after)
    with pytest.raises(ValueError, match=r"field\.mha.*affine"):
        read_transform(tmp_path / "field.mha", grid)


@pytest.mark.parametrize("ndim", [2, 3])
def test_transformix_moves_points_by_what_we_write(ndim, tmp_path):
    """With elastix at hand: tox -e elastix."""
    pytest.importorskip("SimpleITK")
    itk = pytest.importorskip("itk")
    grid = turned_grid(ndim)
    ours = Registration.from_matrix(an_affine(ndim), grid)
    ours.save(tmp_path / "TransformParameters.0.txt")
    points = inner_points(grid, 5)
    rows = [" ".join(map(repr, point[::-1].tolist())) for point in points]
    (tmp_path / "in.txt").write_text("\n".join(["point", "5", *rows, ""]), encoding="utf-8")
    parameters = itk.ParameterObject.New()
    parameters.ReadParameterFile(str(tmp_path / "TransformParameters.0.txt"))
    image = itk.image_from_array(np.zeros(grid.shape, np.float32))
    itk.transformix_filter(
        image,
        parameters,
        fixed_point_set_file_name=str(tmp_path / "in.txt"),
        output_directory=str(tmp_path),
    )
    lines = (tmp_path / "outputpoints.txt").read_text(encoding="utf-8").splitlines()
    found = [line.split("OutputPoint = [")[1].split("]")[0].split() for line in lines]
    moved = np.array(found, np.float64)[:, ::-1]
    np.testing.assert_allclose(moved, ours.transform_points(points), atol=2e-6)


def test_elastix_adds_displacements_where_the_file_says_so(tmp_path):
    pytest.importorskip("SimpleITK")
    grid = turned_grid(2)
    for case in ("2d_affine", "2d_rigid_bspline"):
        first = (ELASTIX / "2d_rigid/TransformParameters.0.txt").read_text(encoding="utf-8")
        source = sorted((ELASTIX / case).glob("TransformParameters.*.txt"))[-1].read_text(
            encoding="utf-8"
        )
        name = "/home/lab/elastix/TransformParameters.0.txt"
        second = source.replace('"NoInitialTransform"', f'"{name}"').replace("Compose", "Add")
        (tmp_path / "TransformParameters.0.txt").write_text(first, encoding="utf-8")
        (tmp_path / "TransformParameters.1.txt").write_text(second, encoding="utf-8")
        (tmp_path / "alone.txt").write_text(
            source.replace(name, "NoInitialTransform"), encoding="utf-8"
        )
        points = inner_points(grid)
        steps = [
            read_transform(tmp_path / file, grid).transform_points(points) - points
            for file in ("TransformParameters.0.txt", "alone.txt", "TransformParameters.1.txt")
        ]
        np.testing.assert_allclose(steps[2], steps[0] + steps[1], atol=1e-2)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"EulerTransform"', '"ThinPlateSplineKernelTransform"', "ThinPlateSplineKernelTransform"),
        ("(TransformParameters ", "(TransformParameters 1 ", "it has 4 TransformParameters"),
        ("(CenterOfRotationPoint", "(Centre", "it has no CenterOfRotationPoint"),
        ('"NoInitialTransform"', '"C:\\\\run\\\\T.txt"', "begins with the transform"),
        ('"NoInitialTransform"', '"TransformParameters.0.txt"', "its own initial transform"),
        (
            '(UseDirectionCosines "true")',
            '(UseDirectionCosines "false")',
            "left out the directions",
        ),
    ],
)
def test_what_is_wrong_with_a_file_of_elastix_is_said(old, new, words, tmp_path):
    pytest.importorskip("SimpleITK")
    text = (ELASTIX / "2d_rigid/TransformParameters.0.txt").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "TransformParameters.0.txt"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
        read_transform(path, turned_grid(2))
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- ITK and ANTs


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("ending", [".tfm", ".txt", ".mat", ".h5", ".nii.gz", ".mha", ".nrrd"])
def test_itk_moves_points_by_what_we_write(ndim, ending, tmp_path):
    itk = pytest.importorskip("SimpleITK")
    grid = turned_grid(ndim)
    ours = Registration.from_matrix(an_affine(ndim), grid)
    path = tmp_path / f"t{ending}"
    ours.save(path)
    points = inner_points(grid)
    expected = ours.transform_points(points)
    if ending in (".nii.gz", ".mha", ".nrrd"):
        image = itk.Cast(itk.ReadImage(str(path)), itk.sitkVectorFloat64)
        theirs = itk.DisplacementFieldTransform(image)
    else:
        theirs = itk.ReadTransform(str(path))
    np.testing.assert_allclose(by_itk(theirs, points), expected, atol=2e-4)
    np.testing.assert_allclose(
        read_transform(path, grid).transform_points(points), expected, atol=2e-4
    )


@pytest.mark.parametrize("ending", [".h5", ".nii.gz", ".mha", ".nrrd", ".ome.zarr"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_a_flow_comes_back(ndim, ending, tmp_path):
    itk = pytest.importorskip("SimpleITK")
    grid = turned_grid(ndim)
    ours = a_flow(grid, an_affine(ndim))
    path = tmp_path / f"t{ending}"
    ours.save(path)
    points = inner_points(grid)
    expected = ours.transform_points(points)
    found = read_transform(path, grid)
    np.testing.assert_allclose(found.transform_points(points), expected, atol=1e-3)
    if ending == ".h5":
        theirs = itk.ReadTransform(str(path))
        np.testing.assert_allclose(by_itk(theirs, points), expected, atol=1e-4)
    with pytest.raises(ValueError, match=r"not that of a flow; save it as \.json, \.h5"):
        ours.save(tmp_path / "t.tfm")


@pytest.mark.parametrize("ending", [".json", ".ome.zarr"])
def test_a_flow_of_which_a_chunk_is_lost_or_changed_is_refused(ending, tmp_path):
    grid = turned_grid(2)
    a_flow(grid, an_affine(2)).save(tmp_path / f"t{ending}")
    chunk = next(path for path in tmp_path.rglob("c/*/*/*") if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[20] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(ValueError, match=r"t\..*zarr"):
        read_transform(tmp_path / f"t{ending}", grid)
    chunk.unlink()
    with pytest.raises(
        ValueError, match=r"t\..*zarr.*(damaged|chunks of its field are lost, or left)"
    ):
        read_transform(tmp_path / f"t{ending}", grid)


@pytest.mark.parametrize("is_left_out", [True, False])
def test_a_field_with_pixels_of_no_displacement_is_told(is_left_out, tmp_path):
    grid, path = turned_grid(2), tmp_path / "t.ome.zarr"
    a_flow(grid).save(path)
    level = path / "displacement/s0"
    values = zarr.open_array(level, mode="r")[...]
    values[:, :10] = np.nan
    shutil.rmtree(level)
    zarr.create_array(
        level,
        data=values,
        chunks=(1, 10, values.shape[2]),
        fill_value=np.nan,
        config={"write_empty_chunks": not is_left_out},
    )
    with pytest.raises(ValueError, match=r"t\.ome\.zarr: .* have no displacement \(NaN\)"):
        read_transform(path, grid)


@pytest.mark.parametrize("ending", [".json", ".ome.zarr"])
def test_a_field_is_not_written_on_after_an_interrupt(ending, tmp_path, monkeypatch):
    """Or Zarr's own thread makes the folder anew that was removed."""
    ours, written = a_flow(turned_grid(2), an_affine(2)), []
    write = zarr.Array.__setitem__

    def interrupted(array, box, values):
        signal.raise_signal(signal.SIGTERM)
        write(array, box, values)
        written.append(box)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(zarr.Array, "__setitem__", interrupted)
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            ours.save(tmp_path / f"t{ending}")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(written) == 1
    assert list(tmp_path.iterdir()) == []


def itk_transforms(itk, ndim):
    """What ITK and ANTs write: linear ones with centres, compositions, B-splines."""
    turn = itk.Euler2DTransform() if ndim == 2 else itk.Euler3DTransform()
    turn.SetCenter([5.0, 6.0, 7.0][:ndim])
    turn.SetParameters([0.1, 2.0, -3.0] if ndim == 2 else [0.1, -0.05, 0.2, 2.0, -3.0, 1.0])
    scale = itk.ScaleTransform(ndim, [1.1, 0.9, 1.05][:ndim])
    domain = itk.Image([60] * ndim, itk.sitkFloat32)
    domain.SetOrigin([-40.0] * ndim)
    domain.SetSpacing([2.5] * ndim)
    spline = itk.BSplineTransformInitializer(domain, [6] * ndim)
    number = spline.GetNumberOfParameters()
    spline.SetParameters(np.random.default_rng(0).normal(size=number).tolist())
    both = itk.CompositeTransform([turn, scale])
    bent = itk.CompositeTransform([turn, spline])
    return {"turn": turn, "both": both, "spline": spline, "bent": bent}


@pytest.mark.parametrize("ending", [".tfm", ".txt", ".h5"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_what_itk_writes_is_read(ndim, ending, tmp_path):
    itk = pytest.importorskip("SimpleITK")
    grid = turned_grid(ndim)
    points = inner_points(grid)
    for name, transform in itk_transforms(itk, ndim).items():
        path = tmp_path / f"{name}{ending}"
        itk.WriteTransform(transform, str(path))
        found = read_transform(path, grid)
        bends = name in ("spline", "bent")
        assert found.model == ("flow" if bends else "affine")
        expected = by_itk(transform, points)
        np.testing.assert_allclose(
            found.transform_points(points), expected, atol=0.02 if bends else 1e-9
        )
        taken = as_registration(transform, grid)
        np.testing.assert_array_equal(taken.matrix, found.matrix)


def test_a_spline_of_many_knots_is_one_long_line(tmp_path):
    itk = pytest.importorskip("SimpleITK")
    grid = turned_grid(2)
    domain = itk.Image([60, 60], itk.sitkFloat32)
    spline = itk.BSplineTransformInitializer(domain, [120, 120])
    numbers = np.random.default_rng(0).normal(size=spline.GetNumberOfParameters())
    spline.SetParameters(numbers.tolist())
    itk.WriteTransform(spline, str(tmp_path / "t.txt"))
    assert (tmp_path / "t.txt").stat().st_size > 2**17
    assert read_transform(tmp_path / "t.txt", grid).model == "flow"
    (tmp_path / "m.txt").write_text(" ".join(["0.125"] * 30_000) + "\n1 2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"m\.txt"):
        read_transform(tmp_path / "m.txt", grid)


def test_what_bends_is_exact_at_the_pixels():
    itk = pytest.importorskip("SimpleITK")
    grid = turned_grid(2)
    spline = itk_transforms(itk, 2)["spline"]
    found = as_registration(spline, grid)
    pixels = np.array([[0, 0], [13, 44], [59, 69]])
    points = pixels @ grid.pixel_to_world[:-1, :-1].T + grid.pixel_to_world[:-1, -1]
    np.testing.assert_allclose(found.transform_points(points), by_itk(spline, points), atol=1e-5)
    back = found.inverse().transform_points(found.transform_points(points[1:2]))
    np.testing.assert_allclose(back, points[1:2], atol=0.05)


# ---------------------------------------------------------------- landmarks


def write_bigwarp(path, fixed, moving, extra=()):
    rows = [
        ",".join([f'"Pt-{k}"', '"true"', *(f'"{v!r}"' for v in [*m[::-1], *f[::-1]])])
        for k, (f, m) in enumerate(zip(fixed.tolist(), moving.tolist(), strict=True))
    ]
    path.write_text("\n".join([*rows, *extra]) + "\n", encoding="utf-8")


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("model", ["translation", "rigid", "similarity", "affine", "flow"])
def test_landmarks_of_bigwarp(model, ndim, tmp_path, capsys):
    grid = turned_grid(ndim)
    fixed = inner_points(grid, 12)
    truth = an_affine(ndim)
    if model != "affine":
        truth = np.eye(ndim + 1)
        truth[:-1, -1] = np.arange(1, ndim + 1)
    if model in ("rigid", "similarity"):
        cos, sin = np.cos(0.2), np.sin(0.2)
        truth[:2, :2] = np.array([[cos, -sin], [sin, cos]])
    if model == "similarity":
        truth[:-1, :-1] *= 1.2
        if ndim == 3:
            truth[2, 2] = 1.2
    moving = fixed @ truth[:-1, :-1].T + truth[:-1, -1]
    if model == "flow":
        moving = moving + np.sin(fixed / 7)
    path = tmp_path / "landmarks.csv"
    unplaced = ",".join(['"Pt-99"', '"false"', *['"Infinity"'] * ndim, *['"3.0"'] * ndim])
    write_bigwarp(path, fixed, moving, [unplaced])
    found = read_transform(path, grid, model=model)
    assert found.model == model
    (report,) = found.reports
    if model == "flow":
        missed = np.linalg.norm(found.transform_points(fixed) - moving, axis=1)
        assert missed.max() < 0.05
    else:
        np.testing.assert_allclose(found.matrix, truth, atol=1e-9)
        assert report.score < 1e-9
    fit = fit_points(fixed, moving, grid, model=model)
    np.testing.assert_array_equal(fit.registration.matrix, found.matrix)
    assert fit.rms == pytest.approx(report.score, abs=1e-12)


def test_the_least_squares_are_those_of_scikit_image():
    grid = Grid((50, 60))
    random = np.random.default_rng(3)
    fixed = random.uniform(0, 50, (15, 2))
    moving = fixed @ np.array([[0.9, 0.2], [-0.1, 1.1]]).T + random.normal(size=(15, 2))
    kinds = {"rigid": skt.EuclideanTransform, "similarity": skt.SimilarityTransform}
    for model, kind in kinds.items():
        theirs = kind()
        assert theirs.estimate(fixed[:, ::-1], moving[:, ::-1])
        fit = fit_points(fixed, moving, grid, model=model)
        expected = theirs(fixed[:, ::-1])[:, ::-1]
        np.testing.assert_allclose(fit.registration.transform_points(fixed), expected)
        residuals = theirs.residuals(fixed[:, ::-1], moving[:, ::-1])
        np.testing.assert_allclose(fit.residuals, residuals)
    # that of an affine minimises something else than distances
    columns = np.column_stack([fixed, np.ones(15)])
    expected = columns @ np.linalg.lstsq(columns, moving)[0]
    fit = fit_points(fixed, moving, grid)
    np.testing.assert_allclose(fit.registration.transform_points(fixed), expected)


def test_axes_in_other_units_are_fitted_in_one():
    """A rotation in um, of a grid whose rows are counted in nm."""
    grid = Grid((50, 60), np.diag([500.0, 0.5, 1.0]), ("nanometer", "micrometer"))
    cos, sin = np.cos(0.3), np.sin(0.3)
    fixed = np.random.default_rng(0).uniform(0, 20, (9, 2))
    moving = fixed @ np.array([[cos, -sin], [sin, cos]]).T
    fit = fit_points(fixed * (1000, 1), moving * (1000, 1), grid, model="rigid")
    np.testing.assert_allclose(fit.residuals, 0, atol=1e-9)


@pytest.mark.parametrize(
    ("fixed", "model", "words"),
    [
        ([[0, 0], [1, 1], [2, 2], [3, 3]], "affine", "spread along 1 directions do not determine"),
        ([[1, 2], [1, 2]], "rigid", "spread along 0 directions"),
        ([], "translation", "as many of both"),
        ([[0, 0], [np.nan, 1]], "rigid", "not finite"),
        ([[0, 0], [1, 1]], "bent", "model must be one of"),
    ],
)
def test_landmarks_that_do_not_determine_a_transform(fixed, model, words):
    with pytest.raises(ValueError, match=words):
        fit_points(fixed, fixed, Grid((9, 9)), model=model)


# ---------------------------------------------------------------- OME-Zarr


def scene(path, *transformations, units=("micrometer", "micrometer")):
    group = zarr.open_group(path, mode="w", zarr_format=3)
    axes = [{"name": n, "type": "space", "unit": u} for n, u in zip("yx", units, strict=True)]
    ends = {"input": {"name": "fixed"}, "output": {"name": "moving"}}
    group.attrs["ome"] = {
        "version": "0.6",
        "scene": {
            "coordinateSystems": [{"name": name, "axes": axes} for name in ("fixed", "moving")],
            "coordinateTransformations": [one | ends for one in transformations],
        },
    }
    return group


UM = Grid((40, 50), np.diag([0.5, 0.25, 1]), ("micrometer",) * 2)
SHEAR = [[1.0, 0.1, 3.0], [-0.2, 0.9, 4.0]]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"type": "identity"}, lambda p: p),
        ({"type": "translation", "translation": [3, 4]}, lambda p: p + np.array([3, 4])),
        ({"type": "scale", "scale": [2, 3]}, lambda p: p * (2, 3)),
        ({"type": "mapAxis", "mapAxis": [1, 0]}, lambda p: p[:, ::-1]),
        ({"type": "rotation", "rotation": [[0, -1], [1, 0]]}, lambda p: p[:, ::-1] * (-1, 1)),
        ({"type": "affine", "affine": SHEAR}, lambda p: p @ np.array(SHEAR)[:, :2].T + (3, 4)),
        (
            {
                "type": "sequence",
                "transformations": [
                    {"type": "translation", "translation": [0.1, 0.9]},
                    {"type": "scale", "scale": [2, 3]},
                ],
            },
            lambda p: (p + np.array([0.1, 0.9])) * (2, 3),
        ),
        (
            {
                "type": "bijection",
                "forward": {"type": "scale", "scale": [2, 2]},
                "inverse": {"type": "scale", "scale": [0.5, 0.5]},
            },
            lambda p: p * 2,
        ),
        (
            {
                "type": "byDimension",
                "transformations": [
                    {
                        "transformation": {"type": "scale", "scale": [2]},
                        "inputAxes": [1],
                        "outputAxes": [0],
                    },
                    {
                        "transformation": {"type": "translation", "translation": [5]},
                        "inputAxes": [0],
                        "outputAxes": [1],
                    },
                ],
            },
            lambda p: np.stack([2 * p[:, 1], p[:, 0] + 5], axis=1),
        ),
    ],
)
def test_the_transformations_of_the_specification(document, expected, tmp_path):
    scene(tmp_path / "t.ome.zarr", document)
    points = inner_points(UM)
    found = read_transform(tmp_path / "t.ome.zarr", UM)
    np.testing.assert_allclose(found.transform_points(points), expected(points), atol=1e-12)


@pytest.mark.parametrize("kind", ["displacements", "coordinates"])
def test_the_fields_of_the_specification(kind, tmp_path):
    """The example of the specification: y first, pixels of 2 um; also as positions."""
    group = scene(tmp_path / "t.ome.zarr", {"type": kind, "path": "field"})
    pixels = np.indices((20, 10)).astype(float)
    steps = np.stack([0.1 * pixels[1], np.sin(pixels[0] / 5)])
    inner = group.create_group("field")
    values = steps if kind == "displacements" else steps + 2 * pixels
    inner.create_array("s0", data=values)
    vector = {"name": "c", "type": kind[:-1], "discrete": True}
    axes = [vector, {"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    step = {"type": "scale", "scale": [1, 2, 2], "input": {"path": "s0"}, "output": {"name": "p"}}
    level = {"path": "s0", "coordinateTransformations": [step]}
    system = {"name": "p", "axes": axes}
    inner.attrs["ome"] = {"multiscales": [{"coordinateSystems": [system], "datasets": [level]}]}
    found = read_transform(tmp_path / "t.ome.zarr", UM)
    np.testing.assert_allclose(
        found.transform_points([[4.0, 6.0]]), [[4.3, 6 + np.sin(0.4)]], atol=1e-5
    )


def test_axes_of_ome_zarr_in_another_order_are_those_of_their_names(tmp_path):
    group = scene(tmp_path / "t.ome.zarr", {"type": "affine", "affine": SHEAR})
    told = dict(group.attrs["ome"])
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "xy"]
    told["scene"]["coordinateSystems"] = [{"name": n, "axes": axes} for n in ("fixed", "moving")]
    group.attrs["ome"] = told
    named = UM.replace(axis_labels=("y", "x"))
    points = inner_points(UM)
    in_theirs = points[:, ::-1] * 1000
    linear, offset = np.array(SHEAR)[:, :2], np.array(SHEAR)[:, 2]
    expected = (in_theirs @ linear.T + offset)[:, ::-1] / 1000
    found = read_transform(tmp_path / "t.ome.zarr", named)
    np.testing.assert_allclose(found.transform_points(points), expected, atol=1e-9)


def test_a_transform_is_for_the_axes_in_its_order():
    ours = Registration.from_matrix([[1, 0, 3], [0, 1, 0], [0, 0, 1]],
                                    UM.replace(axis_labels=("x", "y")))  # fmt: skip
    turned = UM.replace(axis_labels=("Y", "X"))
    with pytest.raises(ValueError, match=r"for the axes \('x', 'y'\), but fixed has them in"):
        ours.check_fits(turned)
    with pytest.raises(ValueError, match="but the one after it has them in the order"):
        ours.compose(Registration.identity(turned))
    ours.check_fits(UM)


def test_ours_in_ome_zarr_keeps_units(tmp_path):
    ours = Registration.from_matrix([[1, 0.1, 2], [0, 1, -3], [0, 0, 1]], UM)
    ours.save(tmp_path / "t.ome.zarr")
    ours.save(tmp_path / "t.ome.zarr")  # over itself
    nm = UM.in_units(("nanometer",) * 2)
    found = read_transform(tmp_path / "t.ome.zarr", nm)
    points = inner_points(UM)
    moved = found.transform_points(points * 1000) / 1000
    np.testing.assert_allclose(moved, ours.transform_points(points))
    (tmp_path / "other.ome.zarr").mkdir()
    with pytest.raises(FileExistsError, match="something else"):
        ours.save(tmp_path / "other.ome.zarr")
    scene(tmp_path / "two.ome.zarr", {"type": "identity", "name": "a"}, {"type": "identity"})
    with pytest.raises(ValueError, match=r"holds 2 coordinate transformations \(a, identity\)"):
        read_transform(tmp_path / "two.ome.zarr", UM)
    scene(tmp_path / "odd.ome.zarr", {"type": "swirl"})
    with pytest.raises(ValueError, match="its type is 'swirl', but only identity"):
        read_transform(tmp_path / "odd.ome.zarr", UM)


# ---------------------------------------------------------------- matrices and objects


@pytest.mark.parametrize("ending", [".npy", ".csv"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_matrices_in_either_order(ndim, ending, tmp_path):
    grid, matrix = turned_grid(ndim), an_affine(ndim)
    ours = Registration.from_matrix(matrix, grid)
    for order in ("zyx", "xyz"):
        ours.save(tmp_path / f"t{ending}", order=order)
        again = read_transform(tmp_path / f"t{ending}", grid, order=order)
        np.testing.assert_allclose(again.matrix, matrix, rtol=1e-15)
    rows = (
        np.load(tmp_path / "t.npy")
        if ending == ".npy"
        else np.loadtxt(tmp_path / "t.csv", delimiter=",")
    )
    swapped = np.eye(ndim + 1)
    swapped[:-1] = swapped[-2::-1]
    np.testing.assert_allclose(rows, swapped @ matrix @ swapped)
    (tmp_path / "short.txt").write_text(
        "\n".join(" ".join(map(repr, r)) for r in matrix[:-1].tolist()),
        encoding="utf-8",
    )
    np.testing.assert_allclose(read_transform(tmp_path / "short.txt", grid).matrix, matrix)


def test_a_transform_of_scikit_image_is_in_x_and_y():
    grid = Grid((50, 60))
    points = inner_points(grid)
    for theirs in (
        skt.SimilarityTransform(scale=1.1, rotation=0.2, translation=(3, -7)),
        skt.EuclideanTransform(rotation=-0.4, translation=(1, 2)),
        skt.ProjectiveTransform(np.array([[1, 0.1, 2], [0, 1, 3], [1e-4, 2e-4, 1]])),
    ):
        found = as_registration(theirs, grid)
        expected = theirs(points[:, ::-1])[:, ::-1]
        np.testing.assert_allclose(found.transform_points(points), expected, atol=1e-3)
    bent = skt.PiecewiseAffineTransform()
    with pytest.raises(ValueError, match=r"moves no points .* estimate it first"):
        as_registration(bent, grid)
    inner = np.array([[5.0, 5], [40, 8], [20, 30], [8, 40]])
    bent.estimate(inner, inner + 1)
    with pytest.raises(ValueError, match="where every pixel of fixed goes"):
        as_registration(bent, grid)


def test_napari_and_simpleitk_are_honoured():
    from napari.utils.transforms import Affine

    grid, matrix = Grid((50, 60)), an_affine(2)
    np.testing.assert_allclose(as_registration(Affine(affine_matrix=matrix), grid).matrix, matrix)
    np.testing.assert_allclose(as_registration(matrix.tolist(), grid).matrix, matrix)
    with pytest.raises(TypeError, match=r"builtins\.dict is no transform: give a Registration"):
        as_registration({"a": 1}, grid)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        as_registration("nowhere.tfm", grid)


def test_they_are_taken_wherever_a_registration_is(tmp_path):
    fixed = np.random.default_rng(0).normal(size=(40, 50))
    moving = np.roll(fixed, (3, -5), axis=(0, 1))
    shift = skt.EuclideanTransform(translation=(-5, 3))
    matrix = np.array([[1.0, 0, 3], [0, 1, -5], [0, 0, 1]])
    np.save(tmp_path / "m.npy", matrix)
    for given in (shift, matrix, tmp_path / "m.npy"):
        values = np.asarray(confidence_map(fixed, moving, registration=given)["ncc"])
        assert np.nanmin(values[6:-6, 6:-6]) > 0.999
        found = register(fixed, moving, initial=given)
        np.testing.assert_allclose(found.translation, (3, -5), atol=1e-6)
        image = SpatialImage.from_array(moving)
        moved = np.asarray(apply_to_image(image, given, grid=Grid((40, 50))).data)
        np.testing.assert_allclose(moved[:-3, 5:], fixed[:-3, 5:])


def test_the_command_line_converts(tmp_path, capsys):
    pytest.importorskip("SimpleITK")
    like = str(tmp_path / "fixed.npy")
    np.save(like, np.random.default_rng(0).normal(size=(40, 50)))
    matrix = an_affine(2)
    np.savetxt(tmp_path / "m.csv", matrix, delimiter=",")
    files = ["m.csv", "t.tfm", "t.h5", "f.mha", "o.ome.zarr", "t.json"]
    for old, new in pairwise(files):
        words = ["convert", str(tmp_path / old), str(tmp_path / new), "--like", like]
        assert main(words) == 0
    points = inner_points(Grid((40, 50)))
    expected = points @ matrix[:2, :2].T + matrix[:2, 2]
    found = read_transform(tmp_path / "t.json")
    np.testing.assert_allclose(found.transform_points(points), expected, atol=1e-3)
    assert main(["convert", str(tmp_path / "m.csv"), str(tmp_path / "u.tfm")]) == 2
    assert main(["convert", str(tmp_path / "m.csv"), str(tmp_path / "u.foo"), "--like", like]) == 2
    said = capsys.readouterr().err
    assert "give the fixed image's grid (--like FIXED)" in said
    assert "must end in .json, .h5" in said
    write_bigwarp(tmp_path / "l.csv", points, expected + 0.5 * np.sin(points))
    words = ["convert", str(tmp_path / "l.csv"), str(tmp_path / "l.json"), "--like", like]
    assert main([*words, "--model", "similarity"]) == 0
    assert "landmarks missed by" in capsys.readouterr().out
    for name in ("m.csv", "l.csv"):
        assert main(["info", str(tmp_path / name), "--like", like]) == 0
        assert "transform affine, fixed world to moving world" in capsys.readouterr().out
    report = json.loads((tmp_path / "l.json").read_text(encoding="utf-8"))["reports"][0]
    assert report["metric"] == "distance of landmarks"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.foo", b"hello", "no transform file that is known"),
        ("t.npy", b"hello", "t.npy"),
        ("t.csv", b"a,b\n1,2\n", "t.csv"),
        ("t.h5", b"\x89HDF\r\n\x1a\nrest", "no ITK transform"),
        ("t.nii.gz", b"\x1f\x8bhello", "no image that ITK reads"),
        ("t.txt", b"1 2\n3 4\n", r"shape \(2, 2\), but 2 spatial axes need \(3, 3\)"),
        ("t.txt", b"1 2 3\n2 4 6\n0 0 1\n", "cannot be inverted"),
    ],
)
def test_what_is_no_transform_is_said(name, content, words, tmp_path):
    pytest.importorskip("SimpleITK")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_transform(tmp_path / name, Grid((9, 9)))


FOREIGN = {
    "empty": b"",
    "text": b"hello\n",
    "bytes": bytes(range(256)) * 4,
    "zeros": b"\0" * 500,
    "cut npy": b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'",
    "json": b'{"a": 1}',
    "list": b"[1, 2]",
    "gzip": b"\x1f\x8b" + b"x" * 50,
    "elastix": b'(Transform "EulerTransform")\n(TransformParameters 1 2)\n',
    "itk": b"#Insight Transform File V1.0\n",
    "complex": b"1+2j 3\n4 5\n",
    "landmark": b"a,true,1,2,3,4\n",
}


@pytest.mark.parametrize(
    "name",
    [
        "t.tfm",
        "t.txt",
        "t.h5",
        "t.mat",
        "t.nii.gz",
        "t.mha",
        "t.nrrd",
        "t.csv",
        "t.npy",
        "t.json",
        "t.ome.zarr",
        "t.foo",
        "TransformParameters.0.txt",
    ],
)
@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_bad_files_end_in_one_line(name, content, tmp_path):
    """Without addresses, and whatever the ending says."""
    pytest.importorskip("SimpleITK")
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=r"t\.|Transform") as caught:
        read_transform(path, Grid((9, 9)))
    said = str(caught.value)
    assert "\n" not in said
    assert "(0x" not in said
    path.unlink()
    path.mkdir()
    with pytest.raises(
        (ValueError, FileNotFoundError), match=r"no Zarr group|no transform|no file"
    ):
        read_transform(path, Grid((9, 9)))


@pytest.mark.parametrize("name", ["foreign", "landmark_fit", "registration", "transform_file"])
def test_the_examples_hold(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = import_module(f"napari_local_ncc.transforms.{name}")
    done = doctest.testmod(module)
    assert done.attempted >= 2
    assert not done.failed


def test_what_a_table_or_a_text_is_is_looked_up_in_it(tmp_path, capsys):
    (tmp_path / "m.csv").write_text("1,0,2\n0,1,3\n0,0,1\n", "utf-8")
    (tmp_path / "points.csv").write_text("y,x,name\n1,2,a\n", "utf-8")
    (tmp_path / "prose.txt").write_text("Dear reader,\nthis is prose.\n", "utf-8")
    told = {
        "m.csv": "m.csv (matrix) says nothing of units and axes: give the fixed image's grid",
        "points.csv": "points.csv: its format is not known",
        "prose.txt": "prose.txt is no transform file that is known",
    }
    for name, words in told.items():
        assert main(["info", str(tmp_path / name)]) == 2
        assert words in capsys.readouterr().err
