"""How sure an ncc is: calibrated confidence, and what to accept."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
