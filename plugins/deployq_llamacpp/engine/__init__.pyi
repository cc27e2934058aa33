"""Where each name of `deployq_llamacpp.engine` stands; imported when it is asked for."""

from .raw import Loaded as Loaded, completion_body as completion_body
from .serving import serving as serving
