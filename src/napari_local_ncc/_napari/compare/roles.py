"""The two layers that are compared: kept apart, and followed while they are edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_local_ncc._napari.layers.convert import METADATA

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.layers import Image

ROLES = ("fixed", "moving")
PLACE = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels", "data")


class Roles:
    """Sees to it that fixed and moving are two layers, and hears when one is edited.

    Parameters
    ----------
    fields : mapping of str to magicgui.widgets.Widget
        The fields by name; those of `ROLES` hold the layers.
    edited : callable
        Is called when a layer that is followed has been edited.

    Attributes
    ----------
    followed : list
        The layers whose edits are heard, in the order of `ROLES`; none at first.
    """

    def __init__(self, fields: Mapping[str, Any], edited: Callable[..., None]) -> None:
        self._fields = fields
        self._edited = edited
        self.followed: list[Image | None] = []

    @property
    def layers(self) -> list[Any]:  # napari layers, or None
        """The layers that are chosen now, in the order of `ROLES`."""
        return [self._fields[role].value for role in ROLES]

    def fill(self, before: list[Image | None]) -> None:
        """Give a role whose layer went to one that is free, or to none; else keep the two apart.

        Parameters
        ----------
        before : list
            The layers that were followed before the choices became others.
        """
        fixed, moving = (self._fields[role] for role in ROLES)
        there = moving.choices
        had = dict(zip(ROLES, before or [None, None], strict=True))
        gone = [role for role, layer in had.items() if layer not in there]
        kept = [layer for layer in had.values() if layer in there]
        alone = kept[0] if len(gone) == 1 else fixed.value
        free = [  # our own results are compared only where the user chooses them
            layer for layer in there if layer is not alone and METADATA not in layer.metadata
        ]
        if len(gone) == 1:
            self._fields[gone[0]].native.setCurrentIndex(-1)  # the other takes no second role
        if free and len(gone) == 1:
            self._fields[gone[0]].value = free[0]
        elif free and moving.value is alone:
            moving.value = free[0]

    def follow(self) -> bool:
        """Hear of edits of the layers that are chosen now; say whether they are others."""
        layers = self.layers
        if layers == self.followed:
            return False
        for layer in filter(None, self.followed):
            for name in PLACE:
                getattr(layer.events, name).disconnect(self._edited)
        for layer in filter(None, layers):
            for name in PLACE:
                getattr(layer.events, name).connect(self._edited)
        self.followed = layers
        return True
