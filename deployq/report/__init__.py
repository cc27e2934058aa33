"""What people and programs read of deployq's work: terminal, JSON, Markdown, SVG.

Which module has which name stands in `__init__.pyi`; each is imported when it is first asked
for, so that a command that prints JSON doesn't wait for what draws tables.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
