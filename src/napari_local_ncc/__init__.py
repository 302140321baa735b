"""Local normalized cross-correlation of two images, per pixel."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# Modules that the documents of 0.1 taught are still found under their old names.
__path__ = [*__path__, str(Path(__file__).parent / "_moved")]


class _Face(ModuleType):
    """The package, in which a module of an old name does not hide the function of that name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face
