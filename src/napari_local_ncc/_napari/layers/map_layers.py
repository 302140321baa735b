"""From a result layer back to what was compared: its record, its images, its fellow layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels

from napari_local_ncc._napari.layers.convert import METADATA, layer_grid, mask_image, spatial_image
from napari_local_ncc._napari.layers.kept_transforms import transform_of
from napari_local_ncc.geometry.grid import Grid
from napari_local_ncc.image.source import Source
from napari_local_ncc.io.reading import read_source
from napari_local_ncc.maps.comparison import Comparison
from napari_local_ncc.parameters import NCCParameters

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_local_ncc.image.spatial_image import SpatialImage

LOOKED_AT = "looked_at_"  # begins the kinds of images that were made to look at, by role
IMAGES = ("registered", f"{LOOKED_AT}fixed", f"{LOOKED_AT}moving")  # the kinds that are no bands
LAYERS = "layers"  # of the record: the kind of result, and the ids of the layers compared


def record(layer: Layer) -> dict[str, Any]:
    """Return the provenance that a result layer carries."""
    found: dict[str, Any] = layer.metadata[METADATA]
    return found


def run_of(layer: Layer) -> dict[str, Any] | None:
    """Return what all results of one run have in common, as plain values; None of others."""
    found = layer.metadata.get(METADATA)
    return None if found is None else run_in(found)


def run_in(provenance: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a result's provenance that all results of its run have in common."""
    return {k: value for k, value in provenance.items() if k not in (LAYERS, "complete")}


def kind(layer: Layer) -> str | None:
    """Return which kind of result a layer is, such as "ncc" or "registered"; else None."""
    found: str | None = layer.metadata.get(METADATA, {}).get(LAYERS, {}).get("kind")
    return found


def is_map(layer: Layer) -> bool:
    """Say whether a layer is an NCC map of ours."""
    return isinstance(layer, Image) and kind(layer) == "ncc"


def maps_in(viewer: Viewer) -> list[Image]:
    """Return the NCC maps of a viewer, the newest first."""
    return [layer for layer in reversed(viewer.layers) if is_map(layer)]


def fellows(
    viewer: Viewer, layer: Image, kinds: type[Layer] | tuple[type[Layer], ...] = Image
) -> dict[str, Any]:
    """Return the other bands of a map by name, and the length of its shift, if it has one.

    `kinds` are those of layers; classes are Labels.
    """
    own = run_of(layer)  # None if its record is gone: nothing is its fellow then
    return {
        str(kind(other)): other
        for other in viewer.layers
        if isinstance(other, kinds)
        and kind(other) not in (None, *IMAGES)
        and other != layer
        and run_of(other) == own
    }


def values_of(layer: Image) -> Any:
    """Return a map's values at full resolution."""
    return layer.data[0] if layer.multiscale else layer.data


def grid_of(layer: Image) -> Grid:
    """Return a map's grid as it was computed: its own record says which axes are space."""
    count = Grid.from_dict(record(layer)["fixed"]["grid"]).spatial_ndim
    return layer_grid(layer).with_spatial_ndim(count)


def counterpart(viewer: Viewer, layer: Image) -> Image | None:
    """Return the newest map of the same images with another transform, or none applied."""
    own = record(layer)

    def of_same_images(other: dict[str, Any]) -> bool:
        return all(other[role]["name"] == own[role]["name"] for role in ("fixed", "moving"))

    others = [
        other
        for other in maps_in(viewer)
        if other is not layer
        and other.data.shape == layer.data.shape
        and of_same_images(record(other))
        and (record(other)["registration"] is None) != (own["registration"] is None)
    ]
    return others[0] if others else None


def comparison_of(viewer: Viewer, layer: Image) -> Comparison:
    """Find what a map compared: in the layers of their names, else in their files.

    Raises
    ------
    ValueError
        If an image is neither in the viewer nor in a file any more, or a dense transform
        was not kept.
    """
    provenance = record(layer)
    ids = provenance[LAYERS]
    fixed = _find(viewer, provenance["fixed"], ids.get("fixed"), None)
    masked = provenance["mask"] is not None
    return Comparison(
        fixed,
        _find(viewer, provenance["moving"], ids.get("moving"), None),
        _find(viewer, provenance["mask"], None, fixed) if masked else None,
        NCCParameters(**provenance["parameters"]),
        transform_of(layer),
        provenance["unitless"],
    )


def _find(
    viewer: Viewer, origin: dict[str, Any], identity: str | None, masked: SpatialImage | None
) -> SpatialImage:
    """Return one image, or the mask of `masked`, as it was compared."""
    grid = Grid.from_dict(origin["grid"])
    source = Source.from_dict(origin["source"])
    image = None
    layer = layer_of(viewer, origin["name"], identity)
    if layer is not None and masked is not None:
        image = mask_image(layer, masked, source.select)
    elif isinstance(layer, Image | Labels):
        image = spatial_image(layer, chosen=source.select, level=source.level)
    elif source.path is not None:
        image = read_source(source)
    if image is None or image.grid.shape != grid.shape:
        raise ValueError(
            f"{origin['name']}, of which this map was made, is not there any more; "
            "open it again, under this name"
        )
    return image.replace(grid=grid)


def layer_of(viewer: Viewer, name: str, identity: str | None) -> Layer | None:
    """Return the layer that was compared: itself, else one of its name; None if neither is."""
    for layer in viewer.layers:
        if str(layer.unique_id) == identity:
            return layer
    return next((layer for layer in viewer.layers if layer.name == name), None)
