"""The colours of an NCC map: one list for napari and for figures.

Blue and orange are the pair that every common colour blindness keeps apart. Zero is
black, so that agreement and inversion both stand out by brightness, and the undefined is
a mid grey that the map itself never shows.
"""

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
