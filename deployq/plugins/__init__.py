"""Plugins: found, chosen, loaded, and guarded against. A broken one stops nothing else.

What it offers stands in `__init__.pyi`; a command that needs no plugin imports next to none of it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
