"""deployq: from a fine-tuned model to Ollama tags that fit each machine and are proven to work.

This package is the public API for plugin authors. A plugin imports nothing else. What it offers
stands in `__init__.pyi`; a name is imported when it is first asked for.
"""

import lazy_loader

__version__ = "0.1.0"
API_VERSION = "1.0"
"""The version of what a plugin can use; see docs/plugins/index.md for what raises which number."""

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
