"""Where each name of `deployq_llamacpp.engine` stands; imported when it is asked for."""

from .serving import Serving as Serving, serving as serving
