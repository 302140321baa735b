from .pairing import Pair as Pair
from .pairing import pair_images as pair_images
from .source import Source as Source
from .spatial_image import SpatialImage as SpatialImage
from .spatial_image import as_spatial_image as as_spatial_image
