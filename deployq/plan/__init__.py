"""Which quant fits which machine: pure arithmetic, from records to records.

What only some plans need stands in `__init__.pyi`, and is imported when it is asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
