"""Where `displacement` was until 0.1; see `napari_local_ncc.shift`."""

from napari_local_ncc.shift.interpret import CLASSES, classify, coherence, smoothed_shift

__all__ = ["CLASSES", "classify", "coherence", "smoothed_shift"]
