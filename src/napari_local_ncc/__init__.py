"""Local normalized cross-correlation of two images, per pixel."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_local_ncc.geometry import Grid as Grid
    from napari_local_ncc.image import SpatialImage as SpatialImage
    from napari_local_ncc.io import read_image as read_image
    from napari_local_ncc.io import read_map as read_map
    from napari_local_ncc.io import write_map as write_map
    from napari_local_ncc.ncc import local_ncc as local_ncc
    from napari_local_ncc.parameters import NCCParameters as NCCParameters
    from napari_local_ncc.pipeline import ConfidenceMap as ConfidenceMap
    from napari_local_ncc.pipeline import confidence_map as confidence_map
    from napari_local_ncc.registration import Registration as Registration
    from napari_local_ncc.registration import register as register
    from napari_local_ncc.shift import local_shift as local_shift
    from napari_local_ncc.statistics import Calibration as Calibration
    from napari_local_ncc.statistics import calibrate as calibrate

_HOME = {
    "Calibration": "statistics",
    "ConfidenceMap": "pipeline",
    "Grid": "geometry",
    "NCCParameters": "parameters",
    "Registration": "registration",
    "SpatialImage": "image",
    "calibrate": "statistics",
    "confidence_map": "pipeline",
    "local_ncc": "ncc",
    "local_shift": "shift",
    "read_image": "io",
    "read_map": "io",
    "register": "registration",
    "write_map": "io",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
