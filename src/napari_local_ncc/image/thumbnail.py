"""How images and maps show themselves: one line of text, or a small picture in a notebook."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.geometry.grid import axis_name
from napari_local_ncc.geometry.units import unit_symbol

if TYPE_CHECKING:
    import dask.array as da
    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid

SIDE = 160  # pixels of a thumbnail
MOST_READ = 1024  # pixels of an image that are read for it, along each side of its middle


def describe_grid(grid: Grid) -> str:
    """Say in one line how many samples lie how far apart: ``"z 5 x 2 µm, y ..."``."""
    return ", ".join(
        f"{axis_name(label)} {n}" + (f" x {step:g} {unit_symbol(unit)}" if is_space else "")
        for label, n, step, unit, is_space in zip(
            grid.axis_labels, grid.shape, grid.spacing, grid.units, grid.spatial, strict=True
        )
    )


def html_of(text: str, data: da.Array, limits: tuple[float, float] | None = None) -> str:
    """Return a text with a thumbnail of the middle of the middle plane.

    Parameters
    ----------
    text : str
        One line.
    data : dask array
        The samples; NaN is transparent.
    limits : tuple of float, optional
        Values that are black and white. Default: the 1st and 99th percentile.
    """
    picture = base64.b64encode(_png(_middle(data), limits)).decode()
    return (
        f'<div><img alt="" style="background: #88a" src="data:image/png;base64,{picture}">'
        f"<br>{escape(text)}</div>"
    )


def _middle(data: da.Array) -> NDArray[Any]:
    planes = tuple(n // 2 for n in data.shape[:-2])
    sides = [slice(max((n - MOST_READ) // 2, 0), (n + MOST_READ) // 2) for n in data.shape[-2:]]
    plane = data[(*planes, *sides)]
    step = max(1, -(-max(plane.shape) // SIDE))
    samples: NDArray[Any] = plane[..., ::step].compute(callbacks=[])
    return np.atleast_2d(samples)[::step]


def _png(samples: NDArray[Any], limits: tuple[float, float] | None) -> bytes:
    from PIL import Image

    values = samples.astype(np.float64)
    seen = np.isfinite(values)
    if limits is None:
        limits = tuple(np.percentile(values[seen], (1, 99))) if seen.any() else (0.0, 1.0)
    low, high = limits
    grey = np.where(seen, (values - low) / ((high - low) or 1.0), 0).clip(0, 1)
    shown = np.stack([grey * 255, seen * 255.0], axis=-1).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(shown, "LA").save(file, "PNG")
    return file.getvalue()
