"""The records and protocols that flow between the rooms of deployq.

Every record is a frozen dataclass; a figure carries its unit in its name (`file_bytes`,
`load_seconds`). Rooms never import one another: what one needs of another stands here. Which
module has which name stands in `__init__.pyi`; each is imported when it is first asked for, since
making a record takes its time and no command needs all of them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
