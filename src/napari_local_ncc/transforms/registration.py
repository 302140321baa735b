"""A transform of fixed world to moving world, and what is known of its quality."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_local_ncc.geometry.affine import apply_affine, check_affine, invert_affine
from napari_local_ncc.geometry.kind import UNREGISTERED, Kind
from napari_local_ncc.image.read_guard import reason_of
from napari_local_ncc.transforms.compose_fields import (
    compose_field,
    inverse_field,
    pixel_to_moving_world,
)
from napari_local_ncc.transforms.displacement_field import (
    Displacement,
    Jacobian,
    checked_reach,
    field_array,
    jacobian,
)
from napari_local_ncc.transforms.files import (
    check_transform_path,
    is_own_document,
    read_frame,
    write_frame,
)
from napari_local_ncc.transforms.formats.json_file import foreign, read_document, write_document
from napari_local_ncc.transforms.formats.registration_values import parts_of, values_of
from napari_local_ncc.transforms.formats.table import Options
from napari_local_ncc.transforms.frame_transform import FrameTransform

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.transforms.report import FrameReport


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Registration:
    """Maps the fixed image's world to the moving image's world.

    The point x of the fixed world shows what ``matrix @ (x + u(x))`` of the moving world
    does; u is 0 but for a flow, where it is interpolated linearly between the pixels of
    `grid`, and outside of it is what it is at the nearest pixel.

    Parameters
    ----------
    model : str
        The name of what found it, such as "affine"; "flow" for what was put together with one.
    matrix : ndarray, shape (*series, ndim + 1, ndim + 1)
        Homogeneous float64 affine of the `ndim` spatial axes, one for each position along
        the independent axes of the fixed image (none of those: one matrix).
    grid : Grid
        The fixed image's grid: axis labels, units, and where its frames lie.
    ncc_before, ncc_after : ndarray, shape series
        Global NCC of the overlap without and with the transform; NaN where undefined.
    overlap : ndarray, shape series
        Share of the valid fixed samples that have a valid partner after the transform.
    displacement : ndarray of float32, shape (*series, ndim, *space), optional
        u of a flow at the pixels of `grid`, in world units along the world's axes.
    residual : float
        Of the numerical inverse of a flow: the largest distance, in px, between a point and
        where it comes back to. NaN otherwise.
    reports : tuple of FrameReport
        What is known of every frame, in the order of the frames (the last independent axis
        runs fastest); empty where nothing is, as after `compose`.

    Attributes
    ----------
    reach : ndarray of float64, shape (ndim,)
        The largest displacement of a flow along each axis, in px; 0 for other models.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import Grid, Registration
    >>> matrix = np.array([[1.0, 0.0, 3.0], [0.0, 1.0, -2.0], [0.0, 0.0, 1.0]])
    >>> registration = Registration.from_matrix(matrix, Grid((40, 50)), "translation")
    >>> registration.transform_points([[10.0, 20.0]]).tolist()
    [[13.0, 18.0]]
    """

    model: str
    matrix: NDArray[np.float64]
    grid: Grid
    ncc_before: NDArray[np.float64]
    ncc_after: NDArray[np.float64]
    overlap: NDArray[np.float64]
    displacement: NDArray[np.float32] | None = None
    residual: float = np.nan
    reports: tuple[FrameReport, ...] = ()
    reach: NDArray[np.float64] = field(init=False)

    def __repr__(self) -> str:
        from napari_local_ncc.transforms.registration_view import describe_in_line

        return describe_in_line(self)

    def _repr_html_(self) -> str:
        """Return the same line, a table of the frames and a flow's thumbnail, for notebooks."""
        from napari_local_ncc.transforms.registration_view import html_of_registration

        return html_of_registration(self)

    def __post_init__(self) -> None:
        square = (self.grid.spatial_ndim + 1,) * 2
        if np.shape(self.matrix) != self.grid.series_shape + square:
            raise ValueError(
                f"the matrix has shape {np.shape(self.matrix)}, but {self.grid.series_shape} "
                f"frames of {self.grid.spatial_ndim} spatial axes need "
                f"{self.grid.series_shape + square}"
            )
        for name in ("matrix", "ncc_before", "ncc_after", "overlap"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))
        if self.displacement is None and self.model == Kind.FLOW:
            raise ValueError("a flow needs a displacement at every pixel, but this has none")
        object.__setattr__(self, "reach", checked_reach(self.displacement, self.grid))

    @classmethod
    def identity(cls, grid: Grid, model: str = UNREGISTERED, *, dense: bool = False) -> Self:
        """Return the transform that changes nothing.

        Parameters
        ----------
        grid : Grid
            The fixed image's grid.
        model : str, default "none"
            What to call it.
        dense : bool
            Whether it holds a displacement (of 0) at every pixel, as a flow does.

        Returns
        -------
        Registration
            The identity of every frame; its NCC and overlap are not known (NaN).

        Examples
        --------
        >>> from napari_local_ncc import Grid
        >>> Registration.identity(Grid((8, 9))).transform_points([[1.0, 2.0]])
        array([[1., 2.]])
        """
        field = None
        if dense:
            space = grid.space()
            field = field_array((*grid.series_shape, space.ndim, *space.shape))
        return cls.from_matrix(np.eye(grid.spatial_ndim + 1), grid, model, displacement=field)

    @classmethod
    def from_matrix(
        cls,
        matrix: ArrayLike,
        grid: Grid,
        model: str = Kind.AFFINE,
        *,
        displacement: NDArray[np.float32] | None = None,
        reports: tuple[FrameReport, ...] = (),
    ) -> Self:
        """Return the transform of a matrix from fixed world to moving world.

        Parameters
        ----------
        matrix : array_like, shape (ndim + 1, ndim + 1) or (*series, ndim + 1, ndim + 1)
            Homogeneous, for the spatial axes in the order of the array; for all frames, or for
            each.
        grid : Grid
            The fixed image's grid, whose units the matrix is in.
        model : str, default "affine"
            What to call it.
        displacement : ndarray of float32, shape (*series, ndim, *space), optional
            Of a flow; see `Registration`.
        reports : tuple of FrameReport
            What is known of every frame.

        Returns
        -------
        Registration
            Its NCC and overlap are not known (NaN).

        Raises
        ------
        ValueError
            If a matrix has another shape, is not finite, or cannot be inverted.

        Examples
        --------
        >>> from napari_local_ncc import Grid
        >>> shift = Registration.from_matrix([[1, 0, 4], [0, 1, 2], [0, 0, 1]], Grid((8, 9)))
        >>> shift.transform_points([[1.0, 2.0]])
        array([[5., 4.]])
        """
        given = np.asarray(matrix, np.float64)
        ndim = grid.spatial_ndim
        for one in given.reshape(-1, *given.shape[-2:]) if given.ndim > 2 else [given]:
            check_affine(one, ndim)
        one_for_all = (*grid.series_shape, ndim + 1, ndim + 1)
        whole = np.broadcast_to(given, one_for_all) if given.ndim == 2 else given
        unknown = np.full(grid.series_shape, np.nan)
        return cls(model, whole, grid, *(unknown,) * 3, displacement=displacement, reports=reports)

    @property
    def translation(self) -> NDArray[np.float64]:
        """World displacement of the world's origin, shape (*series, ndim), in `grid.units`."""
        return self.matrix[..., :-1, -1]

    @property
    def is_shift(self) -> bool:
        """Whether it moves all points of a frame alike."""
        linear = self.matrix[..., :-1, :-1]
        return self.displacement is None and bool((linear == np.eye(linear.shape[-1])).all())

    def transform_points(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map points of the fixed world to the moving world.

        Parameters
        ----------
        points : array_like, shape (..., grid.ndim)
            World coordinates along all axes of the fixed grid. For a series, the nearest
            frame's transform is taken; the independent coordinates stay as they are.

        Returns
        -------
        ndarray of float64, shape (..., grid.ndim)
            World coordinates in the moving image.

        Raises
        ------
        ValueError
            If the last axis of `points` does not match the grid.
        """
        world = np.asarray(points, np.float64)
        if world.shape[-1:] != (self.grid.ndim,):
            raise ValueError(
                f"points must have shape (..., {self.grid.ndim}), one value per axis "
                f"{self.grid.axis_labels}, got {world.shape}"
            )
        series = len(self.grid.series_shape)
        pixels = apply_affine(invert_affine(self.grid.pixel_to_world), world)[..., :series]
        last = np.array(self.grid.series_shape, int) - 1
        frames = np.clip(np.rint(pixels), 0, last).astype(int)
        matrix = self.matrix[tuple(np.moveaxis(frames, -1, 0))]
        moved = world[..., series:]
        if self.displacement is not None:
            moved = moved + self._displacement_at(frames, moved)
        spatial = np.einsum("...ij,...j->...i", matrix[..., :-1, :-1], moved)
        return np.concatenate([world[..., :series], spatial + matrix[..., :-1, -1]], axis=-1)

    def frames(self, part: Sequence[slice]) -> Self:
        """Return the transforms of some frames, one slice per independent axis.

        A single transform, for all frames, stays as it is.
        """
        if not self.grid.series_shape:
            return self
        box = tuple(part)
        space = (slice(None),) * self.grid.spatial_ndim
        numbers = np.arange(np.prod(self.grid.series_shape)).reshape(self.grid.series_shape)[box]
        return replace(
            self,
            reports=tuple(self.reports[k] for k in numbers.flat) if self.reports else (),
            matrix=self.matrix[box],
            grid=self.grid.crop((*box, *space)),
            ncc_before=self.ncc_before[box],
            ncc_after=self.ncc_after[box],
            overlap=self.overlap[box],
            displacement=None if self.displacement is None else self.displacement[box],
        )

    def frame(self, index: tuple[int, ...]) -> Self:
        """Return the transform of one frame, on the spatial grid.

        Parameters
        ----------
        index : tuple of int
            Position along the independent axes; a single transform is that of all frames.
        """
        if not self.grid.series_shape:
            return self
        one = self.frames([slice(k, k + 1) for k in index])
        (matrix,) = one.matrix.reshape(1, *self.matrix.shape[-2:])
        return replace(
            one,
            matrix=matrix,
            grid=one.grid.space(),
            ncc_before=one.ncc_before.reshape(()),
            ncc_after=one.ncc_after.reshape(()),
            overlap=one.overlap.reshape(()),
            displacement=None if self.displacement is None else self.displacement[index],
        )

    def _displacement_at(
        self, frames: NDArray[np.int_], points: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Read each point's displacement in its own frame, shape (..., ndim)."""
        result = np.zeros(points.shape)
        for index in np.ndindex(self.grid.series_shape):
            chosen = (frames == index).all(axis=-1)
            displacement = self.displacement_of(index) if chosen.any() else None
            if displacement is not None:
                result[chosen] = displacement.at(points[chosen])
        return result

    def displacement_of(self, index: tuple[int, ...]) -> Displacement | None:
        """Return u of one frame of a flow; None for other models.

        Parameters
        ----------
        index : tuple of int
            Position along the independent axes; a single transform is that of all frames.
        """
        if self.displacement is None:
            return None
        own = index if self.grid.series_shape else ()
        return Displacement(self.displacement[own], self.grid.space().pixel_to_world)

    def jacobian(self) -> Jacobian:
        """Return how the transform changes volumes, and where it folds space.

        Returns
        -------
        Jacobian
            Of the displacement alone for a flow, without the matrix: near 1 everywhere is
            plausible; folds are not. For other models, the matrix's determinant.
        """
        if self.displacement is None:
            volumes = np.linalg.det(self.matrix[..., :-1, :-1])
            return Jacobian(float(volumes.min()), float(volumes.max()), 0, 0)
        return jacobian(self.displacement, self.grid.space().pixel_to_world)

    def inverse(self) -> Self:
        """Return the transform of moving world to fixed world; its NCC is not known.

        A flow is inverted numerically on fixed's lattice as its (first) matrix moves it;
        `residual` says how well. Where the flow folds space there is no inverse.
        """
        if self.displacement is None:
            return self._with_matrix(invert_affine(self.matrix))
        field, residual = inverse_field(self)
        grid = self.grid.replace(pixel_to_world=pixel_to_moving_world(self.grid, self.matrix))
        return replace(
            self._with_matrix(invert_affine(self.matrix), field, grid), residual=residual
        )

    def compose(self, after: Registration) -> Self:
        """Return the transform that applies this one and then `after`; its NCC is not known.

        Parameters
        ----------
        after : Registration
            Maps this one's moving world on; a single transform, or one for each of the
            same frames.

        Raises
        ------
        ValueError
            If the units or axes of the two do not match.
        """
        ours, theirs = self.grid, after.grid
        if ours.space().units != theirs.space().units:
            raise ValueError(
                f"cannot compose a transform in {ours.space().units} with one in "
                f"{theirs.space().units}; bring both to the same units"
            )
        _check_order(ours.space(), theirs.space(), "the one after it")
        if theirs.series_shape not in ((), ours.series_shape):
            raise ValueError(
                f"cannot compose transforms of {ours.series_shape} and {theirs.series_shape} frames"
            )
        matrix = after.matrix @ self.matrix
        if after.displacement is None:
            return self._with_matrix(matrix, self.displacement)
        return self._with_matrix(matrix, compose_field(self, after))

    def check_fits(self, grid: Grid) -> None:
        """Raise ValueError unless this is for images such as those on `grid`."""
        ours, theirs = grid.space(), self.grid.space()
        if (ours.ndim, ours.units) != (theirs.ndim, theirs.units):
            raise ValueError(
                f"the transform is for {theirs.ndim} axes in {theirs.units}, but fixed has "
                f"{ours.ndim} in {ours.units}"
            )
        _check_order(theirs, ours, "fixed")
        if self.grid.series_shape not in ((), grid.series_shape):
            raise ValueError(
                f"the transform has {self.grid.series_shape} frames, but the images have "
                f"{grid.series_shape}"
            )

    def _with_matrix(
        self,
        matrix: NDArray[np.float64],
        displacement: NDArray[np.float32] | None = None,
        grid: Grid | None = None,
    ) -> Self:
        unknown = np.full(self.grid.series_shape, np.nan)
        return replace(
            self,
            model=self.model
            if (displacement is None) == (self.displacement is None)
            else Kind.FLOW,
            matrix=matrix,
            grid=grid or self.grid,
            displacement=displacement,
            ncc_before=unknown,
            ncc_after=unknown,
            overlap=unknown,
            residual=np.nan,
            reports=(),
        )

    def save(
        self, path: str | PathLike[str], *, order: str = "zyx", overwrite: bool = True
    ) -> None:
        """Write the transform, in the format that the path's ending stands for.

        Parameters
        ----------
        path : path_like
            The file; it is complete, or what it was. ``.json`` is this package's own, which holds
            all of it; the displacement of a flow goes to a Zarr array beside it,
            ``<stem>.zarr``. Others hold the transform of one frame: ``.tfm``, ``.txt``,
            ``.mat``, ``.h5`` (ITK; a flow as .h5 only), ``TransformParameters.0.txt``
            (elastix), ``.nii``, ``.nii.gz``, ``.mha``, ``.nrrd`` (the displacement of every
            pixel), ``.npy``, ``.csv`` (the matrix), ``.ome.zarr`` (OME-Zarr 0.6).
        order : {"zyx", "xyz"}, default "zyx"
            The order of the axes in a matrix.
        overwrite : bool, default True
            Whether to replace what is there by then, a flow's field included.

        Raises
        ------
        FileExistsError
            If a Zarr group or array would replace something else, if what is there must not be
            replaced, or another run is writing it just now.
        FileNotFoundError
            If the folder does not exist.
        ImportError
            If SimpleITK is needed and not installed.
        ValueError
            If the ending is unknown, or such a file cannot hold the transform: frames that
            differ, a flow, or not 2 or 3 axes.
        """
        file = Path(path)
        kind = check_transform_path(file, dense=self.displacement is not None)
        if not file.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {file.parent} to write {file.name} into")
        if kind is None:
            write_document(self.to_dict(), self.displacement, file, overwrite=overwrite)
        else:
            frame = self._only_frame(file)
            write_frame(frame, file, Options(order=order), overwrite=overwrite)

    def _only_frame(self, file: Path) -> FrameTransform:
        """Return the transform of one frame, if all have the same; of 2 or 3 axes."""
        matrices = self.matrix.reshape(-1, *self.matrix.shape[-2:])
        number, ndim = len(matrices), self.grid.spatial_ndim
        differ = self.displacement is not None or not (matrices == matrices[0]).all()
        if ndim not in (2, 3) or (number > 1 and differ):
            raise ValueError(
                f"{file.name} holds one transform of 2 or 3 axes, but this is of {ndim} axes and "
                f"{number} frames; write .json instead"
            )
        one = self.frame((0,) * len(self.grid.series_shape))
        return FrameTransform(one.matrix, one.grid, one.displacement, self.model, one.reports)

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        grid: Grid | None = None,
        *,
        order: str = "zyx",
        model: str = Kind.AFFINE,
    ) -> Self:
        """Read a transform file of fixed world to moving world, known by its content.

        Parameters
        ----------
        path : path_like
            What `save` writes, or the file of another program: of ITK, SimpleITK, ANTs
            (``.tfm``, ``.txt``, ``.h5``, ``.mat``, composite, B-spline; fields of displacements
            as ``.nii.gz``, ``.mha``, ``.nrrd``), elastix (``TransformParameters.0.txt``, with
            the files that it begins with), BigWarp (landmarks), OME-Zarr (a group with one
            coordinate transformation), or a matrix (``.npy``, or rows of numbers).
        grid : Grid, optional
            The fixed image's grid, which other programs' files need: they say nothing of units
            and axes, and what is not linear is sampled at its pixels.
        order : {"zyx", "xyz"}, default "zyx"
            The order of the axes in a matrix; "xyz" is that of scikit-image and Fiji.
        model : str, default "affine"
            Of landmarks: what is fitted to them; see `fit_points`.

        Returns
        -------
        Registration
            The transform. Of landmarks, its report says by how much it misses them.

        Raises
        ------
        FileNotFoundError
            If there is no such file, or a part of it is missing.
        ImportError
            If SimpleITK is needed and not installed.
        ValueError
            If it is no such file, or for another number of axes than `grid`.

        Notes
        -----
        ITK's axes are x, y, z: ours in the opposite order. Its physical coordinates are taken
        for our world coordinates, in the units of `grid`, without flips: a scan read with its
        ITK (LPS) origin, spacing and direction lies there already. ITK's and elastix's
        transforms map the fixed image's points to the moving image, as ours do.
        """
        file = Path(path)
        if is_own_document(file):
            values, displacement = read_document(file)
            try:
                return cls.from_dict(values, displacement)
            except ValueError as error:
                raise foreign(file, error) from error
        return cls.from_frame(read_frame(file, grid, Options(order, model)))

    @classmethod
    def from_frame(cls, found: FrameTransform) -> Self:
        """Return the transform of one frame."""
        return cls.from_matrix(
            found.matrix,
            found.grid,
            found.model,
            displacement=found.displacement,
            reports=found.reports,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the registration as plain JSON values (undefined NCC as null).

        Of the displacement of a flow, only its shape and range.
        """
        return values_of({each.name: getattr(self, each.name) for each in fields(self)})

    @classmethod
    def from_dict(
        cls, values: dict[str, Any], displacement: NDArray[np.float32] | None = None
    ) -> Self:
        """Rebuild a registration from `to_dict`; a flow also from its displacement.

        Raises
        ------
        ValueError
            If the values are not those of a registration.
        """
        try:
            return cls(**parts_of(values), displacement=displacement)
        except Exception as error:  # whatever a document that is not ours makes of it
            raise ValueError(
                f"these are no values of a registration: {reason_of(error)}"
            ) from error


def _check_order(ours: Grid, theirs: Grid, name: str) -> None:
    """Raise ValueError where two grids have the same axes in different orders."""
    labels = [[label.lower() for label in grid.axis_labels] for grid in (ours, theirs)]
    if labels[0] != labels[1] and set(labels[0]) == set(labels[1]):
        raise ValueError(
            f"the transform is for the axes {ours.axis_labels}, but {name} has them in the order "
            f"{theirs.axis_labels}; transpose the image"
        )
