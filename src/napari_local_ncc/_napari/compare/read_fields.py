"""What the fields say, as what the library takes: images, parameters, a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Labels

from napari_local_ncc._napari.compare.apply_transform import Application
from napari_local_ncc._napari.compare.fields import EXISTING
from napari_local_ncc._napari.compare.preferences import memory_budget
from napari_local_ncc._napari.layers.convert import (
    mask_image,
    placement,
    placement_on,
    spatial_image,
)
from napari_local_ncc._napari.results.job import Job
from napari_local_ncc._napari.results.result_spec import Output
from napari_local_ncc.geometry.kind import UNREGISTERED
from napari_local_ncc.image.spatial_image import parse_selection
from napari_local_ncc.maps.comparison import Comparison
from napari_local_ncc.parameters import BANDS, NCCParameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_local_ncc._napari.compare.transforms_section import Transforms
    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.pairing import Unitless
    from napari_local_ncc.image.spatial_image import SpatialImage
    from napari_local_ncc.transforms.registration import Registration


class Choices:
    """Reads the widget's fields.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        What is looked at.
    fields : mapping of str to magicgui.widgets.Widget
        The fields by name.
    transforms : Transforms
        Where an existing transform is chosen.

    Raises
    ------
    ValueError, TypeError
        By every method, if a choice makes no sense.
    """

    def __init__(self, viewer: Viewer, fields: Mapping[str, Any], transforms: Transforms) -> None:
        self._viewer = viewer
        self._fields = fields
        self._transforms = transforms

    def images(self, moving: Image | None = None) -> tuple[SpatialImage, SpatialImage]:
        """Return fixed and moving, or another layer in its place, as they are picked."""
        fixed, moving = self._fields["fixed"].value, moving or self._fields["moving"].value
        picks = self.picks()
        if fixed is moving and picks[0] == picks[1] and len(self._fields["fixed"].choices) > 1:
            raise ValueError(
                f"{fixed.name} is chosen both as fixed and as moving: choose another layer for one"
            )
        if fixed is None or moving is None or (fixed is moving and picks[0] == picks[1]):
            raise ValueError(
                "Two different image layers are needed: one fixed, one moving. "
                "File > Open Sample > Local NCC has some."
            )
        ndim, level = self._fields["window"].value, self._fields["level"].value
        return (
            spatial_image(fixed, ndim, chosen=picks[0], level=level),
            spatial_image(moving, ndim, chosen=picks[1], level=level),
        )

    def layers(self) -> list[Image]:
        """Return the layers that are chosen as fixed and as moving.

        Raises
        ------
        ValueError
            If one is missing.
        """
        found = [self._fields[role].value for role in ("fixed", "moving")]
        if None in found:
            raise ValueError("choose a fixed and a moving image layer first")
        return found

    def unitless(self) -> Unitless:
        """Return what the coordinates of a layer without units mean."""
        meaning: Unitless = self._fields["unitless"].value
        return meaning

    def options(self) -> dict[str, Any]:
        """Return where a registration begins, unless that is searched for, and what it may do."""
        name = self._fields["start"].value
        start = {"initial": self._transforms.named(name)} if name else {}
        return start | {"mirror": self._fields["mirror"].value}

    def fixed_grid(self) -> Grid:
        """Return where the fixed image lies, as it is picked."""
        ndim, level = self._fields["window"].value, self._fields["level"].value
        fixed = self._fields["fixed"].value
        return spatial_image(fixed, ndim, chosen=self.picks()[0], level=level).grid

    def picks(self) -> list[dict[str, int]]:
        """Return the channel or time point that is picked of fixed and of moving."""
        return [parse_selection(self._fields[name].value) for name in ("fixed_pick", "moving_pick")]

    def registration(self) -> Registration | None:
        """Return the existing transform, if one is to be used."""
        return self._transforms.choice() if self._fields["registration"].value == EXISTING else None

    def parameters(self) -> NCCParameters:
        """Return window, limits and bands."""
        return NCCParameters(
            bands=tuple(name for name in BANDS if name == "ncc" or self._fields[name].value),
            search=self._fields["search"].value,
            radius=self._fields["exact_radius"].value.strip() or self._fields["radius"].value,
            weights=self._fields["weights"].value,
            interpolation=self._fields["interpolation"].value,
            alternative=self._fields["alternative"].value,
            per_frame=self._fields["per_frame"].value,
            min_std=_number(self._fields["min_std"].value, self._fields["min_std"].label),
            min_valid=self._fields["min_valid"].value,
        )

    def comparison(self, moving: Image | None = None, *, masked: bool = True) -> Comparison:
        """Return what is compared, with the existing transform if one is to be used.

        Parameters
        ----------
        moving : napari.layers.Image, optional
            What to compare in place of the layer that is chosen as moving.
        masked : bool, default True
            Whether with the mask, which it may cost something to draw.
        """
        fixed, other = self.images(moving)
        mask = self._fields["mask"].value if masked else None
        return Comparison(
            fixed,
            other,
            None if mask is None else mask_image(mask, fixed, self.picks()[0]),
            self.parameters(),
            self.registration(),
            self.unitless(),
        )

    def model(self) -> str:
        """Return by what model to register; none where the transform is there."""
        chosen: str = self._fields["registration"].value
        return UNREGISTERED if chosen == EXISTING else chosen

    def job(self, moving: Image | None = None, *, compare: bool = True) -> Job:
        """Return what Run is to do, or Register if nothing is to be compared.

        Parameters
        ----------
        moving : napari.layers.Image, optional
            What to compare in place of the layer that is chosen as moving.
        compare : bool, default True
            Whether the images are compared, not registered only.
        """
        comparison = self.comparison(moving)
        fixed = comparison.fixed
        layers = {"fixed": self._fields["fixed"].value}
        layers["moving"] = moving or self._fields["moving"].value
        found = self._fields["registration"].value != UNREGISTERED or self._fields["refine"].value
        if not (compare or found):
            raise ValueError("choose how to register: the layers are said to be already aligned")
        as_it_is = not self.picks()[0] and self._fields["level"].value == 0
        style = {"colormap": "magenta", "blending": "additive"}
        return Job(
            comparison=comparison,
            model=self.model(),
            options=self.options(),
            refines=self._fields["refine"].value,
            compare=compare,
            add_registered=self._fields["add_registered"].value or not compare,
            output=Output(
                placement=placement(layers["fixed"]) if as_it_is else placement_on(fixed.grid),
                multiscale=layers["fixed"].multiscale,
                view=self.view(),
                budget=memory_budget(),
                layers={name: str(layer.unique_id) for name, layer in layers.items()},
                style=style | {"contrast_limits": layers["moving"].contrast_limits},
            ),
        )

    def view(self) -> tuple[float, ...]:
        """Return the middle of what is looked at, in the viewer's world."""
        dims = self._viewer.dims
        point = list(dims.point)
        centre = self._viewer.scene.camera.center
        for axis, value in zip(dims.displayed, centre[-len(dims.displayed) :], strict=True):
            point[axis] = value
        return tuple(map(float, point))

    def application(self, layer: Image | Labels, registration: Registration) -> Application:
        """Return what it takes to carry another layer along a transform."""
        is_labels = isinstance(layer, Labels)
        drawn = () if is_labels else ("colormap", "contrast_limits", "blending")
        style = {name: getattr(layer, name) for name in drawn}
        return Application(
            registration,
            spatial_image(layer, registration.grid.spatial_ndim),
            is_labels,
            self._fields["interpolation"].value,
            self.unitless(),
            Output(
                placement=placement_on(registration.grid),
                multiscale=False,
                view=self.view(),
                budget=memory_budget(),
                layers={"kind": "applied", "other": str(layer.unique_id)},
                style=style,
            ),
        )


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number such as 0 or 1e-3, got {text!r}") from None
