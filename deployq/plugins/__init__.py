"""Plugins: found, chosen, loaded, and guarded against. A broken one stops nothing else."""

from deployq.plugins.choice import Choice, choice_of
from deployq.plugins.found import COMMAND_GROUP, GROUP, PluginInfo, find_commands
from deployq.plugins.guard import guarded_call
from deployq.plugins.loading import Named, Plugins, load_plugins, pick
from deployq.plugins.local import allow, never

__all__ = [
    "COMMAND_GROUP",
    "GROUP",
    "Choice",
    "Named",
    "PluginInfo",
    "Plugins",
    "allow",
    "choice_of",
    "find_commands",
    "guarded_call",
    "load_plugins",
    "never",
    "pick",
]
