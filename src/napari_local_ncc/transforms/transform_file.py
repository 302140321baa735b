"""Read and write transform files, also those of other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.transforms.registration import Registration

if TYPE_CHECKING:
    from os import PathLike

    from napari_local_ncc.geometry.grid import Grid


def read_transform(
    path: str | PathLike[str],
    grid: Grid | None = None,
    *,
    order: str = "zyx",
    model: str = Kind.AFFINE,
) -> Registration:
    """Read a transform file of fixed world to moving world, known by its content.

    Parameters, errors and formats are those of `Registration.load`.

    Returns
    -------
    Registration
        The transform.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import Grid, read_transform
    >>> np.save("shift.npy", [[1.0, 0, 4], [0, 1, 2], [0, 0, 1]])
    >>> read_transform("shift.npy", Grid((64, 64))).translation
    array([4., 2.])
    """
    return Registration.load(path, grid, order=order, model=model)


def write_transform(
    registration: Registration,
    path: str | PathLike[str],
    *,
    order: str = "zyx",
    overwrite: bool = True,
) -> None:
    """Write a transform in the format of the path's ending; as `Registration.save`.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import Grid, Registration, read_transform, write_transform
    >>> matrix = np.array([[1.0, 0.0, 3.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> registration = Registration.from_matrix(matrix, Grid((40, 50)), "translation")
    >>> write_transform(registration, "moved.json")
    >>> read_transform("moved.json").translation.tolist()
    [3.0, 0.0]
    """
    registration.save(path, order=order, overwrite=overwrite)
