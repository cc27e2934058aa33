"""Ollama: its Modelfiles, its servers, what they hold, and what deployq knows of it.

What needs a library that takes long to import stands in `__init__.pyi`, and is imported when it
is asked for: a push that has nothing to do needs none of it.
"""

import sys

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# httpx does without its command line where that can't be imported. With it come rich and pygments:
# a fifth of the time of a push that has nothing to do.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
