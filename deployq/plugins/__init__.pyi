"""Where each name of this package stands; imported when it is asked for."""

from .choice import (
    Choice as Choice,
    choice_of as choice_of,
)
from .found import (
    PluginInfo as PluginInfo,
    find_commands as find_commands,
)
from .guard import guarded_call as guarded_call
from .late import (
    Ask as Ask,
    Named as Named,
    Plugins as Plugins,
    load_plugins as load_plugins,
    never as never,
    pick as pick,
)
from .loading import Loaded as Loaded
from .local import allow as allow
