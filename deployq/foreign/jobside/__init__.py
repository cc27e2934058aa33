"""The child's side of a job in an environment that isn't deployq's (`deployq.runners`).

Only the standard library is at hand here. The folder above this one goes onto the child's path, so
that a runner finds this package by the name `jobside`, and nothing else of deployq.
"""

from .entrance import run
from .events import Refused, emit

__all__ = ["Refused", "emit", "run"]
