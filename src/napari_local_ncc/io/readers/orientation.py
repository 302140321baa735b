"""The eight orientations of TIFF and EXIF: how a stored picture is to be turned."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import dask.array as da

if TYPE_CHECKING:
    from napari_local_ncc.io.stored import StoredImage

TAG = 274
# value: (swap rows and columns first, then flip rows, flip columns)
TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def upright(stored: StoredImage, orientation: object) -> StoredImage:
    """Turn an image as its orientation tag says.

    Parameters
    ----------
    stored : StoredImage
        With axes "y" and "x".
    orientation : object
        Value of the tag; anything but 2 to 8 turns nothing.

    Returns
    -------
    StoredImage
        The picture as it is to be seen; a quarter turn takes the pixel sizes with it.
    """
    swap, flip_rows, flip_columns = TURNS.get(orientation, TURNS[1])  # type: ignore[call-overload]
    labels = [axis.label for axis in stored.axes]
    if "y" not in labels or "x" not in labels:
        return stored
    y, x = labels.index("y"), labels.index("x")
    data, axes = stored.data, list(stored.axes)
    if swap:
        data = da.swapaxes(data, y, x)
        axes[y], axes[x] = replace(axes[x], label="y"), replace(axes[y], label="x")
    for axis, flip in ((y, flip_rows), (x, flip_columns)):
        data = da.flip(data, axis) if flip else data
    return replace(stored, data=data, axes=tuple(axes))
