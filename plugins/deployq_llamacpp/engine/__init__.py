"""llama-server as a child; imported when one is started, since it needs an HTTP client."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
