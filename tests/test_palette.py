"""One colour, one meaning, for every common colour blindness."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from napari_local_ncc.reports import colormap

# Machado, Oliveira & Fernandes, IEEE TVCG 15 (2009), severity 1: linear RGB as it is seen.
SEEN = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def lab(color, seen):
    srgb = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(seen) @ linear, 0, 1)
    again = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb2lab(again[None, None])[0, 0]


@pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN)
def test_classes_stay_apart(seen):
    colors = {**colormap.CLASSES, "undefined": colormap.UNDEFINED}
    for a, b in combinations(colors, 2):
        apart = deltaE_ciede2000(lab(colors[a], seen), lab(colors[b], seen))
        assert apart > 15, (a, b)


@pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN)
def test_alike_and_opposite_stay_apart(seen):
    stops = dict(colormap.STOPS)
    for value in (0.5, 1.0):
        assert deltaE_ciede2000(lab(stops[value], seen), lab(stops[-value], seen)) > 15


@pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN)
def test_arrows_are_seen_on_their_map(seen):
    for name in ("agrees", "displaced"):
        for _, ground in colormap.LENGTH:
            assert deltaE_ciede2000(lab(colormap.CLASSES[name], seen), lab(ground, seen)) > 15
    longest, undefined = colormap.LENGTH[-1][1], colormap.UNDEFINED
    assert deltaE_ciede2000(lab(longest, seen), lab(undefined, seen)) > 15


@pytest.mark.parametrize("ground", ["#ffffff", "#262930"], ids=["light", "dark"])
@pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN)
def test_what_is_alike_is_seen_in_figures_on_both_themes(ground, seen):
    pytest.importorskip("matplotlib")
    from napari_local_ncc.reports.inspector_figures import ALIKE

    assert deltaE_ciede2000(lab(ALIKE, seen), lab(ground, seen)) > 15


def test_the_inspector_draws_in_the_colours_of_the_product_and_of_the_theme():
    """Lines and points: blue what says how alike, as the text what says nothing of the images."""
    pytest.importorskip("matplotlib")
    import matplotlib.style
    from matplotlib.collections import PathCollection
    from matplotlib.colors import to_hex
    from matplotlib.figure import Figure

    from napari_local_ncc import Grid, window_pair
    from napari_local_ncc.maps.grouped_histogram import GroupTally
    from napari_local_ncc.reports import inspector_figures as drawn
    from napari_local_ncc.reports.tables import frame_table

    maps = np.random.default_rng(0).uniform(-1, 1, (3, 30, 30))
    masked = maps[0].copy()
    masked[:15] = np.nan
    tally = GroupTally()
    grid = Grid.from_spacing(maps.shape, axis_labels=("t", "y", "x"))
    tally.add_frames(tuple(slice(0, n) for n in maps.shape), maps, grid)
    pair = window_pair(masked, maps[1], (15, 15))
    profile = {"values": maps[:, 15, 15], "current": 1, "label": "t"}
    text = "#aabbcc"
    windows, histogram, frames = Figure(), Figure(), Figure()
    with matplotlib.style.context({"axes.labelcolor": text}):
        drawn.draw_windows(windows, pair, profile)
        drawn.draw_histogram(histogram, {"a": np.ones(80), "b": np.ones(80)}, 0.5)
        drawn.draw_frames(frames, frame_table(tally, grid, 0.2))
    of_windows, of_data = windows.axes[:2], [*windows.axes[2:], *histogram.axes, *frames.axes]
    for axes in of_windows:
        assert {to_hex(line.get_color()) for line in axes.lines} == {"#ffffff", "#000000"}
        assert axes.patch.get_hatch()  # behind the samples that do not count
        assert to_hex(axes.get_facecolor()) == colormap.UNDEFINED
    lines = {to_hex(line.get_color()) for axes in of_data for line in axes.lines}
    assert lines == {colormap.CLASSES["agrees"], text}
    points = [c for axes in of_data for c in axes.collections if isinstance(c, PathCollection)]
    assert {to_hex(c.get_facecolor()[0]) for c in points} == {colormap.CLASSES["agrees"]}


def test_alike_is_blue_everywhere():
    blue = np.array([-1, 0, 1])
    for color in (dict(colormap.STOPS)[0.5], colormap.CLASSES["agrees"], colormap.CONFIDENCE[2][1]):
        rgb = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)])
        assert rgb @ blue > 90
