"""The commands that plugins bring: which there are, and one of them loaded."""

from __future__ import annotations

import os
from collections.abc import Iterable

import click

from deployq.config import load_config
from deployq.errors import ConfigError, PluginError
from deployq.plugins import Choice, PluginInfo, choice_of, find_commands, guarded_call


def plugin_commands(
    ctx: click.Context, taken: Iterable[str], *, listing: bool = False
) -> dict[str, PluginInfo]:
    """The commands of plugins by name; `listing` leaves out those that can't be called.

    Raises:
        ConfigError: deployq.toml, which says what may be loaded, has a mistake; not when listing.
    """
    found = find_commands(_choice(ctx, listing), taken)
    if listing:
        return {info.name: info for info in found if not info.left_out and not info.error}
    return {info.name: info for info in reversed(found)}


def _choice(ctx: click.Context, listing: bool) -> Choice:
    if ctx.params.get("only_builtin"):
        return Choice(only_builtin=True)
    try:
        config = load_config(ctx.params.get("config_file"), os.environ)
    except ConfigError:
        if not listing:
            raise
        return Choice(only_builtin=True)
    return choice_of(config.plugins)


def load_command(info: PluginInfo) -> click.Command:
    """A plugin's command.

    Raises:
        PluginError: it is left out, can't be imported, or is no Click command.
    """
    what = f"the command {info.name!r} of {info.distribution}"
    if why := info.left_out or info.error:
        raise PluginError(f"{what} is left out: {why}", hint="deployq plugins")
    assert info.entry
    command = guarded_call(f"importing {what}", _alarm, info.entry.load)
    if not isinstance(command, click.Command):
        raise PluginError(f"{what} is no Click command: {info.module} is {command!r}")
    return command


def _alarm(text: str) -> None:
    click.echo(text, err=True)
