"""Finished GGUF files, and what they are made with.

What needs libraries that most commands don't stands in `__init__.pyi`, and is imported when it is
asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
