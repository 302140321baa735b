"""How sure an ncc is: calibrated confidence, and what to accept."""

from napari_local_ncc.statistics._calibrate import calibrate, iter_calibrate
from napari_local_ncc.statistics._calibration import Calibration, Threshold
from napari_local_ncc.statistics._discovery import ConfidenceTally, false_discovery_threshold
from napari_local_ncc.statistics._effective import effective_samples, margin

__all__ = [
    "Calibration",
    "ConfidenceTally",
    "Threshold",
    "calibrate",
    "effective_samples",
    "false_discovery_threshold",
    "iter_calibrate",
    "margin",
]
