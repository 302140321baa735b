"""Many pairs in a row, each with a verdict; what cannot be compared stops nothing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
