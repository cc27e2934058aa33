"""The order of things: names -> records -> plan -> artifacts -> tags -> report.

The only part that knows every room; the rooms don't know one another. What needs libraries that
a plan doesn't stands in `__init__.pyi`, and is imported when it is asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
