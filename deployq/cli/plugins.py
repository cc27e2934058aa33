"""`deployq plugins`: what is installed, what it brings, what is broken."""

from __future__ import annotations

import click
from rich.table import Table

from deployq import report
from deployq.cli.shared import config_of, json_option, show_json
from deployq.plugins import PluginInfo, load_plugins


@click.command()
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the plugins: name, version, distribution, hooks, and what is wrong with a broken one."""
    found = load_plugins(disable=config_of(ctx).plugins.disable).found
    if as_json:
        show_json({"schema": 1, "plugins": [_document(plugin) for plugin in found]})
    else:
        report.show(_table(found))


def _document(plugin: PluginInfo) -> dict[str, object]:
    return {
        "name": plugin.name,
        "module": plugin.module,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "hooks": list(plugin.hooks),
        "error": plugin.error or None,
    }


def _table(found: list[PluginInfo]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("plugin", "version", "from", "brings"):
        table.add_column(column, overflow="fold")
    for plugin in found:
        brings = ", ".join(hook.removeprefix("deployq_") for hook in plugin.hooks)
        table.add_row(
            plugin.name,
            plugin.version,
            plugin.distribution,
            f"BROKEN: {plugin.error}" if plugin.error else brings,
        )
    return table
