"""`deployq plugins`: what is installed, what it brings, what is broken; new ones, allowed ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from deployq import report
from deployq.cli.main import VERBS
from deployq.cli.shared import json_option, session_of, show_json
from deployq.errors import ConfigError
from deployq.pipeline.newplugin import KINDS, new_plugin
from deployq.pipeline.plugincheck import Checkup, check_plugins
from deployq.plugins import allow, find_commands

if TYPE_CHECKING:
    from collections.abc import Iterable


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the plugins: name, version, distribution, hooks, and how each of them is.

    \b
    Examples:
      deployq plugins
      DEPLOYQ_PLUGINS=a,b deployq plugins    # load a and b, and deployq's own
      deployq --only-builtin plugins         # load deployq's own alone
    """
    if ctx.invoked_subcommand:
        return
    with session_of(ctx, quiet=True) as session:
        found = check_plugins(session.plugins, find_commands(session.plugins.choice, VERBS))
    if as_json:
        show_json({"schema": 1, "plugins": [_document(plugin) for plugin in found]})
    else:
        report.show(_table(found))


@command.command("allow")
@click.argument("path", type=click.Path(path_type=Path))
def allow_(path: Path) -> None:
    """Let a plugin of this project ([plugins] paths) run, as long as it stays as it is.

    \b
    Example:
      deployq plugins allow our_checks.py
    """
    digest = allow(path)
    report.talk(f"{path} may run as it is now (sha256 {digest})")


@command.command("new")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(tuple(KINDS)),
    default="check",
    show_default=True,
    help="What it brings.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Where its own folder shall be; default: here.",
)
def new(name: str, kind: str, folder: Path) -> None:
    """Write a new plugin: a package that can be installed, with tests that pass.

    \b
    Example:
      deployq plugins new gadget --kind profiler
    """
    if kind == "command" and name in VERBS:
        raise ConfigError(f"deployq has a command {name!r} of its own", hint="take another name")
    made = new_plugin(name, kind, folder)
    click.echo(str(made))
    report.talk(f"next: pip install -e '{made}[dev]' && python -m pytest {made}")


def _document(checkup: Checkup) -> dict[str, object]:
    plugin = checkup.plugin
    return {
        "name": plugin.name,
        "module": plugin.module,
        "distribution": plugin.distribution,
        "path": str(plugin.path) if plugin.path else None,
        "version": plugin.version,
        "hooks": list(plugin.hooks),
        "parts": [
            {"kind": part.kind, "name": part.name, "ok": part.ok, "detail": part.detail}
            for part in checkup.parts
        ],
        "health": checkup.health,
        "error": plugin.error or None,
        "faults": list(checkup.faults),
        "left_out": plugin.left_out or None,
    }


def _table(found: Iterable[Checkup]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("plugin", "version", "from", "hooks", "health"):
        table.add_column(column, overflow="fold")
    for checkup in found:
        plugin = checkup.plugin
        hooks = ", ".join(hook.removeprefix("deployq_") for hook in plugin.hooks)
        cells = (plugin.name, plugin.version, plugin.origin, hooks, checkup.shown)
        table.add_row(*map(Text, cells))
    return table
