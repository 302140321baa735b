"""One door for all that is taken for a registration: matrices, paths, objects of other programs."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.image.read_guard import reason_of
from napari_local_ncc.transforms.formats.matrix import matrix_in_order
from napari_local_ncc.transforms.frame_transform import FrameTransform
from napari_local_ncc.transforms.registration import Registration
from napari_local_ncc.transforms.sampled_map import lattice_map, sample_map

# a Registration, a matrix, a path, or a transform of scikit-image, SimpleITK or napari
TransformLike = Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid

    Points = NDArray[np.float64]


def as_registration(transform: TransformLike, grid: Grid) -> Registration:
    """Return what is given for a transform as a registration.

    Parameters
    ----------
    transform : Registration, array_like, path_like or object
        From fixed world to moving world: a registration; a homogeneous matrix in the order of
        the array's axes, shape (ndim + 1, ndim + 1); the path of a transform file (see
        `read_transform`); a transform of scikit-image (its coordinates are x, y), of SimpleITK
        (x, y, z), or of napari (the affine of a layer).
    grid : Grid
        The fixed image's grid, where what is not linear is sampled.

    Returns
    -------
    Registration
        The same, or one of all frames.

    Raises
    ------
    FileNotFoundError
        If it is the path of no file.
    TypeError
        If it is nothing of this.
    ValueError
        If it is for other axes, units or frames than `grid`.

    Examples
    --------
    >>> from skimage.transform import EuclideanTransform
    >>> from napari_local_ncc import Grid
    >>> as_registration(EuclideanTransform(translation=(4, 2)), Grid((64, 64))).translation
    array([2., 4.])
    """
    found = _registration_of(transform, grid)
    found.check_fits(grid)
    return found


def _registration_of(transform: Any, grid: Grid) -> Registration:
    if isinstance(transform, Registration):
        return transform
    if isinstance(transform, (str, PathLike)):
        return Registration.load(transform, grid)
    space = grid.space()
    # by where a class is from: nothing is imported that is not there already
    origins = {base.__module__.split(".")[0] for base in type(transform).__mro__}
    if "SimpleITK" in origins and hasattr(transform, "TransformPoint"):
        from napari_local_ncc.transforms.formats.itk import from_itk

        return Registration.from_frame(from_itk(transform, space))
    if "skimage" in origins and callable(transform):
        return Registration.from_frame(_from_skimage(transform, space))
    if "napari" in origins and hasattr(transform, "affine_matrix"):
        transform = transform.affine_matrix
    if not isinstance(transform, (np.ndarray, list, tuple)) and not hasattr(transform, "__array__"):
        raise TypeError(
            f"a {type(transform).__module__}.{type(transform).__qualname__} is no transform: give "
            "a Registration, a matrix, a path, or a transform of scikit-image, SimpleITK or napari"
        )
    return Registration.from_matrix(np.asarray(transform, np.float64), space)


def _from_skimage(transform: Any, space: Grid) -> FrameTransform:
    """Return what a transform of scikit-image does; its points are x, y."""
    params = np.asarray(getattr(transform, "params", 0.0))
    affine = np.eye(space.ndim + 1)
    if params.shape == affine.shape and (params[-1] == affine[-1]).all():
        return FrameTransform(matrix_in_order(params, space.ndim, "xyz"), space)

    def moves(points: Points) -> Points:
        try:
            moved = np.asarray(transform(points[:, ::-1]), np.float64)
        except Exception as error:  # one that was never estimated raises anything
            raise ValueError(
                f"the {type(transform).__name__} moves no points ({reason_of(error)}); estimate "
                "it first"
            ) from error
        if moved.shape != points.shape or (moved == -1).all(axis=1).any():  # outside, in skimage
            raise ValueError(
                f"the {type(transform).__name__} does not say where every pixel of fixed goes; "
                "give one that reaches its corners"
            )
        return moved[:, ::-1]

    return sample_map(lattice_map(moves), space)
