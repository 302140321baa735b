"""Where `statistics` was until 0.1; see `napari_local_ncc.confidence`."""

from napari_local_ncc.confidence import (
    Calibration,
    calibrate,
    effective_samples,
    false_discovery_threshold,
    iter_calibrate,
)

__all__ = [
    "Calibration",
    "calibrate",
    "effective_samples",
    "false_discovery_threshold",
    "iter_calibrate",
]
