"""Local normalized cross-correlation of two images, per pixel."""

from pathlib import Path

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# Modules that the documents of 0.1 taught are still found under their old names.
__path__ = [*__path__, str(Path(__file__).parent / "_moved")]
