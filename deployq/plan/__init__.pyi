"""Where each name of `deployq.plan` stands; imported when it is asked for."""

from .explain import explain as explain
from .together import plan_together as plan_together
