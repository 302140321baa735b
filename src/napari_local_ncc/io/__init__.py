"""Files: images in, maps out and back in."""

from napari_local_ncc.io.reading import read_image
from napari_local_ncc.io.writing import (
    check_free,
    check_layout,
    check_output,
    iter_write_map,
    read_map,
    write_map,
)

__all__ = [
    "check_free",
    "check_layout",
    "check_output",
    "iter_write_map",
    "read_image",
    "read_map",
    "write_map",
]
