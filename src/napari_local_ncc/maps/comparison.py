"""What is compared: two images, where samples count, how, and what moves one onto the other."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.chunked.blocks import compute_block
from napari_local_ncc.image.pairing import pair_images, stage_advice
from napari_local_ncc.image.spatial_image import SpatialImage, as_spatial_image
from napari_local_ncc.ncc.device import namespace_on
from napari_local_ncc.parameters import NCCParameters
from napari_local_ncc.transforms.overlap import marked_box, overlap_box, overlap_share
from napari_local_ncc.transforms.resampling import (
    Sampling,
    matrices_of,
    pair_marks,
    place_mask,
    resample,
    sample_lazily,
)

if TYPE_CHECKING:
    from typing import Self

    import dask.array as da
    from numpy.typing import ArrayLike, NDArray

    from napari_local_ncc.confidence.calibration import Calibration
    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.pairing import Pair, Unitless
    from napari_local_ncc.transforms.foreign import TransformLike
    from napari_local_ncc.transforms.registration import Registration

    Box = tuple[slice, ...]

DEFAULTS = NCCParameters()


@dataclass(frozen=True, eq=False, init=False)  # no slots: what is found once is kept
class Comparison:
    """Two images to be compared, resolved once: to common axes, one grid, whole pixels.

    Parameters
    ----------
    fixed, moving : SpatialImage or array_like
        The images; for plain arrays the world is the pixel grid and every axis is space.
        An image without a time or channel axis is compared with every frame of the other.
    mask : SpatialImage or array_like, optional
        Non-zero where samples may be used; a plain array has the fixed image's shape.
    parameters : NCCParameters
        Window, limits and bands.
    registration : Registration, matrix, path or transform, optional
        Transform to apply to `moving`, or what `as_registration` takes for one: a matrix in the
        order of the array's axes, a transform file, a transform of scikit-image, SimpleITK or
        napari. Default: already aligned.
    unitless : {"numbers", "pixels"}, optional
        What the coordinates of an image without physical units mean beside one that has
        them; see `napari_local_ncc.image.pairing.pair_images`.

    Attributes
    ----------
    pair : Pair
        The images on common axes, in one unit.
    usable : SpatialImage or None
        The mask on the same axes.

    Raises
    ------
    TypeError
        If an image is complex or not numeric.
    ValueError
        If the images cannot be paired, or the mask or the registration does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import Comparison
    >>> fixed = np.random.default_rng(0).normal(size=(40, 50))
    >>> Comparison(fixed, np.roll(fixed, 1, axis=0)).overlap
    1.0
    """

    fixed: SpatialImage
    moving: SpatialImage
    mask: SpatialImage | None
    parameters: NCCParameters
    registration: Registration | None
    unitless: Unitless | None
    pair: Pair
    usable: SpatialImage | None

    def __init__(
        self,
        fixed: SpatialImage | ArrayLike | da.Array,
        moving: SpatialImage | ArrayLike | da.Array,
        mask: SpatialImage | ArrayLike | da.Array | None = None,
        parameters: NCCParameters = DEFAULTS,
        registration: TransformLike | None = None,
        unitless: Unitless | None = None,
    ) -> None:
        fixed, moving = as_spatial_image(fixed, "fixed"), as_spatial_image(moving, "moving")
        pair = pair_images(fixed, moving, unitless=unitless)
        placed = None if mask is None else place_mask(mask, pair.fixed)
        self._set(
            fixed=fixed,
            moving=moving,
            mask=placed,
            parameters=parameters,
            registration=registration,
            unitless=unitless,
            pair=pair,
            usable=None if placed is None else pair_marks(placed, pair.fixed, "mask"),
        )

    def with_parameters(self, parameters: NCCParameters) -> Self:
        """Return the comparison of the same pair with other parameters."""
        return self._but(parameters=parameters)

    def with_registration(self, registration: TransformLike | None) -> Self:
        """Return the comparison of the same pair with another transform."""
        return self._but(registration=registration)

    def _but(self, **changes: Any) -> Self:
        """Return a copy with some fields changed; the images are not paired anew."""
        other = object.__new__(type(self))
        other._set(**{each.name: getattr(self, each.name) for each in fields(self)} | changes)
        return other

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if self.registration is not None:
            from napari_local_ncc.transforms.foreign import as_registration

            found = as_registration(self.registration, self.grid)
            object.__setattr__(self, "registration", found)

    @property
    def grid(self) -> Grid:
        """The map's grid: that of the fixed image, with all independent axes of both."""
        return self.pair.fixed.grid

    @cached_property
    def radius(self) -> tuple[int, ...]:
        """Window radius per axis of the grid, in px; raises ValueError if it does not fit."""
        return self.parameters.radius_on(self.grid)

    @property
    def dtypes(self) -> tuple[np.dtype[Any], np.dtype[Any]]:
        """Of the samples of fixed, and of moving on its grid."""
        return self.pair.fixed.data.dtype, self._samplings[0].dtype

    @cached_property
    def overlap(self) -> float:
        """Share of the fixed pixels inside the moving image, at its best frame."""
        fixed, moving = self.grid.space(), self.pair.moving.grid.space()
        matrices = matrices_of(self.registration, self.grid)
        moved = self.registration
        return max(
            overlap_share(
                fixed,
                moving,
                matrices[index],
                None if moved is None else moved.displacement_of(index),
            )
            for index in np.ndindex(self.grid.series_shape)
        )

    def check_overlap(self) -> None:
        """Raise ValueError, naming both extents, where no fixed pixel lies inside moving."""
        if self.overlap == 0:
            fixed, moving = self.grid.space(), self.pair.moving.grid.space()
            raise ValueError(
                f"the images do not overlap: fixed ({self.fixed.name}) covers "
                f"{fixed.extent_text()}; moving ({self.moving.name}) covers {moving.extent_text()}"
                + ("" if self.registration is None else " before the registration moved it")
                + stage_advice(self.pair.fixed, self.pair.moving)
            )

    @cached_property
    def box(self) -> Box:
        """The box of the grid outside which no window holds a sample that counts, all axes.

        There is none where the two do not overlap, or where the mask excludes all. Outside of
        it the map is undefined, and is not computed.
        """
        marked = None
        if self.usable is not None:
            space = self.grid.space()
            marked = marked_box(self.usable, space, self.radius[-space.ndim :])
        if marked is None:
            return self.overlap_box
        series = len(self.grid.series_shape)
        both = self.overlap_box[:series] + tuple(
            slice(max(a.start, b.start), min(a.stop, b.stop))
            for a, b in zip(self.overlap_box[series:], marked, strict=True)
        )
        return both if all(part.start < part.stop for part in both) else self.overlap_box

    @cached_property
    def overlap_box(self) -> Box:
        """The box of the grid outside which no window holds a sample of moving, all axes."""
        fixed, moving = self.grid.space(), self.pair.moving.grid.space()
        series = self.grid.series_shape
        margin = np.array(self.radius[len(series) :])
        if self.registration is not None:  # a flow brings in what lies that far outside
            step = self.registration.grid.space().pixel_to_world[:-1, :-1]
            to_px = np.abs(np.linalg.inv(fixed.pixel_to_world[:-1, :-1]))
            reach = np.abs(step) @ self.registration.reach
            margin = margin + np.ceil(to_px @ reach).astype(int)
        matrices = matrices_of(self.registration, self.grid)
        return tuple(slice(0, n) for n in series) + overlap_box(
            fixed, moving, matrices, margin.tolist()
        )

    def images_in(self, box: Box) -> list[da.Array]:
        """Return what is compared in a box of the grid, lazily, of what that needs.

        Parameters
        ----------
        box : tuple of slice
            One per axis of the grid.

        Returns
        -------
        list of dask array
            Fixed, moving sampled on the grid (NaN outside), and the mask (bool) if there is
            one; in the same chunks.
        """
        moving = sample_lazily(
            self.pair.moving,
            self.grid,
            self.registration,
            box,
            interpolation=self.parameters.interpolation,
        )
        images = [self.pair.fixed.data[tuple(box)].rechunk(moving.chunks), moving]
        if self.usable is not None:
            images.append(
                sample_lazily(self.usable, self.grid, box=box, interpolation="nearest") > 0
            )
        return images

    def read(self, box: Box, device: str | None = None) -> list[NDArray[Any]]:
        """Return what is compared in a box of the grid: as `images_in`, read in this thread.

        In the memory of a device, where samples are interpolated, if one is given.
        """
        xp = namespace_on(device)
        images = [xp.asarray(compute_block(self.pair.fixed.data, box))]
        images += [sampling(box, device) for sampling in self._samplings[:1]]
        images += [sampling(box, device) > 0 for sampling in self._samplings[1:]]
        return images

    @cached_property
    def _samplings(self) -> list[Sampling]:
        """How moving and the mask are sampled on the grid."""
        how = self.parameters.interpolation
        found = [Sampling.of(self.pair.moving, self.grid, self.registration, how)]
        if self.usable is not None:
            found.append(Sampling.of(self.usable, self.grid, None, "nearest"))
        return found

    def usable_on_grid(self) -> da.Array | None:
        """Return where samples may be used, lazily, shape `grid.shape`; None if everywhere."""
        if self.usable is None:
            return None
        return resample(self.usable, self.grid, interpolation="nearest").data > 0

    def moving_on_grid(self) -> da.Array:
        """Return the moving image as it is compared, lazily, shape `grid.shape`."""
        return resample(
            self.pair.moving,
            self.grid,
            self.registration,
            interpolation=self.parameters.interpolation,
        ).data

    def provenance(self, calibration: Calibration | None = None) -> dict[str, Any]:
        """Return, as plain JSON values, what is compared and how; see `reports.recipe`."""
        registration = self.registration
        return {
            "software": f"napari-local-ncc {version('napari-local-ncc')}",
            "fixed": _origin(self.fixed),
            "moving": _origin(self.moving),
            "mask": None if self.mask is None else _origin(self.mask),
            "unitless": self.unitless,
            "parameters": asdict(self.parameters),
            "registration": None if registration is None else registration.to_dict(),
            "calibration": None if calibration is None else calibration.to_dict(),
        }


def _origin(image: SpatialImage) -> dict[str, Any]:
    """Say which image it is, where it lies, and where its samples came from."""
    source = None if image.source is None else image.source.to_dict()
    return {"name": image.name, "grid": image.grid.to_dict(), "source": source}
