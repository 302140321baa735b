from .convert import spatial_image as spatial_image
