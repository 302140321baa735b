"""Files: images in, maps out and back in."""

from napari_local_ncc.io.image_writing import iter_write_image
from napari_local_ncc.io.points import PointTable, read_points, write_points
from napari_local_ncc.io.reading import read_image
from napari_local_ncc.io.writing import (
    check_free,
    check_layout,
    check_output,
    is_map,
    iter_write_map,
    read_map,
    write_map,
)

__all__ = [
    "PointTable",
    "check_free",
    "check_layout",
    "check_output",
    "is_map",
    "iter_write_image",
    "iter_write_map",
    "read_image",
    "read_map",
    "read_points",
    "write_map",
    "write_points",
]
