"""Dense displacement fields: read between their pixels, inverted, and judged by their folds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.affine import apply_affine, invert_affine
from napari_local_ncc.image.spline import read_spline
from napari_local_ncc.ncc.device import namespace_of, on_host

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.geometry.grid import Grid

IN_MEMORY = 2**30  # bytes: a larger field lives in an unnamed temporary file
SLAB = 2**21  # samples handled at once
CACHED = 2**15  # samples of which all that is computed fits a processor's cache
STEPS = 60  # of the fixed-point iteration, which halves the error or better where it converges
ENOUGH = 1e-3  # px
FARTHEST = 2**31  # px that a displacement may reach: more is no number of a pixel


@dataclass(frozen=True, slots=True, eq=False)
class Displacement:
    """How far every pixel of one grid moves, in world units.

    Parameters
    ----------
    values : ndarray of float32, shape (ndim, *shape)
        The displacement along each world axis.
    pixel_to_world : ndarray, shape (ndim + 1, ndim + 1)
        Where the pixels lie.
    """

    values: NDArray[np.float32]
    pixel_to_world: NDArray[np.float64]

    def at(self, points: ArrayLike) -> NDArray[np.float64]:
        """Interpolate linearly at world points, shape (..., ndim); outside as at the edge."""
        world = np.asarray(points, np.float64)
        pixels = apply_affine(invert_affine(self.pixel_to_world), world)
        return np.moveaxis(interpolate_field(self.values, np.moveaxis(pixels, -1, 0)), 0, -1)


@dataclass(frozen=True, slots=True)
class Jacobian:
    """How a transform changes volumes, over all pixels of its grid.

    Parameters
    ----------
    lowest, highest : float
        Range of the Jacobian determinant: 1 keeps volumes, 2 doubles them, and where it
        is 0 or has the other sign than elsewhere space is folded over itself.
    folds : int
        Number of grid cells in which space is folded.
    cells : int
        Number of grid cells.
    """

    lowest: float
    highest: float
    folds: int
    cells: int


def field_array(shape: Sequence[int]) -> NDArray[np.float32]:
    """Return zeros of float32: in memory, or where they need much, in a temporary file.

    The file has no name; it goes when the array does.
    """
    if 4 * prod(shape) <= IN_MEMORY:
        return np.zeros(shape, np.float32)
    with TemporaryFile(prefix="local-ncc-field-") as file:
        return np.memmap(file, np.float32, "w+", shape=tuple(shape))


def interpolate_field(
    values: NDArray[np.float32], pixels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Read a field (ndim, *shape) at pixels (ndim, ...), linearly; outside as at the edge."""
    xp = namespace_of(pixels)
    if not pixels.size:
        nothing: NDArray[np.float64] = xp.zeros(pixels.shape)
        return nothing
    last = np.array(values.shape[1:]) - 1
    axes = tuple(range(1, pixels.ndim))
    ends = [on_host(end) for end in (pixels.min(axis=axes), pixels.max(axis=axes))]
    low = np.clip(np.floor(ends[0]), 0, last).astype(int)
    high = np.clip(np.ceil(ends[1]), 0, last).astype(int)
    box = tuple(slice(a, b + 1) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    inner = pixels - xp.asarray(low.reshape(-1, *(1,) * len(axes)))
    read = [read_spline(xp.asarray(v[box]), inner, np.dtype(np.float64), 1) for v in values]
    field: NDArray[np.float64] = xp.stack(read)
    return field


def slabs(shape: Sequence[int], samples: int = SLAB) -> Iterator[tuple[slice, ...]]:
    """Cut a grid into boxes of a bounded number of samples along its first axis."""
    thick = max(1, samples // prod(shape[1:]))
    for start in range(0, shape[0], thick):
        yield (slice(start, min(start + thick, shape[0])), *(slice(0, n) for n in shape[1:]))


def pixels_of(box: Sequence[slice], xp: ModuleType = np) -> NDArray[np.float64]:
    """Return the indices of a box's pixels, shape (ndim, *box), in a namespace."""
    ranges = [xp.arange(part.start, part.stop, dtype=np.float64) for part in box]
    pixels: NDArray[np.float64] = xp.stack(xp.meshgrid(*ranges, indexing="ij"))
    return pixels


def transform_pixels(
    matrix: NDArray[np.float64], pixels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Apply a homogeneous matrix to pixels of shape (ndim, ...)."""
    xp = namespace_of(pixels)
    matrix = xp.asarray(matrix)
    offset = matrix[:-1, -1].reshape(-1, *(1,) * (pixels.ndim - 1))
    moved: NDArray[np.float64] = xp.tensordot(matrix[:-1, :-1], pixels, axes=1) + offset
    return moved


def checked_reach(displacement: NDArray[np.float32] | None, grid: Grid) -> NDArray[np.float64]:
    """Return the largest displacement of all frames along each axis, in px; 0 of none.

    Parameters
    ----------
    displacement : ndarray of float32, shape (*series, ndim, *space), or None
        In world units.
    grid : Grid
        On whose pixels it has to lie.

    Raises
    ------
    ValueError
        If it has another shape or dtype, or leads nowhere.
    """
    space = grid.space()
    if displacement is None:
        return np.zeros(space.ndim)
    needed = (*grid.series_shape, space.ndim, *space.shape)
    if displacement.shape != needed or displacement.dtype != np.float32:
        raise ValueError(
            f"the displacement must be float32 of shape {needed}, got "
            f"{displacement.dtype} of shape {displacement.shape}"
        )
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is told so below
        largest = reach(displacement, space.pixel_to_world)
    if not np.isfinite(largest).all():
        raise ValueError("the displacement must be finite everywhere")
    if largest.max() > FARTHEST:
        raise ValueError(f"the displacement of {largest.max():.3g} px leads nowhere")
    return largest


def reach(values: NDArray[np.float32], pixel_to_world: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest displacement along each axis, in px; shape (ndim,).

    Parameters
    ----------
    values : ndarray, shape (..., ndim, *shape)
        Displacements in world units.
    pixel_to_world : ndarray
        Matrix of their grid.
    """
    ndim = len(pixel_to_world) - 1
    to_px = np.linalg.inv(pixel_to_world[:-1, :-1])
    largest = np.zeros(ndim)
    for frame in values.reshape(-1, *values.shape[-ndim - 1 :]):
        for box in slabs(frame.shape[1:]):
            moved = np.abs(np.tensordot(to_px, frame[(slice(None), *box)], axes=1))
            largest = np.maximum(largest, moved.reshape(ndim, -1).max(axis=1))
    return largest


def invert_field(
    forward: Displacement, shape: Sequence[int], place: NDArray[np.float64]
) -> tuple[NDArray[np.float32], float]:
    """Solve ``w(z) = -u(z + w(z))`` at every pixel of a lattice.

    Fixed-point iteration (Chen et al., Med. Phys. 35, 81 (2008), doi:10.1118/1.2816107); it
    converges where the displacement changes by less than 1 px per pixel.

    Parameters
    ----------
    forward : Displacement
        The displacement u.
    shape : sequence of int
        Of the lattice.
    place : ndarray
        Matrix from the lattice's pixels to the world of u.

    Returns
    -------
    displacement : ndarray of float32, shape (ndim, *shape)
        w, in the world units of u.
    residual : float
        Largest ``|w(z) + u(z + w(z))|`` of what lies within the grid of u, in its px.
    """
    to_world = forward.pixel_to_world[:-1, :-1]
    to_px = np.linalg.inv(to_world)
    last = np.array(forward.values.shape[1:]) - 1
    result, residual = field_array((len(last), *shape)), 0.0
    for box in slabs(shape):
        start = transform_pixels(invert_affine(forward.pixel_to_world) @ place, pixels_of(box))
        step = np.zeros_like(start)
        for _ in range(STEPS):
            before = step
            step = -np.tensordot(to_px, interpolate_field(forward.values, start + before), axes=1)
            error = np.sqrt(np.square(step - before).sum(axis=0))
            if error.max() < ENOUGH:
                break
        result[(slice(None), *box)] = np.tensordot(to_world, before, axes=1)
        bounds = last.reshape(-1, *(1,) * len(last))
        inside = ((start + before >= 0) & (start + before <= bounds)).all(axis=0)
        residual = max(residual, float(error[inside].max(initial=0.0)))
    return result, residual


def jacobian(values: NDArray[np.float32], pixel_to_world: NDArray[np.float64]) -> Jacobian:
    """Return how ``x + u(x)``, interpolated linearly, changes volumes.

    The determinant is taken at every corner of every cell of the grid, from the differences
    along the cell's edges: central differences overlook folds of one pixel (Karacali and
    Davatzikos, IEEE TMI 23, 868 (2004), doi:10.1109/TMI.2004.828391).

    Parameters
    ----------
    values : ndarray, shape (..., ndim, *shape)
        Displacements in world units.
    pixel_to_world : ndarray
        Matrix of their grid.
    """
    ndim = len(pixel_to_world) - 1
    to_px = np.linalg.inv(pixel_to_world[:-1, :-1]).astype(np.float32)
    lowest, highest, folds, cells = np.inf, -np.inf, 0, 0
    for frame in values.reshape(-1, *values.shape[-ndim - 1 :]):
        for box in slabs(frame.shape[1:], CACHED):
            part = (slice(box[0].start, box[0].stop + 1), *box[1:])
            low, high = _determinants(np.tensordot(to_px, frame[(slice(None), *part)], axes=1))
            if low.size:
                lowest, highest = min(lowest, float(low.min())), max(highest, float(high.max()))
                folds, cells = folds + int((low <= 0).sum()), cells + low.size
    return Jacobian(lowest, highest, folds, cells) if cells else Jacobian(1.0, 1.0, 0, 0)


def _determinants(
    moved: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the least and largest determinant at the corners of every cell."""
    ndim = len(moved)
    slopes = []
    for axis in range(ndim):
        slope = np.diff(moved, axis=axis + 1)
        slope[axis] += 1
        slopes.append(slope)
    values = []
    for corner in product((0, 1), repeat=ndim):
        columns = []
        for axis, slope in enumerate(slopes):
            cut = [slice(c, (c - 1) or None) for c in corner]
            cut[axis] = slice(None)
            columns.append(slope[(slice(None), *cut)])
        values.append(_determinant([list(column) for column in columns]))
    return np.min(values, axis=0), np.max(values, axis=0)


def _determinant(rows: list[list[NDArray[np.float32]]]) -> NDArray[np.float32]:
    """Expand along the first row; NumPy's own is slow for many small matrices."""
    if len(rows) == 1:
        return rows[0][0]
    total = np.zeros_like(rows[0][0])
    for k, value in enumerate(rows[0]):
        minor = [[*row[:k], *row[k + 1 :]] for row in rows[1:]]
        total += (-1) ** k * value * _determinant(minor)
    return total
