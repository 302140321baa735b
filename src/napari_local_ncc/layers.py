"""Layers of napari as images and masks of this package; for napari's console."""

from napari_local_ncc._napari.layers.convert import mask_image, spatial_image

__all__ = ["mask_image", "spatial_image"]
