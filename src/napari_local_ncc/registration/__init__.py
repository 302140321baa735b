"""Find the transform that brings a moving image onto a fixed one."""

from napari_local_ncc.registration.door import (
    MODELS,
    NEED_SIMPLEITK,
    check_model,
    iter_register,
    register,
)
from napari_local_ncc.registration.initial import STARTS
from napari_local_ncc.transforms.files import (
    check_transform_path,
    is_transform_path,
    read_transform,
    write_transform,
)
from napari_local_ncc.transforms.registration import Registration
from napari_local_ncc.transforms.report import AGREEMENT_RADIUS, Agreement, FrameReport, RoundTrip

__all__ = [
    "AGREEMENT_RADIUS",
    "MODELS",
    "NEED_SIMPLEITK",
    "STARTS",
    "Agreement",
    "FrameReport",
    "Registration",
    "RoundTrip",
    "check_model",
    "check_transform_path",
    "is_transform_path",
    "iter_register",
    "read_transform",
    "register",
    "write_transform",
]
