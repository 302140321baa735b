"""A transform that a person gives: by pairs of points, or by moving an image by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from napari_local_ncc.geometry.affine import apply_affine, invert_affine
from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.geometry.units import unit_symbol
from napari_local_ncc.image.pairing import pair_images
from napari_local_ncc.parameters import check_choice
from napari_local_ncc.transforms.landmark_fit import PointFit, fit_points
from napari_local_ncc.transforms.registration import Registration

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.pairing import Unitless
    from napari_local_ncc.image.spatial_image import SpatialImage

Coordinates = Literal["world", "pixels"]
SAME = 1e-3  # relative: lengths that a hand, or three digits, do not tell apart
DECIMALS = 9  # of a residual: what is less is rounding


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkFit:
    """A transform through landmarks, for all frames of a pair, and by how much it misses them.

    Parameters
    ----------
    registration : Registration
        Maps fixed world to moving world, in the units of the pair.
    residuals : ndarray of float64, shape (points,)
        Distance in the moving world between where a landmark of fixed is mapped and its
        partner, in `unit`.
    unit : str
        The unit of the images' last axis.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import Registration, SpatialImage
    >>> from napari_local_ncc.registration import LandmarkFit
    >>> grid = SpatialImage.from_array(np.zeros((64, 64))).grid
    >>> found = LandmarkFit(Registration.identity(grid, "rigid"), np.array([0.3, 0.4]), "pixel")
    >>> print(found)
    rigid through 2 pairs of landmarks; they miss by 0.354 px (root mean square); each, in px: 1:
    0.3, 2: 0.4
    """

    registration: Registration
    residuals: NDArray[np.float64]
    unit: str

    def __str__(self) -> str:
        """Say how well it fits: all together, and each."""
        unit, count = unit_symbol(self.unit), len(self.residuals)
        misses = np.round(self.residuals, DECIMALS)
        each = ", ".join(f"{k}: {miss:.3g}" for k, miss in enumerate(misses, start=1))
        rms = float(np.sqrt(np.mean(np.square(misses))))
        pairs = "pair" if count == 1 else "pairs"
        return (
            f"{self.registration.model} through {count} {pairs} of landmarks; they miss by "
            f"{rms:.3g} {unit} (root mean square); each, in {unit}: {each}"
        )


def fit_landmarks(
    fixed: SpatialImage,
    moving: SpatialImage,
    fixed_points: ArrayLike,
    moving_points: ArrayLike,
    *,
    model: str = "rigid",
    coordinates: Coordinates = "world",
    unitless: Unitless | None = None,
) -> LandmarkFit:
    """Find the transform that brings landmarks of one image onto those of another.

    Parameters
    ----------
    fixed, moving : SpatialImage
        The images; only where they lie counts, no sample is read.
    fixed_points, moving_points : array_like, shape (points, axes)
        The same structures in both, in the same order. Of more columns than there are spatial
        axes the last count.
    model : {"translation", "rigid", "similarity", "affine", "flow"}, default "rigid"
        What the transform may do; see `napari_local_ncc.transforms.fit_points`.
    coordinates : {"world", "pixels"}, default "world"
        Whether points are given in the world of their image, in its units, or as indices of
        its pixels.
    unitless : {"numbers", "pixels"}, optional
        As for `register`.

    Returns
    -------
    LandmarkFit
        The transform, which a registration can begin at, and the distances that remain.

    Raises
    ------
    ValueError
        If the points are not as many, too few for the model, not finite, or spread along too
        few directions (on a line, say); or the images cannot be paired.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import SpatialImage
    >>> from napari_local_ncc.registration import fit_landmarks
    >>> image = SpatialImage.from_array(np.zeros((64, 64)), spacing=0.5, units=("um", "um"))
    >>> fixed = [[0.0, 0.0], [0.0, 30.0], [20.0, 0.0]]
    >>> moving = [[5.0, 2.0], [5.0, 32.0], [25.0, 2.3]]
    >>> fit = fit_landmarks(image, image, fixed, moving, model="translation")
    >>> fit.registration.translation.round(6)
    array([5. , 2.1])
    >>> fit.residuals.round(6), fit.unit
    (array([0.1, 0.1, 0.2]), 'micrometer')
    """
    check_choice("coordinates", coordinates, get_args(Coordinates))
    pair = pair_images(fixed, moving, unitless=unitless)
    here, there = np.asarray(fixed_points, np.float64), np.asarray(moving_points, np.float64)
    if here.ndim != 2 or there.ndim != 2 or len(here) != len(there):
        raise ValueError(
            f"fixed has {len(here)} landmarks and moving {len(there)}; place as many in both, in "
            "the same order"
        )
    in_pixels = coordinates == "pixels"
    found: PointFit = fit_points(
        _in_pair(here, fixed.grid, pair.fixed.grid, in_pixels),
        _in_pair(there, moving.grid, pair.moving.grid, in_pixels),
        pair.fixed.grid,
        model=model,
    )
    return LandmarkFit(
        _for_all_frames(found.registration, pair.fixed.grid),
        found.residuals,
        pair.fixed.grid.units[-1],
    )


def placement_transform(
    fixed: SpatialImage,
    before: SpatialImage,
    after: SpatialImage,
    *,
    unitless: Unitless | None = None,
) -> Registration:
    """Return the transform that lays an image where a person has moved it.

    Parameters
    ----------
    fixed : SpatialImage
        The image that it was moved onto.
    before, after : SpatialImage
        The moving image where it lay, and where it lies now.
    unitless : {"numbers", "pixels"}, optional
        As for `register`.

    Returns
    -------
    Registration
        Maps fixed world to the world of `before`: registering or comparing `before` with it is
        comparing `after` as it lies. Its model is the simplest that can do it up to 1e-3, and
        its matrix is of that model: what a hand turned or scaled by less is left out, and the
        centre of fixed stays where it was mapped.

    Raises
    ------
    ValueError
        If the images cannot be paired.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import SpatialImage
    >>> from napari_local_ncc.registration import placement_transform
    >>> image = SpatialImage.from_array(np.zeros((64, 64)))
    >>> moved = SpatialImage.from_array(np.zeros((64, 64)), origin=(3, -2))
    >>> placement_transform(image, image, moved).translation
    array([-3.,  2.])
    """
    first, now = (pair_images(fixed, each, unitless=unitless) for each in (before, after))
    old, new = (pair.moving.grid.space().pixel_to_world for pair in (first, now))
    matrix, grid = old @ invert_affine(new), first.fixed.grid
    to_one_unit = grid.space().to_one_unit()
    from_one_unit = invert_affine(to_one_unit)
    in_one_unit = to_one_unit @ matrix @ from_one_unit
    kind = _kind_of(in_one_unit)
    centre = apply_affine(to_one_unit, grid.space().corners().mean(axis=0))
    kept = from_one_unit @ _as_kind(in_one_unit, kind, centre) @ to_one_unit
    return Registration.from_matrix(kept, grid, kind)


def _kind_of(matrix: NDArray[np.float64]) -> Kind:
    """Return the simplest kind of a transform in a world of one unit."""
    linear = matrix[:-1, :-1]
    if np.allclose(linear, np.eye(len(linear)), rtol=0, atol=SAME):
        return Kind.TRANSLATION
    scales = np.linalg.svd(linear, compute_uv=False)
    if np.linalg.det(linear) < 0 or scales[0] > (1 + SAME) * scales[-1]:
        return Kind.AFFINE
    return Kind.RIGID if np.allclose(scales, 1, rtol=0, atol=SAME) else Kind.SIMILARITY


def _as_kind(
    matrix: NDArray[np.float64], kind: Kind, centre: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the transform of a kind nearest to one, which maps a point to the same place."""
    if kind is Kind.AFFINE:
        return matrix
    left, scales, right = np.linalg.svd(matrix[:-1, :-1])
    turn = left @ right  # the nearest rotation: Schönemann (1966)
    linear = {
        Kind.TRANSLATION: np.eye(len(turn)),
        Kind.RIGID: turn,
        Kind.SIMILARITY: scales.mean() * turn,
    }[kind]
    kept = matrix.copy()
    kept[:-1, :-1] = linear
    kept[:-1, -1] = apply_affine(matrix, centre) - linear @ centre
    return kept


def _in_pair(
    points: NDArray[np.float64], own: Grid, paired: Grid, in_pixels: bool
) -> NDArray[np.float64]:
    """Return points of an image in the world in which it is paired."""
    space = own.with_spatial_ndim(paired.spatial_ndim).space()
    if points.shape[1] < space.ndim:
        raise ValueError(
            f"landmarks have {points.shape[1]} coordinates, but the images {space.ndim} spatial "
            f"axes: {', '.join(space.axis_labels)}"
        )
    last = points[:, points.shape[1] - space.ndim :]
    pixels = last if in_pixels else apply_affine(invert_affine(space.pixel_to_world), last)
    wanted = paired.space()
    if set(wanted.axis_labels) == set(space.axis_labels):
        pixels = pixels[:, [space.axis_labels.index(label) for label in wanted.axis_labels]]
    return apply_affine(wanted.pixel_to_world, pixels)


def _for_all_frames(found: Registration, grid: Grid) -> Registration:
    """Return the transform of one frame for every frame of a grid."""
    field = found.displacement
    if field is not None:
        field = np.broadcast_to(field, (*grid.series_shape, *field.shape))
    frames = int(np.prod(grid.series_shape))
    return Registration.from_matrix(
        found.matrix, grid, found.model, displacement=field, reports=found.reports * frames
    )
