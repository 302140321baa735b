"""Find the transform that brings a moving image onto a fixed one."""

from typing import Any

import lazy_loader

_own, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
# in `transforms` since 0.2
MOVED = (
    "AGREEMENT_RADIUS",
    "Agreement",
    "FrameReport",
    "Registration",
    "RoundTrip",
    "check_transform_path",
    "is_transform_path",
    "read_transform",
    "write_transform",
)


def __getattr__(name: str) -> Any:
    if name not in MOVED:
        return _own(name)
    from napari_local_ncc import transforms

    return getattr(transforms, name)
