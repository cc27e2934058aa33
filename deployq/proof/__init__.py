"""Is it good: suites, checks, agreement with full precision, the gate.

What needs a library that takes its time to import stands in `__init__.pyi`, and is imported when
it is first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
