"""The transform behind a result layer, also where its record only describes a dense one."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from napari_local_ncc._napari.layers.convert import METADATA
from napari_local_ncc.transforms.registration import Registration

if TYPE_CHECKING:
    from napari.layers import Layer

_KEPT: WeakKeyDictionary[Layer, Registration] = WeakKeyDictionary()


def keep_transform(layer: Layer, registration: Registration | None) -> None:
    """Keep a transform for as long as the layer that it was applied to."""
    layer = getattr(layer, "__wrapped__", layer)  # a plugin's viewer gives proxies of layers
    if registration is None:
        _KEPT.pop(layer, None)
    else:
        _KEPT[layer] = registration


def transform_of(layer: Layer) -> Registration | None:
    """Return the transform that was applied to make a result.

    Raises
    ------
    ValueError
        If it moves every pixel by itself, and the layer is a copy or of another session.
    """
    kept = _KEPT.get(getattr(layer, "__wrapped__", layer))
    described = layer.metadata.get(METADATA, {}).get("registration")
    if kept is not None or described is None:
        return kept
    if "displacement" in described:
        raise ValueError(
            f"the {described['model']} of {layer.name} was not kept with it: it moves every pixel "
            "by itself; run again, or load it from its file under Transform"
        )
    return Registration.from_dict(described)
