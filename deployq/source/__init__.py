"""What the user trained, read from headers alone.

What only a model that was never converted needs stands in `__init__.pyi`, and is imported when
one is met.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
