"""Transforms of ITK as registrations, and registrations as transforms of ITK.

ITK's axes are x, y, z: ours in the opposite order. Its physical coordinates are taken for our
world coordinates, without flips.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.geometry.affine import check_affine
from napari_local_ncc.image.metaimage import check_header
from napari_local_ncc.image.read_guard import check_claim
from napari_local_ncc.transforms.displacement_field import transform_pixels
from napari_local_ncc.transforms.formats.simpleitk import (
    last_words,
    simpleitk,
    write_image,
    write_transform,
)
from napari_local_ncc.transforms.frame_transform import FrameTransform
from napari_local_ncc.transforms.overlap import overlap_share
from napari_local_ncc.transforms.sampled_map import points_of, sample_map

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid

    Matrix = NDArray[np.float64]

SAME_PIXEL = 0.5  # px, by which two grids may differ that are taken for one


def from_itk(transform: Any, space: Grid) -> FrameTransform:
    """Return what a transform of ITK does on a spatial grid.

    Parameters
    ----------
    transform : SimpleITK.Transform
        Maps points of the fixed image to the moving image, as ITK's do.
    space : Grid
        The fixed image's spatial grid, where a transform that is not linear is sampled.

    Returns
    -------
    FrameTransform
        An affine where the transform is linear, and else a flow.

    Raises
    ------
    ValueError
        If the transform is for another number of axes than the grid has, or is singular.
    """
    if transform.GetDimension() != space.ndim:
        raise ValueError(
            f"it holds a {transform.GetDimension()}-D transform, but fixed has {space.ndim} "
            f"spatial axes {space.axis_labels}"
        )
    if transform.IsLinear():
        return FrameTransform(linear_matrix(transform), space)
    return sample_map(lambda part: points_of(part) + displacement_on(part, transform), space)


def linear_matrix(transform: Any) -> Matrix:
    """Return the matrix of a linear transform of ITK, in NumPy's axis order."""
    ndim = transform.GetDimension()
    # TransformPoint knows about centres and compositions, whatever they are
    origin = np.array(transform.TransformPoint([0.0] * ndim))
    columns = [np.subtract(transform.TransformPoint(e.tolist()), origin) for e in np.eye(ndim)]
    matrix = np.eye(ndim + 1)
    matrix[:-1, :-1] = np.transpose(columns)[::-1, ::-1]
    matrix[:-1, -1] = origin[::-1]
    return check_affine(matrix, ndim)


def displacement_on(grid: Grid, transform: Any) -> NDArray[np.float64]:
    """Return how far ITK moves the pixels of a spatial grid, shape (ndim, *shape)."""
    itk = simpleitk()
    spacing, direction, origin = itk_place(grid.pixel_to_world)
    field = itk.TransformToDisplacementField(
        transform, itk.sitkVectorFloat64, grid.shape[::-1], origin, spacing, direction
    )
    return np.moveaxis(itk.GetArrayFromImage(field), -1, 0)[::-1]


def itk_place(place: Matrix) -> tuple[list[float], list[float], list[float]]:
    """Return spacing, direction and origin, as ITK has them, of a pixel-to-world matrix.

    The direction is that of the axes, which need not be perpendicular.
    """
    linear = place[:-1, :-1][::-1, ::-1]
    spacing = np.linalg.norm(linear, axis=0)
    return spacing.tolist(), (linear / spacing).ravel().tolist(), place[:-1, -1][::-1].tolist()


def to_itk(found: FrameTransform) -> Any:
    """Return the transform of ITK that does what a transform of one frame does.

    Returns
    -------
    SimpleITK.Transform
        An affine; of a flow, its displacement and then its matrix. ITK leaves points outside
        of a field where they are.
    """
    affine = itk_affine(found.matrix)
    if found.displacement is None:
        return affine
    itk = simpleitk()
    field = itk.DisplacementFieldTransform(vector_image(found.displacement, found.grid))
    return itk.CompositeTransform([affine, field])  # ITK applies the last one first


def itk_affine(matrix: Matrix) -> Any:
    """Return a matrix in NumPy's axis order as an affine of ITK."""
    transform = simpleitk().AffineTransform(len(matrix) - 1)
    reversed_axes = matrix[:-1][::-1]
    transform.SetMatrix(reversed_axes[:, -2::-1].ravel().tolist())
    transform.SetTranslation(reversed_axes[:, -1].tolist())
    return transform


def vector_image(displacement: NDArray[Any], grid: Grid) -> Any:
    """Return a displacement at the pixels of a spatial grid as a vector image of ITK.

    Parameters
    ----------
    displacement : ndarray, shape (ndim, *shape)
        Along the world's axes, in NumPy's order.
    grid : Grid
        Where it is.
    """
    vectors = np.ascontiguousarray(np.moveaxis(displacement[::-1], 0, -1), np.float64)
    image = simpleitk().GetImageFromArray(vectors, isVector=True)
    spacing, direction, origin = itk_place(grid.pixel_to_world)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    image.SetOrigin(origin)
    return image


def read_itk(path: Path, space: Grid) -> FrameTransform:
    """Read a transform file of ITK: .tfm, .txt, .h5 or .mat.

    Raises
    ------
    ImportError
        If SimpleITK is not installed.
    ValueError
        If it is no such file, or for other axes.
    """
    try:
        transform = simpleitk().ReadTransform(str(path))
    except RuntimeError as error:
        raise ValueError(f"it is no ITK transform file ({last_words(error)})") from error
    return from_itk(transform, space)


def read_field(path: Path, space: Grid) -> FrameTransform:
    """Read an image of displacements: .nii, .nii.gz, .mha, .nrrd, a vector for every pixel."""
    itk = simpleitk()
    check_header(path)
    reader = itk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        _place_of(reader)
        claimed = 8 * prod(reader.GetSize()) * reader.GetNumberOfComponents()
        check_claim(claimed, path.stat().st_size, "its field")
        image = reader.Execute()
    except RuntimeError as error:
        raise ValueError(f"it is no image that ITK reads ({last_words(error)})") from error
    number, ndim = image.GetNumberOfComponentsPerPixel(), image.GetDimension()
    if number != ndim:
        raise ValueError(
            f"it is a {ndim}-D image of {number} numbers per pixel; a field of displacements "
            f"has {ndim}"
        )
    _check_covers(image, space)
    field = itk.DisplacementFieldTransform(itk.Cast(image, itk.sitkVectorFloat64))
    return from_itk(field, space)


def _place_of(image: Any) -> Matrix:
    """Return where the pixels of an image, or of what a reader has looked at, are, x first.

    Raises ValueError where that is nowhere: ITK searches axes of 1e308 for ever.
    """
    ndim = image.GetDimension()
    place = np.eye(ndim + 1)
    place[:-1, :-1] = np.reshape(image.GetDirection(), (ndim, ndim)) * image.GetSpacing()
    place[:-1, -1] = image.GetOrigin()
    return check_affine(place, ndim)


def _check_covers(image: Any, space: Grid) -> None:
    """Raise ValueError where a field says nothing of a grid: ITK moves nothing outside of it."""
    ndim = space.ndim
    order = [*range(ndim)[::-1], ndim]
    place = _place_of(image)[np.ix_(order, order)]
    grid = space.replace(shape=image.GetSize()[::-1], pixel_to_world=place)
    # a field may run along its axes the other way: its first is where that of fixed would be
    first = space.origin + (grid.corners() - space.corners()).mean(axis=0)
    check_same_lattice(grid.shape, grid.spacing.tolist(), first.tolist(), space)
    if overlap_share(space, grid, np.eye(ndim + 1)) == 0:
        raise ValueError(
            f"it says nothing of fixed: the field covers {grid.extent_text()}, fixed "
            f"{space.extent_text()}; give the image for which it was made, in the same unit"
        )


def check_same_lattice(
    shape: Sequence[int], spacing: Sequence[float], origin: Sequence[float], space: Grid
) -> None:
    """Raise ValueError where what a file is for has as many pixels as a grid, but lies elsewhere.

    Then its numbers are in another unit, or leave out a position.
    """
    away = np.abs(np.subtract(origin, space.origin)) / space.spacing
    apart = np.abs(np.divide(spacing, space.spacing) - 1) * shape
    if tuple(shape) == space.shape and max(*away, *apart) > SAME_PIXEL:
        sizes, places = (
            " and ".join(" x ".join(f"{value:g}" for value in values) for values in pair)
            for pair in ((spacing, space.spacing), (origin, space.origin))
        )
        raise ValueError(
            f"it is for an image of as many pixels as fixed, but not in its world: pixels are of "
            f"{sizes}, the first is at {places} (file and fixed); give the image for which it was "
            "made, in the same unit and at the same place"
        )


def write_itk(found: FrameTransform, path: Path) -> None:
    """Write a transform file of ITK; only .h5 holds a flow."""
    write_transform(to_itk(found), path)


def write_field(found: FrameTransform, path: Path) -> None:
    """Write what a transform does at every pixel of its grid, as an image of displacements.

    Raises
    ------
    ValueError
        If the grid is sheared, which these files cannot say.
    """
    itk = simpleitk()
    linear = found.grid.pixel_to_world[:-1, :-1] / found.grid.spacing
    if not np.allclose(linear.T @ linear, np.eye(found.grid.ndim), rtol=0, atol=1e-6):
        raise ValueError(
            f"{path.name} cannot hold a field whose pixels lie on a sheared grid; write .json or "
            ".ome.zarr"
        )
    here = points_of(found.grid)
    u = 0.0 if found.displacement is None else found.displacement
    steps = transform_pixels(found.matrix, here + u) - here
    image = vector_image(steps, found.grid)
    write_image(itk.Cast(image, itk.sitkVectorFloat32), path)
