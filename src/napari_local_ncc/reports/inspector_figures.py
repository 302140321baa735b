"""What the inspector draws: on matplotlib figures, in the colours that they are styled with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.geometry.grid import axis_name
from napari_local_ncc.geometry.units import PIXEL, unit_symbol
from napari_local_ncc.reports import colormap
from napari_local_ncc.reports.figures import ncc_colormap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from numpy.typing import NDArray

    from napari_local_ncc.maps.window import WindowPair
    from napari_local_ncc.reports.tables import FrameTable

ALIKE = colormap.CLASSES["agrees"]  # of whatever says how alike; the rest is in the text's colour
INNER, OUTER = "white", "black"  # a line of both is seen on any grey, as on the canvas
CONTRAST = 2.5  # standard deviations to either side of a window's mean
EDGES = np.linspace(-1, 1, 81)


def draw_windows(figure: Figure, pair: WindowPair, profile: Mapping[str, Any] | None) -> None:
    """Draw two windows, their scatter plot, and the profile along time if there is one.

    Parameters
    ----------
    figure : Figure
        What to draw on; it is empty.
    pair : WindowPair
        The windows. Each is drawn from its mean by the same number of its standard
        deviations, which is how ncc sees them. Of a volume, the plane of the pixel.
    profile : mapping, optional
        `values` of the map along an axis, the `current` index there and its `label`.
    """
    rows = figure.add_gridspec(2, 2, height_ratios=(1, 1))
    for column, (title, data) in enumerate((("fixed", pair.fixed), ("moving", pair.moving))):
        _draw_window(figure.add_subplot(rows[0, column]), pair, data, title)
    if profile is None:
        _draw_scatter(figure.add_subplot(rows[1, :]), pair)
    else:
        _draw_scatter(figure.add_subplot(rows[1, 0]), pair)
        _draw_profile(figure.add_subplot(rows[1, 1]), **profile)


def _draw_window(axes: Axes, pair: WindowPair, data: NDArray[Any], title: str) -> None:
    from matplotlib import colormaps

    plane = pair.centre[:-2]
    shown, weights = np.atleast_2d(data[plane]), np.atleast_2d(pair.weights[plane])
    dy, dx = pair.grid.pixel_lengths()[-2:] if data.ndim > 1 else (1.0, 1.0)
    valid = pair.weights > 0
    low, high = 0.0, 1.0
    if valid.any():
        samples, share = data[valid].astype(float), pair.weights[valid]
        mean = share @ samples
        reach = CONTRAST * np.sqrt(share @ (samples - mean) ** 2) or 1.0
        low, high = mean - reach, mean + reach
    grey = colormaps["gray"].with_extremes(bad=(0, 0, 0, 0))
    axes.set_facecolor(colormap.UNDEFINED)
    axes.patch.set(hatch="xxxx", edgecolor=OUTER)
    unused = np.where(weights > 0, shown.astype(float), np.nan)
    axes.imshow(unused, cmap=grey, vmin=low, vmax=high, aspect=dy / dx, interpolation="nearest")
    inside = weights[weights > 0]
    if inside.size and inside.max() > 2 * inside.min():  # a Gaussian window
        for color, width in ((OUTER, 3), (INNER, 1)):
            axes.contour(weights, [0.5 * weights.max()], colors=color, linewidths=width)
    row, column = (pair.centre[-2] if data.ndim > 1 else 0), pair.centre[-1]
    square = [column - 0.5, column + 0.5, column + 0.5, column - 0.5, column - 0.5]
    for color, width in ((OUTER, 3), (INNER, 1)):
        sides = [row - 0.5, row - 0.5, row + 0.5, row + 0.5, row - 0.5]
        axes.plot(square, sides, color=color, lw=width)
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_scatter(axes: Axes, pair: WindowPair) -> None:
    valid = pair.valid
    if not valid.any():
        axes.text(0.5, 0.5, "no valid sample", ha="center", va="center", transform=axes.transAxes)
        return
    a, b, weights = pair.fixed[valid], pair.moving[valid], pair.weights[valid]
    axes.scatter(a, b, s=14 * weights / weights.max() + 1, color=ALIKE, linewidths=0, alpha=0.7)
    if np.isfinite(pair.slope):
        ends = np.array([a.min(), a.max()], float)
        axes.plot(ends, pair.slope * ends + pair.offset, color=_text_color(axes), lw=1.5)
    spread = float(b.max()) - float(b.min()) or 1.0  # or the line alone would set the scale
    axes.set_ylim(float(b.min()) - 0.05 * spread, float(b.max()) + 0.05 * spread)
    axes.set_xlabel("fixed")
    axes.set_ylabel("moving")
    axes.set_title(f"ncc {pair.ncc:.3f}")


def _draw_profile(axes: Axes, values: NDArray[Any], current: int, label: str) -> None:
    axes.plot(values, color=ALIKE, lw=1.2, marker=".", ms=4)
    axes.plot([current], [values[current]], marker="o", ms=6, color=_text_color(axes))
    axes.set_ylim(-1.05, 1.05)
    axes.xaxis.set_major_locator(_whole_numbers())
    axes.set_xlabel(label)
    axes.set_title("ncc at this pixel")


def draw_histogram(
    figure: Figure, counts: Mapping[str, NDArray[np.float64]], threshold: float
) -> Line2D:
    """Draw the distribution of one or more maps, and a threshold.

    Parameters
    ----------
    figure : Figure
        What to draw on; it is empty.
    counts : mapping of str to ndarray
        Pixels between neighbouring `EDGES`, by the map's name; the last one is filled.
    threshold : float
        Where to draw the line.

    Returns
    -------
    Line2D
        The line of the threshold.
    """
    axes = figure.add_subplot()
    *others, (name, own) = counts.items()
    middles = (EDGES[1:] + EDGES[:-1]) / 2
    cmap = ncc_colormap()
    share = own / (own.sum() or 1)
    axes.bar(middles, share, EDGES[1] - EDGES[0], color=cmap((middles + 1) / 2))
    # Its palest bars are hardly there on a pale ground, without an edge.
    axes.stairs(share, EDGES, color=_text_color(axes), lw=0.8)
    for other, values in others:
        total = values.sum() or 1
        axes.stairs(values / total, EDGES, color=_text_color(axes), lw=1.3, ls="--", label=other)
    if others:
        axes.stairs([0, 0], [-1, 0, 1], fill=True, color=cmap(1.0), label=name)
        axes.legend(loc="upper left")
    line = axes.axvline(threshold, color=_text_color(axes), lw=2)
    axes.set_xlim(-1, 1)
    axes.set_xlabel("local NCC")
    axes.set_ylabel("share of defined pixels")
    return line


def draw_frames(figure: Figure, table: FrameTable) -> None:
    """Draw the median and the quartiles of every frame, and the shares below them.

    Parameters
    ----------
    figure : Figure
        What to draw on; it is empty.
    table : FrameTable
        What to draw, in the order of its rows.
    """
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    rows = [row.ncc for row in table.rows]
    frames = np.arange(len(rows))
    quartiles = [row.lower for row in rows], [row.upper for row in rows]
    upper.fill_between(frames, *quartiles, color=ALIKE, alpha=0.35)
    upper.plot(frames, [row.median for row in rows], color=ALIKE, marker=".", label="median")
    upper.set_ylim(-1.05, 1.05)
    upper.set_ylabel("ncc, quartiles")
    neutral = _text_color(lower)
    lower.plot(frames, [row.defined for row in rows], color=neutral, marker=".", label="defined")
    text = f"≥ {table.threshold:g}"
    lower.plot(frames, [row.above for row in rows], color=ALIKE, marker=".", label=text)
    lower.set_ylim(-0.05, 1.05)
    lower.set_ylabel("share")
    lower.set_xlabel(axis_name(table.axes[0]))
    lower.xaxis.set_major_locator(_whole_numbers())
    lower.legend(loc="best")


def _text_color(axes: Axes) -> Any:
    """Return the colour that the theme writes with, which says nothing of the images."""
    return axes.xaxis.label.get_color()


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True)


def size_text(pair: WindowPair) -> str:
    """Say how large a window is, in pixels and in units."""
    sides = "x".join(str(n) for n in pair.grid.shape) + " px"
    if pair.grid.units[-1] == PIXEL:
        return sides
    sides_in_units = np.asarray(pair.grid.shape) * pair.grid.pixel_lengths()
    lengths = "x".join(f"{length:.3g}" for length in sides_in_units)
    return f"{sides} = {lengths} {unit_symbol(pair.grid.units[-1])}"
