"""Transform files: our JSON, and ITK's text files of linear transforms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.affine import check_affine
from napari_local_ncc.transforms.registration import Registration
from napari_local_ncc.transforms.simpleitk import simpleitk

if TYPE_CHECKING:
    from os import PathLike

    from napari_local_ncc.geometry.grid import Grid

ITK_ENDINGS = (".tfm", ".txt")
ENDINGS = (".json", *ITK_ENDINGS)


def is_transform_path(path: str | PathLike[str]) -> bool:
    """Return whether a path ends as a transform file does."""
    return Path(path).suffix.lower() in ENDINGS


def check_transform_path(path: str | PathLike[str], *, dense: bool = False) -> None:
    """Raise ValueError unless a path ends as a file of a transform (a dense one) does."""
    if not is_transform_path(path):
        raise ValueError(f"{path} must end in {', '.join(ENDINGS)}")
    if dense and Path(path).suffix.lower() in ITK_ENDINGS:
        raise ValueError(
            f"{path} can hold only models without a dense field, and not that of a flow; "
            "save it as .json"
        )


def read_transform(path: str | PathLike[str], grid: Grid | None = None) -> Registration:
    """Read a transform file of fixed world to moving world.

    Parameters
    ----------
    path : path_like
        ``.json``, written by `Registration.save`; or ``.tfm`` or ``.txt``, an ITK transform
        file, as of ITK, SimpleITK, ANTs or elastix, that holds a linear transform or
        several composed.
    grid : Grid, optional
        The fixed image's grid. An ITK file needs it: it says nothing of units and axes.

    Returns
    -------
    Registration
        The transform.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If it is an ITK file and SimpleITK is not installed.
    ValueError
        If it is no such file, or for another number of axes than `grid`.

    Notes
    -----
    ITK's axes are x, y, z: ours in the opposite order. Its physical coordinates are taken
    for our world coordinates, in the units of `grid`, without flips: a scan read with its
    ITK (LPS) origin, spacing and direction lies there already. ITK's transforms map the
    fixed image's points to the moving image, as ours do.
    """
    file = Path(path)
    check_transform_path(file)
    if file.suffix.lower() not in ITK_ENDINGS:
        return Registration.load(file)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    if grid is None:
        raise ValueError(
            f"{file} is an ITK transform, which says nothing of units and axes: "
            "give the fixed image's grid (--like FIXED)"
        )
    itk = simpleitk()
    try:
        transform = itk.ReadTransform(str(file))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"{file} is no ITK transform file ({reason})") from error
    space = grid.space()
    if transform.GetDimension() != space.ndim:
        raise ValueError(
            f"{file} holds a {transform.GetDimension()}-D transform, but fixed has {space.ndim} "
            f"spatial axes {space.axis_labels}"
        )
    if not transform.IsLinear():
        raise ValueError(
            f"{file} holds a {transform.GetName()}, which is not linear; only affine "
            "transforms and compositions of them can be read"
        )
    origin = np.array(transform.TransformPoint([0.0] * space.ndim))
    matrix = np.eye(space.ndim + 1)
    columns = [
        np.subtract(transform.TransformPoint(e.tolist()), origin) for e in np.eye(space.ndim)
    ]
    matrix[:-1, :-1] = np.transpose(columns)[::-1, ::-1]
    matrix[:-1, -1] = origin[::-1]
    unknown = np.array(np.nan)
    return Registration(
        "affine", check_affine(matrix, space.ndim), space, unknown, unknown, unknown
    )


def write_transform(registration: Registration, path: str | PathLike[str]) -> None:
    """Write a transform as ``.json``, or as an ITK transform file (``.tfm``, ``.txt``).

    Parameters
    ----------
    registration : Registration
        The transform.
    path : path_like
        The file; it is replaced. See `read_transform` for ITK's conventions.

    Raises
    ------
    FileNotFoundError
        If its folder does not exist.
    ImportError
        If it is an ITK file and SimpleITK is not installed.
    ValueError
        If the ending is unknown, or it is an ITK file, for which there are not 2 or 3
        spatial axes, several frames that differ, or a flow.
    """
    file = Path(path)
    check_transform_path(file, dense=registration.displacement is not None)
    if not file.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {file.parent} to write {file.name} into")
    if file.suffix.lower() not in ITK_ENDINGS:
        registration.save(file)
        return
    ndim = registration.grid.spatial_ndim
    matrices = registration.matrix.reshape(-1, ndim + 1, ndim + 1)
    if ndim not in (2, 3) or not (matrices == matrices[0]).all():
        raise ValueError(
            f"an ITK transform file holds one transform of 2 or 3 axes, but this is of {ndim} "
            f"axes and {len(matrices)} frames; write .json instead"
        )
    transform = simpleitk().AffineTransform(ndim)
    reversed_axes = matrices[0][:-1][::-1]
    transform.SetMatrix(reversed_axes[:, -2::-1].ravel().tolist())
    transform.SetTranslation(reversed_axes[:, -1].tolist())
    partial = file.with_name(f"partial-{file.name}")  # ITK tells the format by the ending
    simpleitk().WriteTransform(transform, str(partial))
    partial.replace(file)
