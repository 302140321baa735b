"""The scatter plot of two whole images: what it says, and how it is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_local_ncc.geometry.units import percent
from napari_local_ncc.reports import colormap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_local_ncc.maps.derived.joint_histogram import AutoThreshold, JointHistogram

RARE, ALIKE, OFTEN = "#0b3a66", colormap.CLASSES["agrees"], "#e0f1ff"
ALL = 0.9995  # of the pixels, which is written as all


def describe_scatter(histogram: JointHistogram, threshold: AutoThreshold | None) -> list[str]:
    """Say what a joint histogram tells, a line each.

    Parameters
    ----------
    histogram : JointHistogram
        Of fixed and of moving as it is compared.
    threshold : AutoThreshold or None
        As of `automatic_threshold`.
    """
    r, count = histogram.pearson, histogram.moments.count
    looked = (
        "all" if histogram.share > ALL else f"squares drawn from all, {percent(histogram.share)} of"
    )
    lines = [
        f"Pearson's r {_number(r)} over {count:,} pixels ({looked} the pixels in which both count)"
    ]
    if threshold is None:
        return [
            *lines,
            "No automatic threshold: the images do not rise together, or all of their values do.",
        ]
    lines.append(
        f"Automatic threshold (Costes 2004): fixed > {threshold.fixed:.4g} and moving > "
        f"{threshold.moving:.4g}. {percent(threshold.above, 1)} of the pixels lie above both; the "
        f"rest is not correlated (r {threshold.below:.2f})."
    )
    first, second = threshold.manders
    if np.isfinite([first, second]).all():
        lines.append(
            f"Manders: {percent(first)} of fixed's intensity lies where moving is above its "
            f"threshold (M1), {percent(second)} of moving's where fixed is (M2)."
        )
    return lines


def draw_scatter(
    figure: Figure, histogram: JointHistogram, threshold: AutoThreshold | None
) -> None:
    """Draw how often values meet, brighter the more often, and the threshold.

    Parameters
    ----------
    figure : Figure
        What to draw on; it is empty.
    histogram, threshold
        As for `describe_scatter`.
    """
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    axes = figure.add_subplot()
    left, right = histogram.fixed_edges[[0, -1]]
    bottom, top = histogram.moving_edges[[0, -1]]
    counts = np.ma.masked_equal(histogram.counts.T, 0)
    image = axes.imshow(
        counts,
        extent=(left, right, bottom, top),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap=LinearSegmentedColormap.from_list("scatter", [RARE, ALIKE, OFTEN]),
        norm=LogNorm(1, max(int(histogram.counts.max()), 2)),
    )
    figure.colorbar(image, ax=axes, label="pixels")
    text = axes.xaxis.label.get_color()
    if threshold is not None:
        ends = np.array([left, right])
        axes.plot(ends, threshold.slope * ends + threshold.intercept, color=text, lw=1)
        axes.axvline(threshold.fixed, color=text, lw=1, ls="--")
        axes.axhline(threshold.moving, color=text, lw=1, ls="--")
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.set_xlabel("fixed")
    axes.set_ylabel("moving")


def _number(r: float) -> str:
    return "undefined" if np.isnan(r) else f"{r:z.3f}"
