"""Transforms of ANTs, against ANTs itself: tox -e ants."""

import numpy as np
import pytest
from scipy import ndimage

from napari_local_ncc import Registration, read_transform
from test_transforms_of_other_programs import a_flow, an_affine, inner_points, turned_grid

ants = pytest.importorskip("ants")


def by_ants(transforms, points):
    """Move points by a list of files of ANTs, as its registration returns them."""
    import pandas

    names = "xyz"[: points.shape[1]]
    table = pandas.DataFrame(points[:, ::-1], columns=list(names))
    if points.shape[1] == 2:
        table["z"] = 0.0
    moved = ants.apply_transforms_to_points(points.shape[1], table, [str(t) for t in transforms])
    return moved[list(names)].to_numpy()[:, ::-1]


def image_on(grid, seed=0):
    """Make an image of ANTs on a grid."""
    samples = np.random.default_rng(seed).normal(size=grid.shape).astype(np.float32)
    linear = grid.pixel_to_world[:-1, :-1][::-1, ::-1]
    spacing = np.linalg.norm(linear, axis=0)
    return ants.from_numpy(samples.T, origin=grid.origin[::-1].tolist(), spacing=spacing.tolist(),
                           direction=linear / spacing)  # fmt: skip


@pytest.mark.parametrize("ndim", [2, 3])
def test_ants_moves_points_by_the_affine_that_we_write(ndim, tmp_path):
    grid = turned_grid(ndim)
    ours = Registration.from_matrix(an_affine(ndim), grid)
    ours.save(tmp_path / "a.mat")
    points = inner_points(grid)
    moved = by_ants([tmp_path / "a.mat"], points)
    np.testing.assert_allclose(moved, ours.transform_points(points), atol=1e-4)


@pytest.mark.parametrize("ndim", [2, 3])
def test_ants_moves_points_by_the_field_that_we_write(ndim, tmp_path):
    grid = turned_grid(ndim)
    ours = a_flow(grid)
    ours.save(tmp_path / "aWarp.nii.gz")
    points = inner_points(grid)
    moved = by_ants([tmp_path / "aWarp.nii.gz"], points)
    np.testing.assert_allclose(moved, ours.transform_points(points), atol=1e-3)


@pytest.mark.parametrize("kind", ["AffineTransform", "Euler2DTransform", "Euler3DTransform"])
def test_what_ants_writes_is_read(kind, tmp_path):
    ndim = 3 if "3D" in kind else 2
    grid = turned_grid(ndim)
    theirs = ants.create_ants_transform(transform_type=kind, dimension=ndim)
    random = np.random.default_rng(1)
    parameters, others = np.asarray(theirs.parameters), len(theirs.fixed_parameters) - ndim
    theirs.set_parameters(parameters + random.uniform(-0.1, 0.1, len(parameters)))
    theirs.set_fixed_parameters([3.0, 4.0, 5.0][:ndim] + [0.0] * others)
    ants.write_transform(theirs, str(tmp_path / "a.mat"))
    points = inner_points(grid)
    expected = np.array([theirs.apply_to_point(p[::-1].tolist())[::-1] for p in points])
    found = read_transform(tmp_path / "a.mat", grid)
    np.testing.assert_allclose(found.transform_points(points), expected, atol=1e-5)


def test_a_registration_of_ants_is_read_as_it_moves_points(tmp_path):
    """Warp and affine of SyN, one after the other as ANTs applies them."""
    grid = turned_grid(2)
    fixed = ndimage.gaussian_filter(np.random.default_rng(2).normal(size=grid.shape), 3)
    images = []
    for samples in (fixed, ndimage.shift(fixed, (1.5, -2.0), mode="nearest")):
        image = image_on(grid)
        images.append(image.new_image_like((samples * 100).astype(np.float32).T))
    found = ants.registration(*images, type_of_transform="SyN", outprefix=str(tmp_path / "s"),
                              random_seed=1)  # fmt: skip
    warp, affine = found["fwdtransforms"]
    points = inner_points(grid)
    parts = [read_transform(path, grid) for path in (warp, affine)]
    # ANTs applies the last of the list first to the points of fixed's image: the warp
    for part, path in zip(parts, (warp, affine), strict=True):
        np.testing.assert_allclose(
            part.transform_points(points), by_ants([path], points), atol=2e-2
        )
    both = parts[0].compose(parts[1])
    expected = by_ants([warp, affine], points)
    np.testing.assert_allclose(both.transform_points(points), expected, atol=5e-2)
