"""The colours of the product, one meaning each: for napari, legends and figures.

Blue is alike: a high NCC, confidence, windows that agree and their arrows. Orange is opposite
contrast. Yellow is displaced, dark yellow displaced beyond the search, purple different, pale
grey what nobody can tell, mid grey what is undefined. How long a shift is, which says nothing
of whether it is believed, is a violet dark enough for arrows on it; violet and green are the two
directions along an axis. What lies on one map stays apart for every common colour blindness, by
CIEDE2000 (a test measures it), and zero is black, so that agreement and inversion both stand
out by brightness.
"""

from napari_local_ncc.maps.bands import CLASS_COLORS

NAME = "ncc"
LIMITS = (-1.0, 1.0)
STOPS: tuple[tuple[float, str], ...] = (
    (-1.0, "#ffd9c2"),
    (-0.5, "#d4451a"),
    (0.0, "#08080c"),
    (0.5, "#1f6fc4"),
    (1.0, "#c4e4ff"),
)
UNDEFINED = "#808080"

# From 0.95 on a step to bright: what is confident stands out, for colour-blind eyes too.
CONFIDENCE: tuple[tuple[float, str], ...] = (
    (0.0, "#0b0b10"),
    (0.9499, "#55555f"),
    (0.95, "#3f9be8"),
    (1.0, "#e0f1ff"),
)
SHIFT: tuple[tuple[float, str], ...] = (
    (-1.0, "#4d2a8c"),
    (-0.5, "#a593cf"),
    (0.0, "#f7f7f7"),
    (0.5, "#7fbf7b"),
    (1.0, "#1b7837"),
)
LENGTH: tuple[tuple[float, str], ...] = ((0.0, "#0b0b10"), (1.0, "#6448a8"))
PALETTES = {"ncc": STOPS, "confidence": CONFIDENCE, "shift": SHIFT, "gain": LENGTH}
CLASSES = CLASS_COLORS
