"""Find the transform that brings a moving image onto a fixed one."""

from napari_local_ncc.registration._register import (
    MODELS,
    NEED_SIMPLEITK,
    check_model,
    iter_register,
    register,
)
from napari_local_ncc.registration._result import Registration

__all__ = ["MODELS", "NEED_SIMPLEITK", "Registration", "check_model", "iter_register", "register"]
