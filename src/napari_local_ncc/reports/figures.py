"""Figures of a comparison, for files; needs matplotlib (extra `plot`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.geometry.units import unit_symbol
from napari_local_ncc.io.outputs import check_free
from napari_local_ncc.reports import colormap
from napari_local_ncc.reports.pictures import middle_plane, plane_text, round_length

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_local_ncc.geometry.grid import Grid
    from napari_local_ncc.image.spatial_image import SpatialImage

PANEL_PIXELS = 1024


def check_figure(path: Path, overwrite: bool, inputs: Iterable[str] = ()) -> None:
    """Fail before the work, not after it, where a figure cannot be drawn.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If it cannot write files of this ending, or the file is one of the `inputs`.
    FileExistsError
        If the file exists and must not be replaced.
    FileNotFoundError
        If its folder does not exist.
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise ImportError(
            "a figure needs matplotlib; install it with: pip install 'napari-local-ncc[plot]'"
        ) from error
    endings = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix.lower().removeprefix(".") not in endings:
        raise ValueError(f"{path}: a figure's name must end in one of {', '.join(endings)}")
    check_free(path, overwrite, inputs)


def comparison_figure(images: dict[str, SpatialImage], maps: dict[str, SpatialImage]) -> Figure:
    """Draw images in grey and NCC maps in colour, side by side on one scale.

    Parameters
    ----------
    images, maps : dict of str to SpatialImage
        What to draw under which title; the middle plane of each.

    Returns
    -------
    matplotlib.figure.Figure
        One panel each, a scale bar in every panel and a colour bar for the maps.
    """
    from matplotlib.figure import Figure

    count = len(images) + len(maps)
    figure = Figure(figsize=(3.1 * count + 0.6, 4.0), layout="constrained")
    axes = list(figure.subplots(1, count, squeeze=False)[0])
    for axis, (title, image) in zip(axes, images.items(), strict=False):
        data, grid = middle_plane(image, PANEL_PIXELS)
        low, high = np.nanpercentile(data, (0.5, 99.5)) if np.isfinite(data).any() else (0, 1)
        _draw(axis, data, grid, _titled(title, image), cmap=_grey(), vmin=low, vmax=high)
    for axis, (title, image) in zip(axes[len(images) :], maps.items(), strict=True):
        data, grid = middle_plane(image, PANEL_PIXELS)
        low, high = colormap.LIMITS
        drawn = _draw(
            axis, data, grid, _titled(title, image), cmap=ncc_colormap(), vmin=low, vmax=high
        )
    if maps:
        bar = figure.colorbar(
            drawn, ax=axes[len(images) :], shrink=0.75, ticks=[-1, -0.5, 0, 0.5, 1]
        )
        bar.set_label("local NCC (grey: undefined)")
    return figure


def _titled(title: str, image: SpatialImage) -> str:
    """Return the title of a panel, with the plane that it shows of several."""
    plane = plane_text(image.grid)
    return f"{title}, {plane}" if plane else title


def ncc_colormap() -> Any:
    """Return the colours of `napari_local_ncc.reports.colormap` as a matplotlib colormap."""
    from matplotlib.colors import LinearSegmentedColormap

    low, high = colormap.LIMITS
    stops = [((value - low) / (high - low), color) for value, color in colormap.STOPS]
    made = LinearSegmentedColormap.from_list(colormap.NAME, stops, N=256)
    return made.with_extremes(bad=colormap.UNDEFINED)


def _grey() -> Any:
    from matplotlib import colormaps

    return colormaps["gray"].with_extremes(bad="white")


def _draw(axis: Axes, data: NDArray[Any], grid: Grid, title: str, **style: Any) -> Any:
    height, width = grid.shape
    dy, dx = grid.spacing
    drawn = axis.imshow(
        data, extent=(0, width * dx, height * dy, 0), interpolation="nearest", **style
    )
    axis.set_title(title, fontsize=10)
    axis.set_xticks([])
    axis.set_yticks([])
    _draw_scale_bar(axis, width * dx, height * dy, grid.units[-1])
    return drawn


def _draw_scale_bar(axis: Axes, width: float, height: float, unit: str) -> None:
    """Draw a bar of a round length, about a fifth of the panel, below the image."""
    length = round_length(width / 5)
    label = f"{length:g} {unit_symbol(unit)}"
    below = height * 1.04
    axis.plot(
        [0, length],
        [below, below],
        color="black",
        linewidth=3,
        clip_on=False,
        solid_capstyle="butt",
    )
    axis.text(length * 1.1, below, label, va="center", ha="left", fontsize=9, clip_on=False)
    axis.set_xlim(0, width)
    axis.set_ylim(height, 0)
