"""The one door to SimpleITK, which is optional."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


def simpleitk() -> ModuleType:
    """Import SimpleITK, or say how to get it."""
    try:
        import SimpleITK
    except ImportError:
        raise ImportError(
            "rigid, similarity and affine models and ITK's files need SimpleITK; install it with: "
            "pip install 'napari-local-ncc[registration]'"
        ) from None
    # starts without overlap are no news, but ITK would print them past every logger
    SimpleITK.ProcessObject_SetGlobalWarningDisplay(False)
    return SimpleITK
