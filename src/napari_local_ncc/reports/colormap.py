"""The colours of a map's bands: one list for napari and for figures.

Blue and orange are the pair that every common colour blindness keeps apart. Zero is
black, so that agreement and inversion both stand out by brightness, and the undefined is
a mid grey that the map itself never shows.
"""

from napari_local_ncc.maps.bands import CLASS_COLORS

NAME = "ncc"
LIMITS = (-1.0, 1.0)
STOPS: tuple[tuple[float, str], ...] = (
    (-1.0, "#b5dcff"),
    (-0.5, "#2274cc"),
    (0.0, "#08080c"),
    (0.5, "#cc6a0c"),
    (1.0, "#ffe79a"),
)
UNDEFINED = "#808080"

# From 0.95 on a step to bright: what is confident stands out, for colour-blind eyes too.
CONFIDENCE: tuple[tuple[float, str], ...] = (
    (0.0, "#0b0a1e"),
    (0.9499, "#5a4fa3"),
    (0.95, "#3fd9a4"),
    (1.0, "#e9fff0"),
)
# Purple and orange about white, so that no shift is mistaken for an NCC.
SHIFT: tuple[tuple[float, str], ...] = (
    (-1.0, "#3b1a73"),
    (-0.5, "#9b8ac4"),
    (0.0, "#f7f7f7"),
    (0.5, "#f1a340"),
    (1.0, "#7f3b08"),
)
LENGTH: tuple[tuple[float, str], ...] = (
    (0.0, "#06040f"),
    (0.33, "#6a176e"),
    (0.67, "#dd513a"),
    (1.0, "#fcffa4"),
)
PALETTES = {"ncc": STOPS, "confidence": CONFIDENCE, "shift": SHIFT, "gain": LENGTH}
CLASSES = CLASS_COLORS
