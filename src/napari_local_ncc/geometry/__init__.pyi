from .affine import apply_affine as apply_affine
from .affine import check_affine as check_affine
from .affine import invert_affine as invert_affine
from .affine import whole_pixel_offset as whole_pixel_offset
from .grid import Grid as Grid
